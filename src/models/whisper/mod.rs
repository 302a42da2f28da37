//! Whisper: an encoder over log-mel frames and a decoder over text tokens.
//!
//! `[B, S]` samples -> `log_mel` `[B, F, M]` -> encoder `[B, T, C]` -> cross-attention cache in the slots of
//! [`DecoderCaches`] (the encoder's output, or keys and values of each layer) -> decoder passes over [`StepRows`] ->
//! hidden states `[R, C]` -> logits `[R, V]`.

mod alignment_pass;
mod built_in;
mod checkpoint;
mod config;
mod cross_attention;
mod decoder;
mod encoder;
mod files;
mod names;

use std::path::Path;

pub use alignment_pass::{AlignmentPass, KnownTokens};
pub use checkpoint::{CTRANSLATE2_WEIGHTS, Checkpoint, Format};
pub use config::{Config, GenerationConfig};
pub use decoder::{DecoderCaches, DecoderScratch};
pub use encoder::EncoderScratch;
pub use files::Files;

use crate::engine::profile::range;
use crate::engine::weights::Weights;
use crate::engine::{Backend, CrossKind, StepRows, Tensor, ops};
use crate::error::{Error, Result};
use crate::models::transformer::Scope;

/// A loaded Whisper model.
pub struct Whisper<B: Backend> {
    /// The device that holds the weights.
    pub be: B,
    /// Sizes of the network.
    pub config: Config,
    /// Token lists and limits for decoding.
    pub generation: GenerationConfig,
    mel: B::MelPlan,
    encoder: encoder::Encoder<B>,
    decoder: decoder::Decoder<B>,
}

