//! Vectorised `exp`, and the exponentials and sums of the softmax over a row of attention scores.

use super::isa::Isa;

/// `e^x` for `x <= 88`, relative error below 1e-7. Below -87.3, where `e^x` would be subnormal, the result is 1.2e-38.
///
/// `x = n ln 2 + r`, `|r| <= ln 2 / 2`; `e^r` by a polynomial of degree 6, `2^n` by adding `n` to the exponent.
/// Source of the coefficients and of the split of ln 2: Cephes `expf.c` (S. Moshier).
#[inline(always)]
pub(super) fn exp<I: Isa>(isa: I, x: I::f32s) -> I::f32s {
    /// `1.5 * 2^23`: adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let x = isa.max_f32s(x, isa.splat_f32s(-87.3));
    let shifted = isa.mul_add_f32s(x, isa.splat_f32s(std::f32::consts::LOG2_E), isa.splat_f32s(ROUND));
    let n = isa.sub_f32s(shifted, isa.splat_f32s(ROUND));
    let r = isa.mul_add_f32s(n, isa.splat_f32s(-0.693_359_4), x);
    let r = isa.mul_add_f32s(n, isa.splat_f32s(2.121_944_4e-4), r);
    let mut p = isa.splat_f32s(POLYNOMIAL[0]);
    for c in &POLYNOMIAL[1..] {
        p = isa.mul_add_f32s(p, r, isa.splat_f32s(*c));
    }
    let y = isa.mul_add_f32s(isa.mul_f32s(r, r), p, isa.add_f32s(r, isa.splat_f32s(1.0)));
    let exponent = isa.wrapping_dyn_shl_u32s(isa.transmute_u32s_f32s(shifted), isa.splat_u32s(23));
    isa.transmute_f32s_u32s(isa.add_u32s(isa.transmute_u32s_f32s(y), exponent))
}

/// Replaces a row of scores `s` by `e^(scale (s - max s))` and returns the sum of the row.
///
/// The row is not divided by the sum: the caller divides its result instead, which has fewer elements. The order of the
/// additions depends only on the length of the row.
#[inline(always)]
pub(super) fn exp_row<I: Isa>(isa: I, row: &mut [f32], scale: f32) -> f32 {
    let max = max_row(isa, row);
    exp_below(isa, row, scale, scale * max)
}

/// Replaces a row of scores `s` by `e^(scale s - top)` and returns the sum; `top` must be at least the largest
/// `scale s`.
#[inline(always)]
pub(super) fn exp_below<I: Isa>(isa: I, row: &mut [f32], scale: f32, top: f32) -> f32 {
    let scale_vector = isa.splat_f32s(scale);
    let shift = isa.splat_f32s(-top);
    let (vectors, tail) = I::as_mut_simd_f32s(row);
    let mut sums = [isa.splat_f32s(0.0); 2];
    for (i, v) in vectors.iter_mut().enumerate() {
        *v = exp(isa, isa.mul_add_f32s(*v, scale_vector, shift));
        sums[i % 2] = isa.add_f32s(sums[i % 2], *v);
    }
    let mut sum = isa.reduce_sum_f32s(isa.add_f32s(sums[0], sums[1]));
    if !tail.is_empty() {
        let e = exp(isa, isa.mul_add_f32s(isa.partial_load_f32s(tail), scale_vector, shift));
        isa.partial_store_f32s(tail, e);
        for e in tail {
            sum += *e;
        }
    }
    sum
}

/// The largest value.
#[inline(always)]
pub(super) fn max_row<I: Isa>(isa: I, row: &[f32]) -> f32 {
    let (vectors, tail) = I::as_simd_f32s(row);
    let mut max = isa.splat_f32s(f32::MIN);
    for v in vectors {
        max = isa.max_f32s(max, *v);
    }
    tail.iter().fold(isa.reduce_max_f32s(max), |a, b| a.max(*b))
}
