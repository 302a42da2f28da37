//! The matrix product under most ops: rows of activations times a weight in panels, f32 sums.
//!
//! Every element of the result is one chain of fused multiply-adds over `k = 0, 1, ..., K - 1`, starting from zero:
//! the same additions in the same order for one row or a thousand, on one thread or many, and with every instruction
//! set. Blocking only decides which chains advance together. (That is why this is not a general GEMM crate: those
//! choose their order of additions from the shape of the whole problem.)
//!
//! Blocking: a tile of 6 rows x `NR` outputs lives in registers; `KC` rows of a panel (32 KiB) stay in the first-level
//! cache while all rows of the block pass by; the rows of a block stay in the second level while all panels pass by.
//! Weights narrower than f32 are widened into that first-level block, once for all rows.
//!
//! Source of the scheme: Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication", with rows of
//! activations left unpacked, since a tile reads only one value of each row at a time. Journal: docs/kernels/cpu-gemm.md.

use std::ops::Range;

use rayon::prelude::*;

use super::Cpu;
use super::aligned::Aligned;
use super::gelu::gelu_erf;
use super::isa::{Isa, Kernel};
use super::matrix::{PanelData, Panels};
use crate::engine::Epilogue;

/// Rows of a register tile: 6 x `NR` accumulators leave room for the operands on every instruction set.
const TILE_ROWS: usize = 6;
/// Values of the first-level block of a panel, `KC * NR`: 32 KiB as f32.
const BLOCK_VALUES: usize = 8192;
/// Most rows of one task: their activations and partial sums fit the second-level cache for usual widths.
const ROWS_PER_TASK: usize = 192;
/// Fewest multiply-adds worth handing to another thread.
const MIN_TASK: usize = 1 << 16;

/// `out[r] = rows(r) W^T + bias`, then the epilogue; `out` `[num_rows, N]`, `rows(r)` `[K]`, bias `[N]`.
pub(super) fn gemm<'a>(
    cpu: &Cpu,
    rows: impl Fn(usize) -> &'a [f32] + Sync,
    num_rows: usize,
    weight: Panels,
    bias: Option<&[f32]>,
    epilogue: Epilogue,
    out: &mut [f32],
) {
    let finish = Finish { bias, epilogue };
    let mut tasks = split(cpu.threads(), num_rows, weight, out);
    let run = |task: &mut Task| {
        let Task { first_row, panels, out } = task;
        let row = |r: usize| rows(*first_row + r);
        cpu.level.run(Product { rows: row, weight, panels: panels.clone(), finish, out });
    };
    if let [task] = tasks.as_mut_slice() {
        return run(task);
    }
    cpu.pool.install(|| tasks.par_iter_mut().with_max_len(1).for_each(run));
}

/// What happens to a finished sum.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// `[N]`
    pub bias: Option<&'a [f32]>,
    pub epilogue: Epilogue,
}

/// A rectangle of the result: some rows, some panels.
struct Task<'a> {
    first_row: usize,
    panels: Range<usize>,
    /// The columns of `panels` of each row.
    out: Vec<&'a mut [f32]>,
}

/// Cuts `out` into tasks: blocks of rows if there are many, groups of panels too if there are few.
fn split<'a>(threads: usize, num_rows: usize, weight: Panels, out: &'a mut [f32]) -> Vec<Task<'a>> {
    let num_panels = weight.n.div_ceil(weight.nr);
    let rows_per_task = num_rows.div_ceil(threads).next_multiple_of(TILE_ROWS).min(ROWS_PER_TASK);
    let (rows_per_task, groups) = if num_rows >= 8 * TILE_ROWS * threads {
        (rows_per_task, 1)
    } else {
        let worth = num_rows * weight.k * weight.n / MIN_TASK;
        (num_rows.clamp(1, ROWS_PER_TASK), (4 * threads).min(worth).min(num_panels).max(1))
    };
    let groups = if threads == 1 { 1 } else { groups };
    let panels_per_group = num_panels.div_ceil(groups);
    let mut tasks = Vec::new();
    for (block, rows) in out.chunks_mut((rows_per_task * weight.n).max(1)).enumerate() {
        let first_task = tasks.len();
        for first in (0..num_panels).step_by(panels_per_group) {
            let panels = first..(first + panels_per_group).min(num_panels);
            tasks.push(Task { first_row: block * rows_per_task, panels, out: Vec::new() });
        }
        for row in rows.chunks_mut(weight.n) {
            for (task, part) in tasks[first_task..].iter_mut().zip(row.chunks_mut(panels_per_group * weight.nr)) {
                task.out.push(part);
            }
        }
    }
    tasks
}

/// The product of some rows with some panels, on one thread.
pub(super) struct Product<'t, 'o, F> {
    /// Row `r` of the activations, `[K]`.
    pub rows: F,
    pub weight: Panels<'t>,
    pub panels: Range<usize>,
    pub finish: Finish<'t>,
    /// The columns of `panels` of each row.
    pub out: &'t mut [&'o mut [f32]],
}

