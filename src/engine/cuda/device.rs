//! One GPU: its context, its streams, its kernels and its memory, and everything that can be wrong with it before the
//! first kernel runs.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::driver::{self, check, query, sys};
use super::launch::{Kernels, Timed};
use super::memory::{Account, PIECE};
use super::module::Module;
use super::queue::{Priority, Queue, ScratchGuard, stream};
use super::{graph, memory, queue};
use crate::engine::profile::Launched;
use crate::error::{Error, Result};

/// What the engine needs of a card: bf16 and asynchronous copies came with it.
const OLDEST: (i32, i32) = (8, 0);

/// Pieces of the main queue's staging memory.
const MAIN_PIECES: usize = 8;
/// Of the second queue's: the samples of a group of clips, and the piece they begin in the middle of, so that the host
/// hands all of them over without waiting.
const SECOND_PIECES: usize = (super::ENCODER_BATCH * CLIP_BYTES).div_ceil(PIECE) + 1;
/// Samples of the longest window.
const CLIP_BYTES: usize = 30 * crate::units::SAMPLE_RATE * size_of::<f32>();

/// A GPU that is ready to compute.
pub(super) struct Device {
    name: String,
    total_memory: u64,
    driver_version: i32,
    /// Major and minor compute capability.
    capability: (i32, i32),
    /// Most shared memory a block can ask for, in bytes.
    pub max_shared: usize,
    pub account: Account,
    pub kernels: Kernels,
    /// What everything is queued on, in the order of the calls, but what is queued beside it.
    pub main: Queue,
    /// Made when it is first needed.
    second: OnceLock<Queue>,
    /// The stream that launches are recorded on when they become a graph; nothing ever runs on it.
    recording_stream: Mutex<RecordingStream>,
    /// Whether to wait after every launch, so that an error names its kernel.
    pub synchronous: bool,
    profiling: AtomicBool,
    timed: Mutex<Vec<Timed>>,
    /// Last: what is above is given back while the context is still there.
    context: Context,
}

/// See [`Device::recording_stream`].
pub(super) struct RecordingStream(pub sys::CUstream);

/// The primary context of one device, held until dropped.
struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

