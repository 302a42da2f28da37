//! `cross_attention_step`: cross-attention of the rows of a decode step to the encoder frames of their chunk.
//!
//! Keys and values are packed once per chunk, and read once per step for all beams of the chunk.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::attention::{Attend, pack_keys, pack_values};
use super::matrix::{PanelData, Panels};
use super::{Cpu, out_of_range};
use crate::engine::{CrossKind, StepRows, Tensor};
use crate::error::Result;

/// The contents and storage type of the cross-attention cache. Products are always computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossCacheType {
    /// The encoder output if that is faster, otherwise keys and values, in f32.
    #[default]
    Auto,
    /// The encoder output, in f32; see [`CrossKind::Absorbed`].
    Absorbed,
    /// Keys and values in f32.
    F32,
    /// Keys and values in f16, rounded to nearest: half the memory traffic of f32.
    F16,
    /// Keys and values as 8-bit integers, with one scale per key and one per channel of the values: a quarter of the
    /// memory traffic of f32.
    Int8,
}

/// [`CrossCacheType::Auto`] stores the encoder output for at most this number of heads times rows of a search. A step
/// then reads `4 T C` bytes less per layer and chunk, and computes `4 T C` more operations per head and row. That is
/// faster if reading a byte takes longer than that many operations: 8 to 20 on machines with vector units
/// (docs/kernels/cpu-attention.md).
const AUTO_ABSORBED: usize = 16;

impl CrossCacheType {
    pub(super) fn kind(self, heads: usize, rows: usize) -> CrossKind {
        match self {
            CrossCacheType::Absorbed => CrossKind::Absorbed,
            CrossCacheType::Auto if heads.saturating_mul(rows) <= AUTO_ABSORBED => CrossKind::Absorbed,
            _ => CrossKind::Projected,
        }
    }
}

/// The cross-attention cache of one decoder layer: for each slot and head, keys in panels over frames
/// `[ceil(T / NR), D, NR]` and values in panels over channels `[ceil(D / NR), T, NR]`.
pub struct CrossCache {
    slots: usize,
    frames: usize,
    width: usize,
    heads: usize,
    key_part: Part,
    value_part: Part,
    keys: Store,
    values: Store,
}

/// The packed operands of all slots and heads. A part is the operand of one slot and head, in panels; all parts have
/// the same length.
enum Store {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    /// `scales` has one value per output feature of each part.
    Int8 {
        values: Aligned<i8>,
        scales: Vec<f32>,
    },
}

/// The shape of a part: output features, input features and panel width, as in [`Panels`].
#[derive(Clone, Copy)]
struct Part {
    n: usize,
    k: usize,
    nr: usize,
}

impl Part {
    fn width(self) -> usize {
        self.n.next_multiple_of(self.nr)
    }

    fn len(self) -> usize {
        self.width() * self.k
    }
}

impl Store {
    fn zeros(kind: CrossCacheType, parts: usize, part: Part) -> Self {
        let len = parts * part.len();
        match kind {
            CrossCacheType::Auto | CrossCacheType::Absorbed | CrossCacheType::F32 => Store::F32(Aligned::zeros(len)),
            CrossCacheType::F16 => Store::F16(Aligned::zeros(len)),
            CrossCacheType::Int8 => {
                Store::Int8 { values: Aligned::zeros(len), scales: vec![0.0; parts * part.width()] }
            }
        }
    }

    fn panels(&self, index: usize, part: Part) -> Panels<'_> {
        let span = index * part.len()..(index + 1) * part.len();
        let data = match self {
            Store::F32(values) => PanelData::F32(&values[span]),
            Store::F16(values) => PanelData::F16(&values[span]),
            Store::Int8 { values, scales } => {
                PanelData::Int8 { values: &values[span], scales: &scales[index * part.width()..][..part.width()] }
            }
        };
        Panels { n: part.n, k: part.k, nr: part.nr, data }
    }

    /// Fills each part with `pack(part index, part)`; parts for which `wanted` is false are not changed.
    fn fill(&mut self, part: Part, wanted: impl Fn(usize) -> bool + Sync, pack: impl Fn(usize, &mut [f32]) + Sync) {
        let len = part.len();
        match self {
            Store::F32(values) => {
                let parts = values.par_chunks_exact_mut(len).enumerate().filter(|(i, _)| wanted(*i));
                parts.for_each(|(i, values)| pack(i, values));
            }
            Store::F16(values) => {
                let parts = values.par_chunks_exact_mut(len).enumerate().filter(|(i, _)| wanted(*i));
                let convert = |wide: &mut Vec<f32>, (i, values): (usize, &mut [f16])| {
                    pack(i, wide);
                    values.convert_from_f32_slice(wide);
                };
                parts.for_each_init(|| vec![0.0; len], convert);
            }
            Store::Int8 { values, scales } => {
                let parts = values.par_chunks_exact_mut(len).zip(scales.par_chunks_exact_mut(part.width()));
                let quantise_part = |wide: &mut Vec<f32>, (i, (values, scales)): (usize, (&mut [i8], &mut [f32]))| {
                    pack(i, wide);
                    quantise(values, scales, wide, part);
                };
                parts.enumerate().filter(|(i, _)| wanted(*i)).for_each_init(|| vec![0.0; len], quantise_part);
            }
        }
    }
}

