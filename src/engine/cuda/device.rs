//! One GPU: its context, streams, kernels and memory, and the checks that are possible before the first kernel runs.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::context::Context;
use super::current;
use super::driver::{self, check, query, sys};
use super::kernels::Kernels;
use super::memory::{self, PIECE};
use super::module::Module;
use super::queue::{Priority, Queue, ScratchGuard, stream};
use super::timer::Timed;
use crate::engine::profile::TimedLaunch;
use crate::error::{Error, Result};

/// The oldest supported compute capability: Ampere introduced bf16 and asynchronous copies.
const OLDEST: (i32, i32) = (8, 0);

/// Pieces of the main queue's staging memory.
const MAIN_PIECES: usize = 8;
/// Pieces of the second queue's staging memory: the samples of one encoder batch, and one more because they may begin
/// within a piece. So the host can upload a whole batch without waiting.
const SECOND_PIECES: usize = (super::ENCODER_BATCH * CLIP_BYTES).div_ceil(PIECE) + 1;
/// Bytes of the samples of a 30 s window.
const CLIP_BYTES: usize = 30 * crate::units::SAMPLE_RATE * size_of::<f32>();

/// An opened GPU.
pub(super) struct Device {
    name: String,
    total_memory: u64,
    driver_version: i32,
    /// Major and minor compute capability.
    capability: (i32, i32),
    /// Most shared memory a block can ask for, in bytes.
    pub max_shared: usize,
    pub kernels: Kernels,
    /// The main queue, in which all work runs in the order of the calls, except work redirected to `second`.
    pub main: Queue,
    /// Created on first use.
    second: OnceLock<Queue>,
    /// The stream on which launches are captured into a graph; nothing ever runs on it.
    recording_stream: Mutex<RecordingStream>,
    /// `DIARIST_SYNC`: wait after every launch, so that an error names its kernel.
    pub synchronous: bool,
    profiling: AtomicBool,
    timed: Mutex<Vec<Timed>>,
    /// Declared last: the fields above must be dropped while the context exists.
    pub context: Context,
}

/// See [`Device::recording_stream`].
pub(super) struct RecordingStream(pub sys::CUstream);

