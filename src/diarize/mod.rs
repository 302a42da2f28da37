//! Speaker diarization: segmentation and embeddings of overlapping windows to turns with speakers, and the speakers of words.
//!
//! | file | |
//! |---|---|
//! | [`diarizer`] | the stage: samples to turns |
//! | [`recipe`] | a pipeline's `config.yaml`; nothing in it is executed |
//! | [`open`] | the constants of the pipeline `open`, and of folders without a `config.yaml` |
//! | [`segmentation`] | activity of speakers in windows `[W, F, S]`, their embeddings `[W, S, D]`, and the clock of the frames |
//! | [`powerset`], [`multilabel`] | network outputs to hard decisions |
//! | [`cluster`] | clustering of the speakers of windows into speakers of the recording |
//! | [`linkage`], [`ahc`] | agglomerative clustering, and that of speaker-diarization-3.1 |
//! | [`segments`] | the clustering of [`open`]: embeddings of speech between pauses |
//! | [`plda`], [`vbx`] | the clustering of community-1; [`npz`] reads its files |
//! | [`kmeans`] | k-means, for a given number of speakers |
//! | [`enrol`] | identification of enrolled speakers |
//! | [`turns`] | decisions and clusters to frames, frames to turns, turns to RTTM |
//! | [`words`] | turns and words to words with speakers |
//!
//! Behind the networks ([`pyannet`](crate::models::pyannet), [`embedding`](crate::models::embedding)) everything is a function
//! of plain arrays, in `f64`.
//!
//! Sources: pyannote.audio 4.0.4 `pipelines/speaker_diarization.py`, `pipelines/clustering.py`, `core/inference.py`.

pub mod cluster;
pub mod diarizer;
pub mod enrol;
pub mod kmeans;
pub mod linkage;
pub mod multilabel;
pub mod npz;
pub mod open;
pub mod plda;
pub mod powerset;
pub mod recipe;
pub mod segmentation;
pub mod segments;
pub mod turns;
pub mod vbx;
pub mod words;
mod yaml;

pub use cluster::{Bounds, Clustering, Clusters, ahc};
pub use diarizer::Diarizer;
pub use enrol::Gallery;
pub use plda::Plda;
pub use segmentation::{Clock, Embeddings, Segmentation};
pub use turns::Turn;

use std::collections::BTreeMap;

use crate::engine::cluster::{Cluster, Host};
use crate::error::Result;
use crate::types::{PipelineVersion, Span};
use crate::units::Seconds;

/// Settings of [`diarize`]. The defaults are those of both pipelines.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// How many speakers there may be.
    pub bounds: Bounds,
    /// Silences of a speaker shorter than this are part of the turn.
    pub min_duration_off: Seconds,
    /// Where the recording ends, if turns shall end there: the last window sees further.
    pub end: Option<Seconds>,
}

/// Who speaks when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diarization {
    /// All turns; where they overlap, several people speak.
    pub turns: Vec<Turn>,
    /// Turns of which no two overlap, for giving words to speakers.
    pub exclusive: Vec<Turn>,
    /// The speakers' embeddings, in the order of their labels; `None` for a speaker who is nowhere heard alone for long enough.
    pub voices: Vec<Option<Vec<f64>>>,
    /// What was asked for and could not be met, as texts for people.
    pub warnings: Vec<String>,
    /// The pipeline, where it is known.
    pub version: Option<PipelineVersion>,
}

impl Diarization {
    /// Number of speakers.
    pub fn speakers(&self) -> usize {
        self.voices.len()
    }

    /// From the spans of numbered speakers, those in which several speak and those of one at a time; `voice` gives their embeddings.
    fn of_spans(
        all: Vec<(Span, usize)>,
        exclusive: Vec<(Span, usize)>,
        voice: impl Fn(usize) -> Option<Vec<f64>>,
        options: &Options,
    ) -> Self {
        let [all, exclusive] = [all, exclusive].map(|spans| trimmed(spans, options.end));
        let order = turns::label_order(&all);
        Diarization {
            turns: turns::label(&all, &order),
            exclusive: turns::label(&exclusive, &order),
            voices: order.iter().map(|speaker| voice(*speaker)).collect(),
            warnings: unmet(options.bounds, order.len()).into_iter().collect(),
            version: None,
        }
    }

    /// The embedding of each speaker by label; `labels` are in the order of [`voices`](Self::voices).
    pub fn embeddings(&self, labels: Vec<String>) -> BTreeMap<String, Option<Vec<f32>>> {
        let voice = |voice: &Vec<f64>| voice.iter().map(|x| *x as f32).collect();
        labels.into_iter().zip(self.voices.iter().map(|found| found.as_ref().map(voice))).collect()
    }
}

