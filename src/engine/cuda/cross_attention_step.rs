//! `cross_attention_step`: cross-attention of a decode step over cached keys and values of the encoder output. The
//! cache is laid out by head when a window enters its slot, and each step reads it once for all beams of the slot.

use std::sync::Arc;

use super::activation::Bits;
use super::attention::NARROW;
use super::buffer::Buffer;
use super::device::Device;
use super::launch::Launch;
use super::{Cuda, head_dim};
use crate::engine::profile::Work;
use crate::engine::{StepRows, Tensor};
use crate::error::{Error, Result};

/// Frames per block. The partial sums of a row's blocks are combined by a second kernel.
const SPLIT: usize = 256;
/// Floats of a partial sum: 64 dimensions, the maximum score, the sum of the weights.
const PARTIAL: usize = 66;
/// Most windows of one launch: the length of the kernel's `Slots`.
const MAX_CLIPS: usize = 32;
/// Frames per block of `cross_store`.
const STORED_FRAMES: usize = 16;

/// Contents and storage type of the cross-attention cache. Products are summed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossCacheType {
    /// Keys and values in the type of the activations: f16 or bf16.
    #[default]
    Activation,
    /// Keys and values as 8-bit integers, with one scale for each key and each value of a head. Halves the memory
    /// traffic of cross-attention, the largest part of a decode step.
    Int8,
    /// The encoder output in the type of the activations, shared by all layers: half the memory traffic, and `2 L`
    /// times less memory for `L` layers.
    Absorbed,
}

/// Encoder keys and values of one decoder layer, both `[slots, H, T, D]`.
pub struct CrossCache {
    slots: usize,
    frames: usize,
    width: usize,
    heads: usize,
    store: Store,
}

enum Store {
    Plain {
        keys: Buffer<Bits>,
        values: Buffer<Bits>,
    },
    /// The integers are signed; scales `[slots, H, T]`.
    Int8 {
        keys: Buffer<u8>,
        values: Buffer<u8>,
        key_scales: Buffer<f32>,
        value_scales: Buffer<f32>,
    },
}

impl CrossCache {
    pub(super) fn new(
        device: &Arc<Device>,
        kind: CrossCacheType,
        slots: usize,
        frames: usize,
        width: usize,
        heads: usize,
    ) -> Result<Self> {
        let (len, scales) = (slots * frames * width, slots * heads * frames);
        let store = match kind {
            CrossCacheType::Activation | CrossCacheType::Absorbed => {
                Store::Plain { keys: Buffer::zeros(device, len)?, values: Buffer::zeros(device, len)? }
            }
            CrossCacheType::Int8 => Store::Int8 {
                keys: Buffer::zeros(device, len)?,
                values: Buffer::zeros(device, len)?,
                key_scales: Buffer::zeros(device, scales)?,
                value_scales: Buffer::zeros(device, scales)?,
            },
        };
        Ok(CrossCache { slots, frames, width, heads, store })
    }

    /// Appends the kernel arguments: keys, values and their scales; the scales are null for 16-bit caches.
    fn arguments(&self, launch: &mut Launch) {
        let (len, num_scales) = (self.slots * self.frames * self.width, self.slots * self.heads * self.frames);
        match &self.store {
            Store::Plain { keys, values } => {
                launch.input(keys, len).input(values, len);
                launch.optional::<f32>(None, 0).optional::<f32>(None, 0)
            }
            Store::Int8 { keys, values, key_scales, value_scales } => {
                launch.input(keys, len).input(values, len).input(key_scales, num_scales).input(value_scales, num_scales)
            }
        };
    }

    /// Bytes of the keys and values of one slot.
    fn slot_bytes(&self) -> usize {
        let values = 2 * self.frames * self.width;
        match self.store {
            Store::Plain { .. } => values * size_of::<Bits>(),
            Store::Int8 { .. } => values + 2 * self.heads * self.frames * size_of::<f32>(),
        }
    }
}

