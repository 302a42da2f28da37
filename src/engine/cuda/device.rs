//! One GPU: its context, its streams, its kernels and its memory, and everything that can be wrong with it before the
//! first kernel runs.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::driver::{self, check, query, sys};
use super::launch::{Kernels, Timed};
use super::memory::{Account, Staging};
use super::module::Module;
use super::{graph, memory};
use crate::engine::profile::Launched;
use crate::error::{Error, Result};

/// What the engine needs of a card: bf16 and asynchronous copies came with it.
const OLDEST: (i32, i32) = (8, 0);

/// A GPU that is ready to compute. All work is queued on one stream, in the order of the calls.
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
    /// The stream everything is queued on.
    pub stream: sys::CUstream,
    /// The stream that launches are recorded on when they become a graph; nothing ever runs on it.
    recording_stream: Mutex<RecordingStream>,
    /// Whether to wait after every launch, so that an error names its kernel.
    pub synchronous: bool,
    staging: Mutex<Staging>,
    scratch: Mutex<Scratch>,
    scratch_moves: AtomicU64,
    profiling: AtomicBool,
    timed: Mutex<Vec<Timed>>,
    /// Last: what is above is given back while the context is still there.
    context: Context,
}

/// See [`Device::recording_stream`].
pub(super) struct RecordingStream(pub sys::CUstream);

/// Memory for what lives no longer than one op, shared by all of them: it grows to what the largest needs.
#[derive(Default)]
struct Scratch {
    pointer: sys::CUdeviceptr,
    bytes: u64,
}

/// The scratch memory, while one op has it. Kernels queued meanwhile run before those of the next op that gets it.
pub(super) struct ScratchGuard<'a> {
    scratch: MutexGuard<'a, Scratch>,
}

impl ScratchGuard<'_> {
    /// Address of byte `at`, if `bytes` follow it.
    pub fn address(&self, at: usize, bytes: usize) -> Option<sys::CUdeviceptr> {
        let end = at.checked_add(bytes)? as u64;
        (end <= self.scratch.bytes).then_some(self.scratch.pointer + at as u64)
    }
}

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
                "{} has compute capability {}.{}; {}.{} (Ampere, 2020) or newer is needed; use --device cpu",
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
            stream: std::ptr::null_mut(),
            recording_stream: Mutex::new(RecordingStream(std::ptr::null_mut())),
            synchronous: std::env::var_os("DIARIST_SYNC").is_some_and(|value| value != "0" && !value.is_empty()),
            staging: Mutex::new(Staging::none()),
            scratch: Mutex::new(Scratch::default()),
            scratch_moves: AtomicU64::new(0),
            profiling: AtomicBool::new(false),
            timed: Mutex::new(Vec::new()),
            context,
        };
        device.stream = stream()?;
        device.recording_stream = Mutex::new(RecordingStream(stream()?));
        let staging = Staging::new(&device)?;
        *device.staging() = staging;
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

    /// Where this thread's launches go: the compute stream, or a recording.
    pub fn queue(&self) -> sys::CUstream {
        graph::recording().unwrap_or(self.stream)
    }

    /// Waits until everything queued has run.
    pub fn wait(&self, call: &str) -> Result<()> {
        self.bind()?;
        // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours and whole; (3) waiting is in no one's way.
        check(call, unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// A new event.
    pub fn event(&self, flags: sys::CUevent_flags) -> Result<sys::CUevent> {
        let mut event = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `event` outlives the call; (3) this thread has the context.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags as u32) })?;
        Ok(event)
    }

    /// The way to the device's memory, for one thread at a time.
    pub fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream to record on, for one thread at a time.
    pub fn recording_stream(&self) -> MutexGuard<'_, RecordingStream> {
        self.recording_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least `bytes` bytes of scratch memory, for as long as the guard is held; what is in it is anybody's guess.
    pub fn scratch(&self, bytes: usize) -> Result<ScratchGuard<'_>> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = bytes as u64;
        if wanted > scratch.bytes {
            if graph::recording().is_some() {
                return Err(driver::refuse("scratch memory", "must not grow while launches are recorded"));
            }
            self.free_scratch(&mut scratch);
            scratch.pointer = memory::allocate(self, wanted, || "scratch memory of an op".into())?;
            scratch.bytes = wanted;
            self.scratch_moves.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ScratchGuard { scratch })
    }

    /// Queues zeros for `bytes` bytes of scratch memory, from byte `at` on.
    pub fn clear_scratch(&self, scratch: &ScratchGuard, at: usize, bytes: usize) -> Result<()> {
        let Some(pointer) = scratch.address(at, bytes) else {
            return Err(driver::refuse("scratch memory", "is too small"));
        };
        // SAFETY: (1) the signature is cuda.h's; (2) `address` found the bytes within the allocation; (3) it is queued
        // behind the kernels that used it before.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(pointer, 0, bytes, self.queue()) })
    }

    /// How often the scratch memory has moved: a graph recorded before the last time must not be used again.
    pub fn scratch_moves(&self) -> u64 {
        self.scratch_moves.load(Ordering::Relaxed)
    }

    fn free_scratch(&self, scratch: &mut Scratch) {
        let Scratch { pointer, bytes } = std::mem::take(scratch);
        if bytes > 0 {
            // SAFETY: (1) `allocate` gave it with these bytes; (2) it is forgotten here; (3) the driver waits for the
            // kernels that use it, and graphs that name it are not launched again (`scratch_moves`).
            unsafe { memory::release(self, pointer, bytes) };
        }
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
        self.staging().free();
        let mut scratch = std::mem::take(&mut *self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        self.free_scratch(&mut scratch);
        self.timed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.kernels.unload();
        let recording_stream = self.recording_stream().0;
        for stream in [self.stream, recording_stream] {
            if !stream.is_null() {
                // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours and destroyed once; (3) it has run dry.
                let _ = unsafe { sys::cuStreamDestroy_v2(stream) };
            }
        }
    }
}

/// A stream that waits for no other.
fn stream() -> Result<sys::CUstream> {
    let mut stream = std::ptr::null_mut();
    let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
    // SAFETY: (1) the signature is cuda.h's; (2) `stream` outlives the call; (3) the caller bound the context.
    check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
    Ok(stream)
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
