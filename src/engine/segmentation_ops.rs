//! The primitives of networks that remember: PyanNet's, in f32 throughout, since hard decisions follow: [`SegmentationOps`].
//!
//! The functions beside the trait check every shape once, as [`ops`](super::ops) does for [`Backend`]'s.

use super::ops::{check, check_windows, wrong};
use super::profile::range;
use super::wav2vec2_ops::Wav2Vec2Ops;
use super::weights::HostMatrix;
use super::{Backend, Tensor};
use crate::error::Result;

/// Frames that a pooling joins.
pub const POOL: usize = 3;
/// Slope of the leaky ReLU below zero: PyTorch's default.
pub const LEAK: f32 = 0.01;
/// Added to the variance by instance norms: PyTorch's default.
pub const EPS: f32 = 1e-5;
/// Hidden sizes of an LSTM are multiples of this: every vector there is.
pub const HIDDEN_STEP: usize = 16;

/// What becomes of a sum before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x` above zero, [`LEAK`]` x` below.
    LeakyRelu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Zero, where it is below.
    Relu,
}

/// Scale and shift `[C]` of an instance norm.
pub struct InstanceNorm<B: Backend> {
    /// `[C]`
    pub gamma: Tensor<B, f32>,
    /// `[C]`
    pub beta: Tensor<B, f32>,
}

/// How windows that overlap see one convolution over the samples under all of them.
///
/// Each window has its samples scaled and shifted as a whole, and a convolution is linear: the frames of a window are those
/// of the stretch, times the window's scale, plus its shift times the sum of the filter.
pub struct Overlap<'a, B: Backend> {
    /// `[B, 2]` scale and shift of each window's samples.
    pub affine: &'a Tensor<B, f32>,
    /// `[C]` sum of each filter.
    pub sums: &'a Tensor<B, f32>,
    /// Frames from one window to the next.
    pub hop: usize,
    /// Frames of a window.
    pub frames: usize,
}

/// A device that can run PyanNet.
pub trait SegmentationOps: Wav2Vec2Ops {
    /// A weight `[N, K]` in f32, whatever the precision of the others.
    type F32Matrix: Send + Sync;

    /// Windows of PyanNet that are worth running at once: enough to keep the device busy, few enough for its memory.
    fn window_batch(&self) -> usize;
    /// Prepares such a weight.
    fn f32_matrix(&self, weight: &HostMatrix) -> Result<Self::F32Matrix>;
    /// `(N, K)` of a prepared weight.
    fn f32_matrix_shape(&self, weight: &Self::F32Matrix) -> (usize, usize);
    /// Scale and shift that bring each window to mean 0 and variance 1, then to `beta` and `gamma`: `out` `[B, 2]`,
    /// `samples` `[S]`, window `b` begins at sample `b * step` and is `window` long. Sums are f64.
    fn window_affine(
        &self,
        out: &mut Tensor<Self, f32>,
        samples: &Tensor<Self, f32>,
        window: usize,
        step: usize,
        norm: [f32; 2],
    ) -> Result<()>;
    /// Convolution over time without padding: `out` `[B, (F - W) / stride + 1, N]` from `x` `[B, F, C]`, weight `[N, W * C]`
    /// (tap by tap, channels contiguous within a tap), bias `[N]`. One tap is a linear layer.
    #[allow(clippy::too_many_arguments)]
    fn conv1d_exact(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        weight: &Self::F32Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        activation: Activation,
    ) -> Result<()>;
    /// The largest of every [`POOL`] frames, each channel of each clip to mean 0 and variance 1 over its frames, scaled and
    /// shifted, then the leaky ReLU: `out` `[B, F / POOL, C]` from `x` `[B, F, C]`. A bias before it would cancel.
    fn pool_norm(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, norm: &InstanceNorm<Self>) -> Result<()>;
    /// The same of the absolute values of windows that overlap: `x` `[R, C]`, window `b` has `frames` rows from `b * hop` on.
    fn overlap_pool_norm(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        norm: &InstanceNorm<Self>,
        windows: &Overlap<Self>,
    ) -> Result<()>;
    /// A bidirectional LSTM layer, from zero states: `out` `[B, T, 2 H]` (forward beside backward) from what the input
    /// contributes to the gates of each direction, `[B, T, 4 H]` each (input, forget, cell, output, biases included), and
    /// the weights `[4 H, H]` of the state. The gates may be written over.
    fn lstm(
        &self,
        out: &mut Tensor<Self, f32>,
        gates: [&mut Tensor<Self, f32>; 2],
        state: [&Self::F32Matrix; 2],
    ) -> Result<()>;
}

