//! `layer_norm`, and `layer_norm_gelu`: layer norm followed by GELU.

use rayon::prelude::*;

use super::Cpu;
use super::gelu;
use super::isa::{Isa, Kernel};
use crate::engine::Tensor;

/// Fewest values per task.
const MIN_VALUES: usize = 1 << 16;

/// See [`TransformerOps::layer_norm`](crate::engine::backend::TransformerOps::layer_norm): `out`, `x` `[R, C]`,
/// `gamma`, `beta` `[C]`. With `gelu`: see
/// [`Wav2Vec2Ops::layer_norm_gelu`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::layer_norm_gelu).
pub(super) fn layer_norm(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    x: &Tensor<Cpu>,
    gamma: &Tensor<Cpu, f32>,
    beta: &Tensor<Cpu, f32>,
    eps: f32,
    gelu: bool,
) {
    let (len, width) = (x.len(), x.width());
    if len == 0 {
        return;
    }
    let (gamma, beta) = (&gamma.buf[..width], &beta.buf[..width]);
    let chunk = MIN_VALUES.div_ceil(width) * width;
    let (out, x) = (&mut out.buf[..len], &x.buf[..len]);
    let run = |(out, x): (&mut [f32], &[f32])| cpu.level.run(Rows { out, x, gamma, beta, eps, gelu });
    if len <= chunk {
        return run((out, x));
    }
    cpu.threads.run(|| out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(run));
}

struct Rows<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    eps: f32,
    gelu: bool,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let width = self.gamma.len();
        for (out, x) in self.out.chunks_exact_mut(width).zip(self.x.chunks_exact(width)) {
            row(isa, out, x, self.gamma, self.beta, self.eps);
            if self.gelu {
                gelu::in_place(isa, out);
            }
        }
    }
}

/// Layer norm of one row.
#[inline(always)]
pub(super) fn row<I: Isa>(isa: I, out: &mut [f32], x: &[f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let width = x.len();
    let mean = sum(isa, x, |v| v, |v| v) / width as f32;
    let means = isa.splat_f32s(mean);
    let square = |v| {
        let d = isa.sub_f32s(v, means);
        isa.mul_f32s(d, d)
    };
    let variance = sum(isa, x, square, |v| (v - mean) * (v - mean)) / width as f32;
    let scale = 1.0 / (variance + eps).sqrt();
    for (((o, v), g), b) in out.iter_mut().zip(x).zip(gamma).zip(beta) {
        *o = (v - mean) * scale * g + b;
    }
}

/// The sum of `f(x)`, in an order that depends only on the length; `scalar` is `f` for the values after the last
/// vector.
#[inline(always)]
fn sum<I: Isa>(isa: I, x: &[f32], f: impl Fn(I::f32s) -> I::f32s, scalar: impl Fn(f32) -> f32) -> f32 {
    let (vectors, tail) = I::as_simd_f32s(x);
    let mut sums = [isa.splat_f32s(0.0); 4];
    for (i, v) in vectors.iter().enumerate() {
        sums[i % 4] = isa.add_f32s(sums[i % 4], f(*v));
    }
    let pairs = [isa.add_f32s(sums[0], sums[1]), isa.add_f32s(sums[2], sums[3])];
    let total = isa.reduce_sum_f32s(isa.add_f32s(pairs[0], pairs[1]));
    tail.iter().fold(total, |total, v| total + scalar(*v))
}
