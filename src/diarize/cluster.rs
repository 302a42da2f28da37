//! Clustering of window embeddings into the speakers of a recording: VBx (community-1) or centroid linkage
//! (speaker-diarization-3.1).
//!
//! Source: pyannote.audio 4.0.4 `pipelines/clustering.py`.

pub mod ahc;

use super::kmeans;
use super::linkage::{Merge, cut};
use super::plda::Plda;
use super::segmentation::{Embeddings, Segmentation};
use super::vbx::{Vbx, VbxOptions};
use crate::assignment::best_pairs;
use crate::engine::cluster::{self as primitives, Cluster};
use crate::error::{Error, Result};

/// Share of a window's frames in which a speaker must be the only active one for the embedding to be clustered.
pub const MIN_ACTIVE: f64 = 0.2;
/// Speakers whose VBx weight (prior probability) is not above this are dropped.
const MIN_WEIGHT: f64 = 1e-7;

/// Clustering method and its constants.
#[derive(Clone, Debug)]
pub enum Clustering {
    /// community-1: VBx initialised by agglomerative clustering. Two speakers of a window get different clusters.
    Vbx {
        /// The PLDA transform of the embeddings.
        plda: Box<Plda>,
        /// Distance between centroids up to which the initial clusters are merged; default 0.6.
        threshold: f64,
        /// Settings of VBx.
        options: VbxOptions,
    },
    /// speaker-diarization-3.1: agglomerative clustering alone.
    Centroid {
        /// Distance between centroids up to which clusters are merged; default 0.7045654963945799.
        threshold: f64,
        /// Minimum number of embeddings of a speaker; default 12. At most a tenth of all embeddings is required.
        min_size: usize,
    },
}

impl Clustering {
    /// community-1, with its default constants.
    pub fn vbx(plda: Plda) -> Self {
        Clustering::Vbx { plda: Box::new(plda), threshold: 0.6, options: VbxOptions::default() }
    }

    /// speaker-diarization-3.1, with its default constants.
    pub fn centroid() -> Self {
        Clustering::Centroid { threshold: 0.704_565_496_394_579_9, min_size: 12 }
    }
}

/// Lower and upper bound of the number of speakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Minimum, at least 1.
    pub min: usize,
    /// Maximum; `usize::MAX` for none.
    pub max: usize,
}

impl Bounds {
    /// From `--num_speakers`, which overrides the others, `--min_speakers` and `--max_speakers`.
    ///
    /// # Errors
    /// [`Error::Config`] for a number of 0, or a minimum above the maximum.
    pub fn new(num: Option<usize>, min: Option<usize>, max: Option<usize>) -> Result<Self> {
        for (option, value) in [("num_speakers", num), ("min_speakers", min), ("max_speakers", max)] {
            if value == Some(0) {
                return Err(Error::config(option, 0, "must be at least 1"));
            }
        }
        let bounds = Bounds { min: num.or(min).unwrap_or(1), max: num.or(max).unwrap_or(usize::MAX) };
        if bounds.min > bounds.max {
            let rule = format!("must not be more than `max_speakers`, which is {}", bounds.max);
            return Err(Error::config("min_speakers", bounds.min, rule));
        }
        Ok(bounds)
    }

    /// The bound that `found` violates; `None` if `found` is within the bounds.
    pub(super) fn force(self, found: usize) -> Option<usize> {
        (found < self.min || found > self.max).then_some(if found < self.min { self.min } else { self.max })
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { min: 1, max: usize::MAX }
    }
}

/// The clusters of a recording, one per speaker, and the cluster of each speaker of each window.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// Number of speakers K.
    pub speakers: usize,
    /// Cluster of each speaker of each window, `[W, S]`; `None` if unassigned.
    pub labels: Vec<Option<usize>>,
    /// Similarity to each centroid, `[W, S, K]`: 2 minus the cosine distance.
    pub scores: Vec<f64>,
    /// Centroids, `[K, D]`.
    pub centroids: Vec<f64>,
}

impl Clusters {
    /// A single cluster of all embeddings, whose centroid is the mean of `train`.
    fn one(embeddings: &Embeddings, train: &[f64]) -> Self {
        let all = embeddings.windows * embeddings.speakers;
        let labels = vec![0; train.len() / embeddings.size];
        let centroids = means(train, embeddings.size, &labels, 1);
        Clusters { speakers: 1, labels: vec![Some(0); all], scores: vec![1.0; all], centroids }
    }
}

