//! The matrix product (GEMM) of most ops: rows of activations times a packed weight, with f32 accumulators.
//!
//! Every element of the result is one chain of fused multiply-adds over `k = 0, 1, ..., K - 1`, starting from zero: the
//! same additions in the same order for one row or a thousand, on one thread or many, with every instruction set.
//! Blocking only determines which chains advance together. This is why no general GEMM crate is used: those choose the
//! order of additions from the shape of the whole product.
//!
//! Blocking: a tile of 6 rows x `NR` outputs is in registers. A block of `KC` rows of a panel (24 KiB) stays in the
//! first-level cache while all activation rows of the task are multiplied with it. The activation rows of a task stay
//! in the second-level cache during all panels. Weights narrower than f32 are widened into the first-level block by the
//! first tile that reads them. A decode step has few rows and is limited by memory bandwidth: there, six to twelve rows
//! are multiplied with each half of a panel at once ([`few_rows`](super::few_rows)).
//!
//! Source of the scheme: Goto & van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication", with rows of
//! activations left unpacked, since a tile reads only one value of each row at a time. Journal:
//! docs/kernels/cpu-gemm.md.

use std::cell::Cell;
use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::Cpu;
use super::aligned::Aligned;
use super::few_rows::{MAX_ROWS, advance_halves};
use super::gelu::gelu_erf;
use super::isa::{Isa, Kernel, Level};
use super::matrix::{PanelData, Panels};
use super::stored::Stored;
use crate::engine::Epilogue;

/// Rows of a register tile: 6 x `NR` accumulators leave room for the operands on every instruction set.
const TILE_ROWS: usize = 6;
/// Values of the first-level block of a panel, `KC * NR`: 24 KiB as f32, half of the first-level cache of a server
/// core. The other half is for the activations, or for the other hardware thread of the core.
const BLOCK_VALUES: usize = 6144;
/// Activations of one task, `rows * K`: 768 KiB, which fit the second-level cache of a server core together with a
/// panel.
const TASK_VALUES: usize = 196_608;
/// Largest number of rows for which weights narrower than f32 are widened again for every [`MAX_ROWS`] rows, instead
/// of once into the first-level cache: storing the widened weights costs more than a few conversions.
const MOST_HALVED: usize = 48;
/// Fewest multiply-adds worth a task on another thread.
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
    let mut tasks = split(cpu.threads.width(), num_rows, weight, out);
    let run = |task: &mut Task| {
        let Task { first_row, panels, out } = task;
        let rows: Vec<&[f32]> = (*first_row..*first_row + out.len()).map(&rows).collect();
        Product { rows: &rows, weight, panels: panels.clone(), finish, out }.run(cpu.level);
    };
    // Too little work to wake another thread.
    if num_rows * weight.k * weight.n < 2 * MIN_TASK {
        return tasks.iter_mut().for_each(run);
    }
    cpu.threads.run(|| tasks.par_iter_mut().with_max_len(1).for_each(run));
}

/// Bias and epilogue of a product.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// `[N]`
    pub bias: Option<&'a [f32]>,
    pub epilogue: Epilogue,
}

/// A block of the result: some rows, some panels.
struct Task<'a> {
    first_row: usize,
    panels: Range<usize>,
    /// The columns of `panels` of each row.
    out: Vec<&'a mut [f32]>,
}

/// Divides `out` into tasks: blocks of rows if there are many rows, otherwise also groups of panels.
fn split<'a>(threads: usize, num_rows: usize, weight: Panels, out: &'a mut [f32]) -> Vec<Task<'a>> {
    let num_panels = weight.n.div_ceil(weight.nr);
    // At least 96 rows per task, because every task reads the weights from memory again.
    let most_rows = (TASK_VALUES / weight.k.max(1)).clamp(96, 192).next_multiple_of(TILE_ROWS);
    let rows_per_task = num_rows.div_ceil(threads).next_multiple_of(TILE_ROWS).min(most_rows);
    let (rows_per_task, groups) = if num_rows >= 8 * TILE_ROWS * threads {
        (rows_per_task, 1)
    } else {
        let worth = num_rows * weight.k * weight.n / MIN_TASK;
        (num_rows.clamp(1, most_rows), (4 * threads).min(worth).min(num_panels).max(1))
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

/// The product of some rows with some panels, on the calling thread.
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

/// Scratch memory, reused by the products of a thread.
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
                let first = (panel * weight.k + start) * nr;
                let block = first..first + span.len() * nr;
                let wide = &mut self.scratch.wide[..block.len()];
                match weight.data {
                    PanelData::F32(values) => advance_block::<I, f32, NV>(isa, rows, values, block, wide, span, sums),
                    PanelData::F16(values) => advance_block::<I, f16, NV>(isa, rows, values, block, wide, span, sums),
                    PanelData::Int8 { values, .. } => {
                        advance_block::<I, i8, NV>(isa, rows, values, block, wide, span, sums);
                    }
                }
            }
            let first_column = (panel - first_panel) * nr;
            for (sums, out) in sums.chunks_exact(nr).zip(out.iter_mut()) {
                let out = &mut out[first_column..first_column + columns.len()];
                store(isa, sums, out, weight.data, columns.start, finish);
            }
        }
    }
}

