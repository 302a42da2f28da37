//! PyanNet: pyannote's speaker segmentation network; the activity of up to a few speakers in every 17 ms of a window.
//!
//! | step | shape, 5 s | |
//! |---|---|---|
//! | samples | `[B, 80000]` | 16 kHz; each window is normalised to mean 0 and variance 1 |
//! | `sincnet.conv1d.0` | `[B, 7975, 80]` | band-pass filters, computed when the network is loaded; absolute values |
//! | `sincnet.conv1d.1`, `.2` | `[B, 884, 60]`, `[B, 293, 60]` | followed by pooling by 3, instance norm, leaky ReLU |
//! | `lstm` | `[B, 293, 256]` | bidirectional layers of 128 |
//! | `linear` | `[B, 293, 128]` | leaky ReLU |
//! | `classifier` | `[B, 293, V]` | sigmoid per speaker, or log-softmax over sets of speakers (powerset) |
//!
//! All numbers are f32, because the scores are compared with thresholds. The result of a window does not depend on the
//! other windows.
//!
//! Source: Bredin & Laurent 2021 (arXiv:2104.04045), Plaquet & Bredin 2023 (arXiv:2310.13025); weight names and order
//! of operations: pyannote.audio `models/segmentation/PyanNet.py`, `models/blocks/sincnet.py` (MIT).

mod sincnet;
mod slide;
mod specification;

use std::path::Path;

pub use slide::{SpeechScores, Windows, num_windows};
pub use specification::{Head, METADATA, Specification};

use self::sincnet::{FEATURES, SincNet};
use crate::engine::segmentation_ops::{self, Activation, HIDDEN_STEP};
use crate::engine::wav2vec2_ops;
use crate::engine::weights::{HostMatrix, Weights};
use crate::engine::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::models::files;
use crate::units::{FrameGrid, SAMPLE_RATE};

/// Maximum LSTM layers, and maximum linear layers; a checkpoint with more is damaged.
const MOST_LAYERS: usize = 32;

/// The network on a device.
pub struct PyanNet<B: Backend> {
    specification: Specification,
    sincnet: SincNet<B>,
    lstm: Vec<Lstm<B>>,
    linear: Vec<Linear<B>>,
    classifier: Linear<B>,
}

/// A bidirectional LSTM layer; arrays are forward, backward.
struct Lstm<B: Backend> {
    /// Input weights `[4 H, K]`, and the sum of both biases.
    input: [Linear<B>; 2],
    /// Recurrent weights `[4 H, H]`.
    state: [B::F32Matrix; 2],
    /// `H`
    hidden: usize,
}

struct Linear<B: Backend> {
    weight: B::F32Matrix,
    bias: Tensor<B, f32>,
}

impl<B: Backend> PyanNet<B> {
    /// Loads pyannote's `pytorch_model.bin` (no code in it is executed), safetensors with the same names and the
    /// specification in their metadata ([`METADATA`]), or an ONNX file of the network. `path` is the file or its
    /// folder.
    ///
    /// # Errors
    /// [`Error::Model`] for a checkpoint of another network, [`Error::Weights`] for a damaged one.
    pub fn open(be: &B, path: &Path) -> Result<Self> {
        let weights = files::open(path)?;
        Self::load(be, Specification::read(&weights)?, &weights)
    }

    /// Loads the network of `specification` from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`] for weights that do not match it, [`Error::Model`] for a window shorter than one frame.
    pub fn load(be: &B, specification: Specification, weights: &Weights) -> Result<Self> {
        if sincnet::frames(specification.window, specification.stride).is_none() {
            let reason = format!("a window of {} samples is too short for a frame", specification.window);
            return Err(Error::model(weights.origin(), reason));
        }
        let mut width = FEATURES;
        let mut lstm = Vec::new();
        while let Some(names) = lstm_names(weights, lstm.len()).filter(|_| lstm.len() < MOST_LAYERS) {
            let layer = Lstm::load(be, weights, width, &names)?;
            width = 2 * layer.hidden;
            lstm.push(layer);
        }
        if lstm.is_empty() {
            return Err(Error::weights(weights.origin(), "lstm.weight_ih_l0", "missing; is this a PyanNet?"));
        }
        let mut linear = Vec::new();
        while let Some(&[outputs, _]) = weights.shape(&format!("linear.{}.weight", linear.len())) {
            if linear.len() == MOST_LAYERS {
                break;
            }
            linear.push(Linear::load(be, weights, &format!("linear.{}", linear.len()), [outputs, width])?);
            width = outputs;
        }
        let classifier = Linear::load(be, weights, "classifier", [specification.outputs(), width])?;
        Ok(PyanNet { sincnet: SincNet::load(be, weights)?, lstm, linear, classifier, specification })
    }

