//! wav2vec2 with a CTC head: log-probabilities of letters per frame. A frame is 20 ms in the published models, 10 ms in
//! the built-in one. The table has the sizes of the published base models.
//!
//! | step | shape | |
//! |---|---|---|
//! | samples | `[B, S, 1]` | 16 kHz; mean 0 and variance 1 if the checkpoint requires it |
//! | `feature_extractor` | `[B, T, 512]` | seven convolutions; hop of 320 samples, receptive field of 400 |
//! | `feature_projection` | `[B, T, C]` | layer norm, linear |
//! | `pos_conv_embed` | `[B, T, C]` | positional embedding: a wide grouped convolution, added |
//! | `layers` | `[B, T, C]` | transformer blocks |
//! | `lm_head` | `[B, T, V + 1]` | log-softmax, and a column for characters without a class |
//!
//! Two families: base (group norm in the feature extractor, post-norm blocks), and large, XLS-R and 1B (layer norm,
//! pre-norm blocks); see [`Config`]. Clips of a batch may differ in length: the result of a clip does not depend on the
//! others.
//!
//! Source: Baevski et al. 2020 (arXiv:2006.11477); weight names and order of operations: transformers
//! `modeling_wav2vec2.py`.

pub mod bundle;
mod config;
mod encoder;
mod extractor;

use std::path::Path;

pub use bundle::{Bundle, Normalise};
pub use config::{Config, FeatureNorm, normalises_as};

use self::encoder::Encoder;
use self::extractor::Extractor;
use super::transformer::{LayerNorm, Linear, Scope};
use crate::engine::wav2vec2_ops::{self, Lengths};
use crate::engine::weights::{HostMatrix, Weights};
use crate::engine::{Backend, Epilogue, Tensor, ops};
use crate::error::{Error, Result};

/// The network on a device.
pub struct Wav2Vec2<B: Backend> {
    config: Config,
    normalise: Normalise,
    extractor: Extractor<B>,
    feature_norm: LayerNorm<B>,
    projection: Linear<B>,
    encoder: Encoder<B>,
    /// `[V, C]`
    head: B::Matrix,
    /// `[V]`
    head_bias: Tensor<B, f32>,
}

/// Normalisation of a recording, as a shift and a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Subtracted from each sample.
    pub mean: f64,
    /// Factor that is applied after the subtraction.
    pub scale: f64,
}

/// A clip of a recording, as input of the network.
#[derive(Clone, Copy, Debug)]
pub struct Clip<'a> {
    /// 16 kHz, mono.
    pub samples: &'a [f32],
    /// Normalisation of the whole recording.
    pub level: Normalisation,
}

/// CTC emissions of a batch of clips.
pub struct Emissions<B: Backend> {
    /// `[B, T, V + 1]` natural logarithms of probabilities; the last column is the maximum over all classes but the
    /// blank.
    pub log_probs: Tensor<B, f32>,
    /// Frames of each clip; later frames in `log_probs` are undefined.
    pub frames: Vec<usize>,
}

/// The rows of a checkpoint's head that are used as classes.
struct Head<'a> {
    /// Number of stored rows.
    rows: usize,
    /// Indices of the rows that are classes, ascending.
    kept: &'a [usize],
}

