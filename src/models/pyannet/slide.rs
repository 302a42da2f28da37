//! PyanNet slid over a recording: windows a tenth of their length apart, a few at a time, so that memory does not grow with
//! the recording; and from the scores of windows that overlap to one score of speech for each frame.
//!
//! Source: pyannote.audio 4.0 `core/inference.py::Inference.slide`, `aggregate` (MIT).

use super::{Head, PyanNet};
use crate::engine::segmentation_ops::SegmentationOps;
use crate::error::Result;
use crate::units::{FrameGrid, SAMPLE_RATE};

/// Steps of a window: it begins a tenth of its length after the one before.
const STEPS: f64 = 0.1;
/// Below this a sum of weights is none.
const LEAST_WEIGHT: f32 = 1e-12;

/// Some windows of a recording, one after another, and what the network makes of them.
pub struct Windows<'a> {
    /// Number of the first of them.
    pub first: usize,
    /// Their samples.
    pub samples: &'a [f32],
    /// Samples from one to the next.
    pub step: usize,
    /// `[B, T, V]`, as [`PyanNet::scores`] gives them.
    pub scores: &'a [f32],
}

/// How many windows of `window` samples, `step` apart, cover `samples`: those that fit in whole, and one more, filled up with
/// zeros, where samples are left. One at least.
pub fn windows_over(samples: usize, window: usize, step: usize) -> usize {
    1 + samples.saturating_sub(window).div_ceil(step)
}

impl<B: SegmentationOps> PyanNet<B> {
    /// Samples from a window to the next.
    pub fn step(&self) -> usize {
        ((STEPS * self.duration() * SAMPLE_RATE as f64).round_ties_even() as usize).max(1)
    }

    /// Seconds of a window.
    pub fn duration(&self) -> f64 {
        self.specification.window as f64 / SAMPLE_RATE as f64
    }

    /// Runs over `samples` (16 kHz), windows `step` samples apart (at least 1; [`step`](Self::step) is pyannote's); `each` is given all
    /// windows in order, a few at a time.
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
        if whole < windows_over(samples.len(), window, step) {
            let rest = &samples[whole * step..];
            let mut last = vec![0.0; window];
            last[..rest.len()].copy_from_slice(rest);
            let scores = self.scores(be, &last, step)?.to_host(be)?;
            each(Windows { first: whole, samples: &last, step, scores: &scores })?;
        }
        Ok(())
    }
}

/// How likely speech is in each frame of a recording: the score of the most likely speaker (of a powerset network: whether
/// anybody speaks), the mean of the windows that see the frame, weighted by a Hamming window.
///
/// As pyannote's `Inference` gives it for the whole of a recording. Sums are rounded to f32 after every addition, as NumPy
/// does it. A frame that no window with numbers sees has score 0.
pub struct SpeechCurve {
    grid: FrameGrid,
    head: Head,
    /// Samples of a window.
    window: usize,
    /// Seconds from a window to the next.
    step: f64,
    /// Values of a frame.
    outputs: usize,
    /// `[T]` weight of each frame of a window.
    hamming: Vec<f64>,
    scores: Vec<f32>,
    weights: Vec<f32>,
    /// Frames that begin before the recording ends, where its last window is not whole.
    seen: Option<usize>,
}

impl SpeechCurve {
    /// Of a recording of so many samples, with windows `step` samples apart.
    pub fn new<B: SegmentationOps>(network: &PyanNet<B>, samples: usize, step: usize) -> Self {
        let (specification, grid) = (&network.specification, network.grid());
        let (frames, windows) = (network.frames(), windows_over(samples, specification.window, step));
        let turn = std::f64::consts::TAU / (frames.max(2) - 1) as f64;
        let is_whole = (windows - 1) * step + specification.window == samples;
        // As pyannote has it, which does not round it to samples.
        let step = if step == network.step() { STEPS * network.duration() } else { step as f64 / SAMPLE_RATE as f64 };
        let end = network.duration() + (windows - 1) as f64 * step;
        // A window that begins late in a frame may reach one further than the count of frames says.
        let count = grid.closest(end) + 1;
        let seen = samples as f64 / SAMPLE_RATE as f64 / grid.step;
        SpeechCurve {
            grid,
            head: specification.head,
            window: specification.window,
            step,
            outputs: specification.outputs(),
            hamming: (0..frames).map(|i| 0.54 - 0.46 * (turn * i as f64).cos()).collect(),
            scores: vec![0.0; count],
            weights: vec![0.0; count],
            seen: (!is_whole).then_some(seen.floor() as usize + 1),
        }
    }

    /// Adds windows of [`PyanNet::slide`].
    pub fn add(&mut self, windows: &Windows<'_>) {
        let speech = |frame: &[f32]| match self.head {
            Head::MultiLabel => frame.iter().fold(0.0f32, |most, score| most.max(*score)),
            // The first set is nobody, and equal sets go to the first.
            Head::Powerset(_) => f32::from(u8::from(frame[1..].iter().any(|score| *score > frame[0]))),
        };
        for (i, scores) in windows.scores.chunks_exact(self.hamming.len() * self.outputs).enumerate() {
            let heard = &windows.samples[i * windows.step..][..self.window];
            // What is no number makes the whole window none, as its mean is none, and such a window counts for nothing.
            if !heard.iter().all(|sample| sample.is_finite()) {
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

    /// One score in `[0, 1]` for each frame of the network's grid. Frames that begin after the recording has ended saw zeros
    /// only, and are left out.
    pub fn mean(self) -> Vec<f32> {
        let mean = |(sum, weight): (&f32, f32)| sum / weight.max(LEAST_WEIGHT);
        let mut scores: Vec<f32> = self.scores.iter().zip(self.weights).map(mean).collect();
        scores.truncate(self.seen.unwrap_or(usize::MAX));
        scores
    }
}
