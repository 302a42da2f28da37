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
use super::binarize::{FrameGrid, Hysteresis, binarize};
use crate::engine::recurrent::Recurrent;
use crate::error::Result;
use crate::models::pyannet::{Head, PyanNet};
use crate::types::Span;
use crate::units::SAMPLE_RATE;

/// Windows that go through the network together: enough to keep a GPU busy, a few hundred megabytes.
const BATCH: usize = 32;
/// Steps of a window: it begins a tenth of its length after the one before.
const STEPS: f64 = 0.1;

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
pub struct Pyannote<B: Recurrent> {
    be: B,
    network: PyanNet<B>,
}

impl<B: Recurrent> Pyannote<B> {
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

    /// Scores of the windows that begin every `step` samples of `samples`, each frame its most likely speaker's, onto `sum`.
    fn add(&self, sum: &mut Overlapped, samples: &[f32], step: usize, first: usize) -> Result<()> {
        let specification = self.network.specification();
        let scores = self.network.scores(&self.be, samples, step)?;
        let (frames, outputs) = (self.network.frames(), specification.outputs());
        let speech = |frame: &[f32]| match specification.head {
            Head::MultiLabel => frame.iter().fold(0.0f32, |most, score| most.max(*score)),
            // The first set is nobody, and equal sets go to the first.
            Head::Powerset(_) => f32::from(u8::from(frame[1..].iter().any(|score| *score > frame[0]))),
        };
        let scores = scores.to_host(&self.be)?;
        for (i, window) in scores.chunks_exact(frames * outputs).enumerate() {
            let heard = &samples[i * step..][..specification.window];
            // What is no number makes the whole window none, as its mean is none, and such a window counts for nothing.
            if heard.iter().all(|sample| sample.is_finite()) {
                sum.add(first + i, window.chunks_exact(outputs).map(speech));
            }
        }
        Ok(())
    }
}

impl<B: Recurrent> FrameScores for Pyannote<B> {
    /// As pyannote's `Inference` gives them for the whole of a recording. A frame that no window with numbers sees has
    /// score 0; a recording without a sample has no frames.
    fn scores(&self, samples: &[f32]) -> Result<Vec<f32>> {
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let window = self.network.specification().window;
        let duration = window as f64 / SAMPLE_RATE as f64;
        let step = ((STEPS * duration * SAMPLE_RATE as f64).round_ties_even() as usize).max(1);
        let whole = samples.len().checked_sub(window).map_or(0, |rest| rest / step + 1);
        let is_rest = whole == 0 || !(samples.len() - window).is_multiple_of(step);
        let windows = whole + usize::from(is_rest);
        let mut sum = Overlapped::new(self.grid(), duration, self.network.frames(), windows);
        for first in (0..whole).step_by(BATCH) {
            let count = BATCH.min(whole - first);
            self.add(&mut sum, &samples[first * step..][..(count - 1) * step + window], step, first)?;
        }
        if is_rest {
            let rest = &samples[whole * step..];
            let mut last = vec![0.0; window];
            last[..rest.len()].copy_from_slice(rest);
            self.add(&mut sum, &last, step, whole)?;
        }
        let mut scores = sum.mean();
        if is_rest {
            // Frames that begin after the recording has ended saw zeros only.
            let seen = samples.len() as f64 / SAMPLE_RATE as f64 / self.grid().step;
            scores.truncate(seen.floor() as usize + 1);
        }
        Ok(scores)
    }

    fn grid(&self) -> FrameGrid {
        let seconds = |samples: usize| samples as f64 / SAMPLE_RATE as f64;
        let [step, duration] = [self.network.frame_step(), self.network.frame_field()].map(seconds);
        FrameGrid { start: 0.0, step, duration }
    }
}

/// Spans of speech in `samples` (16 kHz): in order, never overlapping, none longer than `options.chunk_size` by more than a
/// frame.
///
/// # Errors
/// Those of the device.
pub fn speech(samples: &[f32], network: &dyn FrameScores, options: &VadOptions) -> Result<Vec<Span>> {
    let VadOptions { onset, offset, chunk_size } = *options;
    let spans =
        binarize(&network.scores(samples)?, network.grid(), &Hysteresis { onset, offset, max_duration: chunk_size });
    // The last frame's middle may lie behind the end, which nobody downstream expects.
    let end = samples.len() as f64 / SAMPLE_RATE as f64;
    let within = |span: &Span| (span.start.0 < end).then(|| Span::new(span.start.0, span.end.0.min(end)));
    Ok(spans.iter().filter_map(within).collect())
}

/// Scores of windows, added up frame by frame. Sums are rounded to f32 after every addition, as NumPy does it.
struct Overlapped {
    grid: FrameGrid,
    /// Seconds from a window to the next.
    step: f64,
    /// `[T]` weight of each frame of a window.
    hamming: Vec<f64>,
    scores: Vec<f32>,
    weights: Vec<f32>,
}

/// Below this a sum of weights is none.
const LEAST_WEIGHT: f32 = 1e-12;

impl Overlapped {
    fn new(grid: FrameGrid, duration: f64, frames: usize, windows: usize) -> Self {
        let step = STEPS * duration;
        let turn = std::f64::consts::TAU / (frames.max(2) - 1) as f64;
        let hamming = (0..frames).map(|i| 0.54 - 0.46 * (turn * i as f64).cos()).collect();
        let end = duration + (windows - 1) as f64 * step;
        // A window that begins late in a frame may reach one further than the count of frames says.
        let count = closest_frame(end, grid) + 1;
        Overlapped { grid, step, hamming, scores: vec![0.0; count], weights: vec![0.0; count] }
    }

    fn add(&mut self, window: usize, scores: impl Iterator<Item = f32>) {
        let first = closest_frame(window as f64 * self.step, self.grid);
        let sums = self.scores.iter_mut().zip(&mut self.weights).skip(first);
        for ((sum, weight), (score, hamming)) in sums.zip(scores.zip(&self.hamming)) {
            *sum = (f64::from(*sum) + f64::from(score) * hamming) as f32;
            *weight = (f64::from(*weight) + hamming) as f32;
        }
    }

    fn mean(self) -> Vec<f32> {
        self.scores.iter().zip(self.weights).map(|(sum, weight)| sum / weight.max(LEAST_WEIGHT)).collect()
    }
}

/// The frame whose middle is half a frame after `time`, in the arithmetic of `pyannote.core.SlidingWindow`.
fn closest_frame(time: f64, grid: FrameGrid) -> usize {
    let middle = time + 0.5 * grid.duration;
    ((middle - grid.start - 0.5 * grid.duration) / grid.step).round_ties_even().max(0.0) as usize
}
