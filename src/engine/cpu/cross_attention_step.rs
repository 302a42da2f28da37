//! `cross_attention_step`: the rows of a decode step attend to the encoder frames of their chunk. Keys and values are
//! packed once per chunk, and read once per step for all beams of the chunk.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::attention::{Attend, key_len, pack_keys, pack_values, value_len};
use super::matrix::{PanelData, Panels};
use super::{Cpu, out_of_range};
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// How encoder keys and values are stored; products are computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossCacheType {
    /// f32.
    #[default]
    F32,
    /// f16, rounding to nearest: half the memory traffic of a decode step's largest part.
    F16,
}

/// Encoder keys and values of one decoder layer: for each slot and head, keys in panels over frames
/// `[ceil(T / NR), D, NR]` and values in panels over channels `[ceil(D / NR), T, NR]`.
pub struct CrossCache {
    slots: usize,
    frames: usize,
    width: usize,
    heads: usize,
    nr: usize,
    keys: Store,
    values: Store,
}

enum Store {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
}

impl Store {
    fn zeros(kind: CrossCacheType, len: usize) -> Self {
        match kind {
            CrossCacheType::F32 => Store::F32(Aligned::zeros(len)),
            CrossCacheType::F16 => Store::F16(Aligned::zeros(len)),
        }
    }

    fn part(&self, index: usize, len: usize) -> PanelData<'_> {
        match self {
            Store::F32(values) => PanelData::F32(&values[index * len..(index + 1) * len]),
            Store::F16(values) => PanelData::F16(&values[index * len..(index + 1) * len]),
        }
    }

    /// Fills each part of `len` values by `pack(part index, part)`; parts for which `wanted` is false stay as they are.
    fn fill(&mut self, len: usize, wanted: impl Fn(usize) -> bool + Sync, pack: impl Fn(usize, &mut [f32]) + Sync) {
        match self {
            Store::F32(values) => {
                let parts = values.par_chunks_exact_mut(len).enumerate().filter(|(i, _)| wanted(*i));
                parts.for_each(|(i, part)| pack(i, part));
            }
            Store::F16(values) => {
                let parts = values.par_chunks_exact_mut(len).enumerate().filter(|(i, _)| wanted(*i));
                parts.for_each_init(
                    || vec![0.0; len],
                    |wide, (i, part)| {
                        pack(i, wide);
                        part.convert_from_f32_slice(wide);
                    },
                );
            }
        }
    }
}

impl CrossCache {
    pub(super) fn new(cpu: &Cpu, slots: usize, frames: usize, width: usize, heads: usize) -> Self {
        let (nr, head_dim) = (cpu.level.panel_width(), width / heads);
        let keys = Store::zeros(cpu.cross_cache_type, slots * heads * key_len(frames, head_dim, nr));
        let values = Store::zeros(cpu.cross_cache_type, slots * heads * value_len(frames, head_dim, nr));
        CrossCache { slots, frames, width, heads, nr, keys, values }
    }

    fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Keys and values of one head of one slot.
    fn panels(&self, slot: usize, head: usize) -> (Panels<'_>, Panels<'_>) {
        let (head_dim, frames, nr) = (self.head_dim(), self.frames, self.nr);
        let index = slot * self.heads + head;
        let keys = self.keys.part(index, key_len(frames, head_dim, nr));
        let values = self.values.part(index, value_len(frames, head_dim, nr));
        (Panels { n: frames, k: head_dim, nr, data: keys }, Panels { n: head_dim, k: frames, nr, data: values })
    }
}

/// See [`Backend::cross_store`](crate::engine::Backend::cross_store): `kv` `[B, T, 2 C]`.
pub(super) fn cross_store(cpu: &Cpu, cache: &mut CrossCache, slots: &[usize], kv: &Tensor<Cpu>) -> Result<()> {
    let (frames, width, heads, head_dim, nr) = (cache.frames, cache.width, cache.heads, cache.head_dim(), cache.nr);
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
    cpu.pool.install(|| {
        cache.keys.fill(key_len(frames, head_dim, nr), wanted, |i, part| pack_keys(part, row(0, i), frames, nr));
        cache.values.fill(value_len(frames, head_dim, nr), wanted, |i, part| {
            pack_values(part, row(1, i), head_dim, nr);
        });
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

/// See [`Backend::cross_attention_step`](crate::engine::Backend::cross_attention_step): `out`, `q` `[R, C]`.
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
    cpu.pool.install(|| tasks.par_iter_mut().for_each(run));
    Ok(())
}
