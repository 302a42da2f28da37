//! Softmax attention as two products by [`gemm`](super::gemm): queries times packed keys, and the softmax of the scores
//! times packed values.
//!
//! Every query is computed independently, over all keys in order, so the result does not depend on the blocking.

use std::cell::Cell;

use rayon::prelude::*;

use super::Cpu;
use super::aligned::Aligned;
use super::gemm::{Finish, Product};
use super::isa::{Isa, Kernel, Level};
use super::matrix::{PanelData, Panels};
use super::softmax::exp_row;
use crate::engine::{Epilogue, Tensor};

/// Queries per task: 48 rows of 1500 scores fit the second-level cache, with room for the keys streamed through it.
const QUERIES_PER_TASK: usize = 48;

/// See [`TransformerOps::attention`](crate::engine::backend::TransformerOps::attention): `out` `[B, T, C]`, `qkv` `[B,
/// T, 3 C]`. With `lengths`, see
/// [`Wav2Vec2Ops::attention_within`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::attention_within).
pub(super) fn attention(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    qkv: &Tensor<Cpu>,
    heads: usize,
    scale: f32,
    lengths: Option<&[usize]>,
) {
    let &[batch, frames, width] = out.shape() else { return };
    let head_dim = width / heads;
    let len = out.len();
    if len == 0 {
        return;
    }
    let qkv = &qkv.buf[..qkv.len()];
    let mut tasks: Vec<Head> =
        (0..batch * heads).map(|i| Head { clip: i / heads, head: i % heads, out: Vec::new() }).collect();
    for (i, part) in out.buf[..len].chunks_exact_mut(head_dim).enumerate() {
        let (clip, frame) = (i / (frames * heads), i / heads % frames);
        if lengths.is_some_and(|lengths| frame >= lengths[clip]) {
            part.fill(0.0);
        } else {
            tasks[clip * heads + i % heads].out.push(part);
        }
    }
    tasks.retain(|head| !head.out.is_empty());
    let shape = Shape { frames, width, head_dim, scale };
    cpu.threads.run(|| tasks.par_iter_mut().with_max_len(1).for_each(|head| head.run(cpu, qkv, shape)));
}

#[derive(Clone, Copy)]
struct Shape {
    frames: usize,
    width: usize,
    head_dim: usize,
    scale: f32,
}

/// One head of one clip.
struct Head<'a> {
    clip: usize,
    head: usize,
    /// `[T]` rows of `[D]`, one per frame of the clip, without padding.
    out: Vec<&'a mut [f32]>,
}

impl Head<'_> {
    fn run(&mut self, cpu: &Cpu, qkv: &[f32], shape: Shape) {
        let Shape { frames, width, head_dim, scale } = shape;
        let part = |which: usize| {
            let first = self.clip * frames * 3 * width + which * width + self.head * head_dim;
            move |t: usize| &qkv[first + t * 3 * width..][..head_dim]
        };
        let frames = self.out.len();
        let nr = cpu.level.panel_width();
        let mut packed = PACKED.take();
        let [keys, values] = &mut packed;
        keys.reserve(key_len(frames, head_dim, nr));
        values.reserve(value_len(frames, head_dim, nr));
        let keys = &mut keys[..key_len(frames, head_dim, nr)];
        let values = &mut values[..value_len(frames, head_dim, nr)];
        pack_keys(keys, part(1), frames, nr);
        pack_values(values, part(2), head_dim, nr);
        let keys = Panels { n: frames, k: head_dim, nr, data: PanelData::F32(keys) };
        let values = Panels { n: head_dim, k: frames, nr, data: PanelData::F32(values) };
        let query = part(0);
        self.out.par_chunks_mut(QUERIES_PER_TASK).enumerate().for_each(|(block, out)| {
            let first = block * QUERIES_PER_TASK;
            let queries: Vec<&[f32]> = (first..first + out.len()).map(&query).collect();
            Attend { queries: &queries, keys, values, scale, out }.run(cpu.level);
        });
        PACKED.set(packed);
    }
}

