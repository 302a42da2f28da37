//! Windows that overlap to frames of the recording.

use rayon::prelude::*;

use super::Activity;

/// Frames of the recording that a thread does together.
const TOGETHER: usize = 256;

impl Activity<'_> {
    /// Whether each speaker is active in the frames of the windows that see frame `at` of the recording, window by window.
    fn seen(&self, at: usize) -> impl Iterator<Item = (usize, &[bool])> {
        let end = self.first.partition_point(|first| *first <= at);
        let begin = self.first[..end].partition_point(|first| first + self.frames <= at);
        (begin..end).map(move |window| {
            let place = (window * self.frames + at - self.first[window]) * self.speakers;
            (window, &self.active[place..place + self.speakers])
        })
    }
}

pub(super) fn speaker_count(activity: &Activity) -> Vec<usize> {
    let mean = |at: usize| {
        let speaking = |(_, active): (usize, &[bool])| active.iter().filter(|active| **active).count();
        let (sum, seen) = activity.seen(at).map(speaking).fold((0, 0), |(sum, seen), count| (sum + count, seen + 1));
        (sum as f64 / f64::from(seen.max(1))).round_ties_even() as usize
    };
    (0..activity.total).into_par_iter().with_min_len(TOGETHER).map(mean).collect()
}

pub(super) fn reconstruct(
    activity: &Activity,
    labels: &[Option<usize>],
    count: &[usize],
    speakers: usize,
) -> Vec<bool> {
    let mut out = vec![false; activity.total * speakers];
    let pick = |(block, out): (usize, &mut [bool])| {
        let (mut votes, mut speaks, mut order) = (vec![0u32; speakers], vec![false; speakers], Vec::new());
        for (place, out) in out.chunks_exact_mut(speakers).enumerate() {
            let at = block * TOGETHER + place;
            votes.fill(0);
            for (window, active) in activity.seen(at) {
                // A speaker of a window who is never active counts as none, and two of one cluster as one.
                speaks.fill(false);
                let own = &labels[window * activity.speakers..(window + 1) * activity.speakers];
                own.iter().zip(active).filter(|(_, active)| **active).for_each(|(label, _)| {
                    label.iter().for_each(|&label| speaks[label] = true);
                });
                votes.iter_mut().zip(&speaks).for_each(|(votes, &yes)| *votes += u32::from(yes));
            }
            order.clear();
            order.extend(0..speakers);
            order.sort_by_key(|&speaker| std::cmp::Reverse(votes[speaker]));
            order.iter().take(count[at]).for_each(|&speaker: &usize| out[speaker] = true);
        }
    };
    if speakers > 0 {
        out.par_chunks_mut(TOGETHER * speakers).enumerate().for_each(pick);
    }
    out
}
