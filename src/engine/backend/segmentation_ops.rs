//! Primitives of PyanNet speaker segmentation (SincNet convolutions, LSTM): the [`SegmentationOps`] trait.
//!
//! All arithmetic is f32 or wider, because hard decisions depend on the results. The free functions check every
//! shape once.

use super::device::Device;
use super::host::{self, HostForm};
use super::shape::{check, check_windows, wrong};
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::engine::weights::HostMatrix;
use crate::error::Result;

/// Width and stride of max pooling, in frames.
pub const POOL: usize = 3;
/// Slope of the leaky ReLU below zero: PyTorch's default.
pub const LEAK: f32 = 0.01;
/// Added to the variance by instance norms: PyTorch's default.
pub const EPS: f32 = 1e-5;
/// The hidden size of an LSTM is a multiple of this, the lanes of the widest vector instructions.
pub const HIDDEN_STEP: usize = 16;

/// The activation function, applied after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    None,
    /// Leaky ReLU: `x` if positive, otherwise [`LEAK`]` x`.
    LeakyRelu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// ReLU: `max(x, 0)`.
    Relu,
}

/// Scale and shift of an instance norm.
pub struct InstanceNorm<B: Device> {
    /// `[C]`
    pub gamma: Tensor<B, f32>,
    /// `[C]`
    pub beta: Tensor<B, f32>,
}

impl<B: Device> InstanceNorm<B> {
    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<InstanceNorm<B::Host>> {
        Ok(InstanceNorm { gamma: host::copy(be, &self.gamma)?, beta: host::copy(be, &self.beta)? })
    }
}

/// Overlapping windows that share one convolution over their common samples.
///
/// The samples of each window are normalised by one scale and one shift. A convolution is linear, so the frames of a
/// window are the shared frames times its scale, plus its shift times the sum of the filter.
pub struct Overlap<'a, B: Device> {
    /// `[B, 2]` scale and shift of each window's samples.
    pub affine: &'a Tensor<B, f32>,
    /// `[C]` sum of the taps of each filter.
    pub sums: &'a Tensor<B, f32>,
    /// Step from one window to the next, in frames.
    pub hop: usize,
    /// Frames per window.
    pub frames: usize,
}

/// Layers of PyanNet. The default bodies run on [`Device::Host`].
pub trait SegmentationOps: Device {
    /// A weight `[N, K]` in f32, whatever the compute type of the device.
    type F32Matrix: HostForm<<Self::Host as SegmentationOps>::F32Matrix>;
    /// Batch size in PyanNet windows: enough to keep the device busy, few enough for its memory.
    fn window_batch(&self) -> usize {
        host::of(self).map_or(1, |host| host.window_batch())
    }
    /// Prepares an f32 weight `[N, K]`.
    fn f32_matrix(&self, weight: &HostMatrix) -> Result<Self::F32Matrix> {
        host::prepared(host::of(self)?.f32_matrix(weight)?)
    }
    /// `(N, K)` of a prepared weight.
    fn f32_matrix_shape(&self, weight: &Self::F32Matrix) -> (usize, usize) {
        host::of(self).and_then(|host| Ok(host.f32_matrix_shape(host::form(weight)?))).unwrap_or_default()
    }
    /// Scale and shift that normalise each window to mean 0 and variance 1, then apply `norm` (`[gamma, beta]`): `out`
    /// `[B, 2]`, `samples` `[S]`; window `b` has `window` samples from sample `b * step` on. Sums are f64.
    fn window_affine(
        &self,
        out: &mut Tensor<Self, f32>,
        samples: &Tensor<Self, f32>,
        window: usize,
        step: usize,
        norm: [f32; 2],
    ) -> Result<()> {
        let samples = host::copy(self, samples)?;
        host::update(self, out, |host, out| host.window_affine(out, &samples, window, step, norm))
    }
    /// 1-D convolution over time without padding: `out` `[B, (F - W) / stride + 1, N]` from `x` `[B, F, C]`, weight
    /// `[N, W * C]` (tap by tap, channels contiguous within a tap), bias `[N]`. With one tap it is a linear layer.
    #[allow(clippy::too_many_arguments)]
    fn conv1d_f32(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        weight: &Self::F32Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        activation: Activation,
    ) -> Result<()> {
        let (x, bias) = (host::copy(self, x)?, host::copy_option(self, bias)?);
        host::update(self, out, |host, out| {
            host.conv1d_f32(out, &x, host::form(weight)?, bias.as_ref(), stride, activation)
        })
    }
    /// Max pooling of [`POOL`] frames, instance norm, leaky ReLU: `out` `[B, F / POOL, C]` from `x` `[B, F, C]`. The
    /// norm is over the frames of each channel of each clip, so a bias before it has no effect.
    fn pool_norm(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, norm: &InstanceNorm<Self>) -> Result<()> {
        let (x, norm) = (host::copy(self, x)?, norm.on_host(self)?);
        host::update(self, out, |host, out| host.pool_norm(out, &x, &norm))
    }
    /// [`pool_norm`](Self::pool_norm) of the absolute values of overlapping windows: `x` `[R, C]`, window `b` has
    /// `frames` rows from row `b * hop` on.
    fn overlap_pool_norm(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        norm: &InstanceNorm<Self>,
        windows: &Overlap<Self>,
    ) -> Result<()> {
        let (x, norm) = (host::copy(self, x)?, norm.on_host(self)?);
        let (affine, sums) = (host::copy(self, windows.affine)?, host::copy(self, windows.sums)?);
        let windows = Overlap { affine: &affine, sums: &sums, hop: windows.hop, frames: windows.frames };
        host::update(self, out, |host, out| host.overlap_pool_norm(out, &x, &norm, &windows))
    }
    /// The recurrence of a bidirectional LSTM layer, from zero states: `out` `[B, T, 2 H]` (forward, then backward).
    /// `gates` are the input projections of each direction, biases included, `[B, T, 4 H]` each (input, forget, cell,
    /// output); they may be overwritten. `state` are the recurrent weights `[4 H, H]`.
    fn lstm(
        &self,
        out: &mut Tensor<Self, f32>,
        gates: [&mut Tensor<Self, f32>; 2],
        state: [&Self::F32Matrix; 2],
    ) -> Result<()> {
        let [forward, backward] = gates;
        let mut forward = host::copy(self, forward)?;
        let mut backward = host::copy(self, backward)?;
        let state = [host::form(state[0])?, host::form(state[1])?];
        host::update(self, out, |host, out| host.lstm(out, [&mut forward, &mut backward], state))
    }
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

/// See [`SegmentationOps::conv1d_f32`].
#[allow(clippy::too_many_arguments)]
pub fn conv1d_f32<B: SegmentationOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    weight: &B::F32Matrix,
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
    activation: Activation,
) -> Result<()> {
    check_windows("conv1d_f32", [out.shape(), x.shape()], be.f32_matrix_shape(weight), bias, stride)?;
    let _range = range("conv1d_f32");
    be.conv1d_f32(out, x, weight, bias, stride, activation)
}

fn check_norm<B: Device>(op: &'static str, norm: &InstanceNorm<B>, width: usize) -> Result<()> {
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
