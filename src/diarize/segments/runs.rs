//! Runs: speech of one speaker of a window, not interrupted by long pauses or other speakers.

use std::ops::Range;

use super::Posteriors;

/// Speech of one speaker of a window: frames in which only this speaker is active, with short pauses between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Index of the window.
    pub window: usize,
    /// Index of the speaker in the window.
    pub speaker: usize,
    /// Intervals of frames of the window without the pauses, ascending; at least one.
    pub intervals: Vec<Range<usize>>,
}

impl Run {
    /// The frames of the run, without pauses.
    pub fn frames(&self) -> impl Iterator<Item = usize> {
        self.intervals.iter().cloned().flatten()
    }

    /// From the first frame to the end of the last interval, pauses included.
    pub fn extent(&self) -> Range<usize> {
        let start = self.intervals.first().map_or(0, |first| first.start);
        start..self.intervals.last().map_or(start, |last| last.end)
    }

    /// The part of the run within `frames`; `None` if it is empty.
    pub fn within(&self, frames: &Range<usize>) -> Option<Run> {
        let cut = |interval: &Range<usize>| interval.start.max(frames.start)..interval.end.min(frames.end);
        let intervals: Vec<_> = self.intervals.iter().map(cut).filter(|interval| !interval.is_empty()).collect();
        (!intervals.is_empty()).then_some(Run { intervals, ..*self })
    }

    /// Distance of a frame from the extent of the run, in frames; 0 within it.
    pub fn distance(&self, frame: usize) -> usize {
        let Range { start, end } = self.extent();
        if frame < start { start - frame } else { (frame + 1).saturating_sub(end) }
    }
}

/// The runs of all windows, ordered by window, speaker and time. A pause ends a run if it has more than `gap` frames,
/// or if another speaker is active in it without this one.
pub fn runs(posteriors: &Posteriors, gap: usize) -> Vec<Run> {
    (0..posteriors.windows()).flat_map(|window| runs_of(posteriors, window, gap)).collect()
}

fn runs_of(posteriors: &Posteriors, window: usize, gap: usize) -> Vec<Run> {
    let decided: Vec<&[usize]> = (0..posteriors.frames).map(|frame| posteriors.decision(window, frame)).collect();
    (0..posteriors.speakers).flat_map(|speaker| runs_of_speaker(&decided, window, speaker, gap)).collect()
}

fn runs_of_speaker(decided: &[&[usize]], window: usize, speaker: usize, gap: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // Whether another speaker was active without this one since the last frame of the run.
    let mut interrupted = false;
    for (frame, speakers) in decided.iter().enumerate() {
        if **speakers != [speaker] {
            interrupted |= !speakers.is_empty() && !speakers.contains(&speaker);
            continue;
        }
        match runs.last_mut() {
            Some(run) if frame - run.extent().end <= gap && !interrupted => extend(&mut run.intervals, frame),
            _ => runs.push(Run { window, speaker, intervals: std::iter::once(frame..frame + 1).collect() }),
        }
        interrupted = false;
    }
    runs
}

fn extend(intervals: &mut Vec<Range<usize>>, frame: usize) {
    match intervals.last_mut() {
        Some(last) if last.end == frame => last.end += 1,
        _ => intervals.push(frame..frame + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diarize::segmentation::WindowGrid;

    /// One window of decisions: `.` nobody, `a`, `b`, `c` a speaker, `A` the first two.
    fn decided(frames: &str) -> Posteriors {
        let clock = WindowGrid { window: frames.len() as f64, step: 1.0, frame_step: 1.0, frame: 1.0 };
        let mut posteriors = Posteriors::new(clock, frames.len(), 3, 2).expect("sizes");
        let class = |frame: char| ".abcA".find(frame).expect("a known frame");
        let scores = frames.chars().flat_map(|frame| (0..7).map(move |at| if at == class(frame) { 0.0 } else { -9.0 }));
        posteriors.append(&scores.collect::<Vec<_>>()).expect("one window");
        posteriors
    }

    fn found(frames: &str, gap: usize) -> Vec<(usize, Vec<Range<usize>>)> {
        runs(&decided(frames), gap).into_iter().map(|run| (run.speaker, run.intervals)).collect()
    }

    #[test]
    fn runs_end_at_pauses_and_at_other_speakers() {
        assert_eq!(found("aa..aa...a", 2), [(0, vec![0..2, 4..6]), (0, vec![9..10])]);
        // While both speak it goes on; where only the other one does it ends.
        assert_eq!(found("aaAAaa", 2), [(0, vec![0..2, 4..6])]);
        assert_eq!(found("aaAbaa", 2), [(0, vec![0..2]), (0, vec![4..6]), (1, vec![3..4])]);
        assert_eq!(found("......", 2), []);
    }

    #[test]
    fn runs_are_cut_and_measured() {
        let run = Run { window: 1, speaker: 2, intervals: vec![2..5, 7..9] };
        assert_eq!((run.frames().count(), run.extent()), (5, 2..9));
        assert_eq!(run.within(&(4..8)).expect("a part").intervals, [4..5, 7..8]);
        assert_eq!(run.within(&(5..7)), None);
        assert_eq!([0, 2, 6, 8, 9, 11].map(|frame| run.distance(frame)), [2, 0, 0, 0, 1, 3]);
    }
}