/// See [`SegmentationOps::window_affine`].
pub fn window_affine<B: SegmentationOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    samples: &Tensor<B, f32>,
    window: usize,
    step: usize,
    norm: [f32; 2],
) -> Result<()> {
    let windows = out.rows();
    check("window_affine", "out", out.shape(), &[windows, 2])?;
    let needed = windows.saturating_sub(1).checked_mul(step).and_then(|start| start.checked_add(window));
    if window == 0 || needed.is_none_or(|needed| needed > samples.len()) {
        let expected = format!("{windows} windows of {window}, {step} apart");
        return Err(wrong("window_affine", "samples", expected, samples.len().to_string()));
    }
    let _range = range("window_affine");
    be.window_affine(out, samples, window, step, norm)
}

/// See [`SegmentationOps::conv1d_exact`].
#[allow(clippy::too_many_arguments)]
pub fn conv1d_exact<B: SegmentationOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    weight: &B::F32Matrix,
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
    activation: Activation,
) -> Result<()> {
    check_windows("conv1d_exact", [out.shape(), x.shape()], be.f32_matrix_shape(weight), bias, stride)?;
    let _range = range("conv1d_exact");
    be.conv1d_exact(out, x, weight, bias, stride, activation)
}

fn check_norm<B: Backend>(op: &'static str, norm: &InstanceNorm<B>, width: usize) -> Result<()> {
    check(op, "gamma", norm.gamma.shape(), &[width])?;
    check(op, "beta", norm.beta.shape(), &[width])
}

/// See [`SegmentationOps::pool_norm`].
pub fn pool_norm<B: SegmentationOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    norm: &InstanceNorm<B>,
) -> Result<()> {
    let &[batch, frames, width] = x.shape() else {
        return Err(wrong("pool_norm", "x", "[B, F, C]".into(), format!("{:?}", x.shape())));
    };
    if frames < POOL {
        return Err(wrong("pool_norm", "x", format!("{POOL} frames at least"), frames.to_string()));
    }
    check("pool_norm", "out", out.shape(), &[batch, frames / POOL, width])?;
    check_norm("pool_norm", norm, width)?;
    let _range = range("pool_norm");
    be.pool_norm(out, x, norm)
}

/// See [`SegmentationOps::overlap_pool_norm`].
pub fn overlap_pool_norm<B: SegmentationOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    norm: &InstanceNorm<B>,
    windows: &Overlap<B>,
) -> Result<()> {
    let (batch, width) = (windows.affine.rows(), x.width());
    let needed = batch.saturating_sub(1).checked_mul(windows.hop).and_then(|first| first.checked_add(windows.frames));
    if windows.frames < POOL || needed.is_none_or(|needed| needed > x.rows()) {
        let expected = format!("{batch} windows of {} frames, {} apart", windows.frames, windows.hop);
        return Err(wrong("overlap_pool_norm", "x", expected, format!("{:?}", x.shape())));
    }
    check("overlap_pool_norm", "affine", windows.affine.shape(), &[batch, 2])?;
    check("overlap_pool_norm", "sums", windows.sums.shape(), &[width])?;
    check("overlap_pool_norm", "out", out.shape(), &[batch, windows.frames / POOL, width])?;
    check_norm("overlap_pool_norm", norm, width)?;
    let _range = range("overlap_pool_norm");
    be.overlap_pool_norm(out, x, norm, windows)
}

/// See [`SegmentationOps::lstm`].
pub fn lstm<B: SegmentationOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    gates: [&mut Tensor<B, f32>; 2],
    state: [&B::F32Matrix; 2],
) -> Result<()> {
    let &[batch, frames, width] = out.shape() else {
        return Err(wrong("lstm", "out", "[B, T, 2 H]".into(), format!("{:?}", out.shape())));
    };
    let hidden = width / 2;
    if width == 0 || !width.is_multiple_of(2 * HIDDEN_STEP) {
        return Err(wrong("lstm", "H", format!("a multiple of {HIDDEN_STEP}"), format!("{width} / 2")));
    }
    for gates in &gates {
        check("lstm", "gates", gates.shape(), &[batch, frames, 4 * hidden])?;
    }
    for state in state {
        let (n, k) = be.f32_matrix_shape(state);
        check("lstm", "state", &[n, k], &[4 * hidden, hidden])?;
    }
    let _range = range("lstm");
    be.lstm(out, gates, state)
}
