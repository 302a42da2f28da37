//! Powerset probabilities of overlapping windows, and the frames that each window owns.

use std::ops::Range;

use crate::diarize::powerset::{self, sets};
use crate::diarize::segmentation::WindowGrid;
use crate::error::{Error, Result};

/// Probabilities of the powerset classes in each frame of each window, `[W, F, C]`. Speaker indices are local to a
/// window.
///
/// Each window owns the frames that are nearer to its centre than to the centre of another window. Owned frames are
/// disjoint and cover the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Posteriors {
    /// Times of the windows and frames.
    pub clock: WindowGrid,
    /// Number F of frames of a window.
    pub frames: usize,
    /// Number S of speaker outputs of a window.
    pub speakers: usize,
    /// The speakers of each class, `[C]`; see [`sets`].
    classes: Vec<Vec<usize>>,
    /// Probabilities `[W, F, C]`.
    values: Vec<f32>,
}

impl Posteriors {
    /// Without windows; [`append`](Self::append) adds them. `at_once` is the maximum number of speakers of a class.
    ///
    /// # Errors
    /// [`Error::Diarization`] if `frames` or `speakers` is 0.
    pub fn new(clock: WindowGrid, frames: usize, speakers: usize, at_once: usize) -> Result<Self> {
        if frames == 0 || speakers == 0 {
            let reason = format!("has windows of {frames} frames and {speakers} speakers");
            return Err(Error::diarization("segmentation", reason));
        }
        Ok(Posteriors { clock, frames, speakers, classes: sets(speakers, at_once), values: Vec::new() })
    }

    /// Appends the next windows: natural logarithms of probabilities, `[W, F, C]`.
    ///
    /// # Errors
    /// [`Error::Diarization`] if a score is NaN, or if the scores are not a whole number of windows.
    pub fn append(&mut self, scores: &[f32]) -> Result<()> {
        powerset::refuse_nan(scores, self.classes.len())?;
        if !scores.len().is_multiple_of(self.frames * self.classes.len()) {
            let reason = format!("{} scores are no whole number of windows of {} frames", scores.len(), self.frames);
            return Err(Error::diarization("segmentation", reason));
        }
        self.values.extend(scores.iter().map(|score| score.exp()));
        Ok(())
    }

    /// Number W of windows.
    pub fn windows(&self) -> usize {
        self.values.len() / (self.frames * self.classes.len())
    }

    /// Number T of frames of the recording that the windows cover.
    pub fn total(&self) -> usize {
        self.windows().checked_sub(1).map_or(0, |last| self.first_frame(last) + self.frames)
    }

    /// The frame of the recording at which a window starts.
    pub fn first_frame(&self, window: usize) -> usize {
        self.clock.first_frame(window)
    }

    /// The owned frames of a window, as indices within the window.
    pub fn owned(&self, window: usize) -> Range<usize> {
        let frame = |seconds: f64| (seconds / self.clock.frame_step).round_ties_even() as usize;
        let (length, step) = (self.clock.window, self.clock.step);
        let start = if window == 0 { 0 } else { frame((length - step) / 2.0) };
        let end = if window + 1 == self.windows() { self.frames } else { frame((length + step) / 2.0) };
        start.min(self.frames)..end.min(self.frames)
    }

    /// Duration of a number of frames of a window, in seconds.
    pub fn seconds(&self, frames: usize) -> f64 {
        frames as f64 * self.clock.window / self.frames as f64
    }

    fn frame(&self, window: usize, frame: usize) -> &[f32] {
        let classes = self.classes.len();
        &self.values[(window * self.frames + frame) * classes..][..classes]
    }

    /// Probability of speech in a frame.
    pub fn speech(&self, window: usize, frame: usize) -> f32 {
        1.0 - self.frame(window, frame)[0]
    }

    /// Probability of overlapping speech in a frame: the sum over the classes with several speakers.
    pub fn overlap(&self, window: usize, frame: usize) -> f32 {
        let several = |(set, _): &(&Vec<usize>, &f32)| set.len() > 1;
        self.classes.iter().zip(self.frame(window, frame)).filter(several).map(|(_, value)| value).sum()
    }

    /// Probability that a speaker of the window is active in a frame: the sum over the classes with that speaker.
    pub fn speaker(&self, window: usize, frame: usize, speaker: usize) -> f32 {
        let with = |(set, _): &(&Vec<usize>, &f32)| set.contains(&speaker);
        self.classes.iter().zip(self.frame(window, frame)).filter(with).map(|(_, value)| value).sum()
    }

    /// The speakers of the most probable class of a frame. Ties: the lowest class.
    pub fn decision(&self, window: usize, frame: usize) -> &[usize] {
        let values = self.frame(window, frame);
        let best = (1..values.len()).fold(0, |best, class| if values[class] > values[best] { class } else { best });
        &self.classes[best]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of 4 frames, a second each, every two seconds.
    fn of(scores: &[f32]) -> Posteriors {
        let clock = WindowGrid { window: 4.0, step: 2.0, frame_step: 1.0, frame: 1.0 };
        let mut posteriors = Posteriors::new(clock, 4, 2, 2).expect("sizes");
        posteriors.append(scores).expect("whole windows");
        posteriors
    }

    #[test]
    fn probabilities_are_summed_over_classes() {
        let mut probabilities = [0.25f32; 16];
        probabilities[4..8].copy_from_slice(&[0.125, 0.125, 0.25, 0.5]);
        let posteriors = of(&probabilities.map(f32::ln));
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
        assert_eq!((posteriors.windows(), posteriors.total()), (1, 4));
        assert!(near(posteriors.speech(0, 1), 0.875) && near(posteriors.overlap(0, 1), 0.5));
        assert!(near(posteriors.speaker(0, 1, 0), 0.625) && near(posteriors.speaker(0, 1, 1), 0.75));
        assert_eq!((posteriors.decision(0, 0), posteriors.decision(0, 1)), (&[][..], &[0, 1][..]));
    }

    #[test]
    fn windows_own_their_middles_and_the_first_and_last_their_ends() {
        let posteriors = of(&[-1.0; 3 * 16]);
        assert_eq!([0, 1, 2].map(|window| posteriors.owned(window)), [0..3, 1..3, 1..4]);
        assert_eq!(of(&[-1.0; 16]).owned(0), 0..4);
    }

    #[test]
    fn scores_that_cannot_be_are_refused() {
        let mut posteriors = of(&[]);
        assert!(posteriors.append(&[0.0; 15]).is_err());
        assert!(posteriors.append(&[f32::NAN; 16]).is_err_and(|e| e.to_string().contains("not a number")));
        assert_eq!((posteriors.windows(), posteriors.total()), (0, 0));
        assert!(Posteriors::new(WindowGrid::default(), 0, 3, 2).is_err());
    }
}
