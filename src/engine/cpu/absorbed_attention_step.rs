//! `absorbed_attention_step`: cross-attention of a decode step to the encoder output itself, which is stored once for
//! all decoder layers and is both keys and values.
//!
//! Scores are sums over the `C` values of a frame; the weighted mean is a sum over frames. To read memory only once,
//! the frames are processed in tiles that fit the second-level cache: scores of the tile, their exponentials, and the
//! tile's part of the weighted mean, by an online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867). Meanwhile the
//! next tile is prefetched: every step of the inner loops prefetches the cache lines one tile ahead of its own.
//!
//! Splits of [`SPLIT`] frames are computed independently and merged in order, so that a single chunk keeps several
//! threads busy. The boundaries of splits depend only on the frame. Journal: docs/kernels/cpu-attention.md.

use std::cell::Cell;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::isa::{Isa, Kernel, Level};
use super::softmax::{exp_below, max_row};
use super::{Cpu, out_of_range};
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// Frames per task; a multiple of [`TILE`].
const SPLIT: usize = 384;
/// Frames per tile: 256 KiB for a model of width 512.
const TILE: usize = 128;
/// Values per column block: two cache lines, which are two vectors of AVX-512 and four of AVX2.
const BLOCK: usize = 32;
/// Largest number of rows per task. With more rows, as in prompts, the frames are read again, which limits scratch
/// memory.
const MAX_ROWS: usize = 8;
/// Largest number of runs whose partial results are in memory at once.
const MAX_RUNS: usize = 16;

/// The encoder output, `[slots, T, stride]`; the `C` values of each frame are padded with zeros.
pub struct EncodedCache {
    slots: usize,
    frames: usize,
    width: usize,
    heads: usize,
    /// `C` rounded up to whole blocks.
    stride: usize,
    values: Aligned<f32>,
}

impl EncodedCache {
    pub(super) fn new(slots: usize, frames: usize, width: usize, heads: usize) -> Self {
        let stride = width.next_multiple_of(BLOCK);
        EncodedCache { slots, frames, width, heads, stride, values: Aligned::zeros(slots * frames * stride) }
    }
}

/// See [`DecoderOps::encoded_store`](crate::engine::backend::DecoderOps::encoded_store): `encoded` `[B, T, C]`.
pub(super) fn encoded_store(cache: &mut EncodedCache, slots: &[usize], encoded: &Tensor<Cpu>) -> Result<()> {
    let (width, stride, frames) = (cache.width, cache.stride, cache.frames);
    if let Some(slot) = slots.iter().find(|s| **s >= cache.slots) {
        return Err(out_of_range("encoded_store", "slot", cache.slots, slot));
    }
    if encoded.len() != slots.len() * frames * width {
        return Err(out_of_range("encoded_store", "encoded", slots.len() * frames * width, encoded.len()));
    }
    for (clip, slot) in encoded.buf.chunks_exact(frames * width).zip(slots) {
        let to = &mut cache.values[slot * frames * stride..(slot + 1) * frames * stride];
        for (from, to) in clip.chunks_exact(width).zip(to.chunks_exact_mut(stride)) {
            to[..width].copy_from_slice(from);
        }
    }
    Ok(())
}

/// Adjacent rows of one slot, at most [`MAX_ROWS`].
struct Run {
    first_row: usize,
    rows: usize,
    slot: usize,
}

/// See [`DecoderOps::absorbed_attention_step`](crate::engine::backend::DecoderOps::absorbed_attention_step): `out`, `q`
/// `[R, H C]`.
pub(super) fn absorbed_attention_step(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    q: &Tensor<Cpu>,
    cache: &EncodedCache,
    rows: &StepRows<Cpu>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    let len = cache.heads * cache.width;
    for runs in runs(cache, &rows.row.buf[..q.rows()], beams)?.chunks(MAX_RUNS) {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { break };
        let rows = first.first_row * len..(last.first_row + last.rows) * len;
        attend_runs(cpu, &mut out.buf[rows], &q.buf, cache, runs, scale);
    }
    Ok(())
}

