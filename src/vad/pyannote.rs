//! Voice activity detection with pyannote's PyanNet (`--vad pyannote`), WhisperX's default: overlapping windows,
//! aggregated frame scores, spans.
//!
//! | step | |
//! |---|---|
//! | windows | as long as the network's, with a hop of a tenth; the last one is padded with zeros |
//! | score | per frame, the probability of the most likely speaker (for a powerset network: of any speech) |
//! | overlap | mean over the windows that contain the frame, weighted by a Hamming window |
//! | spans | [`binarize`](super::binarize): hysteresis, and cuts in speech that is too long |
//!
//! Windows are computed in small batches. Memory grows with the recording only by two numbers per frame (17 ms).
//!
//! Source: pyannote.audio 4.0 `core/inference.py::Inference.slide`, `aggregate` (MIT), as WhisperX `vads/pyannote.py` calls
//! them (m-bain/whisperX 2cfd7b7).

use std::path::Path;

use super::VadOptions;
use super::binarize::{Hysteresis, binarize};
use crate::engine::Backend;
use crate::error::Result;
use crate::models::pyannet::{PyanNet, SpeechScores};
use crate::types::Span;
use crate::units::{FrameGrid, Seconds};

/// A segmentation network with its device. The trait hides the type of the backend.
pub trait FrameScores: Send + Sync {
    /// The score of each frame of [`grid`](Self::grid), in `[0, 1]`, for a recording of 16 kHz samples.
    ///
    /// # Errors
    /// Errors of the device.
    fn scores(&self, samples: &[f32]) -> Result<Vec<f32>>;
    /// The times of the frames.
    fn grid(&self) -> FrameGrid;
}

/// PyanNet and its device.
pub struct Pyannote<B: Backend> {
    be: B,
    network: PyanNet<B>,
}

impl<B: Backend> Pyannote<B> {
    /// Opens pyannote's `pytorch_model.bin`, or another format of [`PyanNet::open`].
    ///
    /// # Errors
    /// As [`PyanNet::open`].
    pub fn open(be: &B, path: &Path) -> Result<Self> {
        Ok(Self::new(be, PyanNet::open(be, path)?))
    }

    /// From a loaded network.
    pub fn new(be: &B, network: PyanNet<B>) -> Self {
        Pyannote { be: be.clone(), network }
    }
}

impl<B: Backend> FrameScores for Pyannote<B> {
    /// See [`SpeechScores`]. An empty recording has no frames.
    fn scores(&self, samples: &[f32]) -> Result<Vec<f32>> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let step = self.network.step();
        let mut curve = SpeechScores::new(&self.network, samples.len(), step);
        self.network.slide(&self.be, samples, step, |windows| {
            curve.add(&windows);
            Ok(())
        })?;
        Ok(curve.mean())
    }

    fn grid(&self) -> FrameGrid {
        self.network.grid()
    }
}

/// Spans of speech in `samples` (16 kHz): in order, without overlap, at most one frame longer than
/// `options.chunk_size`.
///
/// # Errors
/// Errors of the device.
pub fn speech(samples: &[f32], network: &dyn FrameScores, options: &VadOptions) -> Result<Vec<Span>> {
    Ok(spans(&network.scores(samples)?, network.grid(), Seconds::from_samples(samples.len()), options))
}

/// Spans of speech from computed scores. The recording ends at `end`.
pub fn spans(scores: &[f32], grid: FrameGrid, end: Seconds, options: &VadOptions) -> Vec<Span> {
    let VadOptions { onset, offset, chunk_size } = *options;
    let spans = binarize(scores, grid, &Hysteresis { onset, offset, max_duration: chunk_size });
    // The middle of the last frame may lie after the end of the recording; clip the spans to it.
    let within = |span: &Span| (span.start < end).then(|| Span::new(span.start.0, span.end.0.min(end.0)));
    spans.iter().filter_map(within).collect()
}
