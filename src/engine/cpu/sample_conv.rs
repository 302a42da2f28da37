//! Convolutions over samples fused with norm and GELU: `conv1d_channel_norm`, `conv1d_layer_norm`.
//!
//! Each frame stays in the CPU cache from its convolution to its GELU.

use rayon::prelude::*;

use super::gelu;
use super::isa::{Isa, Kernel};
use super::{Cpu, layer_norm};
use crate::engine::Tensor;
use crate::engine::wav2vec2_ops::{Lengths, SampleConv};

/// Frames per task.
const FRAMES: usize = 512;
/// Frames whose accumulators are in registers at a time.
const ROWS: usize = 4;

/// See [`Wav2Vec2Ops::conv1d_channel_norm`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::conv1d_channel_norm).
///
/// The norm is folded into the weights before the convolution. With `y = w.x` for a window `x`, the mean of `y` over
/// the frames of a clip is `w.m` and its variance `w^T (R - m m^T) w`, where `m` and `R` are the mean and the second
/// moments of the windows. They are computed from the samples, without any `y`.
pub(super) fn channel_norm(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    x: &Tensor<Cpu>,
    conv: &SampleConv<Cpu>,
    lengths: &Lengths<Cpu>,
) {
    let &[_, frames, width] = out.shape() else { return };
    let taps = conv.weight.width();
    let (samples, len) = (x.shape()[1], out.len());
    cpu.threads.run(|| {
        let clips = out.buf[..len].chunks_exact_mut(frames * width).zip(x.buf[..x.len()].chunks_exact(samples));
        for ((out, x), length) in clips.zip(&lengths.host) {
            let (real, padding) = out.split_at_mut(length * width);
            padding.fill(0.0);
            let moments = Moments::new(x, *length, taps, conv.stride);
            let mut panels = Panels::new(width, taps);
            for c in 0..width {
                let weights = &conv.weight.buf[c * taps..][..taps];
                let (mean, variance) = moments.of(weights);
                let scale = f64::from(conv.gamma.buf[c]) / (variance + f64::from(conv.eps)).sqrt();
                let scaled = weights.iter().map(|w| (f64::from(*w) * scale) as f32);
                panels.set(c, scaled, (f64::from(conv.beta.buf[c]) - mean * scale) as f32);
            }
            convolve(cpu, real, x, &panels, conv.stride, None);
        }
    });
}

/// See [`Wav2Vec2Ops::conv1d_layer_norm`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::conv1d_layer_norm).
pub(super) fn layer_norm(cpu: &Cpu, out: &mut Tensor<Cpu>, x: &Tensor<Cpu>, conv: &SampleConv<Cpu>) {
    let &[_, frames, width] = out.shape() else { return };
    let taps = conv.weight.width();
    let (samples, len) = (x.shape()[1], out.len());
    let mut panels = Panels::new(width, taps);
    for c in 0..width {
        let weights = conv.weight.buf[c * taps..][..taps].iter().copied();
        panels.set(c, weights, conv.bias.as_ref().map_or(0.0, |bias| bias.buf[c]));
    }
    let norm = Norm { gamma: &conv.gamma.buf[..width], beta: &conv.beta.buf[..width], eps: conv.eps };
    cpu.threads.run(|| {
        for (out, x) in out.buf[..len].chunks_exact_mut(frames * width).zip(x.buf.chunks_exact(samples)) {
            convolve(cpu, out, x, &panels, conv.stride, Some(norm));
        }
    });
}

/// Mean and covariance of the windows of a clip, in f64.
struct Moments {
    /// `[W]`
    mean: Vec<f64>,
    /// `[W, W]`
    covariance: Vec<f64>,
}