/// Attention of all heads of some runs: `out` has only the rows of these runs, `q` `[R, H C]` has all rows.
fn attend_runs(cpu: &Cpu, out: &mut [f32], q: &[f32], cache: &EncodedCache, runs: &[Run], scale: f32) {
    let (heads, width, stride) = (cache.heads, cache.width, cache.stride);
    let splits = cache.frames.div_ceil(SPLIT);
    // Layout for each run and split: sums [queries, stride], then [queries, 2] largest score and total weight.
    let part_len = |run: &Run| run.rows * heads * (stride + 2);
    let mut partial = PARTIAL.take();
    partial.reserve(runs.iter().map(part_len).sum::<usize>() * splits);
    let (mut rest, mut tasks) = (&mut partial[..], Vec::with_capacity(runs.len() * splits));
    for run in runs {
        for split in 0..splits {
            let (part, after) = rest.split_at_mut(part_len(run));
            (rest, _) = (after, tasks.push((run, split, part)));
        }
    }
    cpu.threads.run(|| {
        tasks.par_iter_mut().with_max_len(1).for_each(|(run, split, part)| {
            let queries = &q[run.first_row * heads * width..][..run.rows * heads * width];
            attend(cpu.level, part, queries, cache, run.slot, *split, scale);
        });
    });
    let (mut parts, mut means) = (&partial[..], out.chunks_exact_mut(width));
    for run in runs {
        let (of_run, after) = parts.split_at(part_len(run) * splits);
        parts = after;
        for (query, mean) in means.by_ref().take(run.rows * heads).enumerate() {
            merge_splits(mean, of_run, run.rows * heads, query, stride);
        }
    }
    PARTIAL.set(partial);
}

/// Divides the cache rows `[R]` into runs of one slot each.
fn runs(cache: &EncodedCache, rows: &[i32], beams: usize) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for (r, row) in rows.iter().enumerate() {
        let slot = usize::try_from(*row).ok().map(|row| row / beams.max(1)).filter(|s| *s < cache.slots);
        let slot = slot.ok_or_else(|| out_of_range("absorbed_attention_step", "row", cache.slots * beams, row))?;
        match runs.last_mut() {
            Some(run) if run.slot == slot && run.rows < MAX_ROWS => run.rows += 1,
            _ => runs.push(Run { first_row: r, rows: 1, slot }),
        }
    }
    Ok(runs)
}

thread_local! {
    /// Partial results of all splits of a step.
    static PARTIAL: Cell<Aligned<f32>> = Cell::default();
    /// Queries `[N, stride]` and scores `[N, TILE]` of one task, reused by the tasks of a thread.
    static SCRATCH: Cell<[Aligned<f32>; 2]> = Cell::default();
}

/// Attention of queries `[N, C]` to one split of a slot. Writes the partial result to `part`, see [`attend_runs`].
fn attend(
    level: Level,
    part: &mut [f32],
    queries: &[f32],
    cache: &EncodedCache,
    slot: usize,
    split: usize,
    scale: f32,
) {
    let (width, stride) = (cache.width, cache.stride);
    let num = queries.len() / width;
    let mut scratch = SCRATCH.take();
    let [padded, scores] = &mut scratch;
    padded.reserve(num * stride);
    scores.reserve(num * TILE);
    for (padded, query) in padded.chunks_exact_mut(stride).zip(queries.chunks_exact(width)) {
        padded[..width].copy_from_slice(query);
        padded[width..].fill(0.0);
    }
    let (sums, state) = part.split_at_mut(num * stride);
    let end = ((split + 1) * SPLIT).min(cache.frames);
    let first_frame = slot * cache.frames;
    let (frames, ahead) =
        cache.values[(first_frame + split * SPLIT) * stride..].split_at((end - split * SPLIT) * stride);
    let (queries, scores) = (&padded[..num * stride], &mut scores[..num * TILE]);
    level.run(Split { sums, state, scores, queries, frames, ahead, stride, scale });
    SCRATCH.set(scratch);
}

/// Merges the partial results of all splits for one query. `parts`: see [`attend_runs`].
fn merge_splits(mean: &mut [f32], parts: &[f32], num: usize, query: usize, stride: usize) {
    let parts = parts.chunks_exact(num * (stride + 2));
    let part = |part: &'_ [f32]| -> (f32, f32) { (part[num * stride + 2 * query], part[num * stride + 2 * query + 1]) };
    let top = parts.clone().map(|p| part(p).0).fold(f32::MIN, f32::max);
    let total: f32 = parts.clone().map(|p| part(p).1 * (part(p).0 - top).exp()).sum();
    mean.fill(0.0);
    for p in parts {
        let share = (part(p).0 - top).exp() / total;
        for (mean, sum) in mean.iter_mut().zip(&p[query * stride..]) {
            *mean += share * sum;
        }
    }
}

