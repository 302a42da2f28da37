//! `clip_conv`: 1-D convolutions over clips of different lengths; the output may be some columns of a wider tensor.
//!
//! A task is a block of output rows. The input windows are gathered first if they are not contiguous in memory or need
//! the batch norm. Then the block is multiplied while it is in the second-level cache, and the epilogue is applied in
//! place.

use std::cell::Cell;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::conv2d::{panel_width, tile};
use super::gemm::{self, Product};
use super::isa::{Isa, Kernel};
use super::matrix::{PanelData, WeightType};
use super::{Cpu, Matrix};
use crate::engine::campplus_ops::{Affine, ClipConv, ClipConvEpilogue, Clips, MAX_TAPS, SEGMENT};
use crate::engine::weights::HostMatrix;
use crate::engine::{Epilogue, Tensor};

/// Largest number of rows per task: with a thousand columns they fill 384 KiB of the second-level cache.
const TASK_ROWS: usize = 96;
/// A multiple of the height of every register tile.
const ROW_STEP: usize = 12;

/// A weight `[N, W * K]` in panels: the panels of `gemm` or, for few outputs, the narrower ones of `conv2d`.
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
    /// Gathered windows of one task, reused by the tasks of a thread.
    static WINDOWS: Cell<Aligned<f32>> = Cell::default();
}

/// See [`CampplusOps::clip_conv`](crate::engine::campplus_ops::CampplusOps::clip_conv).
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
        let sources = Sources::new(i * block, out.len() / width, conv, clips);
        let block = Block { x: &x.buf[..x.len()], width: x.width(), conv, sources };
        let mut scratch = WINDOWS.take();
        block.run(cpu, out, width, &mut scratch);
        WINDOWS.set(scratch);
    };
    cpu.threads.run(|| out.buf[..len].par_chunks_mut(block * width).with_max_len(1).enumerate().for_each(task));
}

/// The input rows of each output row of a block.
struct Sources {
    /// `[rows, W]` row of `x`; `None` is padding.
    taps: Vec<Option<usize>>,
    /// `[rows]` segment of the output row.
    segments: Vec<usize>,
}

impl Sources {
    fn new(first: usize, rows: usize, conv: &ClipConv<Cpu>, [inputs, outputs]: [&Clips<Cpu>; 2]) -> Self {
        let &ClipConv { taps, stride, dilation, .. } = conv;
        let starts = outputs.starts();
        let mut clip = starts.partition_point(|start| *start <= first) - 1;
        let mut sources = Sources { taps: Vec::with_capacity(rows * taps), segments: Vec::with_capacity(rows) };
        for row in first..first + rows {
            while starts[clip + 1] <= row {
                clip += 1;
            }
            let (begin, end) = (inputs.starts()[clip], inputs.starts()[clip + 1]);
            let frame = row - starts[clip];
            sources.segments.push(outputs.segments()[clip] + frame / SEGMENT);
            let at = |tap: usize| (begin + frame * stride + tap * dilation).checked_sub(taps / 2 * dilation);
            sources.taps.extend((0..taps).map(|tap| at(tap).filter(|row| (begin..end).contains(row))));
        }
        sources
    }
}

/// Some output rows.
struct Block<'a> {
    x: &'a [f32],
    /// Columns of `x`.
    width: usize,
    conv: &'a ClipConv<'a, Cpu>,
    sources: Sources,
}

