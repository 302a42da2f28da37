//! `read_rate`: measures the memory read bandwidth of the GPU, for comparison with kernel times.

use super::Cuda;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::{Error, Result};

/// Floats that a block of the kernel reads, and partial sums that it writes.
const PER_BLOCK: usize = 16_384;
const SUMS: usize = 8;

impl Cuda {
    /// Reads all of `x` once and writes partial sums to `sums`, so that the reads are not optimised away. The length of
    /// `x` must be a multiple of 4, that of `sums` at least [`read_sums`](Self::read_sums).
    ///
    /// # Errors
    /// [`Error::Shape`] for other lengths, and device errors.
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

    /// Number of partial sums for `count` floats.
    pub fn read_sums(count: usize) -> usize {
        count.div_ceil(PER_BLOCK) * SUMS
    }
}
