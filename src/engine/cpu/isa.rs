//! Which vector instructions this machine has, found once at start: AVX-512, AVX2 with FMA, NEON, or none.
//!
//! A kernel is written once over [`Isa`] and compiled once per instruction set; [`Level::run`] picks the copy.

use half::f16;
use half::slice::HalfFloatSliceExt;
use pulp::{Simd, WithSimd};

/// Vector instructions of one kind: `pulp`'s arithmetic, and the two conversions packed weights need.
pub(super) trait Isa: Simd {
    /// `dst[i] = src[i]`, exactly.
    #[inline(always)]
    fn widen_f16(self, dst: &mut [f32], src: &[f16]) {
        src.convert_to_f32_slice(dst);
    }

    /// `dst[i] = src[i]`, exactly.
    #[inline(always)]
    fn widen_i8(self, dst: &mut [f32], src: &[i8]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = f32::from(*s);
        }
    }
}

impl Isa for pulp::Scalar {}

#[cfg(target_arch = "x86_64")]
impl Isa for pulp::x86::V3 {}

#[cfg(target_arch = "x86_64")]
impl Isa for pulp::x86::V4 {
    #[inline(always)]
    fn widen_f16(self, dst: &mut [f32], src: &[f16]) {
        let (src, src_tail) = src.as_chunks::<16>();
        let (dst, dst_tail) = dst.as_chunks_mut::<16>();
        for (d, s) in dst.iter_mut().zip(src) {
            *d = pulp::cast(self.avx512f._mm512_cvtph_ps(pulp::cast(*s)));
        }
        src_tail.convert_to_f32_slice(dst_tail);
    }
}

#[cfg(target_arch = "aarch64")]
impl Isa for pulp::aarch64::Neon {}

/// Code that is compiled for every [`Isa`]. `NV` is the width of a weight panel in vectors: as many as leave room for
/// six rows of accumulators in the registers.
pub(super) trait Kernel {
    /// What it computes.
    type Output;
    /// The code. Everything it calls must be `#[inline(always)]`, or it is compiled without the instructions.
    fn run<I: Isa, const NV: usize>(self, isa: I) -> Self::Output;
}

/// The instruction set in use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    Scalar,
}

/// Lends a [`Kernel`] its instruction set inside the function `pulp` compiles for it.
struct On<I, K, const NV: usize>(I, K);

impl<I: Isa, K: Kernel, const NV: usize> WithSimd for On<I, K, NV> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> K::Output {
        self.1.run::<I, NV>(self.0)
    }
}

impl Level {
    /// The best this machine offers.
    pub fn detect() -> Self {
        Self::available().into_iter().next().unwrap_or(Level::Scalar)
    }

    /// All this machine offers, best first.
    pub fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(pulp::x86::V4::try_new().map(Level::Avx512));
            levels.extend(pulp::x86::V3::try_new().map(Level::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend(pulp::aarch64::Neon::try_new().map(Level::Neon));
        levels.push(Level::Scalar);
        levels
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => "NEON",
            Level::Scalar => "no vector instructions",
        }
    }

    /// `NR`: output features of one weight panel.
    pub fn panel_width(self) -> usize {
        struct Width;
        impl Kernel for Width {
            type Output = usize;
            #[inline(always)]
            fn run<I: Isa, const NV: usize>(self, _: I) -> usize {
                NV * I::F32_LANES
            }
        }
        self.run(Width)
    }

    /// Runs a kernel on this instruction set.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // 32 registers: 6 x 4 accumulators, 4 weights, 1 activation.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(isa) => Simd::vectorize(isa, On::<_, _, 4>(isa, kernel)),
            // 16 registers: 6 x 2 accumulators, 2 weights, 1 activation.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(isa) => Simd::vectorize(isa, On::<_, _, 2>(isa, kernel)),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(isa) => Simd::vectorize(isa, On::<_, _, 4>(isa, kernel)),
            Level::Scalar => On::<_, _, 4>(pulp::Scalar::new(), kernel).with_simd(pulp::Scalar::new()),
        }
    }
}