/// See [`DecoderOps::cross_store`](crate::engine::backend::DecoderOps::cross_store): `kv` `[B, T, 2 C]`.
pub(super) fn cross_store(be: &Cuda, cache: &mut CrossCache, slots: &[usize], kv: &Tensor<Cuda>) -> Result<()> {
    let clip_len = cache.frames * 2 * cache.width;
    if kv.len() != slots.len() * clip_len || slots.iter().any(|slot| *slot >= cache.slots) {
        return Err(Error::Shape {
            op: "cross_store",
            what: "kv and slots",
            expected: format!("{} elements, slots below {}", slots.len() * clip_len, cache.slots),
            got: format!("{} elements, slots {slots:?}", kv.len()),
        });
    }
    let head_dim = head_dim("cross_store", cache.width, cache.heads, NARROW)?;
    let stem = match cache.store {
        Store::Plain { .. } => "cross_store",
        Store::Int8 { .. } => "cross_store_int8",
    };
    for (group, slots) in slots.chunks(MAX_CLIPS).enumerate() {
        let mut by_value = [0i32; MAX_CLIPS];
        by_value.iter_mut().zip(slots).for_each(|(place, slot)| *place = *slot as i32);
        let mut launch = be.device.launch(stem, be.activation.suffix())?;
        launch.grid(cache.frames.div_ceil(STORED_FRAMES), cache.heads, slots.len()).block(128);
        cache.arguments(&mut launch);
        launch.input_from(&kv.buf, group * MAX_CLIPS * clip_len, slots.len() * clip_len);
        launch.record(&by_value).int(cache.frames).int(cache.width).int(head_dim);
        let work = Work::bytes(slots.len() * (clip_len * size_of::<Bits>() + cache.slot_bytes()));
        // SAFETY: (1) keys, values, their scales, kv, slots, frames, width, head_dim, as cross_attention_step.cu declares
        // them, `by_value` laid out like its `Slots`; (2) it writes keys and values [slots, H, T, D] and scales
        // [slots, H, T] of the slots listed, all of which exist, and reads kv [B, T, 2 C]; `cache` is borrowed mutably;
        // (3) blocks of 16 frames, for each head and clip.
        unsafe { launch.run(work) }?;
    }
    Ok(())
}

/// See [`DecoderOps::cross_attention_step`](crate::engine::backend::DecoderOps::cross_attention_step): `out`, `q` `[R,
/// C]`.
pub(super) fn cross_attention_step(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    q: &Tensor<Cuda>,
    cache: &CrossCache,
    rows: &StepRows<Cuda>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    let (count, width, heads) = (rows.num_rows(), cache.width, cache.heads);
    let head_dim = head_dim("cross_attention_step", width, heads, NARROW)?;
    let splits = cache.frames.div_ceil(SPLIT);
    let partial_bytes = count * heads * splits * PARTIAL * size_of::<f32>();
    let scratch = be.device.scratch(partial_bytes)?;

    let mut launch = be.device.launch(stem(cache, count, beams), be.activation.suffix())?;
    launch.grid(splits, heads, count).block(128);
    launch.scratch(&scratch, 0, partial_bytes).input(&q.buf, count * width);
    cache.arguments(&mut launch);
    launch.input(&rows.row.buf, count).int(count).int(cache.slots).int(beams.max(1));
    launch.int(cache.frames).int(width).int(head_dim).float(scale);
    let (slots, attended) = (count.min(cache.slots), count * cache.frames * width);
    let work = Work { bytes: (slots * cache.slot_bytes()) as u64, flops: 4 * attended as u64 };
    // SAFETY: (1) partial, q, keys, values, their scales, rows, num_rows, slots, beams, frames, width, head_dim, scale, as
    // cross_attention_step.cu declares them; (2) it touches partial [R, H, splits, 66], q [R, C], rows [R], keys and values
    // [slots, H, T, D], scales [slots, H, T], and follows no slot outside of these; (3) a block for each split, head and
    // row.
    unsafe { launch.run(work) }?;

    let mut launch = be.device.launch("cross_attention_combine", be.activation.suffix())?;
    launch.grid(heads, count, 1).block(64);
    launch.output(&mut out.buf, count * width).scratch(&scratch, 0, partial_bytes).int(splits).int(head_dim);
    // SAFETY: (1) out, partial, splits, head_dim, as cross_attention_step.cu declares them; (2) it touches out [R, C] and
    // partial [R, H, splits, 66]; (3) a block for each head and row. The scratch memory is held until here, so no other
    // thread's launch can overwrite it in between.
    unsafe { launch.run(Work::bytes(partial_bytes + count * width * size_of::<Bits>())) }
}

/// Name of the kernel, by the most consecutive rows of a slot that it computes together: one for each beam in a decode
/// step, one for each token in a prompt. It does not change results.
fn stem(cache: &CrossCache, rows: usize, beams: usize) -> &'static str {
    let is_prompt = rows > cache.slots * beams;
    match (&cache.store, beams) {
        (Store::Plain { .. }, 0 | 1) if !is_prompt => "cross_attention_step_1",
        (Store::Plain { .. }, 2) if !is_prompt => "cross_attention_step_2",
        (Store::Plain { .. }, _) => "cross_attention_step_5",
        (Store::Int8 { .. }, 0 | 1) if !is_prompt => "cross_attention_step_int8_1",
        (Store::Int8 { .. }, 2) if !is_prompt => "cross_attention_step_int8_2",
        (Store::Int8 { .. }, _) => "cross_attention_step_int8_5",
    }
}