impl Moments {
    fn new(x: &[f32], frames: usize, taps: usize, stride: usize) -> Self {
        // The division into parts does not depend on the number of threads, so neither does the order of the additions.
        let parts: Vec<Vec<f64>> = (0..frames)
            .step_by(FRAMES)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|first| {
                let mut sums = vec![0.0; taps + taps * taps];
                for t in first..(first + FRAMES).min(frames) {
                    let window = &x[t * stride..][..taps];
                    for (j, a) in window.iter().map(|v| f64::from(*v)).enumerate() {
                        sums[j] += a;
                        let row = &mut sums[taps + j * taps..][..taps];
                        row.iter_mut().zip(window).for_each(|(sum, b)| *sum += a * f64::from(*b));
                    }
                }
                sums
            })
            .collect();
        let count = frames.max(1) as f64;
        let total = |i: usize| parts.iter().map(|part| part[i]).sum::<f64>() / count;
        let mean: Vec<f64> = (0..taps).map(total).collect();
        let covariance = (0..taps * taps).map(|i| total(taps + i) - mean[i / taps] * mean[i % taps]).collect();
        Moments { mean, covariance }
    }

    /// Mean and variance of `weights . window` over all windows.
    fn of(&self, weights: &[f32]) -> (f64, f64) {
        let taps = weights.len();
        let mean = weights.iter().zip(&self.mean).map(|(w, m)| f64::from(*w) * m).sum();
        let products = self.covariance.iter().enumerate();
        let variance: f64 =
            products.map(|(i, r)| f64::from(weights[i / taps]) * f64::from(weights[i % taps]) * r).sum();
        (mean, variance.max(0.0))
    }
}

/// Weights of all channels, tap by tap, padded with zeros to whole vectors.
struct Panels {
    /// `[W, width]`
    weights: Vec<f32>,
    /// `[width]`
    shift: Vec<f32>,
    width: usize,
    channels: usize,
}

impl Panels {
    /// f32 lanes of the widest vector; a multiple of the lanes of all others.
    const LANES: usize = 16;

    fn new(channels: usize, taps: usize) -> Self {
        let width = channels.next_multiple_of(Self::LANES);
        Panels { weights: vec![0.0; width * taps], shift: vec![0.0; width], width, channels }
    }

    fn set(&mut self, channel: usize, weights: impl Iterator<Item = f32>, shift: f32) {
        self.shift[channel] = shift;
        let taps = self.weights.iter_mut().skip(channel).step_by(self.width);
        taps.zip(weights).for_each(|(to, from)| *to = from);
    }
}

/// The layer norm of a frame.
#[derive(Clone, Copy)]
struct Norm<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    eps: f32,
}

/// `out` `[T, N]` = `gelu(norm(conv(x)))`, `x` `[F]`.
fn convolve(cpu: &Cpu, out: &mut [f32], x: &[f32], panels: &Panels, stride: usize, norm: Option<Norm>) {
    let piece = FRAMES * panels.channels;
    out.par_chunks_mut(piece).enumerate().for_each(|(i, out)| {
        cpu.level.run(Frames { out, x: &x[i * FRAMES * stride..], panels, stride, norm });
    });
}

struct Frames<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    panels: &'a Panels,
    stride: usize,
    norm: Option<Norm<'a>>,
}

impl Kernel for Frames<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let Panels { width, channels, .. } = *self.panels;
        let mut sums = vec![0.0; ROWS * width];
        for (i, out) in self.out.chunks_mut(ROWS * channels).enumerate() {
            let rows = out.len() / channels;
            let window = |r: usize| &self.x[(i * ROWS + r.min(rows - 1)) * self.stride..];
            convolve_rows(isa, &mut sums, [window(0), window(1), window(2), window(3)], self.panels);
            for (out, sums) in out.chunks_exact_mut(channels).zip(sums.chunks_exact(width)) {
                match self.norm {
                    Some(Norm { gamma, beta, eps }) => {
                        layer_norm::row(isa, out, &sums[..channels], gamma, beta, eps);
                    }
                    None => out.copy_from_slice(&sums[..channels]),
                }
                gelu::in_place(isa, out);
            }
        }
    }
}

/// The convolution of [`ROWS`] frames: `sums` `[ROWS, width]` from the windows at the start of each `x`.
#[inline(always)]
fn convolve_rows<I: Isa>(isa: I, sums: &mut [f32], x: [&[f32]; ROWS], panels: &Panels) {
    let width = panels.width;
    let vectors = width / I::F32_LANES;
    let (shift, _) = I::as_simd_f32s(&panels.shift);
    let (weights, _) = I::as_simd_f32s(&panels.weights);
    let (sums, _) = I::as_mut_simd_f32s(sums);
    for v in 0..vectors {
        let mut acc = [shift[v]; ROWS];
        for (k, tap) in weights.iter().skip(v).step_by(vectors).enumerate() {
            for (acc, x) in acc.iter_mut().zip(x) {
                *acc = isa.mul_add_f32s(*tap, isa.splat_f32s(x[k]), *acc);
            }
        }
        for (r, acc) in acc.into_iter().enumerate() {
            sums[r * vectors + v] = acc;
        }
    }
}
