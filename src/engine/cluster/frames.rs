//! From overlapping windows to frames of the recording: speaker counts and reconstruction.

use rayon::prelude::*;

use super::Activity;

/// Frames of the recording per task.
const TASK_FRAMES: usize = 256;

impl Activity<'_> {
    /// The windows that cover frame `at` of the recording, each with the activity of its speakers in that frame.
    fn windows_at(&self, at: usize) -> impl Iterator<Item = (usize, &[bool])> {
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
        let (sum, windows) =
            activity.windows_at(at).map(speaking).fold((0, 0), |(sum, windows), count| (sum + count, windows + 1));
        (sum as f64 / f64::from(windows.max(1))).round_ties_even() as usize
    };
    (0..activity.total).into_par_iter().with_min_len(TASK_FRAMES).map(mean).collect()
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
            let at = block * TASK_FRAMES + place;
            votes.fill(0);
            for (window, active) in activity.windows_at(at) {
                // A speaker of a window without a label has no vote; two speakers with the same label have one vote.
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
        out.par_chunks_mut(TASK_FRAMES * speakers).enumerate().for_each(pick);
    }
    out
}