// SAFETY: (1) the fields are the driver's handles, which any thread may use; (2) what they name is whole until `Drop`;
// (3) state that several threads change lies behind a mutex or is atomic.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Number of GPUs the driver shows.
    pub fn count() -> Result<usize> {
        driver::start()?;
        // SAFETY: (1) the signature is cuda.h's; (2) the number outlives the call; (3) the driver was started.
        let count = query("cuDeviceGetCount", |count| unsafe { sys::cuDeviceGetCount(count) })?;
        Ok(count.max(0) as usize)
    }

    /// Opens GPU `index`, with at most `limit` bytes of its memory for the engine.
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
        let card = Card::look(index)?;
        if card.capability < OLDEST {
            let text = format!(
                "{} has compute capability {}.{}; {}.{} (Ampere, 2020) or newer is needed; use `device` cpu",
                card.name, card.capability.0, card.capability.1, OLDEST.0, OLDEST.1
            );
            return Err(driver::refuse(format!("cuda:{index}"), text));
        }
        let context = Context::retain(card.handle)?;
        context.bind()?;
        let module = Module::load(card.capability, &card.name)?;
        let mut device = Device {
            name: card.name,
            total_memory: card.total_memory,
            driver_version: card.driver_version,
            capability: card.capability,
            max_shared: card.max_shared,
            account: Account::new(limit),
            kernels: Kernels::new(module),
            main: Queue::none(),
            second: OnceLock::new(),
            recording_stream: Mutex::new(RecordingStream(std::ptr::null_mut())),
            synchronous: std::env::var_os("DIARIST_SYNC").is_some_and(|value| value != "0" && !value.is_empty()),
            profiling: AtomicBool::new(false),
            timed: Mutex::new(Vec::new()),
            context,
        };
        device.main = Queue::new(&device, MAIN_PIECES, Priority::High)?;
        // A graph's kernels are as urgent as the stream they were recorded on.
        device.recording_stream = Mutex::new(RecordingStream(stream(Priority::High)?));
        Ok(device)
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let (major, minor) = (self.driver_version / 1000, self.driver_version % 1000 / 10);
        let gib = self.total_memory as f64 / (1u64 << 30) as f64;
        let card = format!("{} (compute {}.{})", self.name, self.capability.0, self.capability.1);
        format!("{card}, {gib:.1} GiB, driver for CUDA {major}.{minor}")
    }

    /// Major and minor compute capability.
    pub fn capability(&self) -> (i32, i32) {
        self.capability
    }

    /// Makes this device the one that calls of this thread mean.
    pub fn bind(&self) -> Result<()> {
        self.context.bind()
    }

    /// What this thread's calls are queued on.
    pub fn queue(&self) -> &Queue {
        match self.second.get() {
            Some(second) if queue::is_beside(self) => second,
            _ => &self.main,
        }
    }

    /// Where this thread's launches go: its queue, or a recording.
    pub fn stream(&self) -> sys::CUstream {
        graph::recording().unwrap_or(self.queue().stream)
    }

    /// The queue beside the main one.
    pub fn second(&self) -> Result<&Queue> {
        if let Some(second) = self.second.get() {
            return Ok(second);
        }
        let mut made = Queue::new(self, SECOND_PIECES, Priority::Low)?;
        if let Err(surplus) = self.second.set(std::mem::replace(&mut made, Queue::none())) {
            // Another thread was quicker.
            made = surplus;
        }
        made.free(self);
        Ok(self.second.get().unwrap_or(&self.main))
    }

    /// Waits until everything queued has run.
    pub fn wait(&self, call: &str) -> Result<()> {
        self.bind()?;
        self.main.wait(call)?;
        self.second.get().map_or(Ok(()), |second| second.wait(call))
    }

    /// The stream to record on, for one thread at a time.
    pub fn recording_stream(&self) -> MutexGuard<'_, RecordingStream> {
        self.recording_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least `bytes` bytes of scratch memory of this thread's queue, for as long as the guard is held.
    pub fn scratch(&self, bytes: usize) -> Result<ScratchGuard<'_>> {
        self.queue().scratch(self, bytes)
    }

    /// Queues zeros for `bytes` bytes of scratch memory, from byte `at` on.
    pub fn clear_scratch(&self, scratch: &ScratchGuard, at: usize, bytes: usize) -> Result<()> {
        let Some(pointer) = scratch.address(at, bytes) else {
            return Err(driver::refuse("scratch memory", "is too small"));
        };
        // SAFETY: (1) the signature is cuda.h's; (2) `address` found the bytes within the allocation; (3) it is queued
        // behind the kernels that used it before.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(pointer, 0, bytes, self.stream()) })
    }

    /// Bytes the driver could still give.
    pub fn free_memory(&self) -> Result<u64> {
        memory::free(self)
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
    pub fn profile(&self) -> Result<Vec<Launched>> {
        self.profiling.store(false, Ordering::Relaxed);
        let timed = std::mem::take(&mut *self.timed.lock().unwrap_or_else(PoisonError::into_inner));
        self.wait("cuStreamSynchronize")?;
        timed.into_iter().map(Timed::finish).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A lost device takes nothing back; what the driver holds goes with the process.
        if self.wait("cuStreamSynchronize").is_err() && self.bind().is_err() {
            return;
        }
        let mut queues =
            [std::mem::replace(&mut self.main, Queue::none()), self.second.take().unwrap_or_else(Queue::none)];
        queues.iter_mut().for_each(|queue| queue.free(self));
        self.timed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kernels.unload();
        let recording_stream = self.recording_stream().0;
        if !recording_stream.is_null() {
            // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours and destroyed once; (3) nothing runs on it.
            let _ = unsafe { sys::cuStreamDestroy_v2(recording_stream) };
        }
    }
}

impl Context {
    fn retain(device: sys::CUdevice) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `handle` outlives the call; (3) the device exists: it was looked at.
        let code = unsafe { sys::cuDevicePrimaryCtxRetain(&mut handle, device) };
        if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(Error::OutOfMemory { wanted: 0, free: 0, during: "opening the GPU; is it full?".into() });
        }
        check("cuDevicePrimaryCtxRetain", code)?;
        Ok(Context { device, handle })
    }

    fn bind(&self) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) the context is held; (3) it concerns this thread only.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.handle) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: (1) the signature is cuda.h's; (2) retained once, released once; (3) nothing of ours is left in it.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// What the driver tells about a card before it is opened.
struct Card {
    handle: sys::CUdevice,
    name: String,
    capability: (i32, i32),
    total_memory: u64,
    driver_version: i32,
    max_shared: usize,
}

impl Card {
    fn look(index: usize) -> Result<Self> {
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
        Ok(Card {
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
