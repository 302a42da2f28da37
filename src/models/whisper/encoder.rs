//! Whisper's audio encoder: from log-mel frames to one vector per 20 ms.
//!
//! Source: openai/whisper `model.py::AudioEncoder`; Radford et al. 2022 (arXiv:2212.04356) section 2.2. Weight names:
//! transformers `modeling_whisper.py::WhisperEncoder`.

use super::config::Config;
use crate::engine::{Backend, Epilogue, Tensor, ops};
use crate::error::Result;
use crate::models::transformer::{self, Bias, FeedForward, LayerNorm, Linear, Scope};

/// Taps of both convolutions of the stem.
const TAPS: usize = 3;

pub(super) struct Encoder<B: Backend> {
    conv1: Linear<B>,
    conv2: Linear<B>,
    /// `[T, C]` sinusoids, as the checkpoint stores them.
    positions: Tensor<B, f32>,
    layers: Vec<EncoderLayer<B>>,
    norm: LayerNorm<B>,
    heads: usize,
}

struct EncoderLayer<B: Backend> {
    norm: LayerNorm<B>,
    /// Queries, keys and values side by side: `[3 C, C]`.
    qkv: Linear<B>,
    out: Linear<B>,
    final_norm: LayerNorm<B>,
    feed_forward: FeedForward<B>,
}

/// Working memory of the encoder for up to `B` clips.
pub struct EncoderScratch<B: Backend> {
    /// `[B, F, M]` log-mel input.
    pub mel: Tensor<B>,
    /// `[B, F, C]` after the first convolution.
    stem: Tensor<B>,
    /// `[B, T, C]` residual stream.
    x: Tensor<B>,
    /// `[B, T, C]` layer norm output; after a pass, the output of the encoder.
    pub out: Tensor<B>,
    /// `[B, T, C]` attention output.
    attended: Tensor<B>,
    /// `[B, T, 3 C]` queries, keys and values; also scratch `[B, T, 2 C]` for the decoder's cross-attention cache.
    pub qkv: Tensor<B>,
    /// `[B, T, ffn]`.
    inner: Tensor<B>,
}

impl<B: Backend> EncoderScratch<B> {
    pub(super) fn new(be: &B, config: &Config, batch: usize) -> Result<Self> {
        let (frames, width) = (config.max_source_positions, config.d_model);
        Ok(EncoderScratch {
            mel: Tensor::zeros(be, &[batch, 2 * frames, config.num_mel_bins])?,
            stem: Tensor::zeros(be, &[batch, 2 * frames, width])?,
            x: Tensor::zeros(be, &[batch, frames, width])?,
            out: Tensor::zeros(be, &[batch, frames, width])?,
            attended: Tensor::zeros(be, &[batch, frames, width])?,
            qkv: Tensor::zeros(be, &[batch, frames, 3 * width])?,
            inner: Tensor::zeros(be, &[batch, frames, config.encoder_ffn_dim])?,
        })
    }

    /// Reshapes every tensor for `batch` clips.
    pub(super) fn set_batch(&mut self, config: &Config, batch: usize) -> Result<()> {
        let (frames, width) = (config.max_source_positions, config.d_model);
        self.mel.reshape(&[batch, 2 * frames, config.num_mel_bins])?;
        self.stem.reshape(&[batch, 2 * frames, width])?;
        self.x.reshape(&[batch, frames, width])?;
        self.out.reshape(&[batch, frames, width])?;
        self.attended.reshape(&[batch, frames, width])?;
        self.qkv.reshape(&[batch, frames, 3 * width])?;
        self.inner.reshape(&[batch, frames, config.encoder_ffn_dim])
    }
}

impl<B: Backend> Encoder<B> {
    pub fn load(scope: &Scope<B>, config: &Config) -> Result<Self> {
        let scope = scope.at("encoder");
        let width = config.d_model;
        let layers = (0..config.encoder_layers).map(|i| {
            let scope = scope.at(format!("layers.{i}"));
            let attention = scope.at("self_attn");
            Ok(EncoderLayer {
                norm: scope.layer_norm("self_attn_layer_norm", width)?,
                qkv: attention.linears(
                    &[("q_proj", Bias::Yes), ("k_proj", Bias::No), ("v_proj", Bias::Yes)],
                    width,
                    width,
                )?,
                out: attention.linear("out_proj", width, width)?,
                final_norm: scope.layer_norm("final_layer_norm", width)?,
                feed_forward: FeedForward::load(&scope, ["fc1", "fc2"], width, config.encoder_ffn_dim)?,
            })
        });
        Ok(Encoder {
            conv1: scope.conv1d("conv1", width, config.num_mel_bins, TAPS)?,
            conv2: scope.conv1d("conv2", width, width, TAPS)?,
            positions: scope.table("embed_positions.weight", &[config.max_source_positions, width])?,
            layers: layers.collect::<Result<_>>()?,
            norm: scope.layer_norm("layer_norm", width)?,
            heads: config.encoder_attention_heads,
        })
    }

    /// From `s.mel` `[B, F, M]` to `s.out` `[B, T, C]`.
    pub fn run(&self, be: &B, s: &mut EncoderScratch<B>) -> Result<()> {
        let head_dim = s.x.width() / self.heads;
        let scale = (head_dim as f32).powf(-0.5);
        ops::conv1d(be, &mut s.stem, &s.mel, &self.conv1.weight, Some(&self.conv1.bias), 1, Epilogue::GeluErf)?;
        ops::conv1d(be, &mut s.x, &s.stem, &self.conv2.weight, Some(&self.conv2.bias), 2, Epilogue::GeluErf)?;
        ops::add_positions(be, &mut s.x, &self.positions)?;
        for layer in &self.layers {
            layer.norm.run(be, &mut s.out, &s.x)?;
            layer.qkv.run(be, &mut s.qkv, &s.out, Epilogue::Store)?;
            ops::attention(be, &mut s.attended, &s.qkv, self.heads, scale)?;
            layer.out.run(be, &mut s.x, &s.attended, Epilogue::Add)?;
            let scratch = transformer::Scratch { normed: &mut s.out, inner: &mut s.inner };
            layer.feed_forward.pre_norm(be, &layer.final_norm, &mut s.x, scratch)?;
        }
        self.norm.run(be, &mut s.out, &s.x)
    }
}