/// Length of the result of [`pack_keys`].
fn key_len(frames: usize, head_dim: usize, nr: usize) -> usize {
    frames.next_multiple_of(nr) * head_dim
}

/// Length of the result of [`pack_values`].
fn value_len(frames: usize, head_dim: usize, nr: usize) -> usize {
    head_dim.next_multiple_of(nr) * frames
}

/// Packs keys, `[T]` rows of `[D]`, into panels `[ceil(T / NR), D, NR]`: scores are a product over `D`.
pub(super) fn pack_keys<'a>(out: &mut [f32], key: impl Fn(usize) -> &'a [f32], frames: usize, nr: usize) {
    let panel_len = out.len() / frames.div_ceil(nr).max(1);
    for (p, panel) in out.chunks_exact_mut(panel_len.max(1)).enumerate() {
        for j in 0..nr {
            if p * nr + j < frames {
                for (d, v) in key(p * nr + j).iter().enumerate() {
                    panel[d * nr + j] = *v;
                }
            } else {
                panel.iter_mut().skip(j).step_by(nr).for_each(|v| *v = 0.0);
            }
        }
    }
}

/// Packs values, `[T]` rows of `[D]`, into panels `[ceil(D / NR), T, NR]`: the result is a product over `T`.
pub(super) fn pack_values<'a>(out: &mut [f32], value: impl Fn(usize) -> &'a [f32], head_dim: usize, nr: usize) {
    let panel_len = out.len() / head_dim.div_ceil(nr).max(1);
    for (p, panel) in out.chunks_exact_mut(panel_len.max(1)).enumerate() {
        for (t, row) in panel.chunks_exact_mut(nr).enumerate() {
            let part = &value(t)[p * nr..((p + 1) * nr).min(head_dim)];
            row[..part.len()].copy_from_slice(part);
            row[part.len()..].fill(0.0);
        }
    }
}

thread_local! {
    /// Scores of one task, `[queries, T]`, reused by the tasks of a thread.
    static SCORES: Cell<Aligned<f32>> = Cell::default();
    /// Packed keys and values of one head, reused likewise.
    static PACKED: Cell<[Aligned<f32>; 2]> = Cell::default();
}

/// Attention of some queries to all keys, on one thread.
pub(super) struct Attend<'t, 'o> {
    /// Each `[D]`.
    pub queries: &'t [&'t [f32]],
    /// `N = T`, `K = D`
    pub keys: Panels<'t>,
    /// `N = D`, `K = T`
    pub values: Panels<'t>,
    pub scale: f32,
    /// `[D]` for each query.
    pub out: &'t mut [&'o mut [f32]],
}

impl Attend<'_, '_> {
    pub fn run(self, level: Level) {
        let Attend { queries, keys, values, scale, out } = self;
        let frames = keys.n;
        let stride = frames.next_multiple_of(keys.nr);
        let finish = Finish { bias: None, epilogue: Epilogue::Store };
        let mut scratch = SCORES.take();
        scratch.reserve(out.len() * stride);
        let scores = &mut scratch[..out.len() * stride];
        let mut rows: Vec<&mut [f32]> = scores.chunks_exact_mut(stride).map(|row| &mut row[..frames]).collect();
        let panels = 0..frames.div_ceil(keys.nr);
        Product { rows: queries, weight: keys, panels, finish, out: &mut rows }.run(level);
        let sums = level.run(ExpRows { rows: &mut rows, scale });
        let rows: Vec<&[f32]> = rows.iter().map(|row| &**row).collect();
        let panels = 0..values.n.div_ceil(values.nr);
        Product { rows: &rows, weight: values, panels, finish, out }.run(level);
        for (out, sum) in out.iter_mut().zip(&sums) {
            for o in out.iter_mut() {
                *o /= sum;
            }
        }
        SCORES.set(scratch);
    }
}

/// Applies [`exp_row`] to some rows and returns their sums.
struct ExpRows<'t, 'o> {
    rows: &'t mut [&'o mut [f32]],
    scale: f32,
}

impl Kernel for ExpRows<'_, '_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) -> Vec<f32> {
        let mut sums = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            sums.push(exp_row(isa, row, self.scale));
        }
        sums
    }
}