    /// The specification that the network was trained for.
    pub fn specification(&self) -> &Specification {
        &self.specification
    }

    /// Frames of a window.
    pub fn frames(&self) -> usize {
        sincnet::frames(self.specification.window, self.specification.stride).map_or(0, |frames| frames[5])
    }

    /// Receptive field of a frame, in samples. That of frame 0 begins at the first sample of the window.
    pub fn frame_field(&self) -> usize {
        sincnet::field(self.specification.stride)[0]
    }

    /// Hop between frames, in samples.
    pub fn frame_step(&self) -> usize {
        sincnet::field(self.specification.stride)[1]
    }

    /// The times of the frames of a recording.
    pub fn grid(&self) -> FrameGrid {
        let seconds = |samples: usize| samples as f64 / SAMPLE_RATE as f64;
        FrameGrid { start: 0.0, step: seconds(self.frame_step()), duration: seconds(self.frame_field()) }
    }

    /// Scores `[B, T, V]` of all complete windows of `samples` (16 kHz), one every `step` samples: probabilities or
    /// their natural logarithms, depending on the [`Head`]. The caller must zero-pad a recording shorter than one
    /// window.
    ///
    /// # Errors
    /// [`Error::Config`] if `samples` are shorter than a window, or if `step` is 0; those of the device.
    pub fn scores(&self, be: &B, samples: &[f32], step: usize) -> Result<Tensor<B, f32>> {
        let Specification { window, stride, .. } = self.specification;
        let Some(rest) = samples.len().checked_sub(window).filter(|_| step > 0) else {
            let rule = format!("expected {window} samples at least, and a step above 0");
            return Err(Error::config("window", samples.len(), rule));
        };
        let windows = rest / step + 1;
        if step.is_multiple_of(stride) || windows == 1 {
            let samples = &samples[..(windows - 1) * step + window];
            return be
                .scope(|| self.forward(be, Tensor::from_host(be, &[1, samples.len(), 1], samples)?, [windows, step]));
        }
        // The windows share no frames of the filters, so they are copied one after another, without overlap.
        let aligned_step = window.next_multiple_of(stride);
        let mut apart = vec![0.0; windows * aligned_step];
        for (to, from) in apart.chunks_exact_mut(aligned_step).zip(samples.windows(window).step_by(step)) {
            to[..window].copy_from_slice(from);
        }
        be.scope(|| self.forward(be, Tensor::from_host(be, &[1, apart.len(), 1], &apart)?, [windows, aligned_step]))
    }

    /// The forward pass over `windows` (number, step) of `samples` `[1, S, 1]`: scores `[B, T, V]`.
    fn forward(&self, be: &B, samples: Tensor<B, f32>, windows: [usize; 2]) -> Result<Tensor<B, f32>> {
        let mut x = self.sincnet.run(be, &self.specification, &samples, windows)?;
        let (batch, frames) = (x.shape()[0], x.shape()[1]);
        for layer in &self.lstm {
            x = layer.run(be, &x)?;
        }
        for layer in &self.linear {
            x = layer.run(be, &x, Activation::LeakyRelu)?;
        }
        match self.specification.head {
            Head::MultiLabel => self.classifier.run(be, &x, Activation::Sigmoid),
            Head::Powerset(_) => {
                let mut logits = Tensor::zeros(be, &[batch, frames, self.specification.outputs()])?;
                segmentation_ops::conv1d_f32(be, &mut logits, &x, &self.classifier.weight, None, 1, Activation::None)?;
                let mut out = Tensor::zeros(be, logits.shape())?;
                wav2vec2_ops::log_softmax(be, &mut out, &logits, &self.classifier.bias, None)?;
                Ok(out)
            }
        }
    }
}

