//! Feature extractor of wav2vec2: strided convolutions from samples to frames.

use super::config::{Config, FeatureNorm};
use crate::engine::wav2vec2_ops::{self, Lengths, SampleConv};
use crate::engine::weights::HostMatrix;
use crate::engine::{Backend, Epilogue, Tensor};
use crate::error::Result;
use crate::models::transformer::Scope;

/// Added to variances: PyTorch's default.
const EPS: f32 = 1e-5;

pub(super) struct Extractor<B: Backend> {
    /// The first convolution with its norm and GELU as one kernel, if it is small enough, as in all published models.
    first: Option<SampleConv<B>>,
    norm: FeatureNorm,
    layers: Vec<Convolution<B>>,
}

/// A convolution that is computed as a matrix product over windows of its input.
struct Convolution<B: Backend> {
    /// `[N, W * C]`
    weight: B::Matrix,
    bias: Option<Tensor<B, f32>>,
    stride: usize,
    /// gamma and beta `[N]` of the layer norm between the convolution and its GELU, if there is one.
    norm: Option<[Tensor<B, f32>; 2]>,
}

impl<B: Backend> Extractor<B> {
    pub fn load(scope: &Scope<B>, config: &Config) -> Result<Self> {
        let first = config.has_fused_first_conv().then(|| first(&layer(scope, 0), config)).transpose()?;
        let rest = usize::from(first.is_some())..config.conv_dim.len();
        let layers = rest.map(|i| Convolution::load(&layer(scope, i), config, i));
        Ok(Extractor { norm: config.feat_extract_norm, layers: layers.collect::<Result<_>>()?, first })
    }

    /// Features `[B, T, N]` of samples `x` `[B, S, 1]`, of which clip `b` has `lengths[b]`.
    pub fn run(&self, be: &B, config: &Config, mut x: Tensor<B>, lengths: &[usize]) -> Result<Tensor<B>> {
        let (batch, samples) = (x.shape()[0], x.shape()[1]);
        let shape = |i: usize| [batch, config.frames_after(samples, i + 1), config.conv_dim[i]];
        if let Some(first) = &self.first {
            let mut out = Tensor::zeros(be, &shape(0))?;
            match self.norm {
                FeatureNorm::Group => {
                    let frames = lengths.iter().map(|length| config.frames_after(*length, 1)).collect();
                    wav2vec2_ops::conv1d_channel_norm(be, &mut out, &x, first, &Lengths::new(be, frames)?)?;
                }
                FeatureNorm::Layer => wav2vec2_ops::conv1d_layer_norm(be, &mut out, &x, first)?,
            }
            x = out;
        }
        for (i, layer) in (usize::from(self.first.is_some())..).zip(&self.layers) {
            let mut out = Tensor::zeros(be, &shape(i))?;
            let epilogue = if layer.norm.is_none() { Epilogue::GeluErf } else { Epilogue::Store };
            wav2vec2_ops::conv1d_valid(be, &mut out, &x, &layer.weight, layer.bias.as_ref(), layer.stride, epilogue)?;
            if let Some([gamma, beta]) = &layer.norm {
                let mut normed = Tensor::zeros(be, &shape(i))?;
                wav2vec2_ops::layer_norm_gelu(be, &mut normed, &out, gamma, beta, EPS)?;
                out = normed;
            }
            x = out;
        }
        Ok(x)
    }
}

impl<B: Backend> Convolution<B> {
    fn load(scope: &Scope<B>, config: &Config, i: usize) -> Result<Self> {
        let (outputs, taps) = (config.conv_dim[i], config.conv_kernel[i]);
        let inputs = if i == 0 { 1 } else { config.conv_dim[i - 1] };
        let source = scope.weights.tensor(&format!("{}.conv.weight", scope.prefix), &[outputs, inputs, taps])?;
        let mut values = vec![0.0; source.len()];
        for (from, to) in source.chunks_exact(inputs * taps).zip(values.chunks_exact_mut(inputs * taps)) {
            for (at, value) in from.iter().enumerate() {
                to[at % taps * inputs + at / taps] = *value;
            }
        }
        Ok(Convolution {
            weight: scope.be.matrix(&HostMatrix { values, rows: outputs, cols: inputs * taps })?,
            bias: config.conv_bias.then(|| scope.vector("conv.bias", outputs)).transpose()?,
            stride: config.conv_stride[i],
            norm: (config.feat_extract_norm == FeatureNorm::Layer).then(|| norm(scope, outputs)).transpose()?,
        })
    }
}

fn layer<'a, B: Backend>(scope: &Scope<'a, B>, i: usize) -> Scope<'a, B> {
    scope.at(format!("conv_layers.{i}"))
}

fn norm<B: Backend>(scope: &Scope<B>, channels: usize) -> Result<[Tensor<B, f32>; 2]> {
    Ok([scope.vector("layer_norm.weight", channels)?, scope.vector("layer_norm.bias", channels)?])
}

/// The first convolution. It has one input channel, so the checkpoint's layout is the kernel's.
fn first<B: Backend>(scope: &Scope<B>, config: &Config) -> Result<SampleConv<B>> {
    let (channels, taps) = (config.conv_dim[0], config.conv_kernel[0]);
    let weight = scope.weights.tensor(&format!("{}.conv.weight", scope.prefix), &[channels, 1, taps])?;
    let [gamma, beta] = norm(scope, channels)?;
    Ok(SampleConv {
        weight: Tensor::from_host(scope.be, &[channels, taps], &weight)?,
        bias: config.conv_bias.then(|| scope.vector("conv.bias", channels)).transpose()?,
        gamma,
        beta,
        stride: config.conv_stride[0],
        eps: EPS,
    })
}
