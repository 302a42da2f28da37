//! Whisper's text decoder with key-value caches: from tokens to hidden states and logits.
//!
//! One function computes a decode step (one row per live beam) and a prefill (one row per prompt token). A pass does
//! not depend on values on the host: tokens, positions and cache rows are device buffers ([`StepRows`]).
//!
//! Source: openai/whisper `model.py::TextDecoder`. Weight names: transformers `modeling_whisper.py::WhisperDecoder`.

use super::alignment_pass::QueryObserver;
use super::config::Config;
use super::cross_attention::{CrossAttention, CrossCaches, CrossScratch};
use crate::engine::{Backend, CrossKind, Epilogue, StepRows, Tensor, ops};
use crate::error::Result;
use crate::models::transformer::{self, Bias, FeedForward, LayerNorm, Linear, Scope};

pub(super) struct Decoder<B: Backend> {
    /// `[V, C]` token embedding, also the output projection.
    tokens: B::Matrix,
    /// `[L, C]` learned positional embedding.
    positions: Tensor<B, f32>,
    layers: Vec<DecoderLayer<B>>,
    norm: LayerNorm<B>,
    heads: usize,
}

struct DecoderLayer<B: Backend> {
    self_norm: LayerNorm<B>,
    /// Queries, keys and values side by side: `[3 C, C]`.
    self_qkv: Linear<B>,
    self_out: Linear<B>,
    cross_norm: LayerNorm<B>,
    cross: CrossAttention<B>,
    final_norm: LayerNorm<B>,
    feed_forward: FeedForward<B>,
}

/// The self-attention and cross-attention caches of all layers, for `slots` chunks of up to `beams` hypotheses each.
pub struct DecoderCaches<B: Backend> {
    self_caches: Vec<B::SelfCache>,
    cross: CrossCaches<B>,
    /// Cache rows per slot.
    pub beams: usize,
    /// Chunks decoded at once.
    pub slots: usize,
}

/// Working memory of the decoder for up to `R` rows.
pub struct DecoderScratch<B: Backend> {
    /// `[R, C]` residual stream.
    x: Tensor<B>,
    /// `[R, C]` layer norm output; after a pass, the hidden states.
    pub hidden: Tensor<B>,
    /// `[R, C]` attention output.
    attended: Tensor<B>,
    /// Working memory of cross-attention.
    cross: CrossScratch<B>,
    /// `[R, 3 C]`.
    qkv: Tensor<B>,
    /// `[R, ffn]`.
    inner: Tensor<B>,
}

impl<B: Backend> DecoderScratch<B> {
    pub(super) fn new(be: &B, config: &Config, rows: usize, cross: CrossKind) -> Result<Self> {
        let width = config.d_model;
        Ok(DecoderScratch {
            x: Tensor::zeros(be, &[rows, width])?,
            hidden: Tensor::zeros(be, &[rows, width])?,
            attended: Tensor::zeros(be, &[rows, width])?,
            cross: CrossScratch::new(be, config, rows, cross)?,
            qkv: Tensor::zeros(be, &[rows, 3 * width])?,
            inner: Tensor::zeros(be, &[rows, config.decoder_ffn_dim])?,
        })
    }

    fn set_rows(&mut self, rows: usize) -> Result<()> {
        let own = [&mut self.x, &mut self.hidden, &mut self.attended, &mut self.qkv, &mut self.inner];
        for tensor in own.into_iter().chain(self.cross.tensors()) {
            let width = tensor.width();
            tensor.reshape(&[rows, width])?;
        }
        Ok(())
    }
}

