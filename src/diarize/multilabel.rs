//! Multi-label decoding: an independent probability per speaker to the active speakers of each frame. This is the head
//! of pyannote/segmentation (2022).

use super::powerset::refuse_nan;
use super::segmentation::{Segmentation, WindowGrid};
use crate::error::{Error, Result};

/// Default activity threshold: a speaker with a probability above it is active.
pub const THRESHOLD: f32 = 0.5;

/// The active speakers of each frame: those with a probability above `threshold`. `scores` are `[W, F, S]`.
///
/// pyannote applies hysteresis with equal onset and offset, starting inactive. This differs from a plain comparison
/// only if a probability equals the threshold: then the speaker keeps the state of the frame before.
///
/// # Errors
/// [`Error::Diarization`] if a score is NaN, or if the scores are not a whole number of windows; [`Error::Config`] for
/// a threshold outside `[0, 1)`.
///
/// Source: pyannote.audio 4.0.4 `pipelines/speaker_diarization.py::SpeakerDiarization.apply`,
/// `utils/signal.py::binarize`.
pub fn decide(
    clock: WindowGrid,
    scores: &[f32],
    frames: usize,
    speakers: usize,
    threshold: f32,
) -> Result<Segmentation> {
    refuse_nan(scores, speakers)?;
    if !(0.0..1.0).contains(&threshold) {
        return Err(Error::config("segmentation_threshold", threshold, "must be at least 0 and below 1"));
    }
    let mut active = vec![false; scores.len()];
    for at in 0..scores.len() {
        // Each window starts inactive.
        let before = at % (frames * speakers).max(1) >= speakers && active[at - speakers];
        active[at] = scores[at] > threshold || (scores[at] == threshold && before);
    }
    Segmentation::new(clock, frames, speakers, active)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pyannote.audio 4.0.4: `binarize(scores, onset=0.5, initial_state=False)` of two windows of four frames.
    #[test]
    fn decisions_are_pyannotes() {
        let scores = [0.5, 0.9, 0.6, 0.5, 0.5, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 0.5, 0.51, 0.49];
        let want = [0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0].map(|x| x == 1);
        let got = decide(WindowGrid::default(), &scores, 4, 2, THRESHOLD).unwrap();
        let got: Vec<bool> = (0..8).flat_map(|at| got.frame(at / 4, at % 4).to_vec()).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn scores_that_cannot_be_used_are_refused() {
        let refused = |scores: &[f32], frames, threshold| {
            decide(WindowGrid::default(), scores, frames, 3, threshold).unwrap_err().to_string()
        };
        assert!(refused(&[0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0], 2, 0.5).contains("frame 1 "));
        assert!(refused(&[0.0; 9], 2, 0.5).contains("whole number"));
        assert!(refused(&[0.0; 6], 0, 0.5).contains("whole number"));
        for threshold in [-0.1, 1.0, f32::NAN] {
            assert!(refused(&[0.0; 6], 2, threshold).contains("below 1"));
        }
    }
}