impl Block<'_> {
    /// Computes the columns of `out` `[rows, width]`.
    fn run(&self, cpu: &Cpu, out: &mut [f32], width: usize, scratch: &mut Aligned<f32>) {
        let ClipConv { weight, bias, column, .. } = *self.conv;
        let bias = bias.map(|bias| &bias.buf[..weight.matrix.n]);
        let mut out: Vec<&mut [f32]> =
            out.chunks_exact_mut(width).map(|row| &mut row[column..column + weight.matrix.n]).collect();
        if weight.is_narrow {
            let rows = self.conv.before.map(|_| self.rows(cpu, scratch));
            cpu.level.run(Narrow { block: self, rows: rows.as_deref(), out: &mut out, bias });
        } else {
            let rows = self.rows(cpu, scratch);
            let panels = weight.matrix.panels();
            let finish = gemm::Finish { bias, epilogue: Epilogue::Store };
            let all = 0..panels.n.div_ceil(panels.nr);
            Product { rows: &rows, weight: panels, panels: all, finish, out: &mut out }.run(cpu.level);
        }
        match self.conv.finish {
            ClipConvEpilogue::Store => {}
            ClipConvEpilogue::Relu => out.iter_mut().for_each(|row| row.iter_mut().for_each(|v| *v = v.max(0.0))),
            ClipConvEpilogue::Gate(gates) => {
                for (row, segment) in out.iter_mut().zip(&self.sources.segments) {
                    let gates = &gates.buf[segment * row.len()..][..row.len()];
                    row.iter_mut().zip(gates).for_each(|(v, gate)| *v *= gate);
                }
            }
        }
    }

    /// The window of each row, `[W * K]`: a slice of `x` if it is contiguous there, otherwise a copy in `scratch`.
    fn rows<'s>(&'s self, cpu: &Cpu, scratch: &'s mut Aligned<f32>) -> Vec<&'s [f32]> {
        let (taps, depth) = (self.conv.taps, self.conv.weight.matrix.k);
        let k = depth / taps;
        let run = |row: &[Option<usize>]| {
            let first = row[0]?;
            let joined = taps == 1 || (self.width == k && self.conv.dilation == 1 && row[taps - 1].is_some());
            (joined && self.conv.before.is_none()).then(|| &self.x[first * self.width..][..depth])
        };
        let rows: Vec<Option<&[f32]>> = self.sources.taps.chunks_exact(taps).map(run).collect();
        scratch.reserve(rows.len() * depth);
        if let Some(before) = self.conv.before {
            cpu.level.run(Scale { out: &mut scratch[..rows.len() * depth], block: self, before });
        } else {
            let gathered = self.sources.taps.chunks_exact(taps).zip(scratch.chunks_exact_mut(depth)).zip(&rows);
            for ((row, window), _) in gathered.filter(|(_, run)| run.is_none()) {
                for (row, to) in row.iter().zip(window.chunks_exact_mut(k)) {
                    match row {
                        Some(row) => to.copy_from_slice(&self.x[row * self.width..][..k]),
                        None => to.fill(0.0),
                    }
                }
            }
        }
        let windows = &scratch[..rows.len() * depth];
        rows.iter().zip(windows.chunks_exact(depth)).map(|(row, window)| row.unwrap_or(window)).collect()
    }
}

/// Batch norm and ReLU of the input rows of a block, for convolutions of one tap.
struct Scale<'a> {
    /// `[rows, K]`
    out: &'a mut [f32],
    block: &'a Block<'a>,
    before: &'a Affine<Cpu>,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let Block { x, width, ref sources, .. } = *self.block;
        let k = self.before.scale.len();
        let (scale, scale_tail) = I::as_simd_f32s(&self.before.scale.buf[..k]);
        let (shift, shift_tail) = I::as_simd_f32s(&self.before.shift.buf[..k]);
        let zero = isa.splat_f32s(0.0);
        for (out, row) in self.out.chunks_exact_mut(k).zip(sources.taps.iter().flatten()) {
            let (from, from_tail) = I::as_simd_f32s(&x[row * width..][..k]);
            let (out, tail) = I::as_mut_simd_f32s(out);
            for (i, v) in out.iter_mut().enumerate() {
                *v = isa.max_f32s(isa.mul_add_f32s(from[i], scale[i], shift[i]), zero);
            }
            for (i, v) in tail.iter_mut().enumerate() {
                *v = from_tail[i].mul_add(scale_tail[i], shift_tail[i]).max(0.0);
            }
        }
    }
}

/// The product of a block with a weight of few outputs. Taps are read directly from `x`, or from `rows` after a batch
/// norm.
struct Narrow<'b, 'a, 'o> {
    block: &'b Block<'a>,
    /// The input rows after batch norm and ReLU, if the convolution has them.
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
        let Block { x, width, conv, ref sources } = *self.block;
        let (taps, matrix) = (conv.taps, &conv.weight.matrix);
        let (k, nr) = (matrix.k / taps, NV * I::F32_LANES);
        let PanelData::F32(weights) = matrix.panels().data else { return };
        let zeros = vec![0.0; k];
        for first in (0..self.out.len()).step_by(MR) {
            let mut spans: [[&[f32]; MR]; MAX_TAPS] = [[&[]; MR]; MAX_TAPS];
            for (tap, span) in spans[..taps].iter_mut().enumerate() {
                for (i, input) in span.iter_mut().enumerate() {
                    let row = (first + i).min(self.out.len() - 1);
                    *input = match (self.rows, sources.taps[row * taps + tap]) {
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
