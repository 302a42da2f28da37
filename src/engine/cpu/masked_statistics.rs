//! `masked_statistics`: statistics pooling, the weighted mean and standard deviation over the frames of each speaker.
//! Sums are f64, in the order of the frames.

use rayon::prelude::*;

use super::Cpu;
use crate::engine::Tensor;
use crate::engine::embedding_ops::MASK_EPS;

/// See [`EmbeddingOps::masked_statistics`](crate::engine::embedding_ops::EmbeddingOps::masked_statistics).
pub(super) fn masked_statistics(cpu: &Cpu, out: &mut Tensor<Cpu, f32>, x: &Tensor<Cpu>, masks: &Tensor<Cpu, f32>) {
    let &[_, speakers, frames] = masks.shape() else { return };
    let (len, width) = (out.len(), out.width());
    if len == 0 {
        return;
    }
    cpu.threads.run(|| {
        let each =
            out.buf[..len].par_chunks_exact_mut(2 * width).zip(masks.buf[..masks.len()].par_chunks_exact(frames));
        each.enumerate().for_each(|(row, (out, mask))| {
            let x = &x.buf[row / speakers * frames * width..][..frames * width];
            speaker(out, x, mask);
        });
    });
}

/// The statistics of one speaker: `out` `[2, K]`, `x` `[T, K]`, `mask` `[T]`.
fn speaker(out: &mut [f32], x: &[f32], mask: &[f32]) {
    let width = out.len() / 2;
    let active = || mask.iter().zip(x.chunks_exact(width)).filter(|(w, _)| **w != 0.0).map(|(w, x)| (f64::from(*w), x));
    // In f32, as in pyannote: for a single frame the divisor is then only the epsilon.
    let total = mask.iter().sum::<f32>() + MASK_EPS;
    let divisor = total - mask.iter().map(|w| w * w).sum::<f32>() / total + MASK_EPS;
    let mut sums = vec![0.0f64; width];
    for (w, x) in active() {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += w * f64::from(*x));
    }
    let (mean, deviation) = out.split_at_mut(width);
    mean.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = (sum / f64::from(total)) as f32);
    sums.fill(0.0);
    for (w, x) in active() {
        for ((sum, x), mean) in sums.iter_mut().zip(x).zip(&*mean) {
            *sum += w * f64::from(x - mean).powi(2);
        }
    }
    deviation.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / f64::from(divisor)).sqrt() as f32);
}