impl<'a, F: Fn(usize) -> &'a [f32]> Kernel for Product<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let Product { rows, weight, panels, finish, out } = self;
        let nr = weight.nr;
        let mut sums = Aligned::zeros(out.len() * nr);
        let mut wide = Aligned::zeros(BLOCK_VALUES);
        let first_panel = panels.start;
        for panel in panels {
            let columns = panel * nr..((panel + 1) * nr).min(weight.n);
            let depth = BLOCK_VALUES / nr;
            for start in (0..weight.k).step_by(depth) {
                let span = start..(start + depth).min(weight.k);
                let block = widen(isa, weight, panel, span.clone(), &mut wide);
                advance::<I, NV>(isa, &rows, block, span, &mut sums);
            }
            let first_column = (panel - first_panel) * nr;
            for (sums, out) in sums.chunks_exact(nr).zip(out.iter_mut()) {
                let out = &mut out[first_column..first_column + columns.len()];
                store(isa, sums, out, weight.data, columns.start, finish);
            }
        }
    }
}

/// Rows `span` of a panel as f32 `[span, NR]`: in place, or widened into `wide`.
#[inline(always)]
fn widen<'a, I: Isa>(isa: I, weight: Panels<'a>, panel: usize, span: Range<usize>, wide: &'a mut [f32]) -> &'a [f32] {
    let first = (panel * weight.k + span.start) * weight.nr;
    let len = span.len() * weight.nr;
    match weight.data {
        PanelData::F32(values) => &values[first..first + len],
        PanelData::F16(values) => {
            isa.widen_f16(&mut wide[..len], &values[first..first + len]);
            &wide[..len]
        }
        PanelData::Int8 { values, .. } => {
            isa.widen_i8(&mut wide[..len], &values[first..first + len]);
            &wide[..len]
        }
    }
}

/// Adds the products over `span` to the running sums `[rows, NR]` of all rows; the first span starts them.
#[inline(always)]
fn advance<'a, I: Isa, const NV: usize>(
    isa: I,
    rows: &impl Fn(usize) -> &'a [f32],
    block: &[f32],
    span: Range<usize>,
    sums: &mut [f32],
) {
    let (sums, _) = I::as_mut_simd_f32s(sums);
    let (sums, _) = sums.as_chunks_mut::<NV>();
    let mut first = 0;
    while first < sums.len() {
        let left = sums.len() - first;
        // Seven to eleven rows are halved: a tile of one or two rows would wait for its own sums.
        let height = if left > TILE_ROWS && left < 2 * TILE_ROWS { left.div_ceil(2) } else { left.min(TILE_ROWS) };
        let tile = &mut sums[first..first + height];
        match height {
            1 => advance_tile::<I, NV, 1>(isa, rows, first, block, &span, tile),
            2 => advance_tile::<I, NV, 2>(isa, rows, first, block, &span, tile),
            3 => advance_tile::<I, NV, 3>(isa, rows, first, block, &span, tile),
            4 => advance_tile::<I, NV, 4>(isa, rows, first, block, &span, tile),
            5 => advance_tile::<I, NV, 5>(isa, rows, first, block, &span, tile),
            _ => advance_tile::<I, NV, TILE_ROWS>(isa, rows, first, block, &span, tile),
        }
        first += height;
    }
}

/// [`advance`] for `MR` rows, with the sums in registers.
#[inline(always)]
fn advance_tile<'a, I: Isa, const NV: usize, const MR: usize>(
    isa: I,
    rows: &impl Fn(usize) -> &'a [f32],
    first: usize,
    block: &[f32],
    span: &Range<usize>,
    sums: &mut [[I::f32s; NV]],
) {
    let (block, _) = I::as_simd_f32s(block);
    let (block, _) = block.as_chunks::<NV>();
    let rows: [&[f32]; MR] = std::array::from_fn(|i| &rows(first + i)[span.clone()][..block.len()]);
    let mut tile = [[isa.splat_f32s(0.0); NV]; MR];
    if span.start > 0 {
        tile.copy_from_slice(sums);
    }
    for (k, weights) in block.iter().enumerate() {
        for i in 0..MR {
            let x = isa.splat_f32s(rows[i][k]);
            for j in 0..NV {
                tile[i][j] = isa.mul_add_f32s(x, weights[j], tile[i][j]);
            }
        }
    }
    sums.copy_from_slice(&tile);
}

/// Scales, adds the bias, applies the epilogue: `sums` `[NR]` to `out`, the row's columns from `column`.
#[inline(always)]
fn store<I: Isa>(isa: I, sums: &[f32], out: &mut [f32], data: PanelData, column: usize, finish: Finish) {
    let (sums, _) = I::as_simd_f32s(sums);
    for ((index, sums), out) in sums.iter().enumerate().zip(out.chunks_mut(I::F32_LANES)) {
        let column = column + index * I::F32_LANES;
        let columns = column..column + out.len();
        let mut y = *sums;
        if let PanelData::Int8 { scales, .. } = data {
            y = isa.mul_f32s(y, isa.partial_load_f32s(&scales[columns.clone()]));
        }
        if let Some(bias) = finish.bias {
            y = isa.add_f32s(y, isa.partial_load_f32s(&bias[columns]));
        }
        y = match finish.epilogue {
            Epilogue::Store => y,
            Epilogue::GeluErf => gelu_erf(isa, y),
            Epilogue::Add => isa.add_f32s(isa.partial_load_f32s(out), y),
        };
        isa.partial_store_f32s(out, y);
    }
}