/// [`advance`] with the fastest loop for the number of rows.
#[inline(always)]
fn advance_block<I: Isa, T: Stored<I>, const NV: usize>(
    isa: I,
    rows: &[&[f32]],
    values: &[T],
    block: Range<usize>,
    wide: &mut [f32],
    span: Range<usize>,
    sums: &mut [f32],
) {
    let (block, mut ahead) = values[block.start..].split_at(block.len());
    let most = if size_of::<T>() < size_of::<f32>() { MOST_HALVED } else { MAX_ROWS };
    if rows.len() <= TILE_ROWS || rows.len() > most {
        return widen_advance::<I, T, NV>(isa, rows, block, wide, span, sums);
    }
    let part = rows.len().div_ceil(rows.len().div_ceil(MAX_ROWS));
    for (rows, sums) in rows.chunks(part).zip(sums.chunks_mut(part * NV * I::F32_LANES)) {
        match NV {
            2 => advance_halves::<I, T, NV, 1>(isa, rows, block, ahead, &span, sums),
            _ => advance_halves::<I, T, NV, 2>(isa, rows, block, ahead, &span, sums),
        }
        ahead = &[];
    }
}

/// [`advance`] for weights narrower than f32. They are widened while the first tile reads them, so that memory access
/// and arithmetic overlap, and stored in `wide` for the other tiles.
#[inline(always)]
fn widen_advance<I: Isa, T: Stored<I>, const NV: usize>(
    isa: I,
    rows: &[&[f32]],
    block: &[T],
    wide: &mut [f32],
    span: Range<usize>,
    sums: &mut [f32],
) {
    if rows.len() <= TILE_ROWS {
        return advance::<I, T, NV>(isa, rows, block, span, sums);
    }
    let height = tile_height(rows.len());
    let (tile_rows, rows) = rows.split_at(height);
    let (tile, sums) = sums.split_at_mut(height * NV * I::F32_LANES);
    match height {
        4 => advance_tile::<I, T, NV, 4, true>(isa, tile_rows, block, wide, &span, tile),
        5 => advance_tile::<I, T, NV, 5, true>(isa, tile_rows, block, wide, &span, tile),
        _ => advance_tile::<I, T, NV, TILE_ROWS, true>(isa, tile_rows, block, wide, &span, tile),
    }
    advance::<I, f32, NV>(isa, rows, wide, span, sums);
}

/// Rows of the next tile. Seven to eleven rows are divided into two tiles, because a tile of one or two rows is limited
/// by the latency of its multiply-adds.
fn tile_height(left: usize) -> usize {
    if left > TILE_ROWS && left < 2 * TILE_ROWS { left.div_ceil(2) } else { left.min(TILE_ROWS) }
}

/// Adds the products over `span` to the running sums `[rows, NR]` of all rows; `block` `[span, NR]`.
#[inline(always)]
fn advance<I: Isa, T: Stored<I>, const NV: usize>(
    isa: I,
    rows: &[&[f32]],
    block: &[T],
    span: Range<usize>,
    sums: &mut [f32],
) {
    let mut first = 0;
    while first < rows.len() {
        let height = tile_height(rows.len() - first);
        let tile_rows = &rows[first..first + height];
        let tile = &mut sums[first * NV * I::F32_LANES..];
        match height {
            1 => advance_tile::<I, T, NV, 1, false>(isa, tile_rows, block, &mut [], &span, tile),
            2 => advance_tile::<I, T, NV, 2, false>(isa, tile_rows, block, &mut [], &span, tile),
            3 => advance_tile::<I, T, NV, 3, false>(isa, tile_rows, block, &mut [], &span, tile),
            4 => advance_tile::<I, T, NV, 4, false>(isa, tile_rows, block, &mut [], &span, tile),
            5 => advance_tile::<I, T, NV, 5, false>(isa, tile_rows, block, &mut [], &span, tile),
            _ => advance_tile::<I, T, NV, TILE_ROWS, false>(isa, tile_rows, block, &mut [], &span, tile),
        }
        first += height;
    }
}

