//! Assignment of segments to speakers, and of each window's speakers to speakers of the recording, per frame.

use super::linkage;
use super::runs::{Run, runs};
use super::{Posteriors, Segment, SegmentClustering};
use crate::diarize::cluster::{Bounds, normalised};
use crate::engine::cluster::Cluster;
use crate::error::Result;

/// Seconds of a window's other speakers at which the similarity to their clusters is reduced by half of the maximum.
const OTHERS_PRIOR: f64 = 1.0;
/// No speaker, or no window.
const NONE: u32 = u32::MAX;

/// The speakers of N segments.
pub struct Assigned {
    /// Number of speakers K.
    pub speakers: usize,
    /// Speaker of each segment, `[N]`.
    pub labels: Vec<usize>,
    /// Whether the segment was clustered, rather than assigned to a cluster afterwards, `[N]`.
    pub is_clustered: Vec<bool>,
}

/// The speaker of each segment. Long segments are clustered; each short one is assigned to the most similar cluster,
/// where the similarity to clusters of the window's other speakers is reduced. Without long segments, all segments are
/// clustered.
///
/// # Errors
/// Those of the device.
pub fn assign(
    be: &impl Cluster,
    posteriors: &Posteriors,
    segments: &[Segment],
    options: &SegmentClustering,
    bounds: Bounds,
) -> Result<Assigned> {
    let is_long = |segment: &Segment| segment.seconds >= options.long.0;
    let any_long = segments.iter().any(is_long);
    let is_clustered: Vec<bool> = segments.iter().map(|segment| is_long(segment) || !any_long).collect();
    let clustered = segments.iter().zip(&is_clustered).filter(|(_, clustered)| **clustered);
    let clustered: Vec<&Segment> = clustered.map(|(segment, _)| segment).collect();
    let mut clusters = linkage::cluster(be, posteriors, &clustered, options, bounds)?.into_iter();
    let mut labels: Vec<usize> =
        is_clustered.iter().map(|clustered| if *clustered { clusters.next().unwrap_or(0) } else { 0 }).collect();
    let speakers = labels.iter().max().map_or(0, |most| most + 1);
    let centroids = centroids(segments, &labels, &is_clustered, speakers);
    for at in (0..segments.len()).filter(|at| !is_clustered[*at]) {
        labels[at] = nearest(segments, at, &labels, &is_clustered, &centroids, options);
    }
    Ok(Assigned { speakers, labels, is_clustered })
}

/// Centroids of the clustered segments, weighted by duration and scaled to length 1, `[K, D]`.
fn centroids(segments: &[Segment], labels: &[usize], is_clustered: &[bool], speakers: usize) -> Vec<f64> {
    let size = segments.first().map_or(0, |segment| segment.direction.len());
    let mut sums = vec![0.0; speakers * size];
    for ((segment, label), _) in segments.iter().zip(labels).zip(is_clustered).filter(|(_, clustered)| **clustered) {
        let sum = &mut sums[label * size..(label + 1) * size];
        sum.iter_mut().zip(&segment.direction).for_each(|(sum, x)| *sum += segment.seconds * x);
    }
    normalised(&sums, size.max(1))
}

/// The most similar cluster of a short segment. Ties: the lowest index.
fn nearest(
    segments: &[Segment],
    at: usize,
    labels: &[usize],
    is_clustered: &[bool],
    centroids: &[f64],
    options: &SegmentClustering,
) -> usize {
    let Segment { run, direction, .. } = &segments[at];
    let mut scores: Vec<f64> = centroids
        .chunks_exact(direction.len().max(1))
        .map(|centroid| centroid.iter().zip(direction).map(|(a, b)| a * b).sum())
        .collect();
    // Segments of a window are contiguous.
    let before = segments[..at].iter().rev().take_while(|other| other.run.window == run.window).count();
    let after = segments[at..].iter().take_while(|other| other.run.window == run.window).count();
    let mut others = vec![0.0; scores.len()];
    for other in (at - before..at + after).filter(|other| is_clustered[*other]) {
        if segments[other].run.speaker != run.speaker {
            others[labels[other]] += segments[other].seconds;
        }
    }
    let scale = options.other_speaker / (others.iter().sum::<f64>() + OTHERS_PRIOR);
    scores.iter_mut().zip(&others).for_each(|(score, seconds)| *score -= scale * seconds);
    (1..scores.len()).fold(0, |best, label| if scores[label] > scores[best] { label } else { best })
}

/// Speaker of the recording for each frame and speaker of each window, `[W, F, S]`.
pub struct FrameLabels {
    frames: usize,
    speakers: usize,
    /// `[W, F, S]`
    values: Vec<u32>,
}

impl FrameLabels {
    fn none(posteriors: &Posteriors) -> Self {
        let &Posteriors { frames, speakers, .. } = posteriors;
        FrameLabels { frames, speakers, values: vec![NONE; posteriors.windows() * frames * speakers] }
    }