/// Attention of `N` queries to one split.
struct Split<'a> {
    /// `[N, stride]`
    sums: &'a mut [f32],
    /// `[N, 2]`: largest scaled score, total weight.
    state: &'a mut [f32],
    /// `[N, TILE]`
    scores: &'a mut [f32],
    /// `[N, stride]`
    queries: &'a [f32],
    /// `[frames, stride]`
    frames: &'a [f32],
    /// The values after `frames`, prefetched during the last tile.
    ahead: &'a [f32],
    stride: usize,
    scale: f32,
}

impl Kernel for Split<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let Split { sums, state, scores, queries, frames, ahead, stride, scale } = self;
        sums.fill(0.0);
        state.chunks_exact_mut(2).for_each(|state| state.copy_from_slice(&[f32::MIN, 0.0]));
        for (i, tile) in frames.chunks(TILE * stride).enumerate() {
            let next = frames.get((i + 1) * TILE * stride..).filter(|next| !next.is_empty()).unwrap_or(ahead);
            all_scores::<I, NV>(isa, scores, queries, tile, next, stride);
            let rows = scores.chunks_exact_mut(TILE).zip(sums.chunks_exact_mut(stride)).zip(state.chunks_exact_mut(2));
            for ((scores, sums), state) in rows {
                let scores = &mut scores[..tile.len() / stride];
                let top = state[0].max(max_row(isa, scores) * scale);
                let shrink = (state[0] - top).exp();
                state[1] = state[1] * shrink + exp_below(isa, scores, scale, top);
                state[0] = top;
                scale_row(isa, sums, shrink);
            }
            all_sums::<I, NV>(isa, sums, scores, tile, next, stride);
        }
    }
}

/// `x *= factor`; whole vectors.
#[inline(always)]
fn scale_row<I: Isa>(isa: I, x: &mut [f32], factor: f32) {
    let factors = isa.splat_f32s(factor);
    for x in I::as_mut_simd_f32s(x).0 {
        *x = isa.mul_f32s(*x, factors);
    }
}

/// Calls `$call` with `$height` as the constant `$name`, for the listed heights.
macro_rules! with_height {
    ($height:expr, [$($h:literal)*], $name:ident => $call:expr) => {
        match $height {
            $($h => {
                const $name: usize = $h;
                $call
            })*
            _ => {}
        }
    };
}

/// The size of a part if `num` is divided evenly into as few parts of at most `most` as possible.
#[inline(always)]
fn even_part(num: usize, most: usize) -> usize {
    num.div_ceil(num.div_ceil(most).max(1))
}

/// `scores[n, t] = queries[n] . tile[t]`; `scores` `[N, TILE]`, `queries` `[N, stride]`, `tile` and `next`
/// `[frames, stride]`.
#[inline(always)]
fn all_scores<I: Isa, const NV: usize>(
    isa: I,
    scores: &mut [f32],
    queries: &[f32],
    tile: &[f32],
    next: &[f32],
    stride: usize,
) {
    // Accumulators are frames x queries: 24 with 32 registers, 8 with 16.
    let part = even_part(queries.len() / stride, if NV == 4 { 6 } else { 2 });
    for (group, frames) in tile.chunks(4 * stride).enumerate() {
        let mut next = &next[(group * 4 * stride).min(next.len())..];
        for (queries, scores) in queries.chunks(part * stride).zip(scores.chunks_mut(part * TILE)) {
            let height = queries.len() / stride;
            if frames.len() == 4 * stride {
                let scores = &mut scores[4 * group..];
                with_height!(height, [1 2 3 4 5 6], H => score_tile::<I, 4, H>(isa, scores, queries, frames, next, stride));
            } else {
                for (f, frame) in frames.chunks_exact(stride).enumerate() {
                    let scores = &mut scores[4 * group + f..];
                    with_height!(height, [1 2 3 4 5 6], H => score_tile::<I, 1, H>(isa, scores, queries, frame, &[], stride));
                }
            }
            next = &[];
        }
    }
}

