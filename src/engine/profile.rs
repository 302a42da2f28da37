//! What ops cost: the traffic and arithmetic they promise, the time the device took for them, and their names on a
//! profiler's time line.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ops::Add;
use std::time::Duration;

use super::cuda::nvtx;

/// What one op must move and compute, whatever the device: the floor its time is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read and written once each.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add is two.
    pub flops: u64,
}

impl Work {
    /// An op that only moves `bytes`.
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

/// One launch of a kernel, timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// The kernel's name.
    pub kernel: String,
    /// What it had to do.
    pub work: Work,
    /// From its start on the device to its end.
    pub took: Duration,
}

/// A stretch of this thread's time that a profiler shows under its name, until dropped.
#[must_use]
pub struct Range {
    open: bool,
    /// Ranges are a thread's own.
    thread: PhantomData<*const ()>,
}

/// Begins a range: a stage, or an op. Without a profiler that listens it is a comparison.
///
/// Ranges show when work was handed over; a profiler finds the kernels that belong to them. A recorded step
/// ([`Backend::replay`](super::Backend::replay)) is one range, unless `DIARIST_SYNC=1` has its ops come one by one.
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
