//! `clip_conv`: convolutions over the frames of clips of different lengths, whose result may be some columns of a wider tensor.
//!
//! A task is a block of rows of the result. What a row sees is gathered first where it is not one run of memory, or is scaled
//! and shifted; then the block is multiplied while it is in the second-level cache, and finished where it lies.

use std::cell::Cell;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::conv2d::{panel_width, tile};
use super::gemm::{self, Product};
use super::isa::{Isa, Kernel};
use super::matrix::{PanelData, WeightType};
use super::{Cpu, Matrix};
use crate::engine::dense::{Affine, ClipConv, Clips, Finish, MOST_TAPS, SEGMENT};
use crate::engine::weights::HostMatrix;
use crate::engine::{Epilogue, Tensor};

/// Most rows of a task: with a thousand columns they fill 384 KiB of the second-level cache.
const TASK_ROWS: usize = 96;
/// A multiple of the height of every register tile.
const ROW_STEP: usize = 12;

/// A weight `[N, W * K]` in panels: those of `gemm`, or, for few outputs, the narrower ones of `conv2d`.
pub struct ClipWeight {
    pub(super) matrix: Matrix,
    is_narrow: bool,
}

impl ClipWeight {
    pub(super) fn new(cpu: &Cpu, weight: &HostMatrix) -> Self {
        let [wide, narrow] = [cpu.level.panel_width(), panel_width(cpu.level)];
        let is_narrow = weight.rows.next_multiple_of(narrow) < weight.rows.next_multiple_of(wide);
        let width = if is_narrow { narrow } else { wide };
        ClipWeight { matrix: Matrix::pack(weight.into(), WeightType::F32, width), is_narrow }
    }
}

thread_local! {
    /// What the rows of a task see, kept by each thread from one task to the next.
    static SEEN: Cell<Aligned<f32>> = Cell::default();
}

/// See [`Dense::clip_conv`](crate::engine::dense::Dense::clip_conv).
pub(super) fn clip_conv(
    cpu: &Cpu,
    out: &mut Tensor<Cpu, f32>,
    x: &Tensor<Cpu, f32>,
    conv: &ClipConv<Cpu>,
    clips: [&Clips<Cpu>; 2],
) {
    let (rows, width, len) = (out.rows(), out.width(), out.len());
    if len == 0 {
        return;
    }
    let block = rows.div_ceil(2 * cpu.threads.width()).next_multiple_of(ROW_STEP).min(TASK_ROWS);
    let task = |(i, out): (usize, &mut [f32])| {
        let sees = Sees::new(i * block, out.len() / width, conv, clips);
        let block = Block { x: &x.buf[..x.len()], width: x.width(), conv, sees };
        let mut seen = SEEN.take();
        block.run(cpu, out, width, &mut seen);
        SEEN.set(seen);
    };
    cpu.threads.run(|| out.buf[..len].par_chunks_mut(block * width).with_max_len(1).enumerate().for_each(task));
}

/// Which rows of `x` each row of a block sees.
struct Sees {
    /// `[rows, W]`; `None` is past an edge of the clip.
    taps: Vec<Option<usize>>,
    /// `[rows]`: the segment that the row is in.
    segments: Vec<usize>,
}

impl Sees {
    fn new(first: usize, rows: usize, conv: &ClipConv<Cpu>, [inputs, outputs]: [&Clips<Cpu>; 2]) -> Self {
        let &ClipConv { taps, stride, dilation, .. } = conv;
        let starts = outputs.starts();
        let mut clip = starts.partition_point(|start| *start <= first) - 1;
        let mut sees = Sees { taps: Vec::with_capacity(rows * taps), segments: Vec::with_capacity(rows) };
        for row in first..first + rows {
            while starts[clip + 1] <= row {
                clip += 1;
            }
            let (begin, end) = (inputs.starts()[clip], inputs.starts()[clip + 1]);
            let frame = row - starts[clip];
            sees.segments.push(outputs.segments()[clip] + frame / SEGMENT);
            let at = |tap: usize| (begin + frame * stride + tap * dilation).checked_sub(taps / 2 * dilation);
            sees.taps.extend((0..taps).map(|tap| at(tap).filter(|row| (begin..end).contains(row))));
        }
        sees
    }
}

/// Some rows of the result.
struct Block<'a> {
    x: &'a [f32],
    /// Columns of `x`.
    width: usize,
    conv: &'a ClipConv<'a, Cpu>,
    sees: Sees,
}

