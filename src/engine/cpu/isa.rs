//! Runtime dispatch of SIMD kernels: AVX-512, AVX2 with FMA, NEON, or scalar, detected once at start.
//!
//! A kernel is written once, generic over [`Isa`], and compiled once per instruction set; [`Level::run`] selects the
//! copy.

use half::f16;
use pulp::{Simd, WithSimd};

/// An instruction set: `pulp`'s vector arithmetic, the exact conversions of one vector of packed weights to f32, and
/// prefetch.
pub(super) trait Isa: Simd {
    /// `[f16; F32_LANES]`
    type Halves: bytemuck::Pod;
    /// `[i8; F32_LANES]`
    type Bytes: bytemuck::Pod;
    /// Converts f16 to f32. The result for infinities and NaN is unspecified; weights are finite.
    fn widen_f16(self, src: Self::Halves) -> Self::f32s;
    /// Converts integers from -128 to 127 to f32, without a scale.
    fn widen_i8(self, src: Self::Bytes) -> Self::f32s;
    /// Prefetches the cache line of `at`. Does nothing on instruction sets without prefetch.
    fn prefetch<T>(self, at: &T) {
        let _ = at;
    }
}

impl Isa for pulp::Scalar {
    type Halves = f16;
    type Bytes = i8;

    #[inline(always)]
    fn widen_f16(self, src: f16) -> f32 {
        src.to_f32()
    }

    #[inline(always)]
    fn widen_i8(self, src: i8) -> f32 {
        f32::from(src)
    }
}

#[cfg(target_arch = "x86_64")]
impl Isa for pulp::x86::V3 {
    type Halves = [f16; 8];
    type Bytes = [i8; 8];

    #[inline(always)]
    fn widen_f16(self, src: [f16; 8]) -> Self::f32s {
        // F16C is not part of this instruction set in `pulp`. Exponent and mantissa of an f16, shifted to their places
        // in an f32, are the number times 2^-112, because the exponent bias is 15 instead of 127. This includes
        // subnormals.
        let bits: Self::u32s = pulp::cast(self.avx2._mm256_cvtepu16_epi32(pulp::cast(src)));
        let magnitude = self.and_u32s(bits, self.splat_u32s(0x7fff));
        let magnitude = self.wrapping_dyn_shl_u32s(magnitude, self.splat_u32s(13));
        let magnitude = self.mul_f32s(self.transmute_f32s_u32s(magnitude), self.splat_f32s(f32::from_bits(239 << 23)));
        let sign = self.wrapping_dyn_shl_u32s(self.and_u32s(bits, self.splat_u32s(0x8000)), self.splat_u32s(16));
        self.transmute_f32s_u32s(self.or_u32s(self.transmute_u32s_f32s(magnitude), sign))
    }

    #[inline(always)]
    fn widen_i8(self, src: [i8; 8]) -> Self::f32s {
        let bytes: [[i8; 8]; 2] = [src, [0; 8]];
        pulp::cast(self.avx._mm256_cvtepi32_ps(self.avx2._mm256_cvtepi8_epi32(pulp::cast(bytes))))
    }

    #[inline(always)]
    fn prefetch<T>(self, at: &T) {
        /// `_MM_HINT_T0`: into all cache levels.
        const HINT_T0: i32 = 3;
        self.sse._mm_prefetch::<HINT_T0>(std::ptr::from_ref(at).cast());
    }
}

#[cfg(target_arch = "x86_64")]
impl Isa for pulp::x86::V4 {
    type Halves = [f16; 16];
    type Bytes = [i8; 16];

    #[inline(always)]
    fn widen_f16(self, src: [f16; 16]) -> Self::f32s {
        pulp::cast(self.avx512f._mm512_cvtph_ps(pulp::cast(src)))
    }

    #[inline(always)]
    fn widen_i8(self, src: [i8; 16]) -> Self::f32s {
        pulp::cast(self.avx512f._mm512_cvtepi32_ps(self.avx512f._mm512_cvtepi8_epi32(pulp::cast(src))))
    }

    #[inline(always)]
    fn prefetch<T>(self, at: &T) {
        /// `_MM_HINT_T0`: into all cache levels.
        const HINT_T0: i32 = 3;
        self.sse._mm_prefetch::<HINT_T0>(std::ptr::from_ref(at).cast());
    }
}

#[cfg(target_arch = "aarch64")]
impl Isa for pulp::aarch64::Neon {
    type Halves = [f16; 4];
    type Bytes = [i8; 4];

    #[inline(always)]
    fn widen_f16(self, src: [f16; 4]) -> Self::f32s {
        self.partial_load_f32s(&src.map(f16::to_f32))
    }

    #[inline(always)]
    fn widen_i8(self, src: [i8; 4]) -> Self::f32s {
        self.partial_load_f32s(&src.map(f32::from))
    }
}

/// Code that is compiled for every [`Isa`]. `NV` is the width of a weight panel in vectors, chosen so that the
/// accumulators of six rows fit into the registers.
pub(super) trait Kernel {
    /// The result.
    type Output;
    /// Runs the kernel. All functions it calls must be `#[inline(always)]`; otherwise they are compiled without the
    /// instruction set.
    fn run<I: Isa, const NV: usize>(self, isa: I) -> Self::Output;
}

/// The instruction sets of this architecture.
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

/// Adapts a [`Kernel`] to `pulp`'s [`WithSimd`].
struct On<I, K, const NV: usize>(I, K);

impl<I: Isa, K: Kernel, const NV: usize> WithSimd for On<I, K, NV> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> K::Output {
        self.1.run::<I, NV>(self.0)
    }
}

impl Level {
    /// The best instruction set of this machine.
    pub fn detect() -> Self {
        Self::available().into_iter().next().unwrap_or(Level::Scalar)
    }

    /// All instruction sets of this machine, best first.
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

    /// Name for display.
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