impl<B: Backend> Wav2Vec2<B> {
    /// Loads a model folder: `config.json`, the weights, and `preprocessor_config.json` if there is one.
    ///
    /// # Errors
    /// [`Error::Model`] for a config that is missing or not supported, [`Error::Weights`] for weights that do not match
    /// it.
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        Self::load(be, Config::read(folder)?, &Weights::open(folder)?, config::normalises(folder)?)
    }

    /// Loads the network of `config` from `weights`; `normalise` is `do_normalize` of `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`Error::Weights`] for weights that do not match the config.
    pub fn load(be: &B, config: Config, weights: &Weights, normalise: bool) -> Result<Self> {
        let kept: Vec<usize> = (0..config.vocab_size).collect();
        let normalise = if normalise { Normalise::Transformers } else { Normalise::No };
        Self::assemble(be, config, weights, normalise, &Head { rows: kept.len(), kept: &kept })
    }

    fn assemble(be: &B, config: Config, weights: &Weights, normalise: Normalise, head: &Head) -> Result<Self> {
        let scope = Scope { be, weights, prefix: "wav2vec2".into() };
        let features = config.conv_dim.last().copied().unwrap_or(0);
        let (rows, cols) = (head.kept.len(), config.hidden_size);
        let stored = weights.matrix("lm_head.weight", head.rows, cols)?.values;
        let values = head.kept.iter().flat_map(|row| &stored[row * cols..][..cols]).copied().collect();
        let stored = weights.tensor("lm_head.bias", &[head.rows])?;
        let bias: Vec<f32> = head.kept.iter().map(|row| stored[*row]).collect();
        Ok(Wav2Vec2 {
            extractor: Extractor::load(&scope.at("feature_extractor"), &config)?,
            feature_norm: scope.layer_norm("feature_projection.layer_norm", features)?,
            projection: scope.at("feature_projection").linear("projection", config.hidden_size, features)?,
            encoder: Encoder::load(&scope.at("encoder"), &config)?,
            head: be.matrix(&HostMatrix { values, rows, cols })?,
            head_bias: Tensor::from_host(be, &[config.vocab_size], &bias)?,
            config,
            normalise,
        })
    }

    /// Sizes and options of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// CTC emissions of clips of 16 kHz mono samples, each normalised by itself. A clip shorter than the receptive
    /// field is zero-padded.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no clip; those of the device.
    pub fn emissions(&self, be: &B, clips: &[&[f32]]) -> Result<Emissions<B>> {
        let clips: Vec<Clip> = clips.iter().map(|clip| Clip { samples: clip, level: self.level(clip) }).collect();
        self.emissions_of_clips(be, &clips)
    }

    /// The normalisation of a recording to mean 0 and variance 1, or the identity if the checkpoint does not use it.
    ///
    /// Source: transformers `feature_extraction_wav2vec2.py::zero_mean_unit_var_norm`.
    pub fn level(&self, recording: &[f32]) -> Normalisation {
        let Some(epsilon) = self.normalise.epsilon() else { return Normalisation { mean: 0.0, scale: 1.0 } };
        let count = recording.len().max(1) as f64;
        let mean = recording.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = recording.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        Normalisation { mean, scale: 1.0 / (variance + epsilon).sqrt() }
    }

    /// As [`emissions`](Self::emissions), with the normalisation given for each clip: that of the recording, for
    /// windows of a longer recording.
    ///
    /// # Errors
    /// As [`emissions`](Self::emissions).
    pub fn emissions_of_clips(&self, be: &B, clips: &[Clip]) -> Result<Emissions<B>> {
        let config = &self.config;
        let lengths: Vec<usize> = clips.iter().map(|clip| clip.samples.len().max(config.field())).collect();
        let Some(longest) = lengths.iter().copied().max() else {
            return Err(Error::config("clips", 0, "expected at least one clip"));
        };
        let mut samples = Tensor::zeros(be, &[clips.len(), longest, 1])?;
        for (i, clip) in clips.iter().enumerate() {
            if self.normalise != Normalise::No {
                be.write_act(&mut samples.buf, i * longest, &clip.level.apply(clip.samples))?;
            } else {
                be.write_act(&mut samples.buf, i * longest, clip.samples)?;
            }
        }
        be.scope(|| self.forward(be, samples, &lengths))
    }

    /// The forward pass over normalised `samples` `[B, S, 1]`, of which clip `b` has `lengths[b]`.
    fn forward(&self, be: &B, samples: Tensor<B>, lengths: &[usize]) -> Result<Emissions<B>> {
        let config = &self.config;
        let clips = lengths.len();
        let frames: Vec<usize> = lengths.iter().map(|length| config.frames(*length)).collect();
        let features = self.extractor.run(be, config, samples, lengths)?;
        let shape = [clips, features.shape()[1]];
        let mut normed = Tensor::zeros(be, features.shape())?;
        self.feature_norm.run(be, &mut normed, &features)?;
        let mut x = Tensor::zeros(be, &[shape[0], shape[1], config.hidden_size])?;
        self.projection.run(be, &mut x, &normed, Epilogue::Store)?;
        drop((features, normed));
        let x = self.encoder.run(be, x, &Lengths::new(be, frames.clone())?)?;
        let mut logits = Tensor::zeros(be, &[shape[0], shape[1], config.vocab_size])?;
        ops::logits(be, &mut logits, &x, &self.head)?;
        let mut log_probs = Tensor::zeros(be, &[shape[0], shape[1], config.vocab_size + 1])?;
        wav2vec2_ops::log_softmax(be, &mut log_probs, &logits, &self.head_bias, Some(config.pad_token_id))?;
        Ok(Emissions { log_probs, frames })
    }
}

impl Normalisation {
    fn apply(self, clip: &[f32]) -> Vec<f32> {
        clip.iter().map(|v| ((f64::from(*v) - self.mean) * self.scale) as f32).collect()
    }
}
