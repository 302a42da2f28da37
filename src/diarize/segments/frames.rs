//! Reconstruction: the active speakers of each frame of the recording, from the probabilities of overlapping windows.

use super::labels::{FrameLabels, speaker_activity};
use super::{Posteriors, SegmentClustering};
use crate::diarize::turns::Frames;
use crate::types::Span;

/// The active speakers of each frame: first all of them, then only the most probable one. Their number is 0, 1 or 2, by
/// thresholds of the mean probabilities of speech and of overlap, and at most `most`. Windows that do not own the frame
/// have a lower weight in the means. Within `words` the threshold of speech is lower.
pub fn decide(
    posteriors: &Posteriors,
    labels: &FrameLabels,
    speakers: usize,
    most: usize,
    words: &[Span],
    options: &SegmentClustering,
) -> [Frames; 2] {
    let total = posteriors.total();
    let in_word = frames_in(words, posteriors);
    let mut frames = [(); 2].map(|()| Frames { speakers, active: vec![false; total * speakers] });
    let first: Vec<usize> = (0..posteriors.windows()).map(|window| posteriors.first_frame(window)).collect();
    for (at, in_word) in in_word.into_iter().enumerate() {
        let scores = FrameScores::of(posteriors, labels, &first, at, options);
        let speech = if in_word { options.speech_in_words } else { options.speech };
        let count = match () {
            () if scores.speech <= speech => 0,
            () if scores.overlap <= options.overlap => 1,
            () => 2,
        };
        for (rank, label) in scores.by_probability().take(count.min(most)).enumerate() {
            frames[0].active[at * speakers + label] = true;
            frames[1].active[at * speakers + label] = rank == 0;
        }
    }
    frames
}

/// Whether the middle of each frame of the recording is within a span, `[T]`.
fn frames_in(spans: &[Span], posteriors: &Posteriors) -> Vec<bool> {
    let grid = posteriors.clock.grid();
    let mut inside = vec![false; posteriors.total()];
    for span in spans {
        let first = ((span.start.0 - grid.middle(0)) / grid.step).ceil().max(0.0) as usize;
        let frames = inside.iter_mut().enumerate().skip(first);
        frames.take_while(|(at, _)| grid.middle(*at) < span.end.0).for_each(|(_, is)| *is = true);
    }
    inside
}

/// Scores of a frame of the recording, over the windows that contain it.
struct FrameScores {
    /// Weighted mean of the probability of speech.
    speech: f64,
    /// Weighted mean of the probability of overlapping speech.
    overlap: f64,
    /// Speakers of the recording with their weighted sums of activity, if above 0, in descending order.
    speakers: Vec<(usize, f64)>,
}

impl FrameScores {
    fn of(
        posteriors: &Posteriors,
        labels: &FrameLabels,
        first: &[usize],
        at: usize,
        options: &SegmentClustering,
    ) -> Self {
        let mut scores = FrameScores { speech: 0.0, overlap: 0.0, speakers: Vec::new() };
        let mut sum = 0.0;
        let last = first.partition_point(|first| *first <= at);
        let windows = (0..last).rev().take_while(|window| at < first[*window] + posteriors.frames);
        for window in windows {
            let frame = at - first[window];
            let weight = if posteriors.owned(window).contains(&frame) { 1.0 } else { options.neighbour_weight };
            sum += weight;
            scores.speech += weight * f64::from(posteriors.speech(window, frame));
            scores.overlap += weight * f64::from(posteriors.overlap(window, frame));
            for (label, activity) in speaker_activity(posteriors, labels, window, frame) {
                let activity = weight * f64::from(activity);
                match scores.speakers.iter_mut().find(|(other, _)| *other == label) {
                    Some((_, sum)) => *sum += activity,
                    None => scores.speakers.push((label, activity)),
                }
            }
        }
        if sum > 0.0 {
            scores.speech /= sum;
            scores.overlap /= sum;
        }
        scores.speakers.retain(|(_, activity)| *activity > 0.0);
        scores.speakers.sort_by(|(a, one), (b, other)| other.total_cmp(one).then(a.cmp(b)));
        scores
    }

    fn by_probability(&self) -> impl Iterator<Item = usize> {
        self.speakers.iter().map(|(label, _)| *label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diarize::segmentation::WindowGrid;

    #[test]
    fn frames_of_words_are_those_whose_middles_they_cover() {
        let clock = WindowGrid { window: 8.0, step: 8.0, frame_step: 1.0, frame: 1.0 };
        let mut posteriors = Posteriors::new(clock, 8, 2, 2).expect("sizes");
        posteriors.append(&[-1.0; 8 * 4]).expect("one window");
        let inside = |spans: &[(f64, f64)]| {
            let spans: Vec<Span> = spans.iter().map(|(start, end)| Span::new(*start, *end)).collect();
            frames_in(&spans, &posteriors).iter().map(|is| if *is { 'x' } else { '.' }).collect::<String>()
        };
        assert_eq!(inside(&[]), "........");
        assert_eq!(inside(&[(1.0, 2.6), (5.4, 5.45)]), ".xx.....");
        assert_eq!(inside(&[(-3.0, 0.6), (7.0, 90.0), (4.5, 4.6)]), "x...x..x");
    }
}
