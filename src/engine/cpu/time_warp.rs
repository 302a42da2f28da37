//! Token timestamps by dynamic time warping: the [`TimeWarpOps`] primitives on the CPU.
//!
//! Each row, head, frame or text is computed by one task in a fixed order, so results depend neither on the number of
//! threads nor on the batch.

use rayon::prelude::*;

use super::Cpu;
use super::isa::{Isa, Kernel};
use crate::engine::Tensor;
use crate::engine::time_warp::{Accumulate, DtwSegments, HeadColumns, MEDIAN_WIDTH, TimeWarpOps};
use crate::error::Result;

/// Queries per pass over the keys.
const QUERIES: usize = 4;

impl TimeWarpOps for Cpu {
    fn attention_weights(
        &self,
        out: &mut Tensor<Self, f32>,
        q: &Tensor<Self>,
        keys: &Tensor<Self>,
        heads: &HeadColumns<Self>,
        first: usize,
        scale: f32,
    ) -> Result<()> {
        let &[_, tokens, frames] = out.shape() else { return Ok(()) };
        let (len, width, query_stride, key_stride) = (out.len(), heads.width, q.width(), keys.width());
        self.threads.run(|| {
            let by_head = out.buf[..len].par_chunks_exact_mut(tokens * frames).zip(&heads.host);
            by_head.for_each(|(out, &[query, key])| {
                let keys = &keys.buf[key..];
                out.par_chunks_mut(QUERIES * frames).enumerate().for_each(|(group, scores)| {
                    let at = (first + group * QUERIES) * query_stride + query;
                    let queries = &q.buf[at..];
                    self.level.run(Scores { scores, queries, query_stride, keys, key_stride, width, frames });
                    scores.chunks_exact_mut(frames).for_each(|scores| softmax(scores, scale));
                });
            });
        });
        Ok(())
    }

    fn alignment_matrix(
        &self,
        matrix: &mut Tensor<Self, f32>,
        weights: &mut Tensor<Self, f32>,
        first: usize,
        share: f32,
        before: Accumulate,
    ) -> Result<()> {
        let &[_, tokens, frames] = weights.shape() else { return Ok(()) };
        let (len, stride) = (weights.len(), matrix.width());
        self.threads.run(|| {
            weights.buf[..len].par_chunks_exact_mut(tokens * frames).for_each(|head| normalise(head, frames));
            let weights = &weights.buf[..len];
            let rows = matrix.buf[first * stride..][..tokens * stride].par_chunks_exact_mut(stride);
            rows.enumerate().for_each(|(token, row)| {
                for (frame, to) in row[..frames].iter_mut().enumerate() {
                    let heads = weights.chunks_exact(tokens * frames);
                    let sum: f32 = heads.map(|head| median(&head[token * frames..][..frames], frame)).sum();
                    *to = share * sum + if before == Accumulate::Overwrite { 0.0 } else { *to };
                }
            });
        });
        Ok(())
    }

    fn time_warp(
        &self,
        out: &mut Tensor<Self, i32>,
        matrix: &Tensor<Self, f32>,
        places: &DtwSegments<Self>,
    ) -> Result<()> {
        let stride = matrix.width();
        let (mut rest, mut texts) = (&mut out.buf[..], Vec::with_capacity(places.host.len()));
        for place in &places.host {
            let (starts, after) = rest.split_at_mut(place.rows.len());
            (rest, _) = (after, texts.push((starts, place)));
        }
        self.threads.run(|| {
            texts.into_par_iter().for_each(|(starts, place)| {
                let rows = &matrix.buf[place.rows.start * stride..];
                warp(starts, rows, stride, place.frames);
            });
        });
        Ok(())
    }

    fn label_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        labels: &Tensor<Self, i32>,
        first: usize,
        classes: usize,
    ) -> Result<()> {
        let (rows, vocab) = (logits.rows(), logits.width());
        let labels = &labels.buf[first..first + rows];
        self.threads.run(|| {
            let rows = out.buf[first..first + rows].par_iter_mut().zip(logits.buf.par_chunks_exact(vocab));
            rows.zip(labels).for_each(|((out, logits), label)| {
                let logits = &logits[..classes];
                let max = logits.iter().copied().fold(f32::MIN, f32::max);
                let weight = |logit: f32| f64::from(logit - max).exp();
                let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
                let label = usize::try_from(*label).ok().and_then(|label| logits.get(label));
                *out = label.map_or(0.0, |&logit| (weight(logit) / sum) as f32);
            });
        });
        Ok(())
    }
}

