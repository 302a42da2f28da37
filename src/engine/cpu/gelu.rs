//! GELU with the exact error function.

use super::isa::Isa;

/// Replaces each value `x` by `gelu_erf(x)`.
#[inline(always)]
pub(super) fn in_place<I: Isa>(isa: I, x: &mut [f32]) {
    let (vectors, tail) = I::as_mut_simd_f32s(x);
    for v in vectors {
        *v = gelu_erf(isa, *v);
    }
    if !tail.is_empty() {
        let values = gelu_erf(isa, isa.partial_load_f32s(tail));
        isa.partial_store_f32s(tail, values);
    }
}

/// `x/2 (1 + erf(x / sqrt 2))`, absolute error below 1e-6.
///
/// `erf` is approximated by a rational function of degree 13/8 on `[-4, 4]`, and constant outside.
/// Source of the coefficients: Eigen `MathFunctionsImpl.h::generic_fast_erf`, also XLA `math.cc::ErfImpl32`.
#[inline(always)]
pub(super) fn gelu_erf<I: Isa>(isa: I, x: I::f32s) -> I::f32s {
    const ALPHA: [f32; 7] =
        [-2.726_142_3e-10, 2.770_681_5e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2];
    const BETA: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let z = isa.mul_f32s(x, isa.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let z = isa.min_f32s(isa.max_f32s(z, isa.splat_f32s(-4.0)), isa.splat_f32s(4.0));
    let t = isa.mul_f32s(z, z);
    let mut p = isa.splat_f32s(ALPHA[0]);
    for a in &ALPHA[1..] {
        p = isa.mul_add_f32s(p, t, isa.splat_f32s(*a));
    }
    let mut q = isa.splat_f32s(BETA[0]);
    for b in &BETA[1..] {
        q = isa.mul_add_f32s(q, t, isa.splat_f32s(*b));
    }
    let erf = isa.div_f32s(isa.mul_f32s(z, p), q);
    let half = isa.mul_f32s(x, isa.splat_f32s(0.5));
    isa.mul_add_f32s(half, erf, half)
}
