//! Primitives of wav2vec2 (convolutions over samples, batches of clips of different lengths): the [`Wav2Vec2Ops`]
//! trait.
//!
//! The free functions check every shape once.

use super::device::Device;
use super::host;
use super::matrix_ops::{Epilogue, MatrixOps};
use super::shape::{check, check_windows, wrong};
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::Result;

/// The number of frames of each clip in a padded batch. Padding must not influence any result.
pub struct Lengths<B: Device> {
    /// `[B]`
    pub device: Tensor<B, i32>,
    /// `[B]`
    pub host: Vec<usize>,
}

impl<B: Device> Lengths<B> {
    /// Copies the lengths of the clips to the device.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a length beyond 32 bits.
    pub fn new(be: &B, host: Vec<usize>) -> Result<Self> {
        let narrow = |length: &usize| {
            i32::try_from(*length).map_err(|_| wrong("lengths", "length", "below 2^31".into(), length.to_string()))
        };
        let values = host.iter().map(narrow).collect::<Result<Vec<i32>>>()?;
        Ok(Lengths { device: Tensor::from_host(be, &[host.len()], &values)?, host })
    }

    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<Lengths<B::Host>> {
        Ok(Lengths { device: host::copy(be, &self.device)?, host: self.host.clone() })
    }
}

/// A convolution over samples (one input channel) and the norm that follows it.
pub struct SampleConv<B: Device> {
    /// `[N, W]`, at most [`MAX_SAMPLE_CHANNELS`] and [`MAX_SAMPLE_TAPS`].
    pub weight: Tensor<B, f32>,
    /// `[N]`
    pub bias: Option<Tensor<B, f32>>,
    /// `[N]`
    pub gamma: Tensor<B, f32>,
    /// `[N]`
    pub beta: Tensor<B, f32>,
    /// Stride in samples, at most [`MAX_SAMPLE_TAPS`].
    pub stride: usize,
    /// Added to variances.
    pub eps: f32,
}

impl<B: Device> SampleConv<B> {
    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<SampleConv<B::Host>> {
        Ok(SampleConv {
            weight: host::copy(be, &self.weight)?,
            bias: host::copy_option(be, self.bias.as_ref())?,
            gamma: host::copy(be, &self.gamma)?,
            beta: host::copy(be, &self.beta)?,
            stride: self.stride,
            eps: self.eps,
        })
    }
}

/// Largest number of taps and largest stride of a convolution over samples: a CUDA kernel keeps the taps of each
/// channel in registers.
pub const MAX_SAMPLE_TAPS: usize = 16;
/// Largest number of channels of a convolution over samples: two per thread of a CUDA block.
pub const MAX_SAMPLE_CHANNELS: usize = 512;

/// Layers of wav2vec2. Convolutions with a prepared weight are products over windows that the host gathers; the other
/// default bodies run on [`Device::Host`].
pub trait Wav2Vec2Ops: MatrixOps {
    /// 1-D convolution over time without padding: `out` `[B, (F - W) / stride + 1, N]` from `x` `[B, F, C]`, weight
    /// `[N, W * C]` (tap by tap, channels contiguous within a tap), bias `[N]`.
    fn conv1d_valid(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        let taps = self.matrix_shape(weight).1 / x.width();
        let windows = host::unfold(self, x, taps, stride, 0, out.shape()[1])?;
        self.linear(out, &windows, weight, bias, epilogue)
    }
    /// Convolution over samples without padding, instance norm (each channel of each clip over the clip's own frames),
    /// GELU: `out` `[B, (F - W) / stride + 1, N]` from `x` `[B, F, 1]`, lengths in frames of `out`; padding frames are
    /// set to 0. A bias of the convolution has no effect.
    fn conv1d_channel_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        conv: &SampleConv<Self>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        let (x, conv, lengths) = (host::copy_act(self, x)?, conv.on_host(self)?, lengths.on_host(self)?);
        host::update_act(self, out, |host, out| host.conv1d_channel_norm(out, &x, &conv, &lengths))
    }
    /// Convolution over samples without padding, layer norm (each frame over its channels), GELU; shapes as
    /// [`conv1d_channel_norm`](Self::conv1d_channel_norm).
    fn conv1d_layer_norm(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, conv: &SampleConv<Self>) -> Result<()> {
        let (x, conv) = (host::copy_act(self, x)?, conv.on_host(self)?);
        host::update_act(self, out, |host, out| host.conv1d_layer_norm(out, &x, &conv))
    }
    /// [`TransformerOps::layer_norm`](super::TransformerOps::layer_norm), then GELU with the exact error function.
    fn layer_norm_gelu(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()> {
        let (x, gamma, beta) = (host::copy_act(self, x)?, host::copy(self, gamma)?, host::copy(self, beta)?);
        host::update_act(self, out, |host, out| host.layer_norm_gelu(out, &x, &gamma, &beta, eps))
    }
    /// Grouped convolution of the positional embedding:
    /// `out[t] = x[t] + gelu_erf(sum over W taps of x[t - W / 2 + tap] W_tap^T + b)`, separately for each group of
    /// `C / G` channels: `out`, `x` `[B, T, C]`, one weight `[C / G, W * C / G]` per group, bias `[C]`. Padding frames
    /// are read as zeros, and set to 0 in `out`.
    fn positional_conv(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weights: &[Self::Matrix],
        bias: &Tensor<Self, f32>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        positional_conv_from_products(self, out, x, weights, bias, lengths)
    }
    /// [`TransformerOps::attention`](super::TransformerOps::attention) with a padding mask: the frames of a clip attend
    /// only to the clip's own frames; padding frames of `out` are set to 0.
    fn attention_within(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        heads: usize,
        scale: f32,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        let (qkv, lengths) = (host::copy_act(self, qkv)?, lengths.on_host(self)?);
        host::update_act(self, out, |host, out| host.attention_within(out, &qkv, heads, scale, &lengths))
    }
    /// `out` `[R, V]` = `log_softmax(logits + bias)`, natural logarithm, `logits` `[R, V]`, bias `[V]`. If `wildcard`
    /// is the blank's class, `out` is `[R, V + 1]`: the last column is the wildcard class, for characters that the
    /// network has no class for. It is the maximum of all classes except the blank.
    fn log_softmax(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        bias: &Tensor<Self, f32>,
        wildcard: Option<usize>,
    ) -> Result<()> {
        let (logits, bias) = (host::copy(self, logits)?, host::copy(self, bias)?);
        host::update(self, out, |host, out| host.log_softmax(out, &logits, &bias, wildcard))
    }
}