/// Name patterns of an LSTM layer's tensors, forward and backward, with `{kind}` for `weight_ih` and so on. The layers
/// are in one module, or in one module each (pyannote's option `monolithic`).
fn lstm_names(weights: &Weights, layer: usize) -> Option<[String; 2]> {
    let patterns = [format!("lstm.{{kind}}_l{layer}"), format!("lstm.{layer}.{{kind}}_l0")];
    let pattern = patterns.into_iter().find(|pattern| weights.contains(&pattern.replace("{kind}", "weight_ih")))?;
    Some([pattern.clone(), pattern + "_reverse"])
}

impl<B: Backend> Lstm<B> {
    fn load(be: &B, weights: &Weights, width: usize, names: &[String; 2]) -> Result<Self> {
        let name = |direction: usize, kind: &str| names[direction].replace("{kind}", kind);
        let first = name(0, "weight_hh");
        let hidden = weights.shape(&first).and_then(|shape| shape.last().copied()).unwrap_or(0);
        if hidden == 0 || !hidden.is_multiple_of(HIDDEN_STEP) || hidden > 1024 {
            let reason = format!("has {hidden} hidden units; a multiple of {HIDDEN_STEP} up to 1024 can be computed");
            return Err(Error::weights(weights.origin(), first, reason));
        }
        let input = |direction: usize| -> Result<Linear<B>> {
            let mut bias = weights.tensor(&name(direction, "bias_ih"), &[4 * hidden])?;
            let more = weights.tensor(&name(direction, "bias_hh"), &[4 * hidden])?;
            bias.iter_mut().zip(more).for_each(|(bias, more)| *bias += more);
            let weight = weights.matrix(&name(direction, "weight_ih"), 4 * hidden, width)?;
            Linear::new(be, &weight, &bias)
        };
        let state =
            |direction: usize| be.f32_matrix(&weights.matrix(&name(direction, "weight_hh"), 4 * hidden, hidden)?);
        Ok(Lstm { input: [input(0)?, input(1)?], state: [state(0)?, state(1)?], hidden })
    }

    /// `[B, T, 2 H]` of `x` `[B, T, K]`.
    fn run(&self, be: &B, x: &Tensor<B, f32>) -> Result<Tensor<B, f32>> {
        let mut gates = [self.input[0].run(be, x, Activation::None)?, self.input[1].run(be, x, Activation::None)?];
        let mut out = Tensor::zeros(be, &[x.shape()[0], x.shape()[1], 2 * self.hidden])?;
        segmentation_ops::lstm(be, &mut out, gates.each_mut(), self.state.each_ref())?;
        Ok(out)
    }
}

impl<B: Backend> Linear<B> {
    fn new(be: &B, weight: &HostMatrix, bias: &[f32]) -> Result<Self> {
        Ok(Linear { bias: Tensor::from_host(be, &[weight.rows], bias)?, weight: be.f32_matrix(weight)? })
    }

    fn load(be: &B, weights: &Weights, name: &str, [rows, cols]: [usize; 2]) -> Result<Self> {
        let bias = weights.tensor(&format!("{name}.bias"), &[rows])?;
        Self::new(be, &weights.matrix(&format!("{name}.weight"), rows, cols)?, &bias)
    }

    /// `[B, T, N]` of `x` `[B, T, K]`.
    fn run(&self, be: &B, x: &Tensor<B, f32>, activation: Activation) -> Result<Tensor<B, f32>> {
        let (rows, _) = be.f32_matrix_shape(&self.weight);
        let mut out = Tensor::zeros(be, &[x.shape()[0], x.shape()[1], rows])?;
        segmentation_ops::conv1d_f32(be, &mut out, x, &self.weight, Some(&self.bias), 1, activation)?;
        Ok(out)
    }
}
