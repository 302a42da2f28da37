//! Frame scores to speech spans: hysteresis, and a cut at the weakest score where speech runs too long.

use crate::types::Span;
use crate::units::{FrameGrid, Seconds};

/// A shorter region is no region. `pyannote.core.Segment` calls anything up to a microsecond empty.
const SHORTEST: f64 = 1e-6;

/// Thresholds of [`binarize`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hysteresis {
    /// Speech begins with a score above this.
    pub onset: f64,
    /// Speech ends with a score below this.
    pub offset: f64,
    /// Speech that runs longer is cut, in seconds. Infinity: never.
    pub max_duration: Seconds,
}

/// Regions of speech, in order, in seconds. Neighbours may touch (where speech was cut) but never overlap.
///
/// `scores` holds one probability per frame of `grid`. Speech begins in the middle of the first frame above `onset` and
/// ends in the middle of the first one below `offset`. Once it has lasted longer than `max_duration`, it is cut at the
/// lowest score of the second half of the frames collected, and goes on from there. A score that is not a number
/// changes nothing.
///
/// This is WhisperX's `Binarize`, with its habits, because a transcript hangs on where the cuts are:
/// - (a) a frame that finds the region too long is not tested against `offset`; speech then ends a frame later;
/// - (b) the collected frames are the one at which the previous region ended (or frame 0), then those after the one
///   that began this region: the frame that began it is never cut at, the stale one only if `max_duration` is
///   shorter than a step;
/// - (c) a region still open at the end ends in the middle of the last frame, half a frame before the recording does;
/// - after a cut the length is tested again only at the next frame, and the piece before the cut may exceed
///   `max_duration` by up to one step.
///
/// Each was weighed: none moves a boundary by more than a frame or two, so there is no second mode.
///
/// Source: WhisperX `vads/pyannote.py::Binarize` (m-bain/whisperX 2cfd7b7), without padding and minimum durations,
/// which WhisperX never sets; hysteresis from Gelly & Gauvain 2015.
pub fn binarize(scores: &[f32], grid: FrameGrid, options: &Hysteresis) -> Vec<Span> {
    let mut regions = Vec::new();
    let Some(&first) = scores.first() else { return regions };
    let mut keep = |start: f64, end: f64| {
        if end - start > SHORTEST {
            regions.push(Span::new(start, end));
        }
    };
    // Scores are f32, and NumPy 2 compares them with a Python number in f32.
    let (onset, offset) = (options.onset as f32, options.offset as f32);
    let mut start = grid.middle(0);
    let mut active = first > onset;
    // Frames among which a cut may be made; see (b) for the first of them.
    let mut collected = vec![0];
    for (index, &score) in scores.iter().enumerate().skip(1) {
        let time = grid.middle(index);
        if !active {
            if score > onset {
                (start, active) = (time, true);
            }
            continue;
        }
        if time - start > options.max_duration.0 {
            let cut = weakest_of_second_half(&collected, scores);
            let at = grid.middle(collected[cut]);
            keep(start, at);
            start = at;
            collected.drain(..=cut);
        } else if score < offset {
            keep(start, time);
            (start, active) = (time, false);
            collected.clear();
        }
        collected.push(index);
    }
    if active {
        keep(start, grid.middle(scores.len() - 1));
    }
    regions
}

/// Position in `frames` of the lowest score of its second half; the first of equals. `frames` is never empty.
fn weakest_of_second_half(frames: &[usize], scores: &[f32]) -> usize {
    let half = frames.len() / 2;
    (half..frames.len()).fold(half, |best, i| if scores[frames[i]] < scores[frames[best]] { i } else { best })
}
