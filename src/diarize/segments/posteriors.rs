//! Powerset probabilities of overlapping windows of a recording.

use std::ops::Range;

use crate::diarize::powerset::{self, sets};
use crate::diarize::segmentation::Clock;
use crate::error::{Error, Result};

/// Probabilities of sets of speakers in the frames of windows. The speakers of one window are not those of the next.
///
/// Each window owns the frames in its middle, nearer to its centre than to that of a neighbour; together they cover the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Posteriors {
    /// How the windows and their frames lie in time.
    pub clock: Clock,
    /// Frames F of a window.
    pub frames: usize,
    /// Speakers S that the network tells apart in a window.
    pub speakers: usize,
    /// The speakers of each class, `[C]`; see [`sets`].
    classes: Vec<Vec<usize>>,
    /// Probabilities `[W, F, C]`.
    values: Vec<f32>,
}

impl Posteriors {
    /// Of no window yet. `at_once`: the most speakers of a class.
    ///
    /// # Errors
    /// [`Error::Diarization`] for a network without frames or speakers.
    pub fn new(clock: Clock, frames: usize, speakers: usize, at_once: usize) -> Result<Self> {
        if frames == 0 || speakers == 0 {
            let reason = format!("has windows of {frames} frames and {speakers} speakers");
            return Err(Error::diarization("segmentation", reason));
        }
        Ok(Posteriors { clock, frames, speakers, classes: sets(speakers, at_once), values: Vec::new() })
    }

    /// Adds the windows that follow: natural logarithms of probabilities, `[W, F, C]`.
    ///
    /// # Errors
    /// [`Error::Diarization`] for a score that is no number, and for a part of a window.
    pub fn append(&mut self, scores: &[f32]) -> Result<()> {
        powerset::refuse_nan(scores, self.classes.len())?;
        if !scores.len().is_multiple_of(self.frames * self.classes.len()) {
            let reason = format!("{} scores are no whole number of windows of {} frames", scores.len(), self.frames);
            return Err(Error::diarization("segmentation", reason));
        }
        self.values.extend(scores.iter().map(|score| score.exp()));
        Ok(())
    }

    /// Windows W.
    pub fn windows(&self) -> usize {
        self.values.len() / (self.frames * self.classes.len())
    }

    /// Frames T of the recording that the windows see.
    pub fn total(&self) -> usize {
        self.windows().checked_sub(1).map_or(0, |last| self.first_frame(last) + self.frames)
    }

    /// Frame of the recording that is the first of a window.
    pub fn first_frame(&self, window: usize) -> usize {
        self.clock.first_frame(window)
    }

    /// The frames of a window that it owns.
    pub fn owned(&self, window: usize) -> Range<usize> {
        let frame = |seconds: f64| (seconds / self.clock.frame_step).round_ties_even() as usize;
        let (length, step) = (self.clock.window, self.clock.step);
        let start = if window == 0 { 0 } else { frame((length - step) / 2.0) };
        let end = if window + 1 == self.windows() { self.frames } else { frame((length + step) / 2.0) };
        start.min(self.frames)..end.min(self.frames)
    }

    /// Seconds of so many frames of a window.
    pub fn seconds(&self, frames: usize) -> f64 {
        frames as f64 * self.clock.window / self.frames as f64
    }

    fn frame(&self, window: usize, frame: usize) -> &[f32] {
        let classes = self.classes.len();
        &self.values[(window * self.frames + frame) * classes..][..classes]
    }

    /// Probability that anybody speaks.
    pub fn speech(&self, window: usize, frame: usize) -> f32 {
        1.0 - self.frame(window, frame)[0]
    }

    /// Probability that several speak.
    pub fn overlap(&self, window: usize, frame: usize) -> f32 {
        let several = |(set, _): &(&Vec<usize>, &f32)| set.len() > 1;
        self.classes.iter().zip(self.frame(window, frame)).filter(several).map(|(_, value)| value).sum()
    }

    /// Probability that a speaker of the window speaks.
    pub fn speaker(&self, window: usize, frame: usize, speaker: usize) -> f32 {
        let with = |(set, _): &(&Vec<usize>, &f32)| set.contains(&speaker);
        self.classes.iter().zip(self.frame(window, frame)).filter(with).map(|(_, value)| value).sum()
    }

    /// The most probable set of speakers. Ties: the lowest class.
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
        let clock = Clock { window: 4.0, step: 2.0, frame_step: 1.0, frame: 1.0 };
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
        assert!(Posteriors::new(Clock::default(), 0, 3, 2).is_err());
    }
}
