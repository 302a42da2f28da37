//! Speaker diarization: windowed segmentation, speaker embeddings, clustering, turns, and speaker assignment for words.
//!
//! | module | contents |
//! |---|---|
//! | [`diarizer`] | the whole stage: samples to turns |
//! | [`recipe`] | parser for a pipeline's `config.yaml`; nothing in it is executed |
//! | [`open`] | constants of the pipeline `open`, which are also used for folders without a `config.yaml` |
//! | [`segmentation`] | speaker activity per window `[W, F, S]`, embeddings `[W, S, D]`, and the times of the frames |
//! | [`powerset`], [`multilabel`] | network outputs to hard decisions |
//! | [`cluster`] | clustering of the speakers of each window into the speakers of the recording |
//! | [`linkage`], [`ahc`] | cutting of a dendrogram; agglomerative clustering of speaker-diarization-3.1 |
//! | [`segments`] | clustering of [`open`]: one embedding per segment of uninterrupted speech |
//! | [`plda`], [`vbx`] | clustering of community-1; [`npz`] reads its files |
//! | [`kmeans`] | k-means, for a given number of speakers |
//! | [`enrol`] | identification of enrolled speakers |
//! | [`turns`] | reconstruction of frames, frames to turns, turns to RTTM |
//! | [`words`] | speaker assignment for words |
//!
//! All steps after the networks ([`pyannet`](crate::models::pyannet), [`embedding`](crate::models::embedding)) are
//! functions of plain arrays and compute in `f64`.
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
pub use segmentation::{Embeddings, Segmentation, WindowGrid};
pub use turns::Turn;

use std::collections::BTreeMap;

use crate::engine::cluster::{Cluster, Host};
use crate::error::Result;
use crate::types::{PipelineVersion, Span};
use crate::units::Seconds;

/// Settings of [`diarize`]. The defaults are those of speaker-diarization-3.1 and community-1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Lower and upper bound of the number of speakers.
    pub bounds: Bounds,
    /// Pauses of a speaker shorter than this do not end a turn.
    pub min_duration_off: Seconds,
    /// End of the recording: turns are cut there. `None`: turns may extend into the padding of the last window.
    pub end: Option<Seconds>,
}

/// Result of diarization.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diarization {
    /// All turns. They overlap where several speakers are active.
    pub turns: Vec<Turn>,
    /// Turns without overlap, one speaker at a time: used to assign speakers to words.
    pub exclusive: Vec<Turn>,
    /// Embedding `[D]` of each speaker, in the order of the labels; `None` for a speaker with too little speech without
    /// overlap.
    pub embeddings: Vec<Option<Vec<f64>>>,
    /// Messages for the user: requested numbers of speakers that could not be met.
    pub warnings: Vec<String>,
    /// The pipeline, if known.
    pub version: Option<PipelineVersion>,
}

impl Diarization {
    /// Number of speakers.
    pub fn speakers(&self) -> usize {
        self.embeddings.len()
    }

    /// From the spans of numbered speakers, with and without overlap. `embedding` returns the embedding of a speaker.
    fn of_spans(
        all: Vec<(Span, usize)>,
        exclusive: Vec<(Span, usize)>,
        embedding: impl Fn(usize) -> Option<Vec<f64>>,
        options: &Options,
    ) -> Self {
        let [all, exclusive] = [all, exclusive].map(|spans| trimmed(spans, options.end));
        let order = turns::label_order(&all);
        Diarization {
            turns: turns::label(&all, &order),
            exclusive: turns::label(&exclusive, &order),
            embeddings: order.iter().map(|speaker| embedding(*speaker)).collect(),
            warnings: unmet(options.bounds, order.len()).into_iter().collect(),
            version: None,
        }
    }

    /// The embedding of each speaker by label; `labels` are in the order of [`embeddings`](Self::embeddings).
    pub fn embeddings_by_label(&self, labels: Vec<String>) -> BTreeMap<String, Option<Vec<f32>>> {
        let embedding = |embedding: &Vec<f64>| embedding.iter().map(|x| *x as f32).collect();
        labels.into_iter().zip(self.embeddings.iter().map(|found| found.as_ref().map(embedding))).collect()
    }
}

/// Clusters the windows of a recording into turns, on the CPU. `embeddings` computes the embeddings; it is called only
/// if there is speech.
///
/// # Errors
/// As [`diarize_on`].
pub fn diarize(
    segmentation: &Segmentation,
    embeddings: impl FnOnce() -> Result<Embeddings>,
    clustering: &Clustering,
    options: &Options,
) -> Result<Diarization> {
    diarize_on(&Host, segmentation, embeddings, clustering, options)
}

/// As [`diarize`], on a device.
///
/// # Errors
/// Those of `embeddings`, of [`cluster`](cluster::cluster()) and of the device.
pub fn diarize_on(
    be: &impl Cluster,
    segmentation: &Segmentation,
    embeddings: impl FnOnce() -> Result<Embeddings>,
    clustering: &Clustering,
    options: &Options,
) -> Result<Diarization> {
    let mut count = segmentation.count(be)?;
    if count.iter().all(|count| *count == 0) {
        return Ok(Diarization { warnings: unmet(options.bounds, 0).into_iter().collect(), ..Diarization::default() });
    }
    let clusters = cluster::cluster(be, segmentation, &embeddings()?, clustering, options.bounds)?;
    let mut spans_of = |most: usize| -> Result<_> {
        count.iter_mut().for_each(|count| *count = (*count).min(most));
        let frames = turns::reconstruct(be, segmentation, &clusters, &count)?;
        Ok(turns::spans(&frames, &segmentation.clock, options.min_duration_off))
    };
    let all = spans_of(options.bounds.max)?;
    let exclusive = spans_of(1)?;
    let size = clusters.centroids.len() / clusters.speakers;
    // Frames may have more active speakers than there are clusters; the centroid of an empty cluster is zero.
    let is_valid = |embedding: &&[f64]| embedding.iter().all(|x| x.is_finite()) && embedding.iter().any(|x| *x != 0.0);
    let embedding = |speaker| clusters.centroids.chunks_exact(size).nth(speaker).filter(is_valid).map(<[f64]>::to_vec);
    Ok(Diarization::of_spans(all, exclusive, embedding, options))
}

/// Drops spans that start after the end of the recording, and cuts the others there.
fn trimmed(mut spans: Vec<(Span, usize)>, end: Option<Seconds>) -> Vec<(Span, usize)> {
    if let Some(end) = end {
        spans.retain(|(span, _)| span.start < end);
        spans.iter_mut().for_each(|(span, _)| span.end = if span.end > end { end } else { span.end });
    }
    spans
}

/// Warning if the number of speakers found is outside the requested bounds.
fn unmet(bounds: Bounds, found: usize) -> Option<String> {
    let Bounds { min, max } = bounds;
    let speakers = |count: usize| if count == 1 { "1 speaker".to_owned() } else { format!("{count} speakers") };
    let why = match found {
        0 => "nobody speaks in the recording",
        _ if found < min => "the others say too little, or their voices are too much alike",
        _ => "more people speak at once",
    };
    let asked = match (min, max) {
        // No speech and no requested number: no warning.
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