/// Clusters the `embeddings` of all windows. Only embeddings with enough speech ([`MIN_ACTIVE`]) form the
/// clusters; all are assigned to one.
///
/// # Errors
/// [`Error::Shape`] if `embeddings` and `segmentation` differ in windows or speakers, [`Error::Diarization`] if the
/// PLDA is for another embedding size or an embedding is zero, and those of the device.
pub fn cluster(
    be: &impl Cluster,
    segmentation: &Segmentation,
    embeddings: &Embeddings,
    how: &Clustering,
    bounds: Bounds,
) -> Result<Clusters> {
    if (embeddings.windows, embeddings.speakers) != (segmentation.windows, segmentation.speakers) {
        return Err(Error::Shape {
            op: "diarize",
            what: "voices",
            expected: format!("[{}, {}, _]", segmentation.windows, segmentation.speakers),
            got: format!("[{}, {}, _]", embeddings.windows, embeddings.speakers),
        });
    }
    let fit = embeddings.fit(segmentation, MIN_ACTIVE);
    let train = embeddings.gather(&fit);
    match how {
        Clustering::Vbx { plda, threshold, options } => {
            let input = VbxInput { segmentation, embeddings, train: &train, plda, options };
            by_vbx(be, &input, *threshold, bounds)
        }
        Clustering::Centroid { threshold, min_size } => {
            by_centroid(be, embeddings, &train, (*threshold, *min_size), bounds)
        }
    }
}

/// Initial labels for VBx, `[N]`: the clusters of centroid linkage of the embeddings `train` `[N, D]`, D = `size`.
///
/// # Errors
/// Those of the device, and [`Error::Diarization`] for embeddings that are not finite.
pub fn start_labels(be: &impl Cluster, train: &[f64], size: usize, threshold: f64) -> Result<Vec<usize>> {
    let merges = linkage(be, &normalised(train, size), size)?;
    let heights: Vec<f64> = merges.iter().map(|merge| merge.distance).collect();
    Ok(cut(&merges, &heights, threshold))
}

/// Centroid linkage: the N - 1 merges of embeddings `[N, D]`, at least one.
pub(super) fn linkage(be: &impl Cluster, embeddings: &[f64], size: usize) -> Result<Vec<Merge>> {
    let merges = primitives::centroid_linkage(be, embeddings, size)?;
    if merges.len() + 1 < embeddings.len() / size {
        return Err(Error::diarization("embeddings", "have no distances: one is zero or not a number"));
    }
    Ok(merges)
}

/// Centroids of the speakers with a VBx weight above 1e-7, `[K, D]`: means of all embeddings, weighted by their
/// responsibilities.
pub fn vbx_centroids(found: &Vbx, train: &[f64], size: usize) -> Vec<f64> {
    let kept: Vec<usize> = (0..found.speakers).filter(|&speaker| found.weights[speaker] > MIN_WEIGHT).collect();
    let mut out = vec![0.0; kept.len() * size];
    for (&speaker, out) in kept.iter().zip(out.chunks_exact_mut(size)) {
        let mut total = 0.0;
        for (responsibilities, embedding) in
            found.responsibilities.chunks_exact(found.speakers).zip(train.chunks_exact(size))
        {
            total += responsibilities[speaker];
            out.iter_mut().zip(embedding).for_each(|(out, x)| *out += responsibilities[speaker] * x);
        }
        out.iter_mut().for_each(|x| *x /= total);
    }
    out
}

/// Input of the clustering of community-1.
struct VbxInput<'a> {
    segmentation: &'a Segmentation,
    embeddings: &'a Embeddings,
    /// The embeddings that are clustered, `[N, D]`.
    train: &'a [f64],
    plda: &'a Plda,
    options: &'a VbxOptions,
}

fn by_vbx(be: &impl Cluster, input: &VbxInput, threshold: f64, bounds: Bounds) -> Result<Clusters> {
    let &VbxInput { segmentation, embeddings, train, plda, options } = input;
    let size = embeddings.size;
    let count = train.len() / size;
    if plda.embedding_size() != size {
        let reason = format!("have {size} numbers, the PLDA is for {}", plda.embedding_size());
        return Err(Error::diarization("embeddings", reason));
    }
    if count < 2 {
        return Ok(Clusters::one(embeddings, train));
    }
    let labels = start_labels(be, train, size, threshold)?;
    let found = primitives::vbx(be, &plda.features(train), plda.phi(), &labels, options)?;
    let mut centroids = vbx_centroids(&found, train, size);
    let forced = bounds.force(centroids.len() / size);
    if let Some(speakers) = forced {
        // k-means needs an embedding per cluster. The result has a warning if the bound is not met.
        let speakers = speakers.min(count);
        let labels = kmeans::kmeans(&normalised(train, size), size, speakers);
        centroids = means(train, size, &labels, speakers);
    }
    // A forced number of clusters may be below the number of speakers of a window: then no one-to-one assignment.
    assign(be, segmentation, embeddings, centroids, forced.is_none())
}

