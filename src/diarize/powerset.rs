//! Powerset decoding: class scores to the active speakers of each frame.
//!
//! Source: pyannote.audio 4.0 `utils/powerset.py::Powerset`; Plaquet and Bredin 2023.

use super::segmentation::{Segmentation, WindowGrid};
use crate::error::{Error, Result};

/// The speakers of each powerset class: all sets of at most `at_once` of `speakers` speakers, by size, then in
/// lexicographic order. Three speakers, at most two at once: {}, {0}, {1}, {2}, {0,1}, {0,2}, {1,2}.
pub fn sets(speakers: usize, at_once: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    let mut longest: Vec<Vec<usize>> = all.clone();
    for _ in 0..at_once.min(speakers) {
        let longer = |set: &Vec<usize>| {
            let next = set.last().map_or(0, |last| last + 1);
            let set = set.clone();
            (next..speakers).map(move |speaker| [set.as_slice(), &[speaker]].concat())
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// The active speakers of each frame: those of the class with the highest score. `scores` are `[W, F, C]`, with the C
/// classes of [`sets`], and may be any increasing function of the probabilities. Ties: the lowest class.
///
/// # Errors
/// [`Error::Diarization`] if a score is NaN, or if the scores are not a whole number of windows.
pub fn decide(
    clock: WindowGrid,
    scores: &[f32],
    frames: usize,
    speakers: usize,
    at_once: usize,
) -> Result<Segmentation> {
    let sets = sets(speakers, at_once);
    refuse_nan(scores, sets.len())?;
    if !scores.len().is_multiple_of(sets.len()) {
        let reason = format!("{} scores are no whole number of frames of {} classes", scores.len(), sets.len());
        return Err(Error::diarization("segmentation", reason));
    }
    let mut active = vec![false; scores.len() / sets.len() * speakers];
    for (frame, active) in scores.chunks_exact(sets.len()).zip(active.chunks_exact_mut(speakers)) {
        let best = (1..frame.len()).fold(0, |best, class| if frame[class] > frame[best] { class } else { best });
        for &speaker in &sets[best] {
            active[speaker] = true;
        }
    }
    Segmentation::new(clock, frames, speakers, active)
}

/// Returns an error if a score is NaN. Each frame has `outputs` scores.
pub(super) fn refuse_nan(scores: &[f32], outputs: usize) -> Result<()> {
    let Some(bad) = scores.iter().position(|score| score.is_nan()) else { return Ok(()) };
    let frame = bad / outputs.max(1);
    let reason = format!("score of frame {frame} is not a number; is the recording damaged?");
    Err(Error::diarization("segmentation", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_in_the_order_of_the_checkpoint() {
        let want: [&[usize]; 7] = [&[], &[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]];
        assert_eq!(sets(3, 2), want);
        assert_eq!(sets(4, 3).len(), 1 + 4 + 6 + 4);
        assert_eq!(sets(2, 5).len(), 4);
    }

    #[test]
    fn the_likeliest_class_decides() {
        let mut scores = vec![-9.0; 4 * 7];
        scores[5] = -0.1; // {0, 2}
        scores[7 + 2] = f32::NEG_INFINITY;
        scores[7 + 3] = -0.2; // {2}
        scores[14] = -0.3; // nobody; the last frame is a tie, which the first class wins
        let decided = decide(WindowGrid::default(), &scores, 2, 3, 2).unwrap();
        assert_eq!(decided.windows, 2);
        assert_eq!(decided.frame(0, 0), [true, false, true]);
        assert_eq!(decided.frame(0, 1), [false, false, true]);
        assert_eq!(decided.frame(1, 0), [false; 3]);
        assert_eq!(decided.frame(1, 1), [false; 3]);
    }

    #[test]
    fn scores_that_are_no_numbers_are_refused() {
        let error = decide(WindowGrid::default(), &[0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0], 1, 3, 2).unwrap_err();
        assert!(error.to_string().contains("not a number"), "{error}");
        assert!(decide(WindowGrid::default(), &[0.0; 8], 1, 3, 2).is_err());
        assert!(decide(WindowGrid::default(), &[0.0; 21], 2, 3, 2).is_err());
    }
}
