//! `--vad pyannote`, WhisperX's default: PyanNet slid over the recording, its scores added up where windows overlap, and
//! from those to spans.
//!
//! | step | |
//! |---|---|
//! | windows | as long as the network's, a tenth of that apart; one more, filled up with zeros, where samples are left |
//! | score | of the most likely speaker of each frame (of a powerset network: whether anybody speaks) |
//! | overlap | mean of the windows that see a frame, weighted by a Hamming window |
//! | spans | [`binarize`](super::binarize): hysteresis, and a cut where speech runs too long |
//!
//! Windows go through the network a few at a time, so that memory does not grow with the recording but by the two numbers
//! of each frame (17 ms).
//!
//! Source: pyannote.audio 4.0 `core/inference.py::Inference.slide`, `aggregate` (MIT), as WhisperX `vads/pyannote.py` calls
//! them (m-bain/whisperX 2cfd7b7).

use std::path::Path;

use super::VadOptions;
use super::binarize::{Hysteresis, binarize};
use crate::engine::segmentation_ops::SegmentationOps;
use crate::error::Result;
use crate::models::pyannet::{PyanNet, SpeechCurve};
use crate::types::Span;
use crate::units::{FrameGrid, Seconds};

/// A network on some device, that scores recordings: the device is known to whoever opened it.
pub trait FrameScores: Send + Sync {
    /// One score in `[0, 1]` for each frame of the grid.
    ///
    /// # Errors
    /// Those of the device.
    fn scores(&self, samples: &[f32]) -> Result<Vec<f32>>;
    /// When the frames are.
    fn grid(&self) -> FrameGrid;
}

/// A network and its device.
pub struct Pyannote<B: SegmentationOps> {
    be: B,
    network: PyanNet<B>,
}

impl<B: SegmentationOps> Pyannote<B> {
    /// Opens pyannote's `pytorch_model.bin`, or what [`PyanNet::open`] reads besides.
    ///
    /// # Errors
    /// As [`PyanNet::open`].
    pub fn open(be: &B, path: &Path) -> Result<Self> {
        Ok(Self::new(be, PyanNet::open(be, path)?))
    }

    /// A network that is loaded already.
    pub fn new(be: &B, network: PyanNet<B>) -> Self {
        Pyannote { be: be.clone(), network }
    }
}

impl<B: SegmentationOps> FrameScores for Pyannote<B> {
    /// See [`SpeechCurve`]. A recording without a sample has no frames.
    fn scores(&self, samples: &[f32]) -> Result<Vec<f32>> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let step = self.network.step();
        let mut curve = SpeechCurve::new(&self.network, samples.len(), step);
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

/// Spans of speech in `samples` (16 kHz): in order, never overlapping, none longer than `options.chunk_size` by more than a
/// frame.
///
/// # Errors
/// Those of the device.
pub fn speech(samples: &[f32], network: &dyn FrameScores, options: &VadOptions) -> Result<Vec<Span>> {
    Ok(spans(&network.scores(samples)?, network.grid(), Seconds::from_samples(samples.len()), options))
}

/// The same from scores that are there already; the recording ends at `end`.
pub fn spans(scores: &[f32], grid: FrameGrid, end: Seconds, options: &VadOptions) -> Vec<Span> {
    let VadOptions { onset, offset, chunk_size } = *options;
    let spans = binarize(scores, grid, &Hysteresis { onset, offset, max_duration: chunk_size });
    // The last frame's middle may lie behind the end, which nobody downstream expects.
    let within = |span: &Span| (span.start < end).then(|| Span::new(span.start.0, span.end.0.min(end.0)));
    spans.iter().filter_map(within).collect()
}