/// Quantises f32 panels to 8-bit integers with one scale per output feature.
fn quantise(values: &mut [i8], scales: &mut [f32], wide: &[f32], part: Part) {
    let panel_len = part.k * part.nr;
    scales.fill(0.0);
    let panels = wide.chunks_exact(panel_len).zip(scales.chunks_exact_mut(part.nr));
    for ((wide, scales), values) in panels.zip(values.chunks_exact_mut(panel_len)) {
        for row in wide.chunks_exact(part.nr) {
            scales.iter_mut().zip(row).for_each(|(s, v)| *s = s.max(v.abs() / 127.0));
        }
        for (row, wide) in values.chunks_exact_mut(part.nr).zip(wide.chunks_exact(part.nr)) {
            for ((q, v), s) in row.iter_mut().zip(wide).zip(scales.iter()) {
                *q = if *s > 0.0 { (v / s).round() as i8 } else { 0 };
            }
        }
    }
}

impl CrossCache {
    pub(super) fn new(cpu: &Cpu, slots: usize, frames: usize, width: usize, heads: usize) -> Self {
        let (nr, head_dim) = (cpu.level.panel_width(), width / heads);
        let key_part = Part { n: frames, k: head_dim, nr };
        let value_part = Part { n: head_dim, k: frames, nr };
        let keys = Store::zeros(cpu.cross_cache_type, slots * heads, key_part);
        let values = Store::zeros(cpu.cross_cache_type, slots * heads, value_part);
        CrossCache { slots, frames, width, heads, key_part, value_part, keys, values }
    }

    fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Keys and values of one head of one slot.
    fn panels(&self, slot: usize, head: usize) -> (Panels<'_>, Panels<'_>) {
        let index = slot * self.heads + head;
        (self.keys.panels(index, self.key_part), self.values.panels(index, self.value_part))
    }
}

/// See [`DecoderOps::cross_store`](crate::engine::backend::DecoderOps::cross_store): `kv` `[B, T, 2 C]`.
pub(super) fn cross_store(cpu: &Cpu, cache: &mut CrossCache, slots: &[usize], kv: &Tensor<Cpu>) -> Result<()> {
    let (frames, width, heads, head_dim) = (cache.frames, cache.width, cache.heads, cache.head_dim());
    let (key_part, value_part) = (cache.key_part, cache.value_part);
    if let Some(slot) = slots.iter().find(|s| **s >= cache.slots) {
        return Err(out_of_range("cross_store", "slot", cache.slots, slot));
    }
    if kv.len() != slots.len() * frames * 2 * width {
        return Err(out_of_range("cross_store", "kv", slots.len() * frames * 2 * width, kv.len()));
    }
    let chunk_of = |part: usize| slots.iter().position(|s| *s == part / heads);
    let row = |which: usize, part: usize| {
        let first = chunk_of(part).unwrap_or(0) * frames * 2 * width + which * width + part % heads * head_dim;
        move |t: usize| &kv.buf[first + t * 2 * width..][..head_dim]
    };
    let wanted = |part: usize| chunk_of(part).is_some();
    cpu.threads.run(|| {
        cache.keys.fill(key_part, wanted, |i, part| pack_keys(part, row(0, i), frames, key_part.nr));
        cache.values.fill(value_part, wanted, |i, part| pack_values(part, row(1, i), head_dim, value_part.nr));
    });
    Ok(())
}

/// Rows of one slot, one head.
struct Task<'a> {
    first_row: usize,
    slot: usize,
    head: usize,
    out: Vec<&'a mut [f32]>,
}

/// See [`DecoderOps::cross_attention_step`](crate::engine::backend::DecoderOps::cross_attention_step): `out`, `q` `[R,
/// C]`.
pub(super) fn cross_attention_step(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    q: &Tensor<Cpu>,
    cache: &CrossCache,
    rows: &StepRows<Cpu>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    let (len, width, heads, head_dim) = (out.len(), cache.width, cache.heads, cache.head_dim());
    let mut tasks: Vec<Task> = Vec::new();
    for (r, out) in out.buf[..len].chunks_exact_mut(width).enumerate() {
        let slot = usize::try_from(rows.row.buf[r]).ok().map(|row| row / beams.max(1)).filter(|s| *s < cache.slots);
        let slot =
            slot.ok_or_else(|| out_of_range("cross_attention_step", "row", cache.slots * beams, rows.row.buf[r]))?;
        if tasks.last().is_none_or(|t| t.slot != slot) {
            tasks.extend((0..heads).map(|head| Task { first_row: r, slot, head, out: Vec::new() }));
        }
        let first = tasks.len() - heads;
        for (task, out) in tasks[first..].iter_mut().zip(out.chunks_exact_mut(head_dim)) {
            task.out.push(out);
        }
    }
    let run = |task: &mut Task| {
        let (keys, values) = cache.panels(task.slot, task.head);
        let first = task.first_row * width + task.head * head_dim;
        let queries: Vec<&[f32]> = (0..task.out.len()).map(|i| &q.buf[first + i * width..][..head_dim]).collect();
        Attend { queries: &queries, keys, values, scale, out: &mut task.out }.run(cpu.level);
    };
    cpu.threads.run(|| tasks.par_iter_mut().for_each(run));
    Ok(())
}
