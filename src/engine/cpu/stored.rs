//! The storage types of weights (f32, f16, i8), read one vector at a time.

use half::f16;

use super::isa::Isa;

/// A storage type of weights.
pub(super) trait Stored<I: Isa>: Copy {
    /// `F32_LANES` values.
    type Vector: Copy;
    /// The slice as whole vectors; a partial vector at the end is dropped.
    fn vectors(src: &[Self]) -> &[Self::Vector];
    /// Converts a vector to f32, without scales.
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
