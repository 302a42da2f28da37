//! The primitives of [`TimeWarpOps`] (word times by dynamic time warping). Each is one launch, `alignment_matrix` is
//! two.

use super::Cuda;
use super::activation::Bits;
use super::buffer::Buffer;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::engine::time_warp::{Accumulate, DtwSegments, HeadColumns, TimeWarpOps};
use crate::error::Result;

/// Tokens per block of `attention_weights`.
const TOKENS: usize = 4;
/// Threads per block.
const THREADS: usize = 256;
/// Tokens whose backtrace steps are packed into one word, and words per group of tokens.
const WARP: usize = 32;
const KINDS: usize = 2;
/// Anti-diagonals of the cost matrix in shared memory.
const DIAGONALS: usize = 3;

impl TimeWarpOps for Cuda {
    fn attention_weights(
        &self,
        out: &mut Tensor<Self, f32>,
        q: &Tensor<Self>,
        keys: &Tensor<Self>,
        heads: &HeadColumns<Self>,
        first: usize,
        scale: f32,
    ) -> Result<()> {
        let &[count, tokens, frames] = out.shape() else { return Ok(()) };
        let len = out.len();
        let mut launch = self.device.launch("attention_weights", self.activation.suffix())?;
        launch.grid(tokens.div_ceil(TOKENS), count, 1).block(THREADS).shared(TOKENS * heads.width * size_of::<f32>());
        launch.output(&mut out.buf, len).input(&q.buf, q.len()).input(&keys.buf, frames * keys.width());
        launch.input(&heads.device.buf, 2 * count).int(tokens).int(frames).int(q.width()).int(keys.width());
        launch.int(heads.width).int(first).float(scale);
        let work = Work::bytes(len * size_of::<f32>() + frames * keys.width() * size_of::<Bits>());
        // SAFETY: (1) out, q, keys, heads, tokens, frames, q_stride, key_stride, width, first, scale, as attention_weights.cu
        // declares them; (2) it touches out [A, L, F], rows first .. first + L of q and the first F of keys, in the columns
        // that heads [A, 2] name, all of which time_warp.rs compared with their widths; (3) blocks of 4 tokens for each head.
        unsafe { launch.run(work) }
    }

    fn alignment_matrix(
        &self,
        matrix: &mut Tensor<Self, f32>,
        weights: &mut Tensor<Self, f32>,
        first: usize,
        share: f32,
        before: Accumulate,
    ) -> Result<()> {
        let &[heads, tokens, frames] = weights.shape() else { return Ok(()) };
        let (len, stride, all) = (weights.len(), matrix.width(), matrix.len());
        let mut launch = self.device.launch("alignment_normalise", "")?;
        launch.grid(frames.div_ceil(THREADS), heads, 1).block(THREADS);
        launch.output(&mut weights.buf, len).int(tokens).int(frames);
        // SAFETY: (1) weights, tokens, frames, as alignment_matrix.cu declares them; (2) it touches weights [A, L, F]; (3)
        // blocks of 256 frames for each head.
        unsafe { launch.run(Work::bytes(4 * len * size_of::<f32>())) }?;
        let mut launch = self.device.launch("alignment_matrix", "")?;
        launch.grid(frames.div_ceil(THREADS), tokens, 1).block(THREADS);
        launch.output(&mut matrix.buf, all).input(&weights.buf, len).int(heads).int(tokens).int(frames);
        launch.int(stride).int(first).int(usize::from(before == Accumulate::Add)).float(share);
        // SAFETY: (1) matrix, weights, heads, tokens, frames, stride, first, add, share, as alignment_matrix.cu declares them;
        // (2) it touches weights [A, L, F] and rows first .. first + L of matrix [R, T], F of whose columns, which time_warp.rs
        // compared with R and T; (3) blocks of 256 frames for each token.
        unsafe { launch.run(Work::bytes((len + 2 * tokens * frames) * size_of::<f32>())) }
    }

    fn time_warp(
        &self,
        out: &mut Tensor<Self, i32>,
        matrix: &Tensor<Self, f32>,
        places: &DtwSegments<Self>,
    ) -> Result<()> {
        let (count, tokens) = (places.host.len(), places.tokens());
        let words = |tokens: usize, frames: usize| (tokens + frames - 1) * tokens.div_ceil(WARP) * KINDS;
        let steps: usize = places.host.iter().map(|place| words(place.rows.len(), place.frames)).sum();
        let longest = places.host.iter().map(|place| place.rows.len()).max().unwrap_or(0);
        let mut steps = Buffer::<u32>::uninitialised(&self.device, steps)?;
        let words = steps.len();
        let mut launch = self.device.launch("time_warp", "")?;
        launch.grid(count, 1, 1).block(THREADS).shared(DIAGONALS * longest * size_of::<f32>());
        launch.output(&mut out.buf, tokens).input(&matrix.buf, matrix.len()).input(&places.device.buf, 4 * count);
        launch.output(&mut steps, words).int(matrix.width());
        let cells: usize = places.host.iter().map(|place| place.rows.len() * place.frames).sum();
        // SAFETY: (1) out, matrix, places, steps, stride, as time_warp.cu declares them; (2) it touches places [B, 4], the rows
        // and columns of matrix [R, T] that they name, which time_warp.rs compared with R and T, the words summed up above, and
        // in out the rows of all texts; (3) a block for each text, with the shared memory of the longest.
        unsafe { launch.run(Work::bytes(cells * size_of::<f32>() + words * size_of::<u32>())) }
    }

    fn label_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        labels: &Tensor<Self, i32>,
        first: usize,
        classes: usize,
    ) -> Result<()> {
        let (rows, vocab, len) = (logits.rows(), logits.width(), out.len());
        let mut launch = self.device.launch("label_probability", "")?;
        launch.grid(rows, 1, 1).block(THREADS);
        launch.output(&mut out.buf, len).input(&logits.buf, rows * vocab).input(&labels.buf, len);
        launch.int(vocab).int(first).int(classes);
        // SAFETY: (1) out, logits, labels, vocab, first, classes, as label_probability.cu declares them; (2) it touches logits
        // [R, V], and rows first .. first + R of out and labels [N], which time_warp.rs compared with N; a label is compared
        // with the classes, those with V; (3) a block for each of R rows.
        unsafe { launch.run(Work::bytes(rows * classes * size_of::<f32>())) }
    }
}
