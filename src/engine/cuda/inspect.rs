//! Memory use, kernel times and profiler ranges of a GPU.

use super::Cuda;
use super::account::MemoryUse;
use super::driver::{self, check};
use crate::engine::profile::TimedLaunch;
use crate::error::Result;

impl Cuda {
    /// Device memory taken by the engine's buffers.
    pub fn memory_use(&self) -> MemoryUse {
        self.device.context.account.state()
    }

    /// Bytes of device memory that are free by the driver's count.
    pub fn free_memory(&self) -> Result<u64> {
        self.device.free_memory()
    }

    /// Times every launch from now on. Timing slows launches down and disables graphs.
    pub fn start_profile(&self) {
        self.device.start_profile();
    }

    /// The launches since [`start_profile`](Self::start_profile), in order. Ends the timing.
    pub fn profile(&self) -> Result<Vec<TimedLaunch>> {
        self.device.profile()
    }

    /// Runs `f` between `cuProfilerStart` and `cuProfilerStop`, the range that `nsys profile
    /// --capture-range=cudaProfilerApi` and `ncu --profile-from-start off` record.
    pub fn with_profiler<T>(&self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        self.synchronize()?;
        // SAFETY: (1) the signature is cuda.h's, which has no arguments; (2) no memory is passed; (3) nothing is queued.
        check("cuProfilerStart", unsafe { driver::sys::cuProfilerStart() })?;
        let done = f();
        self.synchronize()?;
        // SAFETY: as above.
        check("cuProfilerStop", unsafe { driver::sys::cuProfilerStop() })?;
        done
    }

    /// Waits until everything queued has run.
    pub fn synchronize(&self) -> Result<()> {
        self.device.wait("cuStreamSynchronize")
    }
}
