//! Transformer encoder of wav2vec2, with a positional convolution, and pre-norm or post-norm blocks.

use super::config::Config;
use crate::engine::wav2vec2_ops::{self, Lengths};
use crate::engine::weights::HostMatrix;
use crate::engine::{Backend, Epilogue, Tensor};
use crate::error::Result;
use crate::models::transformer::{self, Bias, FeedForward, LayerNorm, Linear, Scope};

pub(super) struct Encoder<B: Backend> {
    /// Weights of the positional convolution, one matrix `[C / G, W * C / G]` for each group of channels.
    positions: Vec<B::Matrix>,
    /// `[C]`
    positions_bias: Tensor<B, f32>,
    norm: LayerNorm<B>,
    layers: Vec<Block<B>>,
    heads: usize,
    order: NormOrder,
}

/// Position of the layer norms in a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NormOrder {
    /// Post-norm: after the residual connection.
    Post,
    /// Pre-norm: on the input of each sublayer.
    Pre,
}

struct Block<B: Backend> {
    /// Queries, keys and values side by side: `[3 C, C]`.
    qkv: Linear<B>,
    out: Linear<B>,
    attention_norm: LayerNorm<B>,
    feed_forward: FeedForward<B>,
    final_norm: LayerNorm<B>,
}

/// Working memory: `[B, T, C]`, but `qkv` `[B, T, 3 C]` and `inner` `[B, T, ffn]`.
struct Scratch<B: Backend> {
    normed: Tensor<B>,
    attended: Tensor<B>,
    qkv: Tensor<B>,
    inner: Tensor<B>,
}

impl<B: Backend> Encoder<B> {
    pub fn load(scope: &Scope<B>, config: &Config) -> Result<Self> {
        let width = config.hidden_size;
        let layers = (0..config.num_hidden_layers).map(|i| {
            let scope = scope.at(format!("layers.{i}"));
            let (attention, feed_forward) = (scope.at("attention"), scope.at("feed_forward"));
            const NAMES: [&str; 2] = ["intermediate_dense", "output_dense"];
            let names = ["q_proj", "k_proj", "v_proj"].map(|name| (name, Bias::Yes));
            Ok(Block {
                qkv: attention.linears(&names, width, width)?,
                out: attention.linear("out_proj", width, width)?,
                attention_norm: scope.layer_norm("layer_norm", width)?,
                feed_forward: FeedForward::load(&feed_forward, NAMES, width, config.intermediate_size)?,
                final_norm: scope.layer_norm("final_layer_norm", width)?,
            })
        });
        Ok(Encoder {
            positions: positional_weights(&scope.at("pos_conv_embed.conv"), config)?,
            positions_bias: scope.vector("pos_conv_embed.conv.bias", width)?,
            norm: scope.layer_norm("layer_norm", width)?,
            layers: layers.collect::<Result<_>>()?,
            heads: config.num_attention_heads,
            order: if config.do_stable_layer_norm { NormOrder::Pre } else { NormOrder::Post },
        })
    }

    /// From features `x` `[B, T, C]` to hidden states `[B, T, C]`; `lengths` are the frames of each clip.
    pub fn run(&self, be: &B, x: Tensor<B>, lengths: &Lengths<B>) -> Result<Tensor<B>> {
        let &[batch, frames, width] = x.shape() else { return Ok(x) };
        let inner = self.layers.first().map_or(0, |layer| layer.feed_forward.inner(be));
        let mut s = Scratch {
            normed: Tensor::zeros(be, &[batch, frames, width])?,
            attended: Tensor::zeros(be, &[batch, frames, width])?,
            qkv: Tensor::zeros(be, &[batch, frames, 3 * width])?,
            inner: Tensor::zeros(be, &[batch, frames, inner])?,
        };
        let mut positioned = Tensor::zeros(be, &[batch, frames, width])?;
        wav2vec2_ops::positional_conv(be, &mut positioned, &x, &self.positions, &self.positions_bias, lengths)?;
        let mut x = positioned;
        if self.order == NormOrder::Post {
            self.norm.run(be, &mut s.normed, &x)?;
            std::mem::swap(&mut x, &mut s.normed);
        }
        for layer in &self.layers {
            match self.order {
                NormOrder::Post => self.post_norm_block(be, layer, &mut x, &mut s, lengths)?,
                NormOrder::Pre => self.pre_norm_block(be, layer, &mut x, &mut s, lengths)?,
            }
        }
        if self.order == NormOrder::Pre {
            self.norm.run(be, &mut s.normed, &x)?;
            std::mem::swap(&mut x, &mut s.normed);
        }
        Ok(x)
    }