impl<B: Backend> Whisper<B> {
    /// Loads a model folder in the Hugging Face layout: `config.json`, `generation_config.json` (optional),
    /// `model.safetensors` or its shards.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] naming the file and the field or tensor that is missing or wrong.
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        Self::open_checkpoint(be, &Checkpoint::hugging_face(folder))
    }

    /// Loads a checkpoint of any [`Format`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_checkpoint(be: &B, checkpoint: &Checkpoint) -> Result<Self> {
        let Files { config, generation, weights } = checkpoint.open()?;
        Self::load(be, config, generation, &weights)
    }

    /// Loads the weights onto the device.
    ///
    /// # Errors
    /// [`Error::Weights`] for a missing or wrong tensor, or if the weights have more layers than the config.
    pub fn load(be: &B, config: Config, generation: GenerationConfig, weights: &Weights) -> Result<Self> {
        for (side, layers) in [("encoder", config.encoder_layers), ("decoder", config.decoder_layers)] {
            let surplus = format!("model.{side}.layers.{layers}.fc1.weight");
            if weights.contains(&surplus) {
                let reason =
                    format!("is there, but config.json has only {layers} {side} layers; do they belong together?");
                return Err(Error::weights(weights.origin(), surplus, reason));
            }
        }
        let scope = Scope::root(be, weights);
        let parts = || {
            let mel = be.mel_plan(config.num_mel_bins)?;
            Ok((mel, encoder::Encoder::load(&scope, &config)?, decoder::Decoder::load(&scope, &config)?))
        };
        let (mel, encoder, decoder) = parts().map_err(|e: Error| e.while_doing(|| "loading the weights".into()))?;
        Ok(Whisper { mel, encoder, decoder, be: be.clone(), config, generation })
    }

    /// Working memory for encoding up to `batch` clips at once.
    pub fn encoder_scratch(&self, batch: usize) -> Result<EncoderScratch<B>> {
        let what = || format!("making room to encode {batch} clips at once");
        EncoderScratch::new(&self.be, &self.config, batch).map_err(|e| e.while_doing(what))
    }

    /// The form of cross-attention for searches of up to `rows` rows. Scratch and caches of one decoder must have the
    /// same form.
    pub fn cross_kind(&self, rows: usize) -> CrossKind {
        self.be.cross_kind(self.config.decoder_attention_heads, rows)
    }

    /// Working memory for decoder passes of up to `rows` rows.
    pub fn decoder_scratch(&self, rows: usize, cross: CrossKind) -> Result<DecoderScratch<B>> {
        let what = || format!("making room for decoder passes of {rows} rows");
        DecoderScratch::new(&self.be, &self.config, rows, cross).map_err(|e| e.while_doing(what))
    }

    /// Caches for `slots` chunks decoded at once, with up to `beams` hypotheses each.
    pub fn caches(&self, slots: usize, beams: usize, cross: CrossKind) -> Result<DecoderCaches<B>> {
        let what = || format!("making room for {slots} chunks of {beams} beams; a smaller `batch_size` needs less");
        self.decoder.caches(&self.be, &self.config, slots, beams, cross).map_err(|e| e.while_doing(what))
    }

    /// Encodes clips `[B, S]`, `S` = one window ([`Config::window_samples`]), into `s.out` `[B, T, C]`.
    pub fn encode(&self, s: &mut EncoderScratch<B>, audio: &Tensor<B, f32>) -> Result<()> {
        let _range = range("encode");
        s.set_batch(&self.config, audio.rows())?;
        self.be.scope(|| {
            ops::log_mel(&self.be, &mut s.mel, audio, &self.mel)?;
            self.encoder.run(&self.be, s)
        })
    }

    /// Encodes the log-mel spectrograms the caller put into `s.mel` `[B, F, M]`; the result is in `s.out` `[B, T, C]`.
    pub fn encode_mel(&self, s: &mut EncoderScratch<B>, batch: usize) -> Result<()> {
        let _range = range("encode");
        s.set_batch(&self.config, batch)?;
        self.be.scope(|| self.encoder.run(&self.be, s))
    }

    /// Fills the cross-attention caches of `slots` from the encoded clips in `s.out`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of slots differs from that of clips, or a slot does not exist.
    pub fn fill_slots(&self, caches: &mut DecoderCaches<B>, slots: &[usize], s: &mut EncoderScratch<B>) -> Result<()> {
        self.fill_slots_from(caches, slots, &s.out, &mut s.qkv)
    }

    /// [`fill_slots`](Self::fill_slots) from the encoder's output `encoded` `[B, T, C]`. `kv` `[B, T, 2 C]` is scratch.
    ///
    /// # Errors
    /// As [`fill_slots`](Self::fill_slots).
    pub fn fill_slots_from(
        &self,
        caches: &mut DecoderCaches<B>,
        slots: &[usize],
        encoded: &Tensor<B>,
        kv: &mut Tensor<B>,
    ) -> Result<()> {
        let _range = range("fill_slots");
        let &[batch, frames, width] = encoded.shape() else {
            return Err(Error::Shape {
                op: "fill_slots",
                what: "encoded",
                expected: "[B, T, C]".into(),
                got: String::new(),
            });
        };
        if slots.len() != batch || slots.iter().any(|slot| *slot >= caches.slots) {
            return Err(Error::Shape {
                op: "fill_slots",
                what: "slots",
                expected: format!("{batch} slots below {}", caches.slots),
                got: format!("{slots:?}"),
            });
        }
        kv.reshape(&[batch, frames, 2 * width])?;
        self.be.scope(|| self.decoder.store_cross(&self.be, caches, slots, encoded, kv))
    }

    /// One decoder pass: hidden states of `rows` into `s.hidden` `[R, C]`. `lineage` `[cache rows, L]` has the cache
    /// row that holds each position of a row; see
    /// [`self_attention_step`](crate::engine::backend::DecoderOps::self_attention_step).
    pub fn decode(
        &self,
        s: &mut DecoderScratch<B>,
        caches: &mut DecoderCaches<B>,
        rows: &StepRows<B>,
        lineage: &Tensor<B, i32>,
    ) -> Result<()> {
        let _range = range("decode");
        self.be.scope(|| self.decoder.run(&self.be, s, caches, rows, lineage, &mut ()))
    }

    /// Logits `out` `[R, V]` from hidden states `[R, C]`.
    pub fn logits(&self, out: &mut Tensor<B, f32>, hidden: &Tensor<B>) -> Result<()> {
        self.be.scope(|| self.decoder.logits(&self.be, out, hidden))
    }
}