/// [`all_scores`] for `FR` frames and `QR` queries: `scores[n * TILE + t]`.
#[inline(always)]
fn score_tile<I: Isa, const FR: usize, const QR: usize>(
    isa: I,
    scores: &mut [f32],
    queries: &[f32],
    frames: &[f32],
    next: &[f32],
    stride: usize,
) {
    let (mut x, mut q) = ([&[][..]; FR], [&[][..]; QR]);
    let vectors = stride / I::F32_LANES;
    for i in 0..FR {
        x[i] = &I::as_simd_f32s(&frames[i * stride..(i + 1) * stride]).0[..vectors];
    }
    for j in 0..QR {
        q[j] = &I::as_simd_f32s(&queries[j * stride..(j + 1) * stride]).0[..vectors];
    }
    let mut sums = [[isa.splat_f32s(0.0); QR]; FR];
    let in_block = BLOCK / I::F32_LANES;
    for block in 0..vectors / in_block {
        // Prefetches the second line of each block; `sum_tile` prefetches the first.
        for i in 0..FR {
            if let Some(line) = next.get(i * stride + block * BLOCK + BLOCK / 2) {
                isa.prefetch(line);
            }
        }
        for v in block * in_block..(block + 1) * in_block {
            for j in 0..QR {
                let q = q[j][v];
                for i in 0..FR {
                    sums[i][j] = isa.mul_add_f32s(q, x[i][v], sums[i][j]);
                }
            }
        }
    }
    for i in 0..FR {
        for j in 0..QR {
            scores[j * TILE + i] = isa.reduce_sum_f32s(sums[i][j]);
        }
    }
}

/// `sums[n] += weights[n, t] tile[t]` over all frames; `sums` `[N, stride]`, `weights` `[N, TILE]`.
#[inline(always)]
fn all_sums<I: Isa, const NV: usize>(
    isa: I,
    sums: &mut [f32],
    weights: &[f32],
    tile: &[f32],
    next: &[f32],
    stride: usize,
) {
    // Accumulators are queries x 2 vectors: 24 with 32 registers, 12 with 16.
    let part = even_part(sums.len() / stride, 3 * NV);
    for column in (0..stride).step_by(2 * I::F32_LANES) {
        let mut next = &next[column.min(next.len())..];
        if !column.is_multiple_of(BLOCK) {
            next = &[];
        }
        for (sums, weights) in sums.chunks_mut(part * stride).zip(weights.chunks(part * TILE)) {
            let (height, sums) = (sums.len() / stride, &mut sums[column..]);
            let tile = &tile[column..];
            with_height!(height, [1 2 3 4 5 6 7 8 9 10 11 12], H => sum_tile::<I, H>(isa, sums, weights, tile, next, stride));
            next = &[];
        }
    }
}

/// [`all_sums`] for `QR` queries and the first two vectors of each frame.
#[inline(always)]
fn sum_tile<I: Isa, const QR: usize>(
    isa: I,
    sums: &mut [f32],
    weights: &[f32],
    tile: &[f32],
    next: &[f32],
    stride: usize,
) {
    let width = 2 * I::F32_LANES;
    let num_frames = tile.len().div_ceil(stride);
    let mut w = [&[][..]; QR];
    let mut tile_sums = [[isa.splat_f32s(0.0); 2]; QR];
    for i in 0..QR {
        w[i] = &weights[i * TILE..(i + 1) * TILE][..num_frames];
        tile_sums[i].copy_from_slice(I::as_simd_f32s(&sums[i * stride..i * stride + width]).0);
    }
    for t in 0..num_frames {
        let x = I::as_simd_f32s(&tile[t * stride..t * stride + width]).0;
        if let Some(line) = next.get(t * stride) {
            isa.prefetch(line);
        }
        for i in 0..QR {
            let weight = isa.splat_f32s(w[i][t]);
            tile_sums[i][0] = isa.mul_add_f32s(weight, x[0], tile_sums[i][0]);
            tile_sums[i][1] = isa.mul_add_f32s(weight, x[1], tile_sums[i][1]);
        }
    }
    for i in 0..QR {
        I::as_mut_simd_f32s(&mut sums[i * stride..i * stride + width]).0.copy_from_slice(&tile_sums[i]);
    }
}
