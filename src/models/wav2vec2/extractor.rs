//! The convolutions over samples.

use super::config::{Config, FeatureNorm};
use crate::engine::waveform::{self, Lengths, Waveform};
use crate::engine::weights::HostMatrix;
use crate::engine::{Epilogue, Tensor, ops};
use crate::error::Result;
use crate::models::whisper::block::Scope;

/// Added to variances: PyTorch's default.
const EPS: f32 = 1e-5;

pub(super) struct Extractor<B: Waveform> {
    layers: Vec<Convolution<B>>,
}

struct Convolution<B: Waveform> {
    /// `[N, W * C]`
    weight: B::Matrix,
    bias: Option<Tensor<B, f32>>,
    stride: usize,
    norm: Norm<B>,
}

/// What stands between a convolution and its GELU. `gamma`, `beta` `[N]`.
enum Norm<B: Waveform> {
    None,
    Channels { gamma: Tensor<B, f32>, beta: Tensor<B, f32> },
    Frames { gamma: Tensor<B, f32>, beta: Tensor<B, f32> },
}

impl<B: Waveform> Extractor<B> {
    pub fn load(scope: &Scope<B>, config: &Config) -> Result<Self> {
        let mut inputs = 1;
        let mut layers = Vec::new();
        for (i, outputs) in config.conv_dim.iter().copied().enumerate() {
            let scope = scope.at(format!("conv_layers.{i}"));
            let taps = config.conv_kernel[i];
            let source = scope.weights.tensor(&format!("{}.conv.weight", scope.prefix), &[outputs, inputs, taps])?;
            let mut values = vec![0.0; source.len()];
            for (from, to) in source.chunks_exact(inputs * taps).zip(values.chunks_exact_mut(inputs * taps)) {
                for (at, value) in from.iter().enumerate() {
                    to[at % taps * inputs + at / taps] = *value;
                }
            }
            let weight = scope.be.matrix(&HostMatrix { values, rows: outputs, cols: inputs * taps })?;
            let bias = config.conv_bias.then(|| scope.vector("conv.bias", outputs)).transpose()?;
            let pair = || -> Result<_> {
                Ok((scope.vector("layer_norm.weight", outputs)?, scope.vector("layer_norm.bias", outputs)?))
            };
            let norm = match config.feat_extract_norm {
                FeatureNorm::Group if i > 0 => Norm::None,
                FeatureNorm::Group => pair().map(|(gamma, beta)| Norm::Channels { gamma, beta })?,
                FeatureNorm::Layer => pair().map(|(gamma, beta)| Norm::Frames { gamma, beta })?,
            };
            layers.push(Convolution { weight, bias, stride: config.conv_stride[i], norm });
            inputs = outputs;
        }
        Ok(Extractor { layers })
    }

    /// `x` `[B, S, 1]`, of which clip `b` has `lengths[b]` samples; `[B, T, N]`.
    pub fn run(&self, be: &B, config: &Config, mut x: Tensor<B>, lengths: &[usize]) -> Result<Tensor<B>> {
        let (batch, samples) = (x.shape()[0], x.shape()[1]);
        for (i, layer) in self.layers.iter().enumerate() {
            let shape = [batch, config.frames_after(samples, i + 1), config.conv_dim[i]];
            let mut out = Tensor::zeros(be, &shape)?;
            let epilogue = if matches!(layer.norm, Norm::None) { Epilogue::GeluErf } else { Epilogue::Store };
            waveform::conv1d_valid(be, &mut out, &x, &layer.weight, layer.bias.as_ref(), layer.stride, epilogue)?;
            match &layer.norm {
                Norm::None => {}
                Norm::Channels { gamma, beta } => {
                    let frames = lengths.iter().map(|length| config.frames_after(*length, i + 1)).collect();
                    waveform::channel_norm(be, &mut out, gamma, beta, EPS, &Lengths::new(be, frames)?)?;
                    be.gelu(&mut out)?;
                }
                Norm::Frames { gamma, beta } => {
                    let mut normed = Tensor::zeros(be, &shape)?;
                    ops::layer_norm(be, &mut normed, &out, gamma, beta, EPS)?;
                    be.gelu(&mut normed)?;
                    out = normed;
                }
            }
            x = out;
        }
        Ok(x)
    }
}
