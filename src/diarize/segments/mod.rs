//! Clustering of the pipeline [`open`](super::open): one embedding per segment of speech with a single speaker.
//!
//! | step | output |
//! |---|---|
//! | [`posteriors`] | powerset probabilities of windows that overlap by half, `[W, F, C]` |
//! | [`runs`] | speech of one speaker of a window, without long pauses or other speakers; cut to the window's owned frames, a segment |
//! | [`linkage`] | clusters of the embeddings of long segments, on the device |
//! | [`labels`] | speakers of the short segments, and of the frames that a window does not own |
//! | [`frames`] | number and identity of the active speakers of each frame, from weighted means over the windows |
//!
//! Windows own disjoint ranges of frames, so the embedding network processes each second of speech at most once. Method
//! and constants were chosen on LibriSpeech train-clean-100 and AMI: `tuning/open_report.py`.

pub mod frames;
pub mod labels;
pub mod linkage;
pub mod posteriors;
pub mod runs;

use std::ops::Range;

pub use posteriors::Posteriors;
pub use runs::Run;

use self::labels::Assigned;
use super::turns;
use super::{Diarization, Options};
use crate::engine::cluster::Cluster;
use crate::error::Result;
use crate::types::Span;
use crate::units::Seconds;

/// Constants of the method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentClustering {
    /// Step between windows, as a share of the window length.
    pub step: f64,
    /// Maximum pause within a run.
    pub gap: Seconds,
    /// Minimum duration of a segment; shorter ones are ignored.
    pub short: Seconds,
    /// Minimum duration of a segment that is clustered; shorter ones are assigned to the clusters afterwards.
    pub long: Seconds,
    /// Maximum cost of a merge of two clusters.
    pub threshold: f64,
    /// Maximum addition to the cost of merging two clusters that are different speakers in the same windows.
    pub penalty: f64,
    /// Seconds of both clusters in common windows at which half of the penalty is added.
    pub penalty_prior: Seconds,
    /// Maximum reduction of the similarity of a short segment to clusters of the window's other speakers.
    pub other_speaker: f64,
    /// Threshold of the mean probability of speech.
    pub speech: f64,
    /// Threshold of the mean probability of speech within a recognised word.
    pub speech_in_words: f64,
    /// Threshold of the mean probability of overlapping speech.
    pub overlap: f64,
    /// Weight in these means of a window that does not own the frame; the owner has weight 1.
    pub neighbour_weight: f64,
}

impl Default for SegmentClustering {
    /// The constants of [`open`](super::open).
    fn default() -> Self {
        SegmentClustering {
            step: 0.5,
            gap: Seconds(0.15),
            short: Seconds(0.3),
            long: Seconds(1.0),
            threshold: 0.64,
            penalty: 0.5,
            penalty_prior: Seconds(2.0),
            other_speaker: 0.3,
            speech: 0.5,
            speech_in_words: 0.1,
            overlap: 0.35,
            neighbour_weight: 0.5,
        }
    }
}

impl SegmentClustering {
    fn gap_frames(&self, posteriors: &Posteriors) -> usize {
        (self.gap.0 / posteriors.clock.frame_step).round_ties_even() as usize
    }

    /// The runs that are to have an embedding: within the frames that their windows own, and long enough.
    pub fn segments(&self, posteriors: &Posteriors) -> Vec<Run> {
        let all = runs::runs(posteriors, self.gap_frames(posteriors)).into_iter();
        let owned = all.filter_map(|run| run.within(&posteriors.owned(run.window)));
        owned.filter(|run| posteriors.seconds(run.frames().count()) >= self.short.0).collect()
    }

    /// Clusters N segments and reconstructs the turns. `runs` are the result of [`segments`](Self::segments),
    /// `embeddings` `[N, D]` their embeddings; segments with zero or NaN embeddings are dropped. `words` are the spans
    /// of recognised words, in which the threshold of speech is lower; empty without a transcript.
    ///
    /// # Errors
    /// Those of the device.
    pub fn diarize(
        &self,
        be: &impl Cluster,
        posteriors: &Posteriors,
        runs: Vec<Run>,
        embeddings: &[f32],
        words: &[Span],
        options: &Options,
    ) -> Result<Diarization> {
        let size = embeddings.len().checked_div(runs.len()).unwrap_or(0).max(1);
        let segment = |(run, embedding): (Run, &[f32])| {
            let seconds = posteriors.seconds(run.frames().count());
            Some(Segment { run, seconds, embedding: embedding.to_vec(), direction: direction(embedding)? })
        };
        let segments: Vec<Segment> = runs.into_iter().zip(embeddings.chunks_exact(size)).filter_map(segment).collect();
        let assigned = labels::assign(be, posteriors, &segments, self, options.bounds)?;
        let labels = labels::label_frames(posteriors, &segments, &assigned, self);
        let frames = frames::decide(posteriors, &labels, assigned.speakers, options.bounds.max, words, self);
        let [all, exclusive] =
            frames.each_ref().map(|frames| turns::spans(frames, &posteriors.clock, options.min_duration_off));
        Ok(Diarization::of_spans(all, exclusive, |speaker| mean_of(&segments, &assigned, speaker), options))
    }
}

/// The embedding scaled to length 1; `None` if it is zero or not finite.
fn direction(embedding: &[f32]) -> Option<Vec<f64>> {
    let length = embedding.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    (length.is_finite() && length > 0.0).then(|| embedding.iter().map(|x| f64::from(*x) / length).collect())
}

/// A run with its embedding.
pub struct Segment {
    /// Window, speaker and frames.
    pub run: Run,
    /// Duration of the frames, without pauses.
    pub seconds: f64,
    /// Output of the embedding network, `[D]`.
    pub embedding: Vec<f32>,
    /// The embedding scaled to length 1.
    pub direction: Vec<f64>,
}

/// The mean of a speaker's clustered embeddings, weighted by duration; `None` if there are none.
fn mean_of(segments: &[Segment], assigned: &Assigned, speaker: usize) -> Option<Vec<f64>> {
    let (mut sum, mut seconds) = (Vec::new(), 0.0);
    let own =
        segments.iter().enumerate().filter(|(at, _)| assigned.is_clustered[*at] && assigned.labels[*at] == speaker);
    for (_, segment) in own {
        sum.resize(segment.embedding.len(), 0.0);
        sum.iter_mut().zip(&segment.embedding).for_each(|(sum, x)| *sum += segment.seconds * f64::from(*x));
        seconds += segment.seconds;
    }
    (seconds > 0.0).then(|| sum.iter().map(|sum| sum / seconds).collect())
}

/// The samples of a run. Windows have `window` samples and start every `step` samples.
pub fn samples_of(run: &Run, posteriors: &Posteriors, window: usize, step: usize) -> Vec<Range<usize>> {
    let start = run.window * step;
    let sample = |frame: usize| start + (frame * window).div_ceil(posteriors.frames);
    run.intervals.iter().map(|interval| sample(interval.start)..sample(interval.end)).collect()
}

/// The step between windows of `window` samples, in samples.
pub fn step_of(window: usize, options: &SegmentClustering) -> usize {
    ((options.step * window as f64).round_ties_even() as usize).max(1)
}
