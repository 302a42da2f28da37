//! Frame scores to speech spans: hysteresis thresholding, and cuts at the lowest score in speech that is too long.

use crate::types::Span;
use crate::units::{FrameGrid, Seconds};

/// Regions up to this length are dropped, in seconds: `pyannote.core.Segment` treats them as empty.
const MIN_DURATION: f64 = 1e-6;

/// Thresholds of [`binarize`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hysteresis {
    /// Speech begins with a score above this.
    pub onset: f64,
    /// Speech ends with a score below this.
    pub offset: f64,
    /// Longer speech is cut, in seconds. Infinity: never.
    pub max_duration: Seconds,
}

/// Regions of speech, in order, in seconds. Adjacent regions may touch (where speech was cut) but never overlap.
///
/// `scores` holds one probability per frame of `grid`. Speech begins in the middle of the first frame above `onset` and
/// ends in the middle of the first frame below `offset`. Speech longer than `max_duration` is cut at the lowest score
/// in the second half of its collected frames, and a new region begins there. A NaN score is neither above nor below a
/// threshold.
///
/// This reproduces WhisperX's `Binarize` including its quirks, because the cuts determine the transcript:
/// - (a) a frame at which the region is too long is not compared with `offset`; speech then ends one frame later;
/// - (b) the collected frames are the frame at which the previous region ended (or frame 0), then the frames after the
///   first frame of this region. So the first frame is never a cut, and the stale frame of the previous region is a cut
///   only if `max_duration` is shorter than a step;
/// - (c) a region that is open at the end of the scores ends in the middle of the last frame, half a frame before the
///   end of the recording;
/// - (d) after a cut the length is tested again only at the next frame, and the piece before the cut may exceed
///   `max_duration` by up to one step.
///
/// No quirk moves a boundary by more than two frames, so there is no mode without them.
///
/// Source: WhisperX `vads/pyannote.py::Binarize` (m-bain/whisperX 2cfd7b7), without padding and minimum durations,
/// which WhisperX never sets; hysteresis from Gelly & Gauvain 2015.
pub fn binarize(scores: &[f32], grid: FrameGrid, options: &Hysteresis) -> Vec<Span> {
    let mut regions = Vec::new();
    let Some(&first) = scores.first() else { return regions };
    let mut keep = |start: f64, end: f64| {
        if end - start > MIN_DURATION {
            regions.push(Span::new(start, end));
        }
    };
    // NumPy 2 compares f32 scores with a Python float in f32.
    let (onset, offset) = (options.onset as f32, options.offset as f32);
    let mut start = grid.middle(0);
    let mut active = first > onset;
    // Candidate frames for a cut; see (b) for the first.
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
            let cut = lowest_of_second_half(&collected, scores);
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

/// Index in `frames` of the lowest score of its second half. Ties: the lowest index wins. `frames` is never empty.
fn lowest_of_second_half(frames: &[usize], scores: &[f32]) -> usize {
    let half = frames.len() / 2;
    (half..frames.len()).fold(half, |best, i| if scores[frames[i]] < scores[frames[best]] { i } else { best })
}
