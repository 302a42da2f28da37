//! The matrix product of [`gemm`](super::gemm) for few rows, as in a decode step, where memory bandwidth is the limit.

use std::ops::Range;

use super::isa::Isa;
use super::stored::Stored;

/// Largest number of rows per pass: two tiles.
pub(super) const MAX_ROWS: usize = 12;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Adds the products over `span` to the running sums `[rows, NR]` of six to twelve rows; `block` `[span, NR]`, `ahead`
/// are the weights that follow it.
///
/// The number of accumulators is that of a tile of six rows, but they cover all rows over one half of the panel's
/// columns, then over the other half. So each weight is read and widened once. `ahead` is prefetched meanwhile.
#[inline(always)]
pub(super) fn advance_halves<I: Isa, T: Stored<I>, const NV: usize, const HV: usize>(
    isa: I,
    rows: &[&[f32]],
    block: &[T],
    ahead: &[T],
    span: &Range<usize>,
    sums: &mut [f32],
) {
    for half in 0..2 {
        match rows.len() {
            // The caller divides seven rows or more evenly into parts of at most 12, so no part has fewer than 6.
            6 => advance_half::<I, T, NV, HV, 6>(isa, rows, block, ahead, span, half, sums),
            7 => advance_half::<I, T, NV, HV, 7>(isa, rows, block, ahead, span, half, sums),
            8 => advance_half::<I, T, NV, HV, 8>(isa, rows, block, ahead, span, half, sums),
            9 => advance_half::<I, T, NV, HV, 9>(isa, rows, block, ahead, span, half, sums),
            10 => advance_half::<I, T, NV, HV, 10>(isa, rows, block, ahead, span, half, sums),
            11 => advance_half::<I, T, NV, HV, 11>(isa, rows, block, ahead, span, half, sums),
            _ => advance_half::<I, T, NV, HV, 12>(isa, rows, block, ahead, span, half, sums),
        }
    }
}

/// [`advance_halves`] for one half of the columns, with the sums in registers.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn advance_half<I: Isa, T: Stored<I>, const NV: usize, const HV: usize, const MR: usize>(
    isa: I,
    rows: &[&[f32]],
    block: &[T],
    ahead: &[T],
    span: &Range<usize>,
    half: usize,
    sums: &mut [f32],
) {
    let block = T::vectors(block).as_chunks::<NV>().0;
    let Some(sums) = I::as_mut_simd_f32s(sums).0.as_chunks_mut::<NV>().0.first_chunk_mut::<MR>() else { return };
    let mut x: [&[f32]; MR] = [&[]; MR];
    let mut tile = [[isa.splat_f32s(0.0); HV]; MR];
    for i in 0..MR {
        x[i] = &rows[i][span.start..span.end][..block.len()];
        tile[i] = sums[i].as_chunks::<HV>().0[half];
    }
    // Cache lines of half a row of the panel.
    let (nr, lines) = (NV * I::F32_LANES, (HV * size_of::<T::Vector>()).div_ceil(LINE));
    for (k, block) in block.iter().enumerate() {
        for line in 0..lines {
            if let Some(value) = ahead.get(k * nr + half * nr / 2 + line * LINE / size_of::<T>()) {
                isa.prefetch(value);
            }
        }
        let half = &block.as_chunks::<HV>().0[half];
        let mut weights = [isa.splat_f32s(0.0); HV];
        for j in 0..HV {
            weights[j] = T::widen(isa, half[j]);
        }
        for i in 0..MR {
            let x = isa.splat_f32s(x[i][k]);
            for j in 0..HV {
                tile[i][j] = isa.mul_add_f32s(x, weights[j], tile[i][j]);
            }
        }
    }
    for i in 0..MR {
        sums[i].as_chunks_mut::<HV>().0[half] = tile[i];
    }
}