    /// The speaker of the recording; `None` if unknown.
    pub fn get(&self, window: usize, frame: usize, speaker: usize) -> Option<usize> {
        let label = self.values[(window * self.frames + frame) * self.speakers + speaker];
        (label != NONE).then_some(label as usize)
    }

    fn set(&mut self, window: usize, frame: usize, speaker: usize, label: u32) {
        self.values[(window * self.frames + frame) * self.speakers + speaker] = label;
    }

    /// Labels frames of a window: each speaker gets the label of its nearest run. Runs are in order of time. Ties: the
    /// earliest.
    fn fill(&mut self, runs: &[(&Run, u32)], frames: impl Iterator<Item = usize> + Clone) {
        for of_speaker in runs.chunk_by(|(a, _), (b, _)| (a.window, a.speaker) == (b.window, b.speaker)) {
            let Some((Run { window, speaker, .. }, _)) = of_speaker.first() else { continue };
            for frame in frames.clone() {
                let nearest = of_speaker.iter().min_by_key(|(run, _)| run.distance(frame));
                nearest.into_iter().for_each(|(_, label)| self.set(*window, frame, *speaker, *label));
            }
        }
    }
}

/// Labels all frames of all windows: owned frames by the window's segments, the others by a vote of the windows that
/// own them.
pub fn label_frames(
    posteriors: &Posteriors,
    segments: &[Segment],
    assigned: &Assigned,
    options: &SegmentClustering,
) -> FrameLabels {
    let mut owned = FrameLabels::none(posteriors);
    let labelled: Vec<(&Run, u32)> =
        segments.iter().zip(&assigned.labels).map(|(segment, label)| (&segment.run, *label as u32)).collect();
    for of_window in labelled.chunk_by(|(a, _), (b, _)| a.window == b.window) {
        let window = of_window.first().map_or(0, |(run, _)| run.window);
        owned.fill(of_window, posteriors.owned(window));
    }
    let owners = owners(posteriors);
    let all = runs(posteriors, options.gap_frames(posteriors));
    let voted: Vec<(&Run, u32)> =
        all.iter().filter_map(|run| Some((run, vote(posteriors, run, &owned, &owners, assigned.speakers)?))).collect();
    let mut labels = FrameLabels::none(posteriors);
    for of_window in voted.chunk_by(|(a, _), (b, _)| a.window == b.window) {
        labels.fill(of_window, 0..posteriors.frames);
    }
    for (label, owned) in labels.values.iter_mut().zip(&owned.values).filter(|(_, owned)| **owned != NONE) {
        *label = *owned;
    }
    labels
}

/// The window that owns each frame of the recording, `[T]`; [`NONE`] for a frame without an owner, due to rounding.
fn owners(posteriors: &Posteriors) -> Vec<u32> {
    let mut owners = vec![NONE; posteriors.total()];
    for window in 0..posteriors.windows() {
        let (first, owned) = (posteriors.first_frame(window), posteriors.owned(window));
        owners[first + owned.start..first + owned.end].fill(window as u32);
    }
    owners
}

/// The speaker of a run, by a vote of the windows that own its frames: activity in the owner times activity in the
/// run's window. Ties: the lowest index. `None` if no labelled speaker is active in the owners.
fn vote(posteriors: &Posteriors, run: &Run, owned: &FrameLabels, owners: &[u32], speakers: usize) -> Option<u32> {
    let mut votes = vec![0.0f64; speakers];
    let first = posteriors.first_frame(run.window);
    for frame in run.frames() {
        let owner = owners[first + frame];
        if owner == NONE {
            continue;
        }
        let (window, at) = (owner as usize, first + frame - posteriors.first_frame(owner as usize));
        let own = f64::from(posteriors.speaker(run.window, frame, run.speaker));
        for (label, activity) in speaker_activity(posteriors, owned, window, at) {
            votes[label] += f64::from(activity) * own;
        }
    }
    let best = (1..speakers).fold(0, |best, label| if votes[label] > votes[best] { label } else { best });
    votes.get(best).is_some_and(|votes| *votes > 0.0).then_some(best as u32)
}

/// Probability of activity of each speaker of the recording in a frame of a window: the maximum over the window's
/// speakers with that label. Speakers without a label are left out.
pub fn speaker_activity(
    posteriors: &Posteriors,
    labels: &FrameLabels,
    window: usize,
    frame: usize,
) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = Vec::with_capacity(posteriors.speakers);
    for speaker in 0..posteriors.speakers {
        let Some(label) = labels.get(window, frame, speaker) else { continue };
        let activity = posteriors.speaker(window, frame, speaker);
        match all.iter_mut().find(|(other, _)| *other == label) {
            Some((_, most)) => *most = most.max(activity),
            None => all.push((label, activity)),
        }
    }
    all
}