/// Dot products of up to [`QUERIES`] queries with all keys.
struct Scores<'a> {
    /// `[1 to QUERIES, F]`
    scores: &'a mut [f32],
    /// Starts at the first value of the first query.
    queries: &'a [f32],
    query_stride: usize,
    /// Starts at the first value of the first key.
    keys: &'a [f32],
    key_stride: usize,
    width: usize,
    frames: usize,
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let last = self.scores.len() / self.frames - 1;
        // Missing queries are replaced by the last one; their scores are not stored.
        let query = |i: usize| &self.queries[i.min(last) * self.query_stride..][..self.width];
        let queries: [&[f32]; QUERIES] = [query(0), query(1), query(2), query(3)];
        for frame in 0..self.frames {
            let key = &self.keys[frame * self.key_stride..][..self.width];
            let (vectors, tail) = I::as_simd_f32s(key);
            for (i, query) in queries.iter().enumerate().take(last + 1) {
                let (with, with_tail) = I::as_simd_f32s(query);
                let mut sums = isa.splat_f32s(0.0);
                for (a, b) in with.iter().zip(vectors) {
                    sums = isa.mul_add_f32s(*a, *b, sums);
                }
                if !tail.is_empty() {
                    sums = isa.mul_add_f32s(isa.partial_load_f32s(with_tail), isa.partial_load_f32s(tail), sums);
                }
                self.scores[i * self.frames + frame] = isa.reduce_sum_f32s(sums);
            }
        }
    }
}

fn softmax(scores: &mut [f32], scale: f32) {
    scores.iter_mut().for_each(|score| *score *= scale);
    let max = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - max).exp());
    let sum: f64 = scores.iter().map(|&weight| f64::from(weight)).sum();
    scores.iter_mut().for_each(|weight| *weight = (f64::from(*weight) / sum) as f32);
}

/// Normalises each frame of `head` `[L, F]` to mean 0 and variance 1 over the tokens.
fn normalise(head: &mut [f32], frames: usize) {
    let tokens = (head.len() / frames) as f64;
    let mut means = vec![0.0f64; frames];
    for row in head.chunks_exact(frames) {
        means.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / tokens);
    }
    let mut variances = vec![0.0f64; frames];
    for row in head.chunks_exact(frames) {
        let values = variances.iter_mut().zip(&means).zip(row);
        values.for_each(|((variance, mean), value)| *variance += (f64::from(*value) - mean).powi(2) / tokens);
    }
    let scales: Vec<f64> = variances.iter().map(|v| if *v > 0.0 { v.sqrt().recip() } else { 0.0 }).collect();
    for row in head.chunks_exact_mut(frames) {
        let values = row.iter_mut().zip(&means).zip(&scales);
        values.for_each(|((value, mean), scale)| *value = ((f64::from(*value) - mean) * scale) as f32);
    }
}

/// Median of the [`MEDIAN_WIDTH`] frames around `frame`, with reflection at both ends.
fn median(row: &[f32], frame: usize) -> f32 {
    const RADIUS: isize = MEDIAN_WIDTH as isize / 2;
    let frames = row.len() as isize;
    if frames <= RADIUS {
        return row[frame];
    }
    let mut around = [0.0; MEDIAN_WIDTH];
    for (i, value) in around.iter_mut().enumerate() {
        let at = (frame as isize + i as isize - RADIUS).abs();
        let reflected = if at >= frames { 2 * (frames - 1) - at } else { at };
        *value = row[reflected as usize];
    }
    around.sort_unstable_by(f32::total_cmp);
    around[MEDIAN_WIDTH / 2]
}

/// What a step of the DTW path advances.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Both,
    Token,
    Frame,
}

/// Dynamic time warping of one text: the first frame of each token, see [`TimeWarpOps::time_warp`]. `rows` are `stride`
/// apart.
fn warp(starts: &mut [i32], rows: &[f32], stride: usize, frames: usize) {
    let tokens = starts.len();
    let mut steps = vec![Step::Frame; tokens * frames];
    // Accumulated costs of the previous token and of this one; element 0 stands for the frame before the first.
    let (mut before, mut now) = (vec![f32::INFINITY; frames + 1], vec![f32::INFINITY; frames + 1]);
    before[0] = 0.0;
    for (token, steps) in steps.chunks_exact_mut(frames).enumerate() {
        now[0] = f32::INFINITY;
        for (frame, step) in steps.iter_mut().enumerate() {
            let (both, token_only, frame_only) = (before[frame], before[frame + 1], now[frame]);
            let best = if both < token_only && both < frame_only {
                *step = Step::Both;
                both
            } else if token_only < both && token_only < frame_only {
                *step = Step::Token;
                token_only
            } else {
                frame_only
            };
            now[frame + 1] = best - rows[token * stride + frame];
        }
        std::mem::swap(&mut before, &mut now);
    }
    let (mut token, mut frame) = (tokens - 1, frames - 1);
    loop {
        starts[token] = frame as i32;
        // At the borders the step is forced, so that NaN in the matrix cannot lead out of it.
        let step = match (token, frame) {
            (0, 0) => return,
            (0, _) => Step::Frame,
            (_, 0) => Step::Token,
            _ => steps[token * frames + frame],
        };
        token -= usize::from(step != Step::Frame);
        frame -= usize::from(step != Step::Token);
    }
}
