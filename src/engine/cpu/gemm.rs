//! The matrix product under most ops: rows of activations times a weight in panels, f32 sums.
//!
//! Every element of the result is one chain of fused multiply-adds over `k = 0, 1, ..., K - 1`, starting from zero:
//! the same additions in the same order for one row or a thousand, on one thread or many, and with every instruction
//! set. Blocking only decides which chains advance together. (That is why this is not a general GEMM crate: those
//! choose their order of additions from the shape of the whole problem.)
//!
//! Blocking: a tile of 6 rows x `NR` outputs lives in registers; `KC` rows of a panel (24 KiB) stay in the first-level
//! cache while all rows of the block pass by; the rows of a block stay in the second level while all panels pass by.
//! Weights narrower than f32 are widened into that first-level block, once for all rows.
//!
//! Source of the scheme: Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication", with rows of
//! activations left unpacked, since a tile reads only one value of each row at a time. Journal: docs/kernels/cpu-gemm.md.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::Cpu;
use super::aligned::Aligned;
use super::gelu::gelu_erf;
use super::isa::{Isa, Kernel, Level};
use super::matrix::{PanelData, Panels};
use crate::engine::Epilogue;

/// Rows of a register tile: 6 x `NR` accumulators leave room for the operands on every instruction set.
const TILE_ROWS: usize = 6;
/// Values of the first-level block of a panel, `KC * NR`: 24 KiB as f32, half of the first-level
/// cache of a server core, because its other half belongs to the activations or to a neighbouring hardware thread.
const BLOCK_VALUES: usize = 6144;
/// Most rows of one task: their activations and partial sums fit the second-level cache for usual widths.
const ROWS_PER_TASK: usize = 96;
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
        let rows: Vec<&[f32]> = (*first_row..*first_row + out.len()).map(&rows).collect();
        Product { rows: &rows, weight, panels: panels.clone(), finish, out }.run(cpu.level);
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
pub(super) struct Product<'t, 'o> {
    /// The activations, each `[K]`.
    pub rows: &'t [&'t [f32]],
    pub weight: Panels<'t>,
    pub panels: Range<usize>,
    pub finish: Finish<'t>,
    /// The columns of `panels` of each row.
    pub out: &'t mut [&'o mut [f32]],
}

impl Product<'_, '_> {
    pub fn run(self, level: Level) {
        let mut scratch = SCRATCH.take();
        scratch.sums.reserve(self.rows.len() * self.weight.nr);
        scratch.wide.reserve(BLOCK_VALUES);
        level.run(ProductWith { product: self, scratch: &mut scratch });
        SCRATCH.set(scratch);
    }
}

/// What a product needs besides its operands, kept by each thread from one product to the next.
#[derive(Default)]
struct Scratch {
    /// Running sums of one panel, `[rows, NR]`.
    sums: Aligned<f32>,
    /// A block of weights, widened to f32.
    wide: Aligned<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

struct ProductWith<'s, 't, 'o> {
    product: Product<'t, 'o>,
    scratch: &'s mut Scratch,
}