impl<B: Backend> Decoder<B> {
    pub fn load(scope: &Scope<B>, config: &Config) -> Result<Self> {
        let scope = scope.at("decoder");
        let width = config.d_model;
        let layers = (0..config.decoder_layers).map(|i| {
            let scope = scope.at(format!("layers.{i}"));
            let own = scope.at("self_attn");
            Ok(DecoderLayer {
                self_norm: scope.layer_norm("self_attn_layer_norm", width)?,
                self_qkv: own.linears(
                    &[("q_proj", Bias::Yes), ("k_proj", Bias::No), ("v_proj", Bias::Yes)],
                    width,
                    width,
                )?,
                self_out: own.linear("out_proj", width, width)?,
                cross_norm: scope.layer_norm("encoder_attn_layer_norm", width)?,
                cross: CrossAttention::load(&scope.at("encoder_attn"), width, config.decoder_attention_heads)?,
                final_norm: scope.layer_norm("final_layer_norm", width)?,
                feed_forward: FeedForward::load(&scope, ["fc1", "fc2"], width, config.decoder_ffn_dim)?,
            })
        });
        Ok(Decoder {
            tokens: scope.be.matrix(&scope.host_weight("embed_tokens.weight", &[config.vocab_size, width])?)?,
            positions: scope.table("embed_positions.weight", &[config.max_target_positions, width])?,
            layers: layers.collect::<Result<_>>()?,
            norm: scope.layer_norm("layer_norm", width)?,
            heads: config.decoder_attention_heads,
        })
    }

    pub fn caches(
        &self,
        be: &B,
        config: &Config,
        slots: usize,
        beams: usize,
        cross: CrossKind,
    ) -> Result<DecoderCaches<B>> {
        let (width, heads) = (config.d_model, config.decoder_attention_heads);
        let own = |_: usize| be.self_cache(slots * beams, config.max_target_positions, width, heads);
        Ok(DecoderCaches {
            self_caches: (0..self.layers.len()).map(own).collect::<Result<_>>()?,
            cross: CrossCaches::new(be, config, slots, cross)?,
            beams,
            slots,
        })
    }

    /// Fills the cross-attention caches from the encoder's output `encoded` `[B, T, C]`; clip `b` goes to `slots[b]`.
    /// `kv` `[B, T, 2 C]` is scratch.
    pub fn store_cross(
        &self,
        be: &B,
        caches: &mut DecoderCaches<B>,
        slots: &[usize],
        encoded: &Tensor<B>,
        kv: &mut Tensor<B>,
    ) -> Result<()> {
        caches.cross.store(be, slots, encoded, kv, self.layers.iter().map(|layer| &layer.cross))
    }

    /// One decoder pass over `rows`; the hidden states are in `s.hidden` `[R, C]` afterwards. `observer` receives the
    /// cross-attention queries of each layer.
    pub fn run(
        &self,
        be: &B,
        s: &mut DecoderScratch<B>,
        caches: &mut DecoderCaches<B>,
        rows: &StepRows<B>,
        lineage: &Tensor<B, i32>,
        observer: &mut impl QueryObserver<B>,
    ) -> Result<()> {
        s.set_rows(rows.num_rows())?;
        let scale = ((s.x.width() / self.heads) as f32).powf(-0.5);
        ops::embed(be, &mut s.x, rows, &self.tokens, &self.positions)?;
        for (i, layer) in self.layers.iter().enumerate() {
            layer.self_norm.run(be, &mut s.hidden, &s.x)?;
            layer.self_qkv.run(be, &mut s.qkv, &s.hidden, Epilogue::Store)?;
            let cache = &mut caches.self_caches[i];
            ops::self_attention_step(be, &mut s.attended, &s.qkv, cache, rows, lineage, scale)?;
            layer.self_out.run(be, &mut s.x, &s.attended, Epilogue::Add)?;

            layer.cross_norm.run(be, &mut s.hidden, &s.x)?;
            let cache = caches.cross.of_layer(i, caches.beams);
            layer.cross.attend(be, &mut s.attended, &s.hidden, &mut s.cross, cache, rows, scale)?;
            observer.observe(be, i, &layer.cross, &s.cross)?;
            layer.cross.out.run(be, &mut s.x, &s.attended, Epilogue::Add)?;

            let scratch = transformer::Scratch { normed: &mut s.hidden, inner: &mut s.inner };
            layer.feed_forward.pre_norm(be, &layer.final_norm, &mut s.x, scratch)?;
        }
        self.norm.run(be, &mut s.hidden, &s.x)
    }

    /// `out` `[R, V]` from hidden states `[R, C]`.
    pub fn logits(&self, be: &B, out: &mut Tensor<B, f32>, hidden: &Tensor<B>) -> Result<()> {
        ops::logits(be, out, hidden, &self.tokens)
    }
}
