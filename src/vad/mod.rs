//! Voice activity detection (VAD): a recording to spans of speech, and spans to chunks of at most 30 s.
//!
//! | file | |
//! |---|---|
//! | [`energy`] | a detector without a model |
//! | [`silero`] | the Silero network, and its published rules from probabilities to spans |
//! | [`pyannote`] | PyanNet in overlapping windows of the recording, as in WhisperX |
//! | [`mod@binarize`] | frame scores to spans, as in WhisperX for pyannote's scores |
//! | [`merge`] | spans to chunks, as in WhisperX |

pub mod binarize;
pub mod energy;
pub mod merge;
pub mod pyannote;
pub mod silero;

use std::path::Path;

use self::pyannote::{FrameScores, Pyannote};
use crate::engine::Backend;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::models::pyannet;
use crate::models::silero::Silero;
use crate::types::{Chunk, Span};
use crate::units::{FrameGrid, SAMPLE_RATE, Seconds};

/// Voice activity detectors: the values of `--vad_method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VadMethod {
    /// The whole recording is speech.
    None,
    /// Band energies above the noise floor; see [`energy`].
    Energy,
    /// The Silero network; see [`silero`].
    #[default]
    Silero,
    /// PyanNet; see [`pyannote`]. WhisperX's default.
    Pyannote,
}

impl VadMethod {
    /// Guesses the method from the network's file: PyTorch checkpoints, folders, and safetensors with pyannote's metadata are
    /// pyannote's, all others Silero's. Opening the file verifies it.
    pub fn of_network(path: &Path) -> Self {
        let is = |extension: &str| path.extension().is_some_and(|found| found == extension);
        let has_metadata =
            || Weights::open_file(path).is_ok_and(|weights| !weights.metadata()[pyannet::METADATA].is_null());
        let pyannote = is("bin") || is("ckpt") || path.is_dir() || is("safetensors") && has_metadata();
        if pyannote { VadMethod::Pyannote } else { VadMethod::Silero }
    }
}

impl std::str::FromStr for VadMethod {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "none" => Ok(VadMethod::None),
            "energy" => Ok(VadMethod::Energy),
            "silero" => Ok(VadMethod::Silero),
            "pyannote" => Ok(VadMethod::Pyannote),
            _ => Err(Error::config("vad_method", name, "must be pyannote, silero, energy or none")),
        }
    }
}

impl std::fmt::Display for VadMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            VadMethod::None => "none",
            VadMethod::Energy => "energy",
            VadMethod::Silero => "silero",
            VadMethod::Pyannote => "pyannote",
        })
    }
}

/// Options of all methods. The defaults are WhisperX's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VadOptions {
    /// Speech begins above this score, in (0, 1). `--vad_onset`, 0.500.
    pub onset: f64,
    /// Speech ends below this score, in (0, 1). `--vad_offset`, 0.363. Silero ignores it and uses 0.15 below the onset.
    pub offset: f64,
    /// Longest span and longest chunk, in seconds. `--chunk_size`, 30: the length of Whisper's window.
    pub chunk_size: Seconds,
}

impl Default for VadOptions {
    fn default() -> Self {
        VadOptions { onset: 0.500, offset: 0.363, chunk_size: Seconds(30.0) }
    }
}

impl VadOptions {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::Config`] naming the option that is invalid.
    pub fn check(&self) -> Result<()> {
        for (option, value) in [("vad_onset", self.onset), ("vad_offset", self.offset)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(Error::config(option, value, "must be above 0 and below 1"));
            }
        }
        // Below one second Silero's rules leave no room for speech. Whisper's window is 30 s; the rest of a longer
        // chunk would be lost.
        if !(self.chunk_size.0 >= 1.0 && self.chunk_size.0 <= 30.0) {
            return Err(Error::config("chunk_size", self.chunk_size.0, "must be 1 to 30 seconds"));
        }
        Ok(())
    }
}

/// A voice activity detector with its model.
pub enum Detector {
    /// See [`VadMethod::None`].
    None,
    /// See [`VadMethod::Energy`].
    Energy,
    /// See [`VadMethod::Silero`].
    Silero(Box<Silero>),
    /// See [`VadMethod::Pyannote`].
    Pyannote(Box<dyn FrameScores>),
    /// The diarizer's segmentation network: the caller passes its scores to [`chunks_of_scores`]. The methods of this
    /// type have no scores and use [`Energy`](Self::Energy).
    Diarizer,
}

impl Detector {
    /// Loads the detector of `method`. `network`: for Silero the file `silero_vad.onnx` of the Silero project or a
    /// safetensors file (see [`Silero::open`]); for pyannote `pytorch_model.bin` (see
    /// [`PyanNet::open`](crate::models::pyannet::PyanNet::open)), which runs on `be`. Other methods ignore it.
    ///
    /// # Errors
    /// [`Error::Weights`] or [`Error::Model`] if the file is missing or has another network.
    pub fn load<B: Backend>(be: &B, method: VadMethod, network: &Path) -> Result<Self> {
        Ok(match method {
            VadMethod::None => Detector::None,
            VadMethod::Energy => Detector::Energy,
            VadMethod::Silero => Detector::Silero(Box::new(Silero::open(network)?)),
            VadMethod::Pyannote => Detector::Pyannote(Box::new(Pyannote::open(be, network)?)),
        })
    }

    /// Speech in `samples` (16 kHz mono in `[-1, 1]`): spans in order, without overlap, none longer than
    /// `options.chunk_size`, all within the recording. Empty if no speech is detected.
    ///
    /// # Errors
    /// [`Error::Config`] for an invalid option; errors of the device.
    pub fn speech(&self, samples: &[f32], options: &VadOptions) -> Result<Vec<Span>> {
        options.check()?;
        let spans = match self {
            Detector::None if samples.is_empty() => Vec::new(),
            Detector::None => vec![Span::new(0.0, samples.len() as f64 / SAMPLE_RATE as f64)],
            Detector::Energy | Detector::Diarizer => {
                energy::speech(samples, options.onset, options.offset, options.chunk_size)?
            }
            Detector::Silero(network) => {
                silero::speech(samples, network, &silero::SileroOptions::new(options.onset, options.chunk_size))
            }
            // As in WhisperX, a piece before a cut may be one frame longer than `chunk_size`; `split_long` below cuts
            // it.
            Detector::Pyannote(network) => pyannote::speech(samples, network.as_ref(), options)?,
        };
        Ok(merge::split_long(&spans, options.chunk_size, merge::cut_late))
    }

    /// [`speech`](Self::speech), merged to chunks of at most `options.chunk_size`.
    ///
    /// # Errors
    /// As [`speech`](Self::speech).
    pub fn chunks(&self, samples: &[f32], options: &VadOptions) -> Result<Vec<Chunk>> {
        Ok(merge::merge_chunks(&self.speech(samples, options)?, options.chunk_size))
    }
}

/// Chunks of speech from scores that pyannote's network has already computed, by the rules of [`Detector::Pyannote`].
/// The recording ends at `end`.
///
/// # Errors
/// [`Error::Config`] for an invalid option.
pub fn chunks_of_scores(scores: &[f32], grid: FrameGrid, end: Seconds, options: &VadOptions) -> Result<Vec<Chunk>> {
    options.check()?;
    let spans = pyannote::spans(scores, grid, end, options);
    let spans = merge::split_long(&spans, options.chunk_size, merge::cut_late);
    Ok(merge::merge_chunks(&spans, options.chunk_size))
}
