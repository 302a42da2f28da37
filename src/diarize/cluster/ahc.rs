//! Agglomerative clustering of speaker-diarization-3.1: centroid linkage with a minimum cluster size.
//!
//! Source: pyannote.audio 4.0.4 `pipelines/clustering.py::AgglomerativeClustering.cluster`.

use super::{Bounds, length, linkage, means};
use crate::diarize::linkage::{Merge, cut};
use crate::engine::cluster::Cluster;
use crate::error::Result;

/// Flat clusters and their sizes. Clusters of at least `min_size` embeddings are large.
struct Partition {
    labels: Vec<usize>,
    sizes: Vec<usize>,
    min_size: usize,
}

impl Partition {
    fn new(labels: Vec<usize>, min_size: usize) -> Self {
        let mut sizes = vec![0; labels.iter().max().map_or(0, |label| label + 1)];
        labels.iter().for_each(|&label| sizes[label] += 1);
        Partition { labels, sizes, min_size }
    }

    fn of_size(&self, large: bool) -> Vec<usize> {
        (0..self.sizes.len()).filter(|&label| (self.sizes[label] >= self.min_size) == large).collect()
    }
}

/// The cluster of each of the normalised `embeddings` `[N, D]`, numbered from 0. Clusters of fewer than
/// `min_size` embeddings (or a tenth of N, if that is less) are merged into the most similar large cluster.
///
/// # Errors
/// Those of the device, and [`Error::Diarization`](crate::Error::Diarization) for embeddings that are zero or not
/// finite.
pub fn cluster(
    be: &impl Cluster,
    embeddings: &[f64],
    size: usize,
    (threshold, min_size): (f64, usize),
    bounds: Bounds,
) -> Result<Vec<usize>> {
    let count = embeddings.len() / size;
    if count < 2 {
        return Ok(vec![0; count]);
    }
    let min_size = min_size.min(((0.1 * count as f64).round_ties_even() as usize).max(1));
    let merges = linkage(be, embeddings, size)?;
    let heights: Vec<f64> = merges.iter().map(|merge| merge.distance).collect();
    let mut found = Partition::new(cut(&merges, &heights, threshold), min_size);
    let large = found.of_size(true).len();
    let wanted = if bounds.min == bounds.max { Some(bounds.min) } else { bounds.force(large) };
    if let Some(wanted) = wanted.filter(|&wanted| wanted != large) {
        found = cut_to_count(&merges, threshold, min_size, wanted);
    }
    let (large, small) = (found.of_size(true), found.of_size(false));
    if large.is_empty() {
        return Ok(vec![0; count]);
    }
    let centroids = means(embeddings, size, &found.labels, found.sizes.len());
    let centroid = |label: usize| &centroids[label * size..(label + 1) * size];
    let mut to: Vec<usize> = vec![0; found.sizes.len()];
    for (speaker, &label) in large.iter().enumerate() {
        to[label] = speaker;
    }
    for &label in &small {
        let from = |other: usize| distance(centroid(other), centroid(label));
        let nearer =
            |best: usize, speaker: usize| if from(large[speaker]) < from(large[best]) { speaker } else { best };
        to[label] = (1..large.len()).fold(0, nearer);
    }
    Ok(found.labels.iter().map(|&label| to[label]).collect())
}

/// The cut with `wanted` large clusters, or with a number as close to it as possible. The dendrogram is cut by merge
/// index, after each merge; ties: the merge whose distance is nearest to the threshold.
fn cut_to_count(merges: &[Merge], threshold: f64, min_size: usize, wanted: usize) -> Partition {
    let indices: Vec<f64> = (0..merges.len()).map(|index| index as f64).collect();
    let after = |merge: usize| Partition::new(cut(merges, &indices, merge as f64), min_size);
    let mut order: Vec<usize> = (0..merges.len()).collect();
    let from_threshold = |merge: usize| (merges[merge].distance - threshold).abs();
    order.sort_by(|&a, &b| from_threshold(a).total_cmp(&from_threshold(b)));
    // Fallback: all merges, one cluster.
    let (mut best, mut best_large) = (merges.len(), 1usize);
    // A merge whose result is still small does not change the number of large clusters.
    for merge in order.into_iter().filter(|&merge| merges[merge].size >= min_size) {
        let found = after(merge);
        let large = found.of_size(true).len();
        if large == wanted {
            return found;
        }
        if large.abs_diff(wanted) < best_large.abs_diff(wanted) {
            (best, best_large) = (merge, large);
        }
    }
    after(best)
}

/// Cosine distance.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    1.0 - product / (length(a) * length(b))
}
