//! The mel filterbank of `log_mel` and `fbank`, stored without the zeros of each triangle.

use std::sync::Arc;

use super::buffer::Buffer;
use super::device::Device;
use super::launch::Launch;
use crate::error::Result;

/// A mel filterbank in sparse form: for each band the bins with nonzero weights.
pub(super) struct Bands {
    /// The number of bands, `M`.
    pub count: usize,
    /// Nonzero weights of all bands.
    num_weights: usize,
    /// `[M]` each: first bin of a band, number of its bins, and offset of its first weight.
    first: Buffer<i32>,
    length: Buffer<i32>,
    offset: Buffer<i32>,
    weights: Buffer<f32>,
}

impl Bands {
    /// Uploads `filters` `[M, bins]`.
    pub fn new(device: &Arc<Device>, filters: &[f32], bins: usize) -> Result<Self> {
        let (mut first, mut length, mut offset, mut weights) = (vec![], vec![], vec![], vec![]);
        for row in filters.chunks_exact(bins) {
            let start = row.iter().position(|w| *w != 0.0).unwrap_or(0);
            let end = row.iter().rposition(|w| *w != 0.0).map_or(start, |last| last + 1);
            first.push(start as i32);
            length.push((end - start) as i32);
            offset.push(weights.len() as i32);
            weights.extend_from_slice(&row[start..end]);
        }
        Ok(Bands {
            count: first.len(),
            num_weights: weights.len(),
            first: Buffer::upload(device, &first)?,
            length: Buffer::upload(device, &length)?,
            offset: Buffer::upload(device, &offset)?,
            weights: Buffer::upload(device, &weights)?,
        })
    }

    /// Appends the kernel arguments `first`, `count`, `offset`, `weights`.
    pub fn arguments(&self, launch: &mut Launch) {
        launch.input(&self.first, self.count).input(&self.length, self.count).input(&self.offset, self.count);
        launch.input(&self.weights, self.num_weights);
    }
}
