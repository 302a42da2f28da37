//! wav2vec2 with a CTC head: the log-probability of every letter in every few milliseconds of a recording: 20 in the
//! published models, whose sizes the table has, 10 in the built-in one.
//!
//! | step | shape | |
//! |---|---|---|
//! | samples | `[B, S, 1]` | 16 kHz; mean 0 and variance 1 where the checkpoint wants that |
//! | `feature_extractor` | `[B, T, 512]` | seven convolutions, one frame for 320 samples of a field of 400 |
//! | `feature_projection` | `[B, T, C]` | layer norm, linear |
//! | `pos_conv_embed` | `[B, T, C]` | a wide grouped convolution that tells positions apart, added |
//! | `layers` | `[B, T, C]` | transformer blocks |
//! | `lm_head` | `[B, T, V]` | log-softmax, and a column for characters without a class |
//!
//! Two families: base (`feat_extract_norm` group, blocks that normalise after their parts) and large, XLS-R and 1B (layer,
//! before them); [`Config`] says which. Clips of a batch may differ in length: no number of a clip's result depends on
//! the others.
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
use super::whisper::block::{LayerNorm, Linear, Scope};
use crate::engine::wav2vec2_ops::{self, Lengths, Wav2Vec2Ops};
use crate::engine::weights::{HostMatrix, Weights};
use crate::engine::{Epilogue, Tensor, ops};
use crate::error::{Error, Result};

/// The network on a device.
pub struct Wav2Vec2<B: Wav2Vec2Ops> {
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

/// How a recording is brought to the level that the network was trained at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Subtracted from each sample.
    pub mean: f64,
    /// Multiplied with what is left.
    pub scale: f64,
}

/// What the network is to hear at once.
#[derive(Clone, Copy, Debug)]
pub struct Clip<'a> {
    /// 16 kHz, mono.
    pub samples: &'a [f32],
    /// That of the recording they are from.
    pub level: Level,
}

/// What a network makes of some clips.
pub struct Emissions<B: Wav2Vec2Ops> {
    /// `[B, T, V + 1]` natural logarithms of probabilities; the last column is the largest of all classes but the blank.
    pub log_probs: Tensor<B, f32>,
    /// Frames of each clip; what is behind them in `log_probs` means nothing.
    pub frames: Vec<usize>,
}

/// Which rows of a checkpoint's head are the classes.
struct Head<'a> {
    /// Rows stored.
    rows: usize,
    /// Those that are classes, in order.
    kept: &'a [usize],
}

impl<B: Wav2Vec2Ops> Wav2Vec2<B> {
    /// Loads a model folder: `config.json`, the weights, and `preprocessor_config.json` where there is one.
    ///
    /// # Errors
    /// [`Error::Model`] for a config that is missing or unknown, [`Error::Weights`] for weights that do not fit to it.
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        Self::load(be, Config::read(folder)?, &Weights::open(folder)?, config::normalises(folder)?)
    }

    /// The network of `config` with these weights; `normalise` is `do_normalize` of its preprocessor.
    ///
    /// # Errors
    /// [`Error::Weights`] for weights that do not fit to the config.
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

    /// Sizes and switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Hears clips of 16 kHz mono samples. One that is shorter than the network's field is filled up with zeros.
    ///
    /// # Errors
    /// [`Error::Config`] without any clip; those of the device.
    pub fn emissions(&self, be: &B, clips: &[&[f32]]) -> Result<Emissions<B>> {
        let clips: Vec<Clip> = clips.iter().map(|clip| Clip { samples: clip, level: self.level(clip) }).collect();
        self.emissions_of_clips(be, &clips)
    }

    /// What is subtracted from a recording and what it is then multiplied by before the network hears it: mean 0 and
    /// variance 1, where the checkpoint wants that.
    ///
    /// Source: transformers `feature_extraction_wav2vec2.py::zero_mean_unit_var_norm`.
    pub fn level(&self, recording: &[f32]) -> Level {
        let Some(epsilon) = self.normalise.epsilon() else { return Level { mean: 0.0, scale: 1.0 } };
        let count = recording.len().max(1) as f64;
        let mean = recording.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = recording.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        Level { mean, scale: 1.0 / (variance + epsilon).sqrt() }
    }

    /// As [`emissions`](Self::emissions), of clips that may be windows of a longer recording, whose level they then have.
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
        be.scope(|| self.pass(be, samples, &lengths))
    }

    /// `samples` `[B, S, 1]`, of each clip so many of them.
    fn pass(&self, be: &B, samples: Tensor<B>, lengths: &[usize]) -> Result<Emissions<B>> {
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

impl Level {
    fn apply(self, clip: &[f32]) -> Vec<f32> {
        clip.iter().map(|v| ((f64::from(*v) - self.mean) * self.scale) as f32).collect()
    }
}
