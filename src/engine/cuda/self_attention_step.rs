//! `self_attention_step`: causal self-attention of a decode step over the key-value cache.

use std::sync::Arc;

use super::activation::Bits;
use super::attention::NARROW;
use super::buffer::Buffer;
use super::device::Device;
use super::{Cuda, head_dim};
use crate::engine::profile::Work;
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// Keys and values of the text positions of one decoder layer, both `[cache rows, L, C]`.
pub struct SelfCache {
    rows: usize,
    positions: usize,
    width: usize,
    heads: usize,
    keys: Buffer<Bits>,
    values: Buffer<Bits>,
}

impl SelfCache {
    pub(super) fn new(device: &Arc<Device>, rows: usize, positions: usize, width: usize, heads: usize) -> Result<Self> {
        let len = rows * positions * width;
        let (keys, values) = (Buffer::zeros(device, len)?, Buffer::zeros(device, len)?);
        Ok(SelfCache { rows, positions, width, heads, keys, values })
    }
}

/// See [`DecoderOps::self_attention_step`](crate::engine::backend::DecoderOps::self_attention_step): `out` `[R, C]`,
/// `qkv` `[R, 3 C]`, `lineage` `[cache rows, L]`.
pub(super) fn self_attention_step(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    qkv: &Tensor<Cuda>,
    cache: &mut SelfCache,
    rows: &StepRows<Cuda>,
    lineage: &Tensor<Cuda, i32>,
    scale: f32,
) -> Result<()> {
    let (count, width, positions) = (rows.num_rows(), cache.width, cache.positions);
    let head_dim = head_dim("self_attention_step", width, cache.heads, NARROW)?;
    let cached = cache.rows * positions * width;
    let mut launch = be.device.launch("cache_append", be.activation.suffix())?;
    launch.grid(count, 1, 1).block(128);
    launch.output(&mut cache.keys, cached).output(&mut cache.values, cached);
    launch.input(&qkv.buf, count * 3 * width).input(&rows.row.buf, count).input(&rows.position.buf, count);
    launch.int(cache.rows).int(positions).int(width);
    // SAFETY: (1) keys, values, qkv, rows, positions, cache_rows, length, width, as self_attention_step.cu declares them;
    // (2) it touches keys, values [cache rows, L, C], qkv [R, 3 C], rows and positions [R], and follows none of these
    // outside of the cache; (3) a block for each of R rows.
    unsafe { launch.run(Work::bytes(4 * count * width * size_of::<Bits>())) }?;

    let mut launch = be.device.launch("self_attention_step", be.activation.suffix())?;
    launch.grid(cache.heads, count, 1).block(128);
    launch.output(&mut out.buf, count * width).input(&qkv.buf, count * 3 * width);
    launch.input(&cache.keys, cached).input(&cache.values, cached);
    launch.input(&rows.row.buf, count).input(&rows.position.buf, count).input(&lineage.buf, cache.rows * positions);
    launch.int(cache.rows).int(positions).int(width).int(head_dim).float(scale);
    // Only the device knows the positions; the estimate assumes half of the context.
    let read = count * positions / 2 * width;
    let work = Work { bytes: (2 * read * size_of::<Bits>()) as u64, flops: 4 * read as u64 };
    // SAFETY: (1) out, qkv, keys, values, rows, positions, lineage, cache_rows, length, width, head_dim, scale, as
    // self_attention_step.cu declares them; (2) it touches out [R, C], qkv [R, 3 C], keys, values [cache rows, L, C], rows
    // and positions [R], lineage [cache rows, L], and follows none of these outside of the cache; (3) a block for each
    // head and row.
    unsafe { launch.run(work) }
}