/// [`advance`] for `MR` rows, with the sums in registers. With `KEEP`, leaves the block as f32 in `wide`.
#[inline(always)]
fn advance_tile<I: Isa, T: Stored<I>, const NV: usize, const MR: usize, const KEEP: bool>(
    isa: I,
    rows: &[&[f32]],
    block: &[T],
    wide: &mut [f32],
    span: &Range<usize>,
    sums: &mut [f32],
) {
    let block = T::vectors(block).as_chunks::<NV>().0;
    let wide = I::as_mut_simd_f32s(wide).0.as_chunks_mut::<NV>().0;
    let wide = if KEEP { &mut wide[..block.len()] } else { wide };
    let Some(sums) = I::as_mut_simd_f32s(sums).0.as_chunks_mut::<NV>().0.first_chunk_mut::<MR>() else { return };
    // Loops instead of closures, which would not be compiled for the instruction set. The slices have the length of
    // `block`, so that the loop needs no bounds checks.
    let mut x: [&[f32]; MR] = [&[]; MR];
    for i in 0..MR {
        x[i] = &rows[i][span.start..span.end][..block.len()];
    }
    let mut tile = *sums;
    for (k, block) in block.iter().enumerate() {
        let mut weights = [isa.splat_f32s(0.0); NV];
        for j in 0..NV {
            weights[j] = T::widen(isa, block[j]);
        }
        if KEEP {
            wide[k] = weights;
        }
        for i in 0..MR {
            let x = isa.splat_f32s(x[i][k]);
            for j in 0..NV {
                tile[i][j] = isa.mul_add_f32s(x, weights[j], tile[i][j]);
            }
        }
    }
    *sums = tile;
}

/// Stores `sums` `[NR]` to `out`, the columns of a row from `column` on, with scales, bias and epilogue.
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

/// Applies scale, bias and epilogue to one vector of sums.
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

#[cfg(test)]
mod tests {
    use super::super::isa::Level;
    use super::super::{Matrix, WeightType};
    use super::*;
    use crate::engine::weights::HostMatrix;

    /// The order of the fused multiply-adds does not depend on the width of the vectors.
    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for num_rows in [5, 8, 17, 50] {
            compare_instruction_sets(num_rows, 83, 211);
        }
    }

    fn compare_instruction_sets(num_rows: usize, n: usize, k: usize) {
        let value = |i: usize| ((i * 7919 % 2003) as f32 - 1001.0) / 512.0;
        let x: Vec<f32> = (0..num_rows * k).map(value).collect();
        // Includes numbers that are subnormal in f16.
        let values = (0..n * k).map(|i| value(i + 5) * if i % 7 == 0 { 1e-6 } else { 1.0 }).collect();
        let weight = HostMatrix { values, rows: n, cols: k };
        for kind in [WeightType::F32, WeightType::F16, WeightType::Int8] {
            let results = Level::available().into_iter().map(|level| {
                let cpu = Cpu { level, ..Cpu::new(Some(1)).unwrap() };
                let matrix = Matrix::pack((&weight).into(), kind, level.panel_width());
                let mut out = vec![0.0; num_rows * n];
                gemm(&cpu, |r| &x[r * k..(r + 1) * k], num_rows, matrix.panels(), None, Epilogue::Store, &mut out);
                (level, out.iter().map(|v: &f32| v.to_bits()).collect::<Vec<u32>>())
            });
            let results: Vec<_> = results.collect();
            assert!(results[0].1.iter().any(|bits| *bits != 0));
            for (level, bits) in &results {
                assert!(*bits == results[0].1, "{kind:?}: {} differs from {}", level.name(), results[0].0.name());
            }
        }
    }
}
