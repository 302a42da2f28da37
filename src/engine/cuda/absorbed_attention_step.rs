//! `absorbed_attention_step`: cross-attention of a decode step over the encoder output itself, with the key and value
//! projections absorbed into the query and output projections. One cache serves all layers.

use std::sync::Arc;

use super::Cuda;
use super::activation::Bits;
use super::buffer::Buffer;
use super::device::Device;
use crate::engine::profile::Work;
use crate::engine::{StepRows, Tensor};
use crate::error::{Error, Result};

/// Frames per block. The partial sums of a query's blocks are combined by a second kernel.
const SPLIT: usize = 384;
/// Queries per block.
const QUERIES: usize = 24;
/// Frames of a pipeline stage in shared memory; there are two stages.
const TILE: usize = 16;
/// The rest of a block's shared memory: scores `[8 warps, 24, 20]` f32, `[24]` f32, weights `[24, 24]` 16-bit.
const OTHER_SHARED: usize = 4 * (8 * QUERIES * 20 + QUERIES) + 2 * QUERIES * 24;
/// Most windows of one launch: the length of the kernel's `Slots`.
const MAX_CLIPS: usize = 32;
/// Most consecutive rows of a slot that one block computes together.
const MAX_MEMBERS: usize = 6;
/// Most rows of one launch. Longer prompts and wider batches take several launches, which reuse the partial sums'
/// memory.
const MAX_ROWS: usize = 64;
/// Largest model width of the two kernels, which hold queries and means in registers.
const WIDEST: usize = 1280;
const SMALLER: usize = 512;

/// A cache of encoder output, `[slots, T, C]`.
pub struct EncodedCache {
    slots: usize,
    frames: usize,
    width: usize,
    heads: usize,
    values: Buffer<Bits>,
}

impl EncodedCache {
    pub(super) fn new(device: &Arc<Device>, slots: usize, frames: usize, width: usize, heads: usize) -> Result<Self> {
        if !width.is_multiple_of(8) || width > WIDEST || width == 0 {
            return Err(Error::Shape {
                op: "encoded_cache",
                what: "width",
                expected: format!("a multiple of 8, at most {WIDEST}, on the GPU"),
                got: width.to_string(),
            });
        }
        Ok(EncodedCache { slots, frames, width, heads, values: Buffer::zeros(device, slots * frames * width)? })
    }

    fn slot_bytes(&self) -> usize {
        self.frames * self.width * size_of::<Bits>()
    }
}

/// See [`DecoderOps::encoded_store`](crate::engine::backend::DecoderOps::encoded_store): `encoded` `[B, T, C]`.
pub(super) fn encoded_store(
    be: &Cuda,
    cache: &mut EncodedCache,
    slots: &[usize],
    encoded: &Tensor<Cuda>,
) -> Result<()> {
    let clip_len = cache.frames * cache.width;
    if encoded.len() != slots.len() * clip_len || slots.iter().any(|slot| *slot >= cache.slots) {
        return Err(Error::Shape {
            op: "encoded_store",
            what: "encoded and slots",
            expected: format!("{} elements, slots below {}", slots.len() * clip_len, cache.slots),
            got: format!("{} elements, slots {slots:?}", encoded.len()),
        });
    }
    let (cached, slot_bytes) = (cache.slots * clip_len, cache.slot_bytes());
    for (group, slots) in slots.chunks(MAX_CLIPS).enumerate() {
        let mut by_value = [0i32; MAX_CLIPS];
        by_value.iter_mut().zip(slots).for_each(|(place, slot)| *place = *slot as i32);
        let mut launch = be.device.launch("encoded_store", be.activation.suffix())?;
        launch.grid(clip_len.div_ceil(8 * 256), slots.len(), 1).block(256);
        launch.output(&mut cache.values, cached);
        launch.input_from(&encoded.buf, group * MAX_CLIPS * clip_len, slots.len() * clip_len);
        launch.record(&by_value).long(clip_len);
        // SAFETY: (1) cache, encoded, slots, len, as absorbed_attention_step.cu declares them, `by_value` laid out like its
        // `Slots`; (2) it writes `len` = T C elements, a multiple of 8, of each slot listed, all of which exist, and reads as
        // many of each clip; (3) 8 elements a thread, for each clip.
        unsafe { launch.run(Work::bytes(2 * slots.len() * slot_bytes)) }?;
    }
    Ok(())
}

/// See [`DecoderOps::absorbed_attention_step`](crate::engine::backend::DecoderOps::absorbed_attention_step): `out`, `q`
/// `[R, H C]`.
pub(super) fn absorbed_attention_step(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    q: &Tensor<Cuda>,
    cache: &EncodedCache,
    rows: &StepRows<Cuda>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    let (num_rows, wide) = (rows.num_rows(), cache.heads * cache.width);
    let splits = cache.frames.div_ceil(SPLIT);
    let partial_bytes = num_rows.min(MAX_ROWS) * cache.heads * splits * (cache.width + 2) * size_of::<f32>();
    let scratch = be.device.scratch(partial_bytes)?;
    // A prompt has one row for each token of a slot, a decode step one for each beam.
    let members = if num_rows > cache.slots * beams { MAX_MEMBERS } else { beams.clamp(1, MAX_MEMBERS) };
    let stem = if cache.width <= SMALLER { "absorbed_attention_step_512" } else { "absorbed_attention_step_1280" };
    let shared = OTHER_SHARED + 2 * TILE * (cache.width.next_multiple_of(16) + 8) * size_of::<Bits>();
    for first in (0..num_rows).step_by(MAX_ROWS) {
        let count = MAX_ROWS.min(num_rows - first);
        let mut launch = be.device.launch(stem, be.activation.suffix())?;
        launch.grid((cache.heads * members).div_ceil(QUERIES), splits, count).block(256).shared(shared);
        launch.scratch(&scratch, 0, partial_bytes).input_from(&q.buf, first * wide, count * wide);
        launch.input(&cache.values, cache.slots * cache.frames * cache.width);
        launch.input_from(&rows.row.buf, first, count).int(count).int(cache.slots).int(beams.max(1)).int(members);
        launch.int(cache.heads).int(cache.frames).int(cache.width).float(scale);
        let (slots, attended) = (count.min(cache.slots), count * wide * cache.frames);
        let work = Work { bytes: (slots * cache.slot_bytes()) as u64, flops: 4 * attended as u64 };
        // SAFETY: (1) partial, q, encoded, rows, num_rows, slots, beams, most_members, heads, frames, width, scale, as
        // absorbed_attention_step.cu declares them; (2) it touches partial [R, H, splits, C + 2], q [R, H, C], encoded
        // [slots, T, C], rows [R], and follows no slot outside of these; (3) blocks of 24 queries for the heads of all members,
        // each split and row; two stages of 16 frames of shared memory.
        unsafe { launch.run(work) }?;

        let mut launch = be.device.launch("absorbed_attention_combine", be.activation.suffix())?;
        launch.grid(cache.heads, count, 1).block(128);
        launch
            .output_from(&mut out.buf, first * wide, count * wide)
            .scratch(&scratch, 0, partial_bytes)
            .int(splits)
            .int(cache.width);
        // SAFETY: (1) out, partial, splits, width, as absorbed_attention_step.cu declares them; (2) it touches out [R, H, C], which
        // is borrowed mutably, and partial [R, H, splits, C + 2]; (3) a block for each head and row. The scratch memory is held
        // until here, so no other thread's launch can overwrite it in between.
        unsafe { launch.run(Work::bytes(count * wide * (splits * size_of::<f32>() + size_of::<Bits>()))) }?;
    }
    Ok(())
}
