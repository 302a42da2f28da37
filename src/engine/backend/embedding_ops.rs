//! Primitives of ResNet speaker embeddings (fbank features, 2-D convolutions, statistics pooling): the [`EmbeddingOps`]
//! trait.
//!
//! A feature map is `[N, T, H, C]`: time, then frequency, channels contiguous. PyTorch's order is `[N, C, H, T]`;
//! weights are transposed when they are loaded.
//!
//! The free functions check every shape once.

use super::device::Device;
pub use super::filter::{CHANNEL_STEP, FilterShape, HostFilter};
use super::host::{self, HostForm};
use super::shape::{check, wrong};
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::Result;
use crate::features::fbank::{self, Fbank};

/// Added to the sum of a mask, and to the divisor of the variance: pyannote's `StatsPool`.
pub const MASK_EPS: f32 = 1e-8;

/// The epilogue of [`EmbeddingOps::conv2d`], applied after the bias.
pub enum Conv2dEpilogue<'a, B: Device> {
    /// None.
    Store,
    /// ReLU.
    Relu,
    /// Adds a tensor of the same shape (the residual connection), then ReLU.
    AddRelu(&'a Tensor<B>),
}

/// Layers of ResNet speaker embedding networks. The default bodies run on [`Device::Host`].
pub trait EmbeddingOps: Device {
    /// Constants of [`EmbeddingOps::fbank`].
    type FbankPlan: HostForm<<Self::Host as EmbeddingOps>::FbankPlan>;
    /// Weights and bias of a 2-D convolution.
    type Filter: HostForm<<Self::Host as EmbeddingOps>::Filter>;
    /// Prepares the constants of [`EmbeddingOps::fbank`]. `options` were checked.
    fn fbank_plan(&self, options: &Fbank) -> Result<Self::FbankPlan> {
        host::prepared(host::of(self)?.fbank_plan(options)?)
    }
    /// `M`: number of mel bands of a plan.
    fn fbank_bands(&self, plan: &Self::FbankPlan) -> usize {
        host::of(self).and_then(|host| Ok(host.fbank_bands(host::form(plan)?))).unwrap_or_default()
    }
    /// Prepares a 2-D convolution. Its sizes were checked.
    fn filter(&self, filter: &HostFilter) -> Result<Self::Filter> {
        host::prepared(host::of(self)?.filter(filter)?)
    }
    /// The sizes of a prepared convolution.
    fn filter_shape(&self, filter: &Self::Filter) -> FilterShape {
        host::of(self).and_then(|host| Ok(host.filter_shape(host::form(filter)?))).unwrap_or_default()
    }
    /// Batch size in windows: enough to keep the device busy, few enough for its memory.
    fn embedding_batch(&self) -> usize {
        host::of(self).map_or(1, |host| host.embedding_batch())
    }
    /// Kaldi fbank features: `out` `[R, M]`, `samples` `[S]`. Row `r` is computed from the [`FRAME`](fbank::FRAME)
    /// samples from `r * `[`SHIFT`](fbank::SHIFT) on, `R = `[`frames`](fbank::frames)`(S)`. See [`Fbank`].
    fn fbank(&self, out: &mut Tensor<Self, f32>, samples: &Tensor<Self, f32>, plan: &Self::FbankPlan) -> Result<()> {
        let samples = host::copy(self, samples)?;
        host::update(self, out, |host, out| host.fbank(out, &samples, host::form(plan)?))
    }
    /// Gathers windows of features and subtracts each band's mean over the window: `out` `[N, T, M, 1]`, `features`
    /// `[R, M]`; window `n` is rows `first[n] .. first[n] + T`. The mean is summed in f32 or wider, in an order that
    /// depends only on `T`.
    fn centre_windows(&self, out: &mut Tensor<Self>, features: &Tensor<Self, f32>, first: &[usize]) -> Result<()> {
        let features = host::copy(self, features)?;
        host::update_act(self, out, |host, out| host.centre_windows(out, &features, first))
    }
    /// 2-D convolution with f32 accumulators: `out` `[N, T / stride, H / stride, O]` (rounded up, both strides equal),
    /// `x` `[N, T, H, C]`. The receptive field of output `(t, h)` begins at
    /// `(t * stride - taps / 2, h * stride - taps / 2)`.
    fn conv2d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        filter: &Self::Filter,
        after: Conv2dEpilogue<Self>,
    ) -> Result<()> {
        let x = host::copy_act(self, x)?;
        let added = match &after {
            Conv2dEpilogue::AddRelu(added) => Some(host::copy_act(self, added)?),
            _ => None,
        };
        host::update_act(self, out, |host, out| {
            let after = match (&after, &added) {
                (_, Some(added)) => Conv2dEpilogue::AddRelu(added),
                (Conv2dEpilogue::Relu, _) => Conv2dEpilogue::Relu,
                _ => Conv2dEpilogue::Store,
            };
            host.conv2d(out, &x, host::form(filter)?, after)
        })
    }
    /// Masked statistics pooling: weighted mean and standard deviation over time for each speaker: `out`
    /// `[N, S, 2, K]`, `x` `[N, T, H, C]` with `K = H * C`, `masks` `[N, S, T]` (weights from 0 to 1).
    ///
    /// With weights `w`, `v = sum w + e` and `e = `[`MASK_EPS`]: the mean is `m = sum w x / v`, the deviation
    /// `sqrt(sum w (x - m)^2 / (v - sum w^2 / v + e))`, all in f32 or wider. A mask of zeros gives zeros.
    fn masked_statistics(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self>,
        masks: &Tensor<Self, f32>,
    ) -> Result<()> {
        let (x, masks) = (host::copy_act(self, x)?, host::copy(self, masks)?);
        host::update(self, out, |host, out| host.masked_statistics(out, &x, &masks))
    }
}

