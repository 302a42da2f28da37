//! The numbers weights are stored as, read a vector at a time.

use half::f16;

use super::isa::Isa;

/// A number weights are stored as.
pub(super) trait Stored<I: Isa>: Copy {
    /// `F32_LANES` of them.
    type Vector: Copy;
    /// A slice in whole vectors.
    fn vectors(src: &[Self]) -> &[Self::Vector];
    /// A vector of them, as f32.
    fn widen(isa: I, src: Self::Vector) -> I::f32s;
}

impl<I: Isa> Stored<I> for f32 {
    type Vector = I::f32s;

    #[inline(always)]
    fn vectors(src: &[f32]) -> &[I::f32s] {
        I::as_simd_f32s(src).0
    }

    #[inline(always)]
    fn widen(_: I, src: I::f32s) -> I::f32s {
        src
    }
}

impl<I: Isa> Stored<I> for f16 {
    type Vector = I::Halves;

    #[inline(always)]
    fn vectors(src: &[f16]) -> &[I::Halves] {
        bytemuck::try_cast_slice(src).unwrap_or_default()
    }

    #[inline(always)]
    fn widen(isa: I, src: I::Halves) -> I::f32s {
        isa.widen_f16(src)
    }
}

impl<I: Isa> Stored<I> for i8 {
    type Vector = I::Bytes;

    #[inline(always)]
    fn vectors(src: &[i8]) -> &[I::Bytes] {
        bytemuck::try_cast_slice(src).unwrap_or_default()
    }

    #[inline(always)]
    fn widen(isa: I, src: I::Bytes) -> I::f32s {
        isa.widen_i8(src)
    }
}