impl Kernel for ProductWith<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let Product { rows, weight, panels, finish, out } = self.product;
        let nr = weight.nr;
        let sums = &mut self.scratch.sums[..rows.len() * nr];
        let first_panel = panels.start;
        for panel in panels {
            let columns = panel * nr..((panel + 1) * nr).min(weight.n);
            let depth = BLOCK_VALUES / nr;
            sums.fill(0.0);
            for start in (0..weight.k).step_by(depth) {
                let span = start..(start + depth).min(weight.k);
                let block = widen(isa, weight, panel, span.clone(), &mut self.scratch.wide);
                advance::<I, NV>(isa, rows, block, span, sums);
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

/// Adds the products over `span` to the running sums `[rows, NR]` of all rows.
#[inline(always)]
fn advance<I: Isa, const NV: usize>(isa: I, rows: &[&[f32]], block: &[f32], span: Range<usize>, sums: &mut [f32]) {
    let (sums, _) = I::as_mut_simd_f32s(sums);
    let (sums, _) = sums.as_chunks_mut::<NV>();
    let mut first = 0;
    while first < sums.len() {
        let left = sums.len() - first;
        // Seven to eleven rows are halved: a tile of one or two rows would wait for its own sums.
        let height = if left > TILE_ROWS && left < 2 * TILE_ROWS { left.div_ceil(2) } else { left.min(TILE_ROWS) };
        let (tile, tile_rows) = (&mut sums[first..first + height], &rows[first..first + height]);
        match height {
            1 => advance_tile::<I, NV, 1>(isa, tile_rows, block, &span, tile),
            2 => advance_tile::<I, NV, 2>(isa, tile_rows, block, &span, tile),
            3 => advance_tile::<I, NV, 3>(isa, tile_rows, block, &span, tile),
            4 => advance_tile::<I, NV, 4>(isa, tile_rows, block, &span, tile),
            5 => advance_tile::<I, NV, 5>(isa, tile_rows, block, &span, tile),
            _ => advance_tile::<I, NV, TILE_ROWS>(isa, tile_rows, block, &span, tile),
        }
        first += height;
    }
}

/// [`advance`] for `MR` rows, with the sums in registers.
#[inline(always)]
fn advance_tile<I: Isa, const NV: usize, const MR: usize>(
    isa: I,
    rows: &[&[f32]],
    block: &[f32],
    span: &Range<usize>,
    sums: &mut [[I::f32s; NV]],
) {
    let (block, _) = I::as_simd_f32s(block);
    let (block, _) = block.as_chunks::<NV>();
    let Some(sums) = sums.first_chunk_mut::<MR>() else { return };
    let rows: [&[f32]; MR] = std::array::from_fn(|i| &rows[i][span.clone()][..block.len()]);
    let mut tile = *sums;
    for (k, weights) in block.iter().enumerate() {
        for i in 0..MR {
            let x = isa.splat_f32s(rows[i][k]);
            for j in 0..NV {
                tile[i][j] = isa.mul_add_f32s(x, weights[j], tile[i][j]);
            }
        }
    }
    *sums = tile;
}

/// Scales, adds the bias, applies the epilogue: `sums` `[NR]` to `out`, the row's columns from `column`.
#[inline(always)]
fn store<I: Isa>(isa: I, sums: &[f32], out: &mut [f32], data: PanelData, column: usize, finish: Finish) {
    let (sums, _) = I::as_simd_f32s(sums);
    let columns = column..column + out.len();
    let scales = match data {
        PanelData::Int8 { scales, .. } => Some(I::as_simd_f32s(&scales[columns.clone()])),
        _ => None,
    };
    let bias = finish.bias.map(|bias| I::as_simd_f32s(&bias[columns]));
    let (out, out_tail) = I::as_mut_simd_f32s(out);
    let end = out.len();
    for (i, (sum, out)) in sums.iter().zip(out).enumerate() {
        let (scale, bias) = (scales.map(|s| s.0[i]), bias.map(|b| b.0[i]));
        *out = finished(isa, *sum, scale, bias, *out, finish.epilogue);
    }
    if !out_tail.is_empty() {
        let scale = scales.map(|s| isa.partial_load_f32s(s.1));
        let bias = bias.map(|b| isa.partial_load_f32s(b.1));
        let before = isa.partial_load_f32s(out_tail);
        isa.partial_store_f32s(out_tail, finished(isa, sums[end], scale, bias, before, finish.epilogue));
    }
}

/// One vector of results from one vector of sums.
#[inline(always)]
fn finished<I: Isa>(
    isa: I,
    sum: I::f32s,
    scale: Option<I::f32s>,
    bias: Option<I::f32s>,
    before: I::f32s,
    epilogue: Epilogue,
) -> I::f32s {
    let y = scale.map_or(sum, |scale| isa.mul_f32s(sum, scale));
    let y = bias.map_or(y, |bias| isa.add_f32s(y, bias));
    match epilogue {
        Epilogue::Store => y,
        Epilogue::GeluErf => gelu_erf(isa, y),
        Epilogue::Add => isa.add_f32s(before, y),
    }
}
