//! Sliding-window inference of PyanNet, and aggregation of overlapping windows into one speech score per frame.
//!
//! Windows are a tenth of their length apart. They are computed in batches of a few, so that memory does not grow with
//! the recording.
//!
//! Source: pyannote.audio 4.0 `core/inference.py::Inference.slide`, `aggregate` (MIT).

use super::{Head, PyanNet};
use crate::engine::Backend;
use crate::error::Result;
use crate::units::{FrameGrid, SAMPLE_RATE};

/// Step between windows, as a share of their length.
const STEP_RATIO: f64 = 0.1;
/// Minimum of the sum of weights, by which scores are divided.
const MIN_WEIGHT: f32 = 1e-12;

/// A batch of consecutive windows of a recording, and their scores.
pub struct Windows<'a> {
    /// Index of the first window of the batch.
    pub first: usize,
    /// Samples of all windows of the batch.
    pub samples: &'a [f32],
    /// Step between windows, in samples.
    pub step: usize,
    /// `[B, T, V]` scores, as [`PyanNet::scores`] returns them.
    pub scores: &'a [f32],
}

/// Number of windows of `window` samples, `step` apart, that cover `samples`: all complete windows, and a zero-padded
/// one if samples are left. At least one.
pub fn num_windows(samples: usize, window: usize, step: usize) -> usize {
    1 + samples.saturating_sub(window).div_ceil(step)
}

impl<B: Backend> PyanNet<B> {
    /// pyannote's step between windows, in samples: a tenth of a window.
    pub fn step(&self) -> usize {
        ((STEP_RATIO * self.duration() * SAMPLE_RATE as f64).round_ties_even() as usize).max(1)
    }

    /// Length of a window in seconds.
    pub fn duration(&self) -> f64 {
        self.specification.window as f64 / SAMPLE_RATE as f64
    }

    /// Computes the scores of all windows of `samples` (16 kHz), `step` samples apart (at least 1; [`step`](Self::step)
    /// is pyannote's). Calls `each` with the windows in order, in batches. The last window is zero-padded.
    ///
    /// # Errors
    /// Those of the device, and of `each`.
    pub fn slide(
        &self,
        be: &B,
        samples: &[f32],
        step: usize,
        mut each: impl FnMut(Windows<'_>) -> Result<()>,
    ) -> Result<()> {
        let (window, step) = (self.specification.window, step.max(1));
        let whole = samples.len().checked_sub(window).map_or(0, |rest| rest / step + 1);
        let batch = be.window_batch();
        for first in (0..whole).step_by(batch) {
            let count = batch.min(whole - first);
            let samples = &samples[first * step..][..(count - 1) * step + window];
            let scores = self.scores(be, samples, step)?.to_host(be)?;
            each(Windows { first, samples, step, scores: &scores })?;
        }
        if whole < num_windows(samples.len(), window, step) {
            let rest = &samples[whole * step..];
            let mut last = vec![0.0; window];
            last[..rest.len()].copy_from_slice(rest);
            let scores = self.scores(be, &last, step)?.to_host(be)?;
            each(Windows { first: whole, samples: &last, step, scores: &scores })?;
        }
        Ok(())
    }
}

/// Speech scores per frame of a recording. The score of a frame in a window is that of its most probable speaker; for
/// powerset networks it is 1 if any speaker is active, else 0. The scores of overlapping windows are averaged with a
/// Hamming window as weight.
///
/// The result is that of pyannote's `Inference` over a whole recording. Sums are rounded to f32 after every addition,
/// as in NumPy. A frame that lies only in windows with NaN has score 0.
pub struct SpeechScores {
    grid: FrameGrid,
    head: Head,
    /// Length of a window in samples.
    window: usize,
    /// Step between windows in seconds.
    step: f64,
    /// Scores of the network per frame.
    outputs: usize,
    /// `[T]` weight of each frame of a window.
    hamming: Vec<f64>,
    /// Weighted sums of the scores of each frame of the recording.
    scores: Vec<f32>,
    /// Sums of the weights of each frame of the recording.
    weights: Vec<f32>,
    /// The number of frames that begin before the recording ends, if its last window is zero-padded.
    recorded: Option<usize>,
}

impl SpeechScores {
    /// For a recording of `samples` samples, with windows `step` samples apart.
    pub fn new<B: Backend>(network: &PyanNet<B>, samples: usize, step: usize) -> Self {
        let (specification, grid) = (&network.specification, network.grid());
        let (frames, windows) = (network.frames(), num_windows(samples, specification.window, step));
        let turn = std::f64::consts::TAU / (frames.max(2) - 1) as f64;
        let is_whole = (windows - 1) * step + specification.window == samples;
        // pyannote does not round the step to samples here.
        let step =
            if step == network.step() { STEP_RATIO * network.duration() } else { step as f64 / SAMPLE_RATE as f64 };
        let end = network.duration() + (windows - 1) as f64 * step;
        // A window that begins late within a frame may reach one frame further.
        let count = grid.closest(end) + 1;
        let recorded = samples as f64 / SAMPLE_RATE as f64 / grid.step;
        SpeechScores {
            grid,
            head: specification.head,
            window: specification.window,
            step,
            outputs: specification.outputs(),
            hamming: (0..frames).map(|i| 0.54 - 0.46 * (turn * i as f64).cos()).collect(),
            scores: vec![0.0; count],
            weights: vec![0.0; count],
            recorded: (!is_whole).then_some(recorded.floor() as usize + 1),
        }
    }

    /// Adds windows of [`PyanNet::slide`].
    pub fn add(&mut self, windows: &Windows<'_>) {
        let speech = |frame: &[f32]| match self.head {
            Head::MultiLabel => frame.iter().fold(0.0f32, |most, score| most.max(*score)),
            // The first set is the empty one. Ties: the first set wins.
            Head::Powerset(_) => f32::from(u8::from(frame[1..].iter().any(|score| *score > frame[0]))),
        };
        for (i, scores) in windows.scores.chunks_exact(self.hamming.len() * self.outputs).enumerate() {
            let samples = &windows.samples[i * windows.step..][..self.window];
            // A window with NaN or infinity has only NaN scores, since its mean is NaN; it is skipped.
            if !samples.iter().all(|sample| sample.is_finite()) {
                continue;
            }
            let first = self.grid.closest((windows.first + i) as f64 * self.step);
            let sums = self.scores.iter_mut().zip(&mut self.weights).skip(first);
            for ((sum, weight), (frame, hamming)) in sums.zip(scores.chunks_exact(self.outputs).zip(&self.hamming)) {
                *sum = (f64::from(*sum) + f64::from(speech(frame)) * hamming) as f32;
                *weight = (f64::from(*weight) + hamming) as f32;
            }
        }
    }

    /// One score in `[0, 1]` for each frame of the network's grid. Frames that begin after the end of the recording
    /// contain only zero-padding and are omitted.
    pub fn mean(self) -> Vec<f32> {
        let mean = |(sum, weight): (&f32, f32)| sum / weight.max(MIN_WEIGHT);
        let mut scores: Vec<f32> = self.scores.iter().zip(self.weights).map(mean).collect();
        scores.truncate(self.recorded.unwrap_or(usize::MAX));
        scores
    }
}
