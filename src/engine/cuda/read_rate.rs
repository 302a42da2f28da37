//! `read_rate`: how fast this card reads its memory, for those who compare times with it.

use super::{Activation, Cuda};
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::{Error, Result};

/// Numbers a block of the kernel reads, and sums it writes.
const PER_BLOCK: usize = 16_384;
const SUMS: usize = 8;

impl<A: Activation> Cuda<A> {
    /// Reads all of `x`, a multiple of 4 numbers, once, and leaves partial sums of it in `sums`, of at least
    /// [`read_sums`](Self::read_sums) numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] for other sizes, and what the device reports.
    pub fn read_rate(&self, sums: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>) -> Result<()> {
        let (count, wanted) = (x.len(), Self::read_sums(x.len()));
        if !count.is_multiple_of(4) || sums.len() < wanted {
            let (expected, got) = (format!("4 n numbers, {wanted} sums"), format!("{count}, {}", sums.len()));
            return Err(Error::Shape { op: "read_rate", what: "x", expected, got });
        }
        let mut launch = self.device.launch("read_rate", "")?;
        launch.grid(count.div_ceil(PER_BLOCK), 1, 1).block(256);
        launch.output(&mut sums.buf, wanted).input(&x.buf, count).long(count);
        // SAFETY: (1) sums, x, count, as read_rate.cu declares them; (2) it touches 8 sums a block and x [count]; (3)
        // blocks of 16384 numbers cover x.
        unsafe { launch.run(Work::bytes(count * size_of::<f32>())) }
    }

    /// Number of partial sums for `count` numbers.
    pub fn read_sums(count: usize) -> usize {
        count.div_ceil(PER_BLOCK) * SUMS
    }
}
