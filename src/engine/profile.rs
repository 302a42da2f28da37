//! What ops cost: the traffic and arithmetic they promise, and the time the device took for them.

use std::ops::Add;
use std::time::Duration;

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
