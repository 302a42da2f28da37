//! `conv1d`: convolution over time as a matrix product over windows of the input.
//!
//! Frames come first and channels are contiguous, so the window of an output frame is `W * C` contiguous values. Only
//! the windows at the edges of a clip are copied, to pad them.

use super::{Cpu, Matrix, gemm};
use crate::engine::{Epilogue, Tensor};

/// See [`MatrixOps::conv1d`](crate::engine::backend::MatrixOps::conv1d): `out` `[B, ceil(F / stride), N]`, `x` `[B, F,
/// C]`.
pub(super) fn conv1d(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    x: &Tensor<Cpu>,
    weight: &Matrix,
    bias: Option<&Tensor<Cpu, f32>>,
    stride: usize,
    epilogue: Epilogue,
) {
    let &[batch, frames, width] = x.shape() else { return };
    let (out_frames, k, len) = (frames.div_ceil(stride), weight.k, out.len());
    let edges = Edges::new(&x.buf[..x.len()], batch, frames, width, k / width, stride);
    let row = |r: usize| {
        let (clip, t) = (r / out_frames, r % out_frames);
        match edges.inside(t) {
            Some(first_frame) => &x.buf[(clip * frames + first_frame) * width..][..k],
            None => edges.window(clip, t),
        }
    };
    let bias = bias.map(|b| &b.buf[..weight.n]);
    gemm::gemm(cpu, row, batch * out_frames, weight.panels(), bias, epilogue, &mut out.buf[..len]);
}

/// Zero-padded copies of the windows that cross an edge of their clip.
struct Edges {
    /// `[B, left + right, W * C]`
    windows: Vec<f32>,
    /// Output frames whose window starts before the clip.
    left: usize,
    /// First output frame whose window ends after the clip.
    right_from: usize,
    /// Number of output frames.
    total: usize,
    half: usize,
    stride: usize,
    k: usize,
}

impl Edges {
    fn new(x: &[f32], batch: usize, frames: usize, width: usize, taps: usize, stride: usize) -> Self {
        let (half, total) = (taps / 2, frames.div_ceil(stride));
        let left = half.div_ceil(stride).min(total);
        // Window t covers frames t * stride - half ..= t * stride + half; the last frame of the clip is frames - 1.
        let right_from = if frames > half { (frames - 1 - half) / stride + 1 } else { 0 }.clamp(left, total);
        let k = taps * width;
        let mut edges = Edges { windows: Vec::new(), left, right_from, total, half, stride, k };
        edges.windows.reserve(batch * edges.per_clip() * k);
        for clip in x.chunks_exact(frames * width) {
            for t in (0..left).chain(right_from..total) {
                for tap in 0..taps {
                    match (t * stride + tap).checked_sub(half).filter(|f| *f < frames) {
                        Some(frame) => edges.windows.extend_from_slice(&clip[frame * width..(frame + 1) * width]),
                        None => edges.windows.extend(std::iter::repeat_n(0.0, width)),
                    }
                }
            }
        }
        edges
    }

    fn per_clip(&self) -> usize {
        self.left + self.total - self.right_from
    }

    /// The first input frame of the window of output frame `t`, if the whole window is within the clip.
    fn inside(&self, t: usize) -> Option<usize> {
        (self.left..self.right_from).contains(&t).then(|| t * self.stride - self.half)
    }

    /// The padded window of output frame `t`, `[W * C]`.
    fn window(&self, clip: usize, t: usize) -> &[f32] {
        let index = if t < self.left { t } else { self.left + t - self.right_from };
        &self.windows[(clip * self.per_clip() + index) * self.k..][..self.k]
    }
}
