//! Gathering the samples of spans, and the rows of features that belong to each embedding; overlapping spans share
//! samples.

use std::ops::Range;

use crate::features::fbank::{self, SHIFT};

/// The samples of the spans of several embeddings, with one copy of overlapping ones, and the rows of features of each
/// embedding.
pub(super) struct SpeechFrames {
    /// Stretches of samples; each begins at a multiple of [`SHIFT`].
    pub samples: Vec<f32>,
    /// For each embedding, its rows in the features of `samples`.
    pub rows: Vec<Vec<usize>>,
}

impl SpeechFrames {
    /// Gathers `spans` of `samples`, which are zero past their end. Each span must be at least one frame long.
    ///
    /// Two overlapping spans share samples if their starts are a multiple of [`SHIFT`] apart.
    pub fn new(samples: &[f32], spans: &[&[Range<usize>]]) -> Self {
        // Stretches of the recording, sorted by phase and start, each with its first sample in the copy.
        let mut all: Vec<Range<usize>> = spans.iter().flat_map(|spans| spans.iter().cloned()).collect();
        all.sort_unstable_by_key(|span| (span.start % SHIFT, span.start));
        let mut stretches: Vec<(Range<usize>, usize)> = Vec::new();
        for span in all {
            match stretches.last_mut() {
                Some((last, _)) if last.start % SHIFT == span.start % SHIFT && span.start <= last.end => {
                    last.end = last.end.max(span.end);
                }
                _ => stretches.push((span, 0)),
            }
        }
        let mut copy = Vec::new();
        for (stretch, base) in &mut stretches {
            copy.resize(copy.len().next_multiple_of(SHIFT), 0.0);
            *base = copy.len();
            let available = samples.get(stretch.start..stretch.end.min(samples.len())).unwrap_or_default();
            copy.extend_from_slice(available);
            copy.resize(*base + stretch.len(), 0.0);
        }
        let row = |span: &Range<usize>| {
            let key = (span.start % SHIFT, span.start);
            let at = stretches.partition_point(|(stretch, _)| (stretch.start % SHIFT, stretch.start) <= key);
            let (stretch, base) = &stretches[at.saturating_sub(1)];
            (base + span.start - stretch.start) / SHIFT
        };
        let rows = |spans: &&[Range<usize>]| -> Vec<usize> {
            spans.iter().flat_map(|span| row(span)..row(span) + fbank::frames(span.len())).collect()
        };
        SpeechFrames { rows: spans.iter().map(rows).collect(), samples: copy }
    }
}

/// The spans of the active frames of a window, in samples. Frame `f` of the window that begins at `start` is the
/// [`FRAME`](fbank::FRAME) samples from `start + f * SHIFT` on; consecutive active frames are one span.
pub(super) fn spans_of_frames(start: usize, active: impl Iterator<Item = bool>) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut was_active = false;
    for (frame, active) in active.enumerate() {
        let first = start.saturating_add(frame * SHIFT);
        let end = first.saturating_add(fbank::FRAME);
        match spans.last_mut() {
            Some(last) if active && was_active => last.end = end,
            _ if active => spans.push(first..end),
            _ => {}
        }
        was_active = active;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_spans_share_their_samples() {
        let samples: Vec<f32> = (0..5000).map(|i| i as f32).collect();
        let spans: [Vec<Range<usize>>; 3] = [vec![320..1200, 2400..2800], vec![0..720], vec![1000..1400, 4800..5360]];
        let frames = SpeechFrames::new(&samples, &spans.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for (spans, rows) in spans.iter().zip(&frames.rows) {
            let mut rows = rows.iter();
            for span in spans {
                for frame in 0..fbank::frames(span.len()) {
                    let row = rows.next().unwrap();
                    for at in 0..fbank::FRAME {
                        let sample = span.start + frame * SHIFT + at;
                        let want = if sample < samples.len() { sample as f32 } else { 0.0 };
                        assert_eq!(frames.samples[row * SHIFT + at], want, "{span:?}");
                    }
                }
            }
            assert_eq!(rows.next(), None);
        }
        // 0 to 1200, 2400 to 2800 and 4800 to 5360 have the same phase; 1000 to 1400 has another.
        assert!(frames.samples.len() <= 1200 + 400 + 560 + 400 + 3 * SHIFT, "{}", frames.samples.len());
    }

    #[test]
    fn consecutive_frames_are_one_span() {
        let spans = spans_of_frames(1000, [true, true, false, true, false].into_iter());
        assert_eq!(spans, [1000..1560, 1480..1880]);
    }
}
