//! `lstm`: a bidirectional LSTM layer.
//!
//! The clips of a group do each time step together, so that the recurrent weights are read once for all of them. Each
//! direction of each group is a task of its own.

use rayon::prelude::*;

use super::gemm::{Finish, Product};
use super::isa::{Isa, Kernel};
use super::{Cpu, Matrix, softmax};
use crate::engine::{Epilogue, Tensor};

/// Largest number of clips per group: their states fit the first-level cache together with a block of weights.
const MOST_CLIPS: usize = 24;

/// See [`SegmentationOps::lstm`](crate::engine::segmentation_ops::SegmentationOps::lstm).
pub(super) fn lstm(cpu: &Cpu, out: &mut Tensor<Cpu, f32>, gates: [&mut Tensor<Cpu, f32>; 2], state: [&Matrix; 2]) {
    let &[batch, frames, width] = out.shape() else { return };
    if batch == 0 || frames == 0 {
        return;
    }
    let (hidden, len) = (width / 2, out.len());
    // The output rows of each clip, for each direction.
    let mut places: [Vec<Vec<&mut [f32]>>; 2] = Default::default();
    for clip in out.buf[..len].chunks_exact_mut(frames * width) {
        let (forward, backward) = clip.chunks_exact_mut(width).map(|frame| frame.split_at_mut(hidden)).unzip();
        places[0].push(forward);
        places[1].push(backward);
    }
    let group = batch.div_ceil(cpu.threads.width().div_ceil(2)).min(MOST_CLIPS);
    let mut tasks = Vec::new();
    for ((gates, places), (state, reverse)) in gates.into_iter().zip(places).zip(state.into_iter().zip([false, true])) {
        let len = gates.len();
        let mut clips = gates.buf[..len].chunks_exact_mut(frames * 4 * hidden).zip(places).peekable();
        while clips.peek().is_some() {
            let (gates, out): (Vec<_>, Vec<_>) = clips.by_ref().take(group).unzip();
            tasks.push(Group { gates, out, state, reverse });
        }
    }
    cpu.threads.run(|| tasks.par_iter_mut().with_max_len(1).for_each(|task| task.run(cpu, hidden, frames)));
}

/// A group of clips in one direction.
struct Group<'a> {
    /// `[T, 4 H]` of each clip.
    gates: Vec<&'a mut [f32]>,
    /// The output of each clip: `[T]` rows of `[H]`.
    out: Vec<Vec<&'a mut [f32]>>,
    state: &'a Matrix,
    reverse: bool,
}

impl Group<'_> {
    fn run(&mut self, cpu: &Cpu, hidden: usize, frames: usize) {
        let clips = self.gates.len();
        let (mut states, mut cells) = (vec![0.0; clips * hidden], vec![0.0; clips * hidden]);
        let weight = self.state.panels();
        let panels = weight.n.div_ceil(weight.nr);
        let finish = Finish { bias: None, epilogue: Epilogue::Add };
        for step in 0..frames {
            let t = if self.reverse { frames - 1 - step } else { step };
            let mut gates: Vec<&mut [f32]> =
                self.gates.iter_mut().map(|gates| &mut gates[t * 4 * hidden..][..4 * hidden]).collect();
            // The first state is zero and contributes nothing.
            if step > 0 {
                let rows: Vec<&[f32]> = states.chunks_exact(hidden).collect();
                Product { rows: &rows, weight, panels: 0..panels, finish, out: &mut gates }.run(cpu.level);
            }
            let places = self.out.iter_mut().map(|places| &mut *places[t]);
            let (states, cells) = (states.chunks_exact_mut(hidden), cells.chunks_exact_mut(hidden));
            for (((gates, place), state), cell) in gates.iter().zip(places).zip(states).zip(cells) {
                cpu.level.run(Cell { gates, cell, state });
                place.copy_from_slice(state);
            }
        }
    }
}

/// One time step of one clip: the LSTM cell.
struct Cell<'a> {
    /// `[4, H]` input, forget, cell, output.
    gates: &'a [f32],
    /// `[H]`
    cell: &'a mut [f32],
    /// `[H]`
    state: &'a mut [f32],
}

impl Kernel for Cell<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let hidden = self.cell.len();
        let gate = |i: usize| I::as_simd_f32s(&self.gates[i * hidden..][..hidden]).0;
        let [input, forget, candidate, output] = [gate(0), gate(1), gate(2), gate(3)];
        let (cell, _) = I::as_mut_simd_f32s(self.cell);
        let (state, _) = I::as_mut_simd_f32s(self.state);
        for (i, (cell, state)) in cell.iter_mut().zip(state).enumerate() {
            let new = isa.mul_f32s(sigmoid(isa, input[i]), tanh(isa, candidate[i]));
            *cell = isa.mul_add_f32s(sigmoid(isa, forget[i]), *cell, new);
            *state = isa.mul_f32s(sigmoid(isa, output[i]), tanh(isa, *cell));
        }
    }
}

/// `1 / (1 + e^-x)`, within 1e-7.
#[inline(always)]
fn sigmoid<I: Isa>(isa: I, x: I::f32s) -> I::f32s {
    let negative = isa.min_f32s(isa.neg_f32s(x), isa.splat_f32s(88.0));
    let one = isa.splat_f32s(1.0);
    isa.div_f32s(one, isa.add_f32s(one, softmax::exp(isa, negative)))
}

/// `tanh x = 2 sigmoid(2 x) - 1`, within 2e-7.
#[inline(always)]
fn tanh<I: Isa>(isa: I, x: I::f32s) -> I::f32s {
    let two = isa.splat_f32s(2.0);
    isa.mul_add_f32s(two, sigmoid(isa, isa.mul_f32s(two, x)), isa.splat_f32s(-1.0))
}
