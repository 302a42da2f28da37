//! The primitives of [`Waveform`]. Convolutions are the product kernel over windows of their input; sums over time are
//! added up in f64, piece by piece of fixed length, so that neither the number of threads nor the batch shows.

use rayon::prelude::*;

use super::gelu::gelu_erf;
use super::isa::{Isa, Kernel};
use super::{Cpu, Matrix, attention, gemm};
use crate::engine::waveform::{Lengths, Waveform};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// Frames whose sums one task adds up.
const FRAMES_PER_TASK: usize = 1024;
/// Values worth a task of simple arithmetic.
const VALUES_PER_TASK: usize = 1 << 15;

impl Waveform for Cpu {
    fn conv1d_valid(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let (out_frames, k, len, rows) = (out.shape()[1], weight.k, out.len(), out.rows());
        let row = |r: usize| &x.buf[(r / out_frames * frames + r % out_frames * stride) * width..][..k];
        let bias = bias.map(|b| &b.buf[..weight.n]);
        gemm::gemm(self, row, rows, weight.panels(), bias, epilogue, &mut out.buf[..len]);
        Ok(())
    }

    fn channel_norm(
        &self,
        x: &mut Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let len = x.len();
        if len == 0 {
            return Ok(());
        }
        self.pool.install(|| {
            for (clip, length) in x.buf[..len].chunks_exact_mut(frames * width).zip(&lengths.host) {
                let (real, filling) = clip.split_at_mut(length * width);
                filling.fill(0.0);
                normalise(real, &gamma.buf[..width], &beta.buf[..width], eps);
            }
        });
        Ok(())
    }

    fn gelu(&self, x: &mut Tensor<Self>) -> Result<()> {
        let len = x.len();
        let run = |values: &mut [f32]| self.level.run(Gelu { values });
        self.pool.install(|| x.buf[..len].par_chunks_mut(VALUES_PER_TASK).for_each(run));
        Ok(())
    }

    fn positional_conv(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weights: &[Matrix],
        bias: &Tensor<Self, f32>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let len = out.len();
        out.buf[..len].fill(0.0);
        let Some(first) = weights.first() else { return Ok(()) };
        let (group_width, taps) = (first.n, first.k / first.n);
        for (clip, length) in lengths.host.iter().enumerate() {
            let x = &x.buf[clip * frames * width..][..length * width];
            let out = &mut out.buf[clip * frames * width..][..length * width];
            // One group at a time, its channels side by side, with the zeros before and after: a window is then a run.
            let mut padded = vec![0.0; (length + taps) * group_width];
            let mut heard = vec![0.0; length * group_width];
            for (group, weight) in weights.iter().enumerate() {
                let channels = group * group_width..(group + 1) * group_width;
                let inner = padded[taps / 2 * group_width..].chunks_exact_mut(group_width);
                for (to, from) in inner.zip(x.chunks_exact(width)) {
                    to.copy_from_slice(&from[channels.clone()]);
                }
                let row = |t: usize| &padded[t * group_width..][..weight.k];
                let bias = Some(&bias.buf[channels.clone()]);
                gemm::gemm(self, row, *length, weight.panels(), bias, Epilogue::GeluErf, &mut heard);
                let pairs = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for ((out, x), heard) in pairs.zip(heard.chunks_exact(group_width)) {
                    let sums = out[channels.clone()].iter_mut().zip(&x[channels.clone()]).zip(heard);
                    sums.for_each(|((out, x), heard)| *out = x + heard);
                }
            }
        }
        Ok(())
    }

    fn attention_within(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        heads: usize,
        scale: f32,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        attention::attention(self, out, qkv, heads, scale, Some(&lengths.host));
        Ok(())
    }

    fn log_softmax(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        bias: &Tensor<Self, f32>,
        wildcard: Option<usize>,
    ) -> Result<()> {
        let (classes, columns, len) = (logits.width(), out.width(), out.len());
        let (logits, bias) = (&logits.buf[..logits.len()], &bias.buf[..classes]);
        self.pool.install(|| {
            let rows = out.buf[..len].par_chunks_exact_mut(columns).zip(logits.par_chunks_exact(classes));
            rows.with_min_len(64).for_each(|(out, logits)| log_softmax(out, logits, bias, wildcard));
        });
        Ok(())
    }
}

fn log_softmax(out: &mut [f32], logits: &[f32], bias: &[f32], wildcard: Option<usize>) {
    let classes = logits.len();
    for ((out, logit), bias) in out.iter_mut().zip(logits).zip(bias) {
        *out = logit + bias;
    }
    let largest = out[..classes].iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let sum: f64 = out[..classes].iter().map(|value| f64::from(value - largest).exp()).sum();
    let normaliser = largest + sum.ln() as f32;
    out[..classes].iter_mut().for_each(|value| *value -= normaliser);
    if let Some(blank) = wildcard {
        let others = out[..classes].iter().enumerate().filter(|(class, _)| *class != blank);
        out[classes] = others.fold(f32::NEG_INFINITY, |a, (_, b)| a.max(*b));
    }
}

/// Each channel of `x` `[F, C]` to mean 0 and variance 1, then scaled and shifted.
fn normalise(x: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let width = gamma.len();
    let frames = x.len() / width;
    let sums = |f: &(dyn Fn(usize, f64) -> f64 + Sync)| -> Vec<f64> {
        let add = |mut sums: Vec<f64>, frame: &[f32]| {
            sums.iter_mut().zip(frame).enumerate().for_each(|(c, (sum, v))| *sum += f(c, f64::from(*v)));
            sums
        };
        let parts: Vec<Vec<f64>> = x
            .par_chunks(FRAMES_PER_TASK * width)
            .map(|part| part.chunks_exact(width).fold(vec![0.0; width], add))
            .collect();
        let mut total = vec![0.0; width];
        for part in parts {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        total.into_iter().map(|sum| sum / frames as f64).collect()
    };
    let means = sums(&|_, v| v);
    let variances = sums(&|c, v| (v - means[c]) * (v - means[c]));
    let scales: Vec<f32> =
        variances.iter().zip(gamma).map(|(v, g)| (f64::from(*g) / (v + f64::from(eps)).sqrt()) as f32).collect();
    let means: Vec<f32> = means.iter().map(|mean| *mean as f32).collect();
    x.par_chunks_mut(FRAMES_PER_TASK * width).for_each(|part| {
        for frame in part.chunks_exact_mut(width) {
            for (((v, mean), scale), beta) in frame.iter_mut().zip(&means).zip(&scales).zip(beta) {
                *v = (*v - mean) * scale + beta;
            }
        }
    });
}

struct Gelu<'a> {
    values: &'a mut [f32],
}

impl Kernel for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let (vectors, tail) = I::as_mut_simd_f32s(self.values);
        for v in vectors {
            *v = gelu_erf(isa, *v);
        }
        if !tail.is_empty() {
            let values = gelu_erf(isa, isa.partial_load_f32s(tail));
            isa.partial_store_f32s(tail, values);
        }
    }
}