/// See [`EmbeddingOps::fbank_plan`].
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for invalid options.
pub fn fbank_plan<B: EmbeddingOps>(be: &B, options: &Fbank) -> Result<B::FbankPlan> {
    be.fbank_plan(&options.checked()?)
}

/// See [`EmbeddingOps::filter`].
pub fn filter<B: EmbeddingOps>(be: &B, filter: &HostFilter) -> Result<B::Filter> {
    let FilterShape { outputs, taps, inputs, stride } = filter.shape;
    let is_multiple = |channels: usize| channels > 0 && channels.is_multiple_of(CHANNEL_STEP);
    let is_single = inputs == 1 && taps == 3 && stride == [1, 1];
    let are_channels_valid = is_multiple(outputs) && (is_multiple(inputs) || is_single);
    if !are_channels_valid || !matches!(taps, 1 | 3) || !matches!(stride, [1, 1] | [2, 2]) {
        let expected = format!("1 or 3 taps, stride 1 or 2 both ways, channels in steps of {CHANNEL_STEP}");
        return Err(wrong("filter", "weight", expected, format!("{:?}", filter.shape)));
    }
    check("filter", "values", &[filter.values.len()], &[outputs * taps * taps * inputs])?;
    check("filter", "bias", &[filter.bias.len()], &[outputs])?;
    be.filter(filter)
}

/// See [`EmbeddingOps::fbank`].
pub fn fbank<B: EmbeddingOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    samples: &Tensor<B, f32>,
    plan: &B::FbankPlan,
) -> Result<()> {
    let frames = fbank::frames(samples.len());
    if frames == 0 {
        return Err(wrong("fbank", "samples", format!("{} at least", fbank::FRAME), samples.len().to_string()));
    }
    check("fbank", "out", out.shape(), &[frames, be.fbank_bands(plan)])?;
    let _range = range("fbank");
    be.fbank(out, samples, plan)
}

/// See [`EmbeddingOps::centre_windows`].
pub fn centre_windows<B: EmbeddingOps>(
    be: &B,
    out: &mut Tensor<B>,
    features: &Tensor<B, f32>,
    first: &[usize],
) -> Result<()> {
    let &[_, frames, _, _] = out.shape() else {
        return Err(wrong("centre_windows", "out", "[N, T, M, 1]".into(), format!("{:?}", out.shape())));
    };
    let &[rows, bands] = features.shape() else {
        return Err(wrong("centre_windows", "features", "[R, M]".into(), format!("{:?}", features.shape())));
    };
    check("centre_windows", "out", out.shape(), &[first.len(), frames, bands, 1])?;
    let last = rows.checked_sub(frames).filter(|_| frames > 0);
    if let Some(first) = first.iter().find(|first| last.is_none_or(|last| **first > last)) {
        let expected = format!("{frames} of {rows} rows from {first} on");
        return Err(wrong("centre_windows", "features", expected, "fewer".into()));
    }
    let _range = range("centre_windows");
    be.centre_windows(out, features, first)
}

/// See [`EmbeddingOps::conv2d`].
pub fn conv2d<B: EmbeddingOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    filter: &B::Filter,
    after: Conv2dEpilogue<B>,
) -> Result<()> {
    let shape = be.filter_shape(filter);
    let &[batch, frames, bands, inputs] = x.shape() else {
        return Err(wrong("conv2d", "x", "[N, T, H, C]".into(), format!("{:?}", x.shape())));
    };
    check("conv2d", "x", &[inputs], &[shape.inputs])?;
    let [frames, bands] = shape.out([frames, bands]);
    check("conv2d", "out", out.shape(), &[batch, frames, bands, shape.outputs])?;
    if let Conv2dEpilogue::AddRelu(other) = &after {
        check("conv2d", "added", other.shape(), out.shape())?;
    }
    let _range = range("conv2d");
    be.conv2d(out, x, filter, after)
}

/// See [`EmbeddingOps::masked_statistics`].
pub fn masked_statistics<B: EmbeddingOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B>,
    masks: &Tensor<B, f32>,
) -> Result<()> {
    let &[batch, frames, bands, channels] = x.shape() else {
        return Err(wrong("masked_statistics", "x", "[N, T, H, C]".into(), format!("{:?}", x.shape())));
    };
    let &[_, speakers, _] = masks.shape() else {
        return Err(wrong("masked_statistics", "masks", "[N, S, T]".into(), format!("{:?}", masks.shape())));
    };
    check("masked_statistics", "masks", masks.shape(), &[batch, speakers, frames])?;
    check("masked_statistics", "out", out.shape(), &[batch, speakers, 2, bands * channels])?;
    let _range = range("masked_statistics");
    be.masked_statistics(out, x, masks)
}