/// [`Wav2Vec2Ops::positional_conv`] as one matrix product per group, over windows that the host gathers.
fn positional_conv_from_products<B: MatrixOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weights: &[B::Matrix],
    bias: &Tensor<B, f32>,
    lengths: &Lengths<B>,
) -> Result<()> {
    let (frames, width) = (x.shape()[1], x.width());
    let (rows, size) = (x.rows(), width / weights.len());
    let is_padding = |row: usize| row % frames >= lengths.host[row / frames];
    let mut values = host::values(be, x)?;
    let padding = values.chunks_exact_mut(width).enumerate().filter(|(row, _)| is_padding(*row));
    padding.for_each(|(_, values)| values.fill(0.0));
    let bias = bias.to_host(be)?;
    let mut result = values.clone();
    let mut product = Tensor::zeros(be, &[rows, size])?;
    for (group, weight) in weights.iter().enumerate() {
        let columns = group * size..(group + 1) * size;
        let x: Vec<f32> = values.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect();
        let x = host::activations(be, &[rows / frames, frames, size], &x)?;
        let taps = be.matrix_shape(weight).1 / size;
        let windows = host::unfold(be, &x, taps, 1, taps / 2, frames)?;
        let bias = Tensor::from_host(be, &[size], &bias[columns.clone()])?;
        be.linear(&mut product, &windows, weight, Some(&bias), Epilogue::GeluErf)?;
        let products = host::values(be, &product)?;
        for (row, (result, product)) in result.chunks_exact_mut(width).zip(products.chunks_exact(size)).enumerate() {
            if !is_padding(row) {
                result[columns.clone()].iter_mut().zip(product).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    be.write_act(&mut out.buf, 0, &result)
}

/// Checks that `x` is `[B, T, C]` and has one length of at most `T` per clip.
fn check_clips<B: Device>(op: &'static str, x: &Tensor<B>, lengths: &Lengths<B>) -> Result<()> {
    let &[batch, frames, _] = x.shape() else {
        return Err(wrong(op, "x", "[B, T, C]".into(), format!("{:?}", x.shape())));
    };
    check(op, "lengths", &[lengths.host.len()], &[batch])?;
    match lengths.host.iter().find(|length| **length > frames) {
        Some(length) => Err(wrong(op, "length", format!("at most {frames}"), length.to_string())),
        None => Ok(()),
    }
}

/// See [`Wav2Vec2Ops::conv1d_valid`].
pub fn conv1d_valid<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
    epilogue: Epilogue,
) -> Result<()> {
    check_windows("conv1d_valid", [out.shape(), x.shape()], be.matrix_shape(weight), bias, stride)?;
    let _range = range("conv1d_valid");
    be.conv1d_valid(out, x, weight, bias, stride, epilogue)
}

/// Checks the shapes of a convolution over samples: `x` `[B, F, 1]`, `out` `[B, (F - W) / stride + 1, N]`, weight
/// `[N, W]`.
fn check_samples<B: Device>(op: &'static str, out: &Tensor<B>, x: &Tensor<B>, conv: &SampleConv<B>) -> Result<()> {
    let &[n, taps] = conv.weight.shape() else {
        return Err(wrong(op, "weight", "[N, W]".into(), format!("{:?}", conv.weight.shape())));
    };
    let sizes = [(n, MAX_SAMPLE_CHANNELS), (taps, MAX_SAMPLE_TAPS), (conv.stride, MAX_SAMPLE_TAPS)];
    if sizes.iter().any(|(size, most)| *size == 0 || size > most) {
        let expected = format!("at most {MAX_SAMPLE_CHANNELS} channels, {MAX_SAMPLE_TAPS} taps and samples of stride");
        return Err(wrong(op, "weight", expected, format!("{n}, {taps} and {}", conv.stride)));
    }
    let &[batch, frames, 1] = x.shape() else {
        return Err(wrong(op, "x", "[B, F, 1]".into(), format!("{:?}", x.shape())));
    };
    if frames < taps {
        return Err(wrong(op, "x", format!("{taps} samples at least"), frames.to_string()));
    }
    check(op, "out", out.shape(), &[batch, (frames - taps) / conv.stride + 1, n])?;
    check(op, "gamma", conv.gamma.shape(), &[n])?;
    check(op, "beta", conv.beta.shape(), &[n])?;
    conv.bias.as_ref().map_or(Ok(()), |bias| check(op, "bias", bias.shape(), &[n]))
}

/// See [`Wav2Vec2Ops::conv1d_channel_norm`].
pub fn conv1d_channel_norm<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    conv: &SampleConv<B>,
    lengths: &Lengths<B>,
) -> Result<()> {
    check_samples("conv1d_channel_norm", out, x, conv)?;
    check_clips("conv1d_channel_norm", out, lengths)?;
    let _range = range("conv1d_channel_norm");
    be.conv1d_channel_norm(out, x, conv, lengths)
}

/// See [`Wav2Vec2Ops::conv1d_layer_norm`].
pub fn conv1d_layer_norm<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    conv: &SampleConv<B>,
) -> Result<()> {
    check_samples("conv1d_layer_norm", out, x, conv)?;
    let _range = range("conv1d_layer_norm");
    be.conv1d_layer_norm(out, x, conv)
}