impl Block<'_> {
    /// Fills in the columns of `out` `[rows, width]`; `seen` is room.
    fn run(&self, cpu: &Cpu, out: &mut [f32], width: usize, seen: &mut Aligned<f32>) {
        let ClipConv { weight, bias, column, .. } = *self.conv;
        let bias = bias.map(|bias| &bias.buf[..weight.matrix.n]);
        let mut out: Vec<&mut [f32]> =
            out.chunks_exact_mut(width).map(|row| &mut row[column..column + weight.matrix.n]).collect();
        if weight.is_narrow {
            let rows = self.conv.before.map(|_| self.rows(cpu, seen));
            cpu.level.run(Narrow { block: self, rows: rows.as_deref(), out: &mut out, bias });
        } else {
            let rows = self.rows(cpu, seen);
            let panels = weight.matrix.panels();
            let finish = gemm::Finish { bias, epilogue: Epilogue::Store };
            let all = 0..panels.n.div_ceil(panels.nr);
            Product { rows: &rows, weight: panels, panels: all, finish, out: &mut out }.run(cpu.level);
        }
        match self.conv.finish {
            Finish::Store => {}
            Finish::Relu => out.iter_mut().for_each(|row| row.iter_mut().for_each(|v| *v = v.max(0.0))),
            Finish::Gate(gates) => {
                for (row, segment) in out.iter_mut().zip(&self.sees.segments) {
                    let gates = &gates.buf[segment * row.len()..][..row.len()];
                    row.iter_mut().zip(gates).for_each(|(v, gate)| *v *= gate);
                }
            }
        }
    }

    /// What each row sees, `[W * K]`: where it is one run of `x` already, there.
    fn rows<'s>(&'s self, cpu: &Cpu, seen: &'s mut Aligned<f32>) -> Vec<&'s [f32]> {
        let (taps, depth) = (self.conv.taps, self.conv.weight.matrix.k);
        let k = depth / taps;
        let run = |row: &[Option<usize>]| {
            let first = row[0]?;
            let joined = taps == 1 || (self.width == k && self.conv.dilation == 1 && row[taps - 1].is_some());
            (joined && self.conv.before.is_none()).then(|| &self.x[first * self.width..][..depth])
        };
        let rows: Vec<Option<&[f32]>> = self.sees.taps.chunks_exact(taps).map(run).collect();
        seen.reserve(rows.len() * depth);
        if let Some(before) = self.conv.before {
            cpu.level.run(Scale { seen: &mut seen[..rows.len() * depth], block: self, before });
        } else {
            let gathered = self.sees.taps.chunks_exact(taps).zip(seen.chunks_exact_mut(depth)).zip(&rows);
            for ((row, seen), _) in gathered.filter(|(_, run)| run.is_none()) {
                for (row, seen) in row.iter().zip(seen.chunks_exact_mut(k)) {
                    match row {
                        Some(row) => seen.copy_from_slice(&self.x[row * self.width..][..k]),
                        None => seen.fill(0.0),
                    }
                }
            }
        }
        let seen = &seen[..rows.len() * depth];
        rows.iter().zip(seen.chunks_exact(depth)).map(|(row, seen)| row.unwrap_or(seen)).collect()
    }
}

/// What the rows of a block see, each through its one tap: scaled, shifted and cut off below zero.
struct Scale<'a> {
    /// `[rows, K]`
    seen: &'a mut [f32],
    block: &'a Block<'a>,
    before: &'a Affine<Cpu>,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let Block { x, width, ref sees, .. } = *self.block;
        let k = self.before.scale.len();
        let (scale, scale_tail) = I::as_simd_f32s(&self.before.scale.buf[..k]);
        let (shift, shift_tail) = I::as_simd_f32s(&self.before.shift.buf[..k]);
        let zero = isa.splat_f32s(0.0);
        for (seen, row) in self.seen.chunks_exact_mut(k).zip(sees.taps.iter().flatten()) {
            let (from, from_tail) = I::as_simd_f32s(&x[row * width..][..k]);
            let (seen, tail) = I::as_mut_simd_f32s(seen);
            for (i, v) in seen.iter_mut().enumerate() {
                *v = isa.max_f32s(isa.mul_add_f32s(from[i], scale[i], shift[i]), zero);
            }
            for (i, v) in tail.iter_mut().enumerate() {
                *v = from_tail[i].mul_add(scale_tail[i], shift_tail[i]).max(0.0);
            }
        }
    }
}

/// A block times a weight of few outputs: each tap of each row is read where it lies, unless it had to be scaled first.
struct Narrow<'b, 'a, 'o> {
    block: &'b Block<'a>,
    /// What each row sees, where it is scaled.
    rows: Option<&'b [&'b [f32]]>,
    out: &'b mut [&'o mut [f32]],
    bias: Option<&'b [f32]>,
}

impl Kernel for Narrow<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        if I::F32_LANES == 16 { self.tiles::<I, 2, 12>(isa) } else { self.tiles::<I, NV, 6>(isa) }
    }
}

impl Narrow<'_, '_, '_> {
    #[inline(always)]
    fn tiles<I: Isa, const NV: usize, const MR: usize>(self, isa: I) {
        let Block { x, width, conv, ref sees } = *self.block;
        let (taps, matrix) = (conv.taps, &conv.weight.matrix);
        let (k, nr) = (matrix.k / taps, NV * I::F32_LANES);
        let PanelData::F32(weights) = matrix.panels().data else { return };
        let zeros = vec![0.0; k];
        for first in (0..self.out.len()).step_by(MR) {
            let mut spans: [[&[f32]; MR]; MOST_TAPS] = [[&[]; MR]; MOST_TAPS];
            for (tap, span) in spans[..taps].iter_mut().enumerate() {
                for (i, seen) in span.iter_mut().enumerate() {
                    let row = (first + i).min(self.out.len() - 1);
                    *seen = match (self.rows, sees.taps[row * taps + tap]) {
                        (Some(rows), _) => rows[row],
                        (None, Some(row)) => &x[row * width..][..k],
                        (None, None) => &zeros,
                    };
                }
            }
            for (panel, weights) in weights.chunks_exact(nr * matrix.k).enumerate() {
                let sums = tile::<I, NV, MR>(isa, &spans[..taps], weights);
                for (out, sums) in self.out[first..].iter_mut().zip(&sums) {
                    let mut values = [0.0; 64];
                    I::as_mut_simd_f32s(&mut values[..nr]).0.copy_from_slice(sums);
                    let out = &mut out[panel * nr..];
                    out.iter_mut().zip(&values[..nr]).for_each(|(out, v)| *out = *v);
                    if let Some(bias) = self.bias {
                        out.iter_mut().zip(&bias[panel * nr..]).take(nr).for_each(|(out, bias)| *out += bias);
                    }
                }
            }
        }
    }
}
