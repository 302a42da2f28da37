//! CAM++ speaker embeddings: the [`CampplusOps`] primitives on the CPU.

use rayon::prelude::*;

use super::clip_conv::{self, ClipWeight};
use super::{Cpu, Filter, conv2d};
use crate::engine::Tensor;
use crate::engine::campplus_ops::{CampplusOps, ClipConv, ClipConv2dEpilogue, Clips, SEGMENT};
use crate::engine::embedding_ops::{Conv2dEpilogue, FilterShape, HostFilter};
use crate::engine::weights::HostMatrix;
use crate::error::Result;

/// Frames of features per thread. In a dense block they take 4 KiB for every second frame, which fills the second-level
/// cache of a server core.
const FRAMES_PER_THREAD: usize = 512;

impl CampplusOps for Cpu {
    type ClipFilter = Filter;
    type ClipWeight = ClipWeight;

    fn clip_frames(&self) -> usize {
        self.threads() * FRAMES_PER_THREAD
    }

    fn clip_filter(&self, filter: &HostFilter) -> Result<Filter> {
        Ok(Filter::new(self, filter))
    }

    fn clip_filter_shape(&self, filter: &Filter) -> FilterShape {
        filter.shape
    }

    fn clip_weight(&self, weight: &HostMatrix) -> Result<ClipWeight> {
        Ok(ClipWeight::new(self, weight))
    }

    fn clip_weight_shape(&self, weight: &ClipWeight) -> (usize, usize) {
        (weight.matrix.n, weight.matrix.k)
    }

    fn centre_clips(
        &self,
        out: &mut Tensor<Self, f32>,
        features: &Tensor<Self, f32>,
        index: &Tensor<Self, i32>,
        clips: &Clips<Self>,
    ) -> Result<()> {
        let bands = features.width();
        let row = |row: usize| &features.buf[index.buf[row] as usize * bands..][..bands];
        by_clip(self, out, bands, clips, |out, first| {
            let rows = first..first + out.len() / bands;
            let mut mean = vec![0.0f64; bands];
            for row in rows.clone().map(row) {
                mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
            }
            mean.iter_mut().for_each(|sum| *sum /= rows.len() as f64);
            for (out, row) in out.chunks_exact_mut(bands).zip(rows.map(row)) {
                for ((out, v), mean) in out.iter_mut().zip(row).zip(&mean) {
                    *out = (f64::from(*v) - mean) as f32;
                }
            }
        });
        Ok(())
    }

    fn clip_conv2d(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        filter: &Filter,
        after: ClipConv2dEpilogue<Self>,
        clips: &Clips<Self>,
    ) -> Result<()> {
        let after = match after {
            ClipConv2dEpilogue::Store => Conv2dEpilogue::Store,
            ClipConv2dEpilogue::Relu => Conv2dEpilogue::Relu,
            ClipConv2dEpilogue::AddRelu(added) => Conv2dEpilogue::AddRelu(added),
        };
        conv2d::feature_maps(self, out, x, filter, &after, clips.lengths());
        Ok(())
    }

    fn clip_conv(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        conv: &ClipConv<Self>,
        clips: [&Clips<Self>; 2],
    ) -> Result<()> {
        clip_conv::clip_conv(self, out, x, conv, clips);
        Ok(())
    }

    fn segment_context(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()> {
        let (width, len) = (x.width(), out.len());
        let mut rest = &mut out.buf[..len];
        let mut each = Vec::with_capacity(clips.count());
        for (clip, pair) in clips.segments().windows(2).enumerate() {
            let (segments, others) = rest.split_at_mut((pair[1] - pair[0]) * width);
            rest = others;
            let rows = clips.starts()[clip]..clips.starts()[clip + 1];
            each.push((segments, &x.buf[rows.start * width..rows.end * width]));
        }
        self.threads.run(|| each.par_iter_mut().for_each(|(segments, x)| contexts(segments, x, width)));
        Ok(())
    }

    fn clip_statistics(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()> {
        let (width, len) = (x.width(), out.len());
        self.threads.run(|| {
            let each = out.buf[..len].par_chunks_exact_mut(2 * width).zip(clips.starts().par_windows(2));
            each.for_each(|(out, rows)| statistics(out, &x.buf[rows[0] * width..rows[1] * width], width));
        });
        Ok(())
    }
}

/// Calls `each` for every clip, with its rows of `out` `[R, width]` and its first row.
fn by_clip(
    cpu: &Cpu,
    out: &mut Tensor<Cpu, f32>,
    width: usize,
    clips: &Clips<Cpu>,
    each: impl Fn(&mut [f32], usize) + Sync,
) {
    let mut rest = &mut out.buf[..clips.rows() * width];
    let mut parts = Vec::with_capacity(clips.count());
    for (length, first) in clips.lengths().zip(clips.starts()) {
        let (part, others) = rest.split_at_mut(length * width);
        rest = others;
        parts.push((part, *first));
    }
    cpu.threads.run(|| parts.par_iter_mut().for_each(|(out, first)| each(out, *first)));
}

/// Segment pooling of one clip: `out` `[S, K]`, `x` `[T, K]`. Sums over a segment's frames are f32; the sum of the
/// segments is f64.
fn contexts(out: &mut [f32], x: &[f32], width: usize) {
    let mut total = vec![0.0f64; width];
    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks(SEGMENT * width)) {
        out.fill(0.0);
        for row in x.chunks_exact(width) {
            out.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        total.iter_mut().zip(&*out).for_each(|(total, sum)| *total += f64::from(*sum));
        let frames = (x.len() / width) as f32;
        out.iter_mut().for_each(|sum| *sum /= frames);
    }
    let frames = (x.len() / width) as f64;
    for out in out.chunks_exact_mut(width) {
        out.iter_mut().zip(&total).for_each(|(mean, total)| *mean += (total / frames) as f32);
    }
}

/// Statistics pooling of one clip: `out` `[2, K]`, `x` `[T, K]`. Sums are f64, in the order of the frames.
fn statistics(out: &mut [f32], x: &[f32], width: usize) {
    let frames = (x.len() / width) as f64;
    let mut mean = vec![0.0f64; width];
    for row in x.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    mean.iter_mut().for_each(|sum| *sum /= frames);
    let mut squares = vec![0.0f64; width];
    for row in x.chunks_exact(width) {
        for ((sum, v), mean) in squares.iter_mut().zip(row).zip(&mean) {
            *sum += (f64::from(*v) - mean).powi(2);
        }
    }
    let (means, deviations) = out.split_at_mut(width);
    means.iter_mut().zip(&mean).for_each(|(out, mean)| *out = *mean as f32);
    deviations.iter_mut().zip(&squares).for_each(|(out, sum)| *out = (sum / (frames - 1.0)).sqrt() as f32);
}