/// See [`Wav2Vec2Ops::layer_norm_gelu`].
pub fn layer_norm_gelu<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    gamma: &Tensor<B, f32>,
    beta: &Tensor<B, f32>,
    eps: f32,
) -> Result<()> {
    check("layer_norm_gelu", "out", out.shape(), x.shape())?;
    check("layer_norm_gelu", "gamma", gamma.shape(), &[x.width()])?;
    check("layer_norm_gelu", "beta", beta.shape(), &[x.width()])?;
    let _range = range("layer_norm_gelu");
    be.layer_norm_gelu(out, x, gamma, beta, eps)
}

/// See [`Wav2Vec2Ops::positional_conv`].
pub fn positional_conv<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weights: &[B::Matrix],
    bias: &Tensor<B, f32>,
    lengths: &Lengths<B>,
) -> Result<()> {
    check_clips("positional_conv", x, lengths)?;
    check("positional_conv", "out", out.shape(), x.shape())?;
    check("positional_conv", "bias", bias.shape(), &[x.width()])?;
    let width = x.width() / weights.len().max(1);
    if weights.is_empty() {
        return Err(wrong("positional_conv", "weights", "one for each group".into(), "none".into()));
    }
    for weight in weights {
        let (n, k) = be.matrix_shape(weight);
        if n != width || n == 0 || !k.is_multiple_of(n) || n * weights.len() != x.width() {
            let expected = format!("[{width}, taps * {width}] for each group of {}", x.width());
            return Err(wrong("positional_conv", "weight", expected, format!("{} of [{n}, {k}]", weights.len())));
        }
    }
    let _range = range("positional_conv");
    be.positional_conv(out, x, weights, bias, lengths)
}

/// See [`Wav2Vec2Ops::attention_within`].
pub fn attention_within<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B>,
    qkv: &Tensor<B>,
    heads: usize,
    scale: f32,
    lengths: &Lengths<B>,
) -> Result<()> {
    check_clips("attention_within", out, lengths)?;
    if heads == 0 || !out.width().is_multiple_of(heads) {
        return Err(wrong(
            "attention_within",
            "width",
            format!("a multiple of {heads} heads"),
            out.width().to_string(),
        ));
    }
    check("attention_within", "qkv", qkv.shape(), &[out.shape()[0], out.shape()[1], 3 * out.width()])?;
    let _range = range("attention_within");
    be.attention_within(out, qkv, heads, scale, lengths)
}

/// See [`Wav2Vec2Ops::log_softmax`].
pub fn log_softmax<B: Wav2Vec2Ops>(
    be: &B,
    out: &mut Tensor<B, f32>,
    logits: &Tensor<B, f32>,
    bias: &Tensor<B, f32>,
    wildcard: Option<usize>,
) -> Result<()> {
    let classes = logits.width();
    check("log_softmax", "bias", bias.shape(), &[classes])?;
    check(
        "log_softmax",
        "out",
        &[out.rows(), out.width()],
        &[logits.rows(), classes + usize::from(wildcard.is_some())],
    )?;
    if wildcard.is_some_and(|blank| blank >= classes) {
        return Err(wrong("log_softmax", "blank", format!("below {classes}"), format!("{wildcard:?}")));
    }
    let _range = range("log_softmax");
    be.log_softmax(out, logits, bias, wildcard)
}