// SAFETY: (1) the fields are the driver's handles, which any thread may use; (2) what they name is whole until `Drop`;
// (3) state that several threads change lies behind a mutex or is atomic.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Number of GPUs that the driver reports.
    pub fn count() -> Result<usize> {
        driver::start()?;
        // SAFETY: (1) the signature is cuda.h's; (2) the number outlives the call; (3) the driver was started.
        let count = query("cuDeviceGetCount", |count| unsafe { sys::cuDeviceGetCount(count) })?;
        Ok(count.max(0) as usize)
    }

    /// Opens GPU `index`; the engine allocates at most `limit` bytes of its memory.
    pub fn open(index: usize, limit: Option<u64>) -> Result<Self> {
        let count = Self::count()?;
        if index >= count {
            let there = match count {
                0 => "there is no GPU; does CUDA_VISIBLE_DEVICES hide it?".into(),
                1 => "there is one GPU: 0".into(),
                _ => format!("there are {count} GPUs: 0 to {}", count - 1),
            };
            return Err(Error::config("device", format!("cuda:{index}"), there));
        }
        let card = Properties::query(index)?;
        if card.capability < OLDEST {
            let text = format!(
                "{} has compute capability {}.{}; {}.{} (Ampere, 2020) or newer is needed; use `device` cpu",
                card.name, card.capability.0, card.capability.1, OLDEST.0, OLDEST.1
            );
            return Err(driver::refuse(format!("cuda:{index}"), text));
        }
        let context = Context::retain(card.handle, limit)?;
        context.bind()?;
        let module = Module::load(card.capability, &card.name)?;
        let mut device = Device {
            name: card.name,
            total_memory: card.total_memory,
            driver_version: card.driver_version,
            capability: card.capability,
            max_shared: card.max_shared,
            kernels: Kernels::new(module),
            main: Queue::none(),
            second: OnceLock::new(),
            recording_stream: Mutex::new(RecordingStream(std::ptr::null_mut())),
            synchronous: std::env::var_os("DIARIST_SYNC").is_some_and(|value| value != "0" && !value.is_empty()),
            profiling: AtomicBool::new(false),
            timed: Mutex::new(Vec::new()),
            context,
        };
        device.main = Queue::new(&device.context, MAIN_PIECES, Priority::High)?;
        // The kernels of a graph have the priority of the stream they were captured on.
        device.recording_stream = Mutex::new(RecordingStream(stream(Priority::High)?));
        Ok(device)
    }

    /// One line for the log: name, compute capability, memory, driver version.
    pub fn describe(&self) -> String {
        let (major, minor) = (self.driver_version / 1000, self.driver_version % 1000 / 10);
        let gib = self.total_memory as f64 / (1u64 << 30) as f64;
        let card = format!("{} (compute {}.{})", self.name, self.capability.0, self.capability.1);
        format!("{card}, {gib:.1} GiB, driver for CUDA {major}.{minor}")
    }

    /// Makes this device's context current on this thread.
    pub fn bind(&self) -> Result<()> {
        self.context.bind()
    }

    /// The queue of this thread's calls.
    pub fn queue(&self) -> &Queue {
        match self.second.get() {
            Some(second) if current::is_forked(&self.context) => second,
            _ => &self.main,
        }
    }

    /// The stream of this thread's launches: the stream of its queue, or the capturing stream.
    pub fn stream(&self) -> sys::CUstream {
        current::capturing().unwrap_or(self.queue().stream)
    }

    /// The second queue.
    pub fn second(&self) -> Result<&Queue> {
        if let Some(second) = self.second.get() {
            return Ok(second);
        }
        let mut made = Queue::new(&self.context, SECOND_PIECES, Priority::Low)?;
        if let Err(surplus) = self.second.set(std::mem::replace(&mut made, Queue::none())) {
            // Another thread created it first.
            made = surplus;
        }
        made.free(&self.context);
        Ok(self.second.get().unwrap_or(&self.main))
    }

    /// Waits until everything queued on both streams has run.
    pub fn wait(&self, call: &str) -> Result<()> {
        self.bind()?;
        self.main.wait(call)?;
        self.second.get().map_or(Ok(()), |second| second.wait(call))
    }

    /// The capturing stream, locked.
    pub fn recording_stream(&self) -> MutexGuard<'_, RecordingStream> {
        self.recording_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least `bytes` bytes of scratch memory of this thread's queue, for as long as the guard is held.
    pub fn scratch(&self, bytes: usize) -> Result<ScratchGuard<'_>> {
        self.queue().scratch(&self.context, bytes)
    }

    /// Queues a memset to zero of `bytes` bytes of scratch memory, from byte `at` on.
    pub fn clear_scratch(&self, scratch: &ScratchGuard, at: usize, bytes: usize) -> Result<()> {
        let Some(pointer) = scratch.address(at, bytes) else {
            return Err(driver::refuse("scratch memory", "is too small"));
        };
        // SAFETY: (1) the signature is cuda.h's; (2) `address` found the bytes within the allocation; (3) it is queued
        // behind the kernels that used it before.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(pointer, 0, bytes, self.stream()) })
    }

    /// Bytes of device memory that are free by the driver's count.
    pub fn free_memory(&self) -> Result<u64> {
        memory::free(&self.context)
    }

    /// Whether launches are timed.
    pub fn is_profiling(&self) -> bool {
        self.profiling.load(Ordering::Relaxed)
    }

    /// Times every launch from now on, until [`profile`](Self::profile).
    pub fn start_profile(&self) {
        self.profiling.store(true, Ordering::Relaxed);
    }

    pub fn add_timed(&self, timed: Timed) {
        self.timed.lock().unwrap_or_else(PoisonError::into_inner).push(timed);
    }

    /// The launches since [`start_profile`](Self::start_profile), in order.
    pub fn profile(&self) -> Result<Vec<TimedLaunch>> {
        self.profiling.store(false, Ordering::Relaxed);
        let timed = std::mem::take(&mut *self.timed.lock().unwrap_or_else(PoisonError::into_inner));
        self.wait("cuStreamSynchronize")?;
        timed.into_iter().map(Timed::finish).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A lost device frees nothing; the driver frees its resources when the process ends.
        if self.wait("cuStreamSynchronize").is_err() && self.bind().is_err() {
            return;
        }
        let mut queues =
            [std::mem::replace(&mut self.main, Queue::none()), self.second.take().unwrap_or_else(Queue::none)];
        queues.iter_mut().for_each(|queue| queue.free(&self.context));
        self.timed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kernels.unload();
        let recording_stream = self.recording_stream().0;
        if !recording_stream.is_null() {
            // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours and destroyed once; (3) nothing runs on it.
            let _ = unsafe { sys::cuStreamDestroy_v2(recording_stream) };
        }
    }
}

/// Properties of a GPU that can be queried before it is opened.
struct Properties {
    handle: sys::CUdevice,
    name: String,
    capability: (i32, i32),
    total_memory: u64,
    driver_version: i32,
    max_shared: usize,
}

impl Properties {
    fn query(index: usize) -> Result<Self> {
        use sys::CUdevice_attribute as A;
        let mut handle = 0;
        // SAFETY, for the four calls: (1) the signatures are cuda.h's; (2) what they write to outlives them and is as
        // large as they are told; (3) the driver was started and `index` is below the count.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut handle, index as c_int) })?;
        let mut name = [0u8; 256];
        let room = name.len() as c_int - 1;
        // SAFETY: see above.
        check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), room, handle) })?;
        let mut total = 0;
        // SAFETY: see above.
        check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut total, handle) })?;
        // SAFETY: see above.
        let driver_version = query("cuDriverGetVersion", |v| unsafe { sys::cuDriverGetVersion(v) })?;
        // SAFETY: see above.
        let ask = |what| query("cuDeviceGetAttribute", |v| unsafe { sys::cuDeviceGetAttribute(v, what, handle) });
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        Ok(Properties {
            handle,
            name: String::from_utf8_lossy(&name[..length]).into_owned(),
            capability: (
                ask(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                ask(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            total_memory: total as u64,
            driver_version,
            max_shared: ask(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?.max(0) as usize,
        })
    }
}