    /// `x = norm(x + attention(x))`, `x = norm(x + feed_forward(x))`.
    fn post_norm_block(
        &self,
        be: &B,
        layer: &Block<B>,
        x: &mut Tensor<B>,
        s: &mut Scratch<B>,
        lengths: &Lengths<B>,
    ) -> Result<()> {
        layer.qkv.run(be, &mut s.qkv, x, Epilogue::Store)?;
        wav2vec2_ops::attention_within(be, &mut s.attended, &s.qkv, self.heads, self.scale(x), lengths)?;
        layer.out.run(be, x, &s.attended, Epilogue::Add)?;
        layer.attention_norm.run(be, &mut s.normed, x)?;
        let scratch = transformer::Scratch { normed: &mut s.normed, inner: &mut s.inner };
        layer.feed_forward.post_norm(be, &layer.final_norm, x, scratch)
    }

    /// `x += attention(norm(x))`, `x += feed_forward(norm(x))`.
    fn pre_norm_block(
        &self,
        be: &B,
        layer: &Block<B>,
        x: &mut Tensor<B>,
        s: &mut Scratch<B>,
        lengths: &Lengths<B>,
    ) -> Result<()> {
        layer.attention_norm.run(be, &mut s.normed, x)?;
        layer.qkv.run(be, &mut s.qkv, &s.normed, Epilogue::Store)?;
        wav2vec2_ops::attention_within(be, &mut s.attended, &s.qkv, self.heads, self.scale(x), lengths)?;
        layer.out.run(be, x, &s.attended, Epilogue::Add)?;
        let scratch = transformer::Scratch { normed: &mut s.normed, inner: &mut s.inner };
        layer.feed_forward.pre_norm(be, &layer.final_norm, x, scratch)
    }

    fn scale(&self, x: &Tensor<B>) -> f32 {
        ((x.width() / self.heads) as f32).powf(-0.5)
    }
}

/// Weight normalisation: names of the magnitude `g` and the direction `v`, in checkpoints since torch 2.1 and before.
const WEIGHT_NORM: [(&str, &str); 2] =
    [("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v")];

/// The weight of the positional convolution, one matrix for each group with taps outermost. The checkpoint stores it
/// with weight normalisation (Salimans & Kingma 2016): tap `k` is `g[k] * v[k] / |v[k]|`, with the norm over all
/// channels.
fn positional_weights<B: Backend>(scope: &Scope<B>, config: &Config) -> Result<Vec<B::Matrix>> {
    let (width, groups) = (config.hidden_size, config.num_conv_pos_embedding_groups);
    let (taps, channels) = (config.num_conv_pos_embeddings, width / groups);
    let name = |part: &str| format!("{}.{part}", scope.prefix);
    let known = WEIGHT_NORM.iter().find(|(magnitude, _)| scope.weights.contains(&name(magnitude)));
    let (magnitude, direction) = known.unwrap_or(&WEIGHT_NORM[1]);
    let magnitudes = scope.weights.tensor(&name(magnitude), &[1, 1, taps])?;
    let directions = scope.weights.tensor(&name(direction), &[width, channels, taps])?;
    let mut squares = vec![0f64; taps];
    for row in directions.chunks_exact(taps) {
        squares.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v).powi(2));
    }
    let scale: Vec<f64> = magnitudes.iter().zip(squares).map(|(g, sum)| f64::from(*g) / sum.sqrt()).collect();
    let group = |part: &[f32]| {
        let mut values = vec![0.0; part.len()];
        for (from, to) in part.chunks_exact(channels * taps).zip(values.chunks_exact_mut(channels * taps)) {
            for (at, value) in from.iter().enumerate() {
                to[at % taps * channels + at / taps] = (f64::from(*value) * scale[at % taps]) as f32;
            }
        }
        scope.be.matrix(&HostMatrix { values, rows: channels, cols: channels * taps })
    };
    directions.chunks_exact(channels * channels * taps).map(group).collect()
}
