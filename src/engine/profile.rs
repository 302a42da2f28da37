//! Profiling of ops: memory traffic and arithmetic per op, measured kernel times, and NVTX ranges for profilers.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ops::Add;
use std::time::Duration;

use super::cuda::nvtx;

/// The least memory traffic and arithmetic of an op on any device: the lower bound its measured time is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes of inputs and outputs, each counted once.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
}

impl Work {
    /// The work of an op that only moves `bytes`.
    pub fn bytes(bytes: usize) -> Self {
        Work { bytes: bytes as u64, flops: 0 }
    }
}

impl Add for Work {
    type Output = Work;
    fn add(self, other: Work) -> Work {
        Work { bytes: self.bytes + other.bytes, flops: self.flops + other.flops }
    }
}

/// One timed kernel launch.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedLaunch {
    /// The kernel's name.
    pub kernel: String,
    /// Its memory traffic and arithmetic.
    pub work: Work,
    /// Time on the device, from start to end.
    pub took: Duration,
}

/// A named NVTX range on this thread, from its creation until it is dropped.
#[must_use]
pub struct Range {
    open: bool,
    /// Not `Send`: NVTX ranges are nested per thread.
    thread: PhantomData<*const ()>,
}

/// Opens an NVTX range for a stage or an op. Without an attached profiler it costs one comparison.
///
/// A range covers the time in which work is launched; the profiler assigns kernels to it. A recorded step
/// ([`Device::replay`](crate::engine::backend::Device::replay)) is one range, unless `DIARIST_SYNC=1` launches its ops one by one.
pub fn range(name: &'static str) -> Range {
    let name = nvtx::is_listening().then(|| CString::new(name).ok()).flatten();
    if let Some(name) = &name {
        nvtx::push(name);
    }
    Range { open: name.is_some(), thread: PhantomData }
}

impl Drop for Range {
    fn drop(&mut self) {
        if self.open {
            nvtx::pop();
        }
    }
}