fn by_centroid(
    be: &impl Cluster,
    embeddings: &Embeddings,
    train: &[f64],
    (threshold, min_size): (f64, usize),
    bounds: Bounds,
) -> Result<Clusters> {
    let size = embeddings.size;
    let count = (train.len() / size).max(1);
    let bounds = Bounds { min: bounds.min.min(count), max: bounds.max.min(count) };
    if bounds.max < 2 {
        return Ok(Clusters::one(embeddings, train));
    }
    let labels = ahc::cluster(be, &normalised(train, size), size, (threshold, min_size), bounds)?;
    let speakers = labels.iter().max().map_or(1, |label| label + 1);
    let centroids = means(train, size, &labels, speakers);
    let scores = primitives::cosine_similarity(be, embeddings.values(), &centroids, size)?;
    let labels = scores.chunks_exact(speakers).map(|scores| Some(argmax(scores))).collect();
    Ok(Clusters { speakers, labels, scores, centroids })
}

/// Assigns every speaker of every window to the most similar centroid. With `paired`, the speakers of a window get
/// different centroids, such that the sum of similarities is greatest; inactive speakers come last.
///
/// # Errors
/// Those of the device.
pub fn assign(
    be: &impl Cluster,
    segmentation: &Segmentation,
    embeddings: &Embeddings,
    centroids: Vec<f64>,
    paired: bool,
) -> Result<Clusters> {
    let speakers = centroids.len() / embeddings.size;
    let mut scores = primitives::cosine_similarity(be, embeddings.values(), &centroids, embeddings.size)?;
    if !paired {
        let labels = scores.chunks_exact(speakers).map(|scores| Some(argmax(scores))).collect();
        return Ok(Clusters { speakers, labels, scores, centroids });
    }
    // Inactive speakers score below all others. `min` ignores NaN.
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let last = if least.is_finite() { least - 1.0 } else { 0.0 };
    for window in 0..embeddings.windows {
        for speaker in (0..embeddings.speakers).filter(|&speaker| segmentation.active_frames(window, speaker) == 0) {
            let at = (window * embeddings.speakers + speaker) * speakers;
            scores[at..at + speakers].fill(last);
        }
    }
    let pairs = |scores: &[f64]| {
        let scores: Vec<f64> = scores.iter().map(|score| if score.is_nan() { last } else { *score }).collect();
        best_pairs(&scores, embeddings.speakers, speakers)
    };
    let labels = scores.chunks_exact(embeddings.speakers * speakers).flat_map(pairs).collect();
    Ok(Clusters { speakers, labels, scores, centroids })
}

/// Scales each embedding to length 1.
pub(super) fn normalised(embeddings: &[f64], size: usize) -> Vec<f64> {
    let scaled = |embedding| {
        let length = length(embedding);
        embedding.iter().map(move |x| x / length)
    };
    embeddings.chunks_exact(size).flat_map(scaled).collect()
}

pub(super) fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Mean embedding of each label, `[K, D]`; zeros for a label without embeddings.
pub(super) fn means(embeddings: &[f64], size: usize, labels: &[usize], count: usize) -> Vec<f64> {
    let mut sums = vec![0.0; count * size];
    let mut sizes = vec![0usize; count];
    for (embedding, &label) in embeddings.chunks_exact(size).zip(labels) {
        sizes[label] += 1;
        sums[label * size..(label + 1) * size].iter_mut().zip(embedding).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().enumerate().map(|(at, sum)| sum / sizes[at / size].max(1) as f64).collect()
}

/// Index of the largest value. Ties: the lowest index; 0 if all are NaN.
fn argmax(scores: &[f64]) -> usize {
    let better = |best: usize, at: usize| if scores[at] > scores[best] || scores[best].is_nan() { at } else { best };
    (1..scores.len()).fold(0, better)
}
