//! `linear_by_head`: block-diagonal linear layer, one product per head with its own columns of the input and rows of
//! the weight.

use std::cell::Cell;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::gemm::{Finish, Product};
use super::{Cpu, Matrix};
use crate::engine::{Epilogue, Tensor};

thread_local! {
    /// Scratch for results of whole panels, reused by the tasks of a thread.
    static SCRATCH: Cell<Aligned<f32>> = Cell::default();
}

/// The output features of one head.
struct Head<'a> {
    index: usize,
    /// `[N / H]` of each row.
    out: Vec<&'a mut [f32]>,
}

/// See [`MatrixOps::linear_by_head`](crate::engine::backend::MatrixOps::linear_by_head): `out` `[R, N]`, `x` `[R, H
/// K]`.
pub(super) fn linear_by_head(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    x: &Tensor<Cpu>,
    weight: &Matrix,
    bias: Option<&Tensor<Cpu, f32>>,
    heads: usize,
) {
    let (k, features, len) = (weight.k, weight.n / heads, out.len());
    let (x, bias) = (&x.buf[..x.len()], bias.map(|bias| &bias.buf[..weight.n]));
    let mut tasks: Vec<Head> = (0..heads).map(|index| Head { index, out: Vec::new() }).collect();
    for row in out.buf[..len].chunks_exact_mut(weight.n) {
        for (task, part) in tasks.iter_mut().zip(row.chunks_exact_mut(features)) {
            task.out.push(part);
        }
    }
    let run = |task: &mut Head| {
        let rows: Vec<&[f32]> = x.chunks_exact(k).skip(task.index).step_by(heads).collect();
        task.run(cpu, &rows, weight, Finish { bias, epilogue: Epilogue::Store });
    };
    cpu.threads.run(|| tasks.par_iter_mut().for_each(run));
}

impl Head<'_> {
    /// `rows`: the inputs of this head, `[K]` each.
    fn run(&mut self, cpu: &Cpu, rows: &[&[f32]], weight: &Matrix, finish: Finish) {
        let Some(features) = self.out.first().map(|row| row.len()) else { return };
        let (first, nr) = (self.index * features, weight.nr);
        let panels = first / nr..(first + features).div_ceil(nr);
        let weight = weight.panels();
        if first == panels.start * nr && features.is_multiple_of(nr) {
            return Product { rows, weight, panels, finish, out: &mut self.out }.run(cpu.level);
        }
        // The head shares a panel with another one: whole panels are computed, and only its features are copied.
        let width = (panels.end * nr).min(weight.n) - panels.start * nr;
        let skipped = first - panels.start * nr;
        let mut scratch = SCRATCH.take();
        scratch.reserve(rows.len() * width);
        let mut whole: Vec<&mut [f32]> = scratch[..rows.len() * width].chunks_exact_mut(width).collect();
        Product { rows, weight, panels, finish, out: &mut whole }.run(cpu.level);
        for (out, whole) in self.out.iter_mut().zip(whole) {
            out.copy_from_slice(&whole[skipped..skipped + features]);
        }
        SCRATCH.set(scratch);
    }
}
