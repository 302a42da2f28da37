//! Who speaks when: what two networks say about overlapping windows of a recording, to turns with speakers; and turns
//! and words to words with speakers.
//!
//! | file | |
//! |---|---|
//! | [`diarizer`] | the stage: samples through both networks to turns |
//! | [`folder`] | a pipeline's `config.yaml`; nothing in it is executed |
//! | [`windows`] | what the networks say, and on which clock: `[W, F, S]` who is active, `[W, S, D]` their voices |
//! | [`pieces`] | speakers of windows, cut at their pauses |
//! | [`powerset`], [`multilabel`] | classes of sets of speakers, or probabilities of speakers, to hard decisions |
//! | [`cluster`] | which speaker of the recording each speaker of each window is |
//! | [`linkage`], [`ahc`] | agglomerative clustering, and that of speaker-diarization-3.1 |
//! | [`contact`] | agglomerative clustering that knows what neighbouring windows say |
//! | [`plda`], [`vbx`] | the clustering of community-1; [`npz`] reads its files |
//! | [`kmeans`] | clustering into a number of speakers that the caller knows |
//! | [`enrol`] | names of speakers whose voices are known |
//! | [`turns`] | decisions and clusters to frames, frames to turns, turns to RTTM |
//! | [`words`] | turns and words to words with speakers |
//!
//! Behind the networks ([`pyannet`](crate::models::pyannet), [`resnet34`](crate::models::resnet34)) everything is a function
//! of plain arrays, in `f64`.
//!
//! Sources: pyannote.audio 4.0.4 `pipelines/speaker_diarization.py`, `pipelines/clustering.py`, `core/inference.py`.

pub mod ahc;
pub mod cluster;
pub mod contact;
pub mod diarizer;
pub mod enrol;
pub mod folder;
pub mod kmeans;
pub mod linkage;
pub mod multilabel;
pub mod npz;
pub mod pieces;
pub mod plda;
pub mod powerset;
pub mod turns;
pub mod vbx;
pub mod windows;
pub mod words;
mod yaml;

pub use cluster::{Bounds, Clustering, Clusters};
pub use diarizer::Diarizer;
pub use enrol::Gallery;
pub use plda::Plda;
pub use turns::Turn;
pub use windows::{Clock, Segmentation, Voices};

use crate::engine::cluster::{Cluster, Host};
use crate::error::Result;
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
    /// The speakers' voices, in the order of their labels.
    pub voices: Vec<Vec<f64>>,
}

impl Diarization {
    /// Number of speakers.
    pub fn speakers(&self) -> usize {
        self.voices.len()
    }
}

/// Diarizes a recording on the host. `voices` is asked for only if somebody speaks at all.
///
/// # Errors
/// As [`diarize_on`].
pub fn diarize(
    segmentation: &Segmentation,
    voices: impl FnOnce() -> Result<Voices>,
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
    voices: impl FnOnce() -> Result<Voices>,
    clustering: &Clustering,
    options: &Options,
) -> Result<Diarization> {
    let mut count = segmentation.count(be)?;
    if count.iter().all(|count| *count == 0) {
        return Ok(Diarization::default());
    }
    let clusters = cluster::cluster(be, segmentation, &voices()?, clustering, options.bounds)?;
    let found = clusters.speakers;
    if found < options.bounds.min || found > options.bounds.max {
        tracing::warn!("{found} speakers found, which is not what was asked for: too little is said in the recording");
    }
    let mut spans_of = |most: usize| -> Result<_> {
        count.iter_mut().for_each(|count| *count = (*count).min(most));
        let frames = turns::reconstruct(be, segmentation, &clusters, &count)?;
        let mut spans = turns::spans(&frames, &segmentation.clock, options.min_duration_off);
        if let Some(end) = options.end {
            spans.retain(|(span, _)| span.start < end);
            spans.iter_mut().for_each(|(span, _)| span.end = if span.end > end { end } else { span.end });
        }
        Ok(spans)
    };
    let all = spans_of(options.bounds.max)?;
    let exclusive = spans_of(1)?;
    let order = turns::label_order(&all);
    let size = clusters.centroids.len() / found;
    // A label without a voice: more people speak at once than were told apart.
    let voice = |&speaker: &usize| {
        let voice = clusters.centroids.chunks_exact(size).nth(speaker);
        voice.map_or_else(|| vec![0.0; size], <[f64]>::to_vec)
    };
    Ok(Diarization {
        turns: turns::label(&all, &order),
        exclusive: turns::label(&exclusive, &order),
        voices: order.iter().map(voice).collect(),
    })
}
