//! `pool_norm`, `overlap_pool_norm`: max pooling of three frames, instance norm, leaky ReLU.
//!
//! Each clip is computed by one thread, and every sum adds its frames in order.

use rayon::prelude::*;

use super::Cpu;
use super::isa::{Isa, Kernel};
use crate::engine::Tensor;
use crate::engine::segmentation_ops::{EPS, InstanceNorm, LEAK, Overlap, POOL};

/// See [`SegmentationOps::pool_norm`](crate::engine::segmentation_ops::SegmentationOps::pool_norm).
pub(super) fn plain(cpu: &Cpu, out: &mut Tensor<Cpu, f32>, x: &Tensor<Cpu, f32>, norm: &InstanceNorm<Cpu>) {
    let &[_, pooled, width] = out.shape() else { return };
    let (clip, len) = (x.shape()[1] * width, out.len());
    run(cpu, &mut out.buf[..len], pooled * width, norm, |b, out| {
        let frames = x.buf[b * clip..][..pooled * POOL * width].chunks_exact(POOL * width);
        for (out, frames) in out.chunks_exact_mut(width).zip(frames) {
            let (first, rest) = frames.split_at(width);
            let (second, third) = rest.split_at(width);
            for (((out, a), b), c) in out.iter_mut().zip(first).zip(second).zip(third) {
                *out = largest(*a, *b, *c);
            }
        }
    });
}

/// See [`SegmentationOps::overlap_pool_norm`](crate::engine::segmentation_ops::SegmentationOps::overlap_pool_norm).
pub(super) fn overlapping(
    cpu: &Cpu,
    out: &mut Tensor<Cpu, f32>,
    x: &Tensor<Cpu, f32>,
    norm: &InstanceNorm<Cpu>,
    windows: &Overlap<Cpu>,
) {
    let &[_, pooled, width] = out.shape() else { return };
    let (len, sums) = (out.len(), &windows.sums.buf[..width]);
    run(cpu, &mut out.buf[..len], pooled * width, norm, |b, out| {
        let (scale, shift) = (windows.affine.buf[2 * b], windows.affine.buf[2 * b + 1]);
        let frames = x.buf[b * windows.hop * width..][..pooled * POOL * width].chunks_exact(POOL * width);
        for (out, frames) in out.chunks_exact_mut(width).zip(frames) {
            let (first, rest) = frames.split_at(width);
            let (second, third) = rest.split_at(width);
            for ((((out, a), b), c), sum) in out.iter_mut().zip(first).zip(second).zip(third).zip(sums) {
                let normalised = |v: f32| (scale * v + shift * sum).abs();
                *out = largest(normalised(*a), normalised(*b), normalised(*c));
            }
        }
    });
}

#[inline(always)]
fn largest(a: f32, b: f32, c: f32) -> f32 {
    let ab = if a > b { a } else { b };
    if ab > c { ab } else { c }
}

/// Fills each clip of `out` (`clip` values) with `pool`, then normalises and activates it.
fn run(cpu: &Cpu, out: &mut [f32], clip: usize, norm: &InstanceNorm<Cpu>, pool: impl Fn(usize, &mut [f32]) + Sync) {
    cpu.threads.run(|| {
        out.par_chunks_exact_mut(clip).with_max_len(1).enumerate().for_each(|(b, out)| {
            cpu.level.run(Normalised { out, norm, pool: |out: &mut [f32]| pool(b, out) });
        });
    });
}

struct Normalised<'a, P> {
    /// `[F, C]`
    out: &'a mut [f32],
    norm: &'a InstanceNorm<Cpu>,
    pool: P,
}

impl<P: FnOnce(&mut [f32])> Kernel for Normalised<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, _: I) {
        let Normalised { out, norm, pool } = self;
        pool(out);
        let width = norm.gamma.len();
        let count = (out.len() / width) as f64;
        let mut mean = vec![0.0f64; width];
        for frame in out.chunks_exact(width) {
            mean.iter_mut().zip(frame).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        mean.iter_mut().for_each(|sum| *sum /= count);
        let mut variance = vec![0.0f64; width];
        for frame in out.chunks_exact(width) {
            for ((sum, v), mean) in variance.iter_mut().zip(frame).zip(&mean) {
                let difference = f64::from(*v) - mean;
                *sum += difference * difference;
            }
        }
        let scales = variance.iter().zip(&norm.gamma.buf[..width]);
        let scale: Vec<f32> =
            scales.map(|(v, g)| (f64::from(*g) / (v / count + f64::from(EPS)).sqrt()) as f32).collect();
        let shifts = mean.iter().zip(&scale).zip(&norm.beta.buf[..width]);
        let shift: Vec<f32> = shifts.map(|((m, s), b)| (f64::from(*b) - m * f64::from(*s)) as f32).collect();
        for frame in out.chunks_exact_mut(width) {
            for ((v, scale), shift) in frame.iter_mut().zip(&scale).zip(&shift) {
                let y = *v * scale + shift;
                *v = if y > 0.0 { y } else { LEAK * y };
            }
        }
    }
}