/// Diarizes a recording on the host. `voices` is asked for only if somebody speaks at all.
///
/// # Errors
/// As [`diarize_on`].
pub fn diarize(
    segmentation: &Segmentation,
    voices: impl FnOnce() -> Result<Embeddings>,
    clustering: &Clustering,
    options: &Options,
) -> Result<Diarization> {
    diarize_on(&Host, segmentation, voices, clustering, options)
}

/// The same on a device.
///
/// # Errors
/// Those of `voices`, of [`cluster`](cluster::cluster()) and of the device.
pub fn diarize_on(
    be: &impl Cluster,
    segmentation: &Segmentation,
    voices: impl FnOnce() -> Result<Embeddings>,
    clustering: &Clustering,
    options: &Options,
) -> Result<Diarization> {
    let mut count = segmentation.count(be)?;
    if count.iter().all(|count| *count == 0) {
        return Ok(Diarization { warnings: unmet(options.bounds, 0).into_iter().collect(), ..Diarization::default() });
    }
    let clusters = cluster::cluster(be, segmentation, &voices()?, clustering, options.bounds)?;
    let mut spans_of = |most: usize| -> Result<_> {
        count.iter_mut().for_each(|count| *count = (*count).min(most));
        let frames = turns::reconstruct(be, segmentation, &clusters, &count)?;
        Ok(turns::spans(&frames, &segmentation.clock, options.min_duration_off))
    };
    let all = spans_of(options.bounds.max)?;
    let exclusive = spans_of(1)?;
    let size = clusters.centroids.len() / clusters.speakers;
    // More people may speak at once than were told apart, and a centroid of no embeddings is zero.
    let heard = |voice: &&[f64]| voice.iter().all(|x| x.is_finite()) && voice.iter().any(|x| *x != 0.0);
    let voice = |speaker| clusters.centroids.chunks_exact(size).nth(speaker).filter(heard).map(<[f64]>::to_vec);
    Ok(Diarization::of_spans(all, exclusive, voice, options))
}

/// Spans that end with the recording.
fn trimmed(mut spans: Vec<(Span, usize)>, end: Option<Seconds>) -> Vec<(Span, usize)> {
    if let Some(end) = end {
        spans.retain(|(span, _)| span.start < end);
        spans.iter_mut().for_each(|(span, _)| span.end = if span.end > end { end } else { span.end });
    }
    spans
}

/// What to tell where another number of speakers was found than was asked for.
fn unmet(bounds: Bounds, found: usize) -> Option<String> {
    let Bounds { min, max } = bounds;
    let speakers = |count: usize| if count == 1 { "1 speaker".to_owned() } else { format!("{count} speakers") };
    let why = match found {
        0 => "nobody speaks in the recording",
        _ if found < min => "the others say too little, or their voices are too much alike",
        _ => "more people speak at once",
    };
    let asked = match (min, max) {
        // Of silence nobody need be told who asked for nothing.
        (1, max) if found == 0 && max > 1 => return None,
        (min, max) if (min..=max).contains(&found) => return None,
        (min, max) if min == max => format!("`num_speakers` {min}"),
        (min, _) if found < min => format!("`min_speakers` {min}"),
        (_, max) => format!("`max_speakers` {max}"),
    };
    Some(format!("{asked} cannot be met: {} found; {why}", if found == 0 { "none".into() } else { speakers(found) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(num: Option<usize>, min: Option<usize>, max: Option<usize>, found: usize) -> Option<String> {
        unmet(Bounds::new(num, min, max).unwrap(), found)
    }

    #[test]
    fn a_number_that_is_met_or_not_asked_for_is_not_told() {
        for found in 0..9 {
            assert_eq!(told(None, None, None, found), None, "{found}");
            assert_eq!(told(None, None, Some(8), found), None, "{found}");
        }
        assert_eq!(told(Some(3), None, None, 3), None);
        assert_eq!(told(None, Some(2), None, 2), None);
    }

    #[test]
    fn a_number_that_cannot_be_met_is_named() {
        for (told, parts) in [
            (told(Some(3), None, None, 2), ["`num_speakers` 3", "2 speakers found"]),
            (told(Some(2), None, None, 1), ["`num_speakers` 2", "1 speaker found"]),
            (told(None, Some(4), Some(9), 2), ["`min_speakers` 4", "2 speakers found"]),
            (told(None, Some(2), None, 0), ["`min_speakers` 2", "nobody speaks"]),
            (told(Some(1), None, None, 0), ["`num_speakers` 1", "nobody speaks"]),
            (told(None, None, Some(2), 3), ["`max_speakers` 2", "3 speakers found"]),
        ] {
            let told = told.unwrap();
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
    }
}
