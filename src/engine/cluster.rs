//! Speaker clustering: the [`Cluster`] primitives (linkage, VBx, cosine similarity, speaker counts, reconstruction).
//!
//! All arithmetic is f64, because hard decisions depend on it. The free functions check every shape once.
//!
//! Every primitive has a default implementation on the host, which is also the reference for the CUDA kernels. Inputs
//! and results are on the host: the embeddings are there already, and the results are small. Intermediate results, of a
//! linkage of a hundred thousand steps or of the iterations of VBx, stay on the device.

pub(super) mod average_linkage;
mod cosine_similarity;
mod frames;
mod linkage;
mod vbx;

pub use average_linkage::Linked;
pub use linkage::Merge;
pub use vbx::{Vbx, VbxOptions, start};
pub(super) use vbx::{begin, prepare};

use crate::error::{Error, Result};

/// Number of partial sums in a sum over the dimensions of an embedding: partial sum `i` adds every 16th term from term
/// `i` on, then the partial sums are added pairwise as a tree. The CUDA kernels add in the same order with half a warp,
/// so that distances and similarities are bit-identical on every device.
pub const LANES: usize = 16;

/// The activity of speakers in overlapping windows, and the positions of the windows in the recording.
#[derive(Clone, Copy, Debug)]
pub struct Activity<'a> {
    /// `[W, F, S]`: whether speaker `s` of window `w` is active in frame `f`.
    pub active: &'a [bool],
    /// Frames F per window.
    pub frames: usize,
    /// Speakers S per window.
    pub speakers: usize,
    /// `[W]`: first frame of each window, counted in frames of the recording, ascending.
    pub first: &'a [usize],
    /// Frames T of the recording; frames of windows beyond it are ignored.
    pub total: usize,
}

/// A device that can cluster.
pub trait Cluster {
    /// Agglomerative clustering with centroid linkage: all N - 1 merges of `points` `[N, D]`, in the order of SciPy's
    /// `linkage(points, "centroid")`. Each merge joins the two clusters with the closest centroids. Ties: the pair with
    /// the lowest indices. Fewer merges if distances are NaN.
    ///
    /// # Errors
    /// Those of the device.
    fn centroid_linkage(&self, points: &[f64], size: usize) -> Result<Vec<Merge>> {
        Ok(linkage::centroid_linkage(points, size))
    }

    /// Agglomerative clustering with average linkage: the cluster of each embedding, `[N]`, numbered in the order of
    /// their first embeddings. The two clusters with the lowest merge cost are merged, as long as that cost is at most
    /// the threshold.
    ///
    /// cost(p, q) = 1 - S_p . S_q / (n_p n_q) + penalty x apart / (apart + same + prior)
    ///
    /// `S` is the sum of a cluster's embeddings, each weighted by its frames, and `n` the sum of these frames, so the
    /// first part is the weighted mean cosine distance of all pairs. The second part counts pairs of embeddings from
    /// the same window, each with the lower of its two numbers of frames: `apart` for different speakers of that
    /// window, `same` for the same speaker. Ties: the pair with the lowest indices; the index of a cluster is that of
    /// its last embedding.
    ///
    /// # Errors
    /// Those of the device.
    fn average_linkage(&self, input: &Linked) -> Result<Vec<usize>> {
        Ok(average_linkage::average_linkage(input))
    }

    /// VBx: clusters `features` `[N, E]`, whose between-speaker variances are `phi` `[E]`, starting from the labels
    /// `[N]` of another clustering.
    ///
    /// # Errors
    /// Those of the device.
    fn vbx(&self, features: &[f64], phi: &[f64], labels: &[usize], options: &VbxOptions) -> Result<Vbx> {
        Ok(vbx::vbx(features, phi, labels, options))
    }

    /// 1 + cosine similarity (2 - cosine distance) of each embedding of `embeddings` `[V, D]` and each of `centroids`
    /// `[K, D]`: `[V, K]`. NaN for embeddings with NaN.
    ///
    /// # Errors
    /// Those of the device.
    fn cosine_similarity(&self, embeddings: &[f32], centroids: &[f64], size: usize) -> Result<Vec<f64>> {
        Ok(cosine_similarity::cosine_similarity(embeddings, centroids, size))
    }

    /// Number of active speakers in each frame of the recording, `[T]`: the mean over the windows that cover the frame,
    /// rounded half to even.
    ///
    /// # Errors
    /// Those of the device.
    fn speaker_count(&self, activity: &Activity) -> Result<Vec<usize>> {
        Ok(frames::speaker_count(activity))
    }

    /// Reconstruction: whether each cluster speaks in each frame of the recording, `[T, speakers]`. In frame `t` the
    /// `count[t]` clusters that are active in the most windows speak. Ties: the lowest cluster wins. `labels` `[W, S]`
    /// are the clusters of the speakers of each window. `speakers` is at least the number of clusters and the largest
    /// `count`.
    ///
    /// # Errors
    /// Those of the device.
    fn reconstruct(
        &self,
        activity: &Activity,
        labels: &[Option<usize>],
        count: &[usize],
        speakers: usize,
    ) -> Result<Vec<bool>> {
        Ok(frames::reconstruct(activity, labels, count, speakers))
    }
}

/// Clustering on the host, on all cores, for callers without a backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Cluster for Host {}

/// See [`Cluster::centroid_linkage`].
///
/// # Errors
/// [`Error::Shape`], and those of the device.
pub fn centroid_linkage(be: &impl Cluster, points: &[f64], size: usize) -> Result<Vec<Merge>> {
    check_rows("centroid_linkage", "points", points.len(), size)?;
    be.centroid_linkage(points, size)
}

/// See [`Cluster::average_linkage`].
///
/// # Errors
/// As [`centroid_linkage`].
pub fn average_linkage(be: &impl Cluster, input: &Linked) -> Result<Vec<usize>> {
    check_linked(input)?;
    be.average_linkage(input)
}

/// See [`Cluster::vbx`].
///
/// # Errors
/// As [`centroid_linkage`].
pub fn vbx(be: &impl Cluster, features: &[f64], phi: &[f64], labels: &[usize], options: &VbxOptions) -> Result<Vbx> {
    check_vbx(features, phi, labels)?;
    be.vbx(features, phi, labels, options)
}

/// See [`Cluster::cosine_similarity`].
///
/// # Errors
/// As [`centroid_linkage`].
pub fn cosine_similarity(be: &impl Cluster, embeddings: &[f32], centroids: &[f64], size: usize) -> Result<Vec<f64>> {
    check_rows("cosine_similarity", "voices", embeddings.len(), size)?;
    check_rows("cosine_similarity", "centroids", centroids.len(), size)?;
    be.cosine_similarity(embeddings, centroids, size)
}

/// See [`Cluster::speaker_count`].
///
/// # Errors
/// As [`centroid_linkage`].
pub fn speaker_count(be: &impl Cluster, activity: &Activity) -> Result<Vec<usize>> {
    check_activity("speaker_count", activity)?;
    be.speaker_count(activity)
}

/// See [`Cluster::reconstruct`]; `clusters` is above every label.
///
/// # Errors
/// As [`centroid_linkage`].
pub fn reconstruct(
    be: &impl Cluster,
    activity: &Activity,
    labels: &[Option<usize>],
    clusters: usize,
    count: &[usize],
    speakers: usize,
) -> Result<Vec<bool>> {
    check_votes(activity, labels, clusters, count, speakers)?;
    be.reconstruct(activity, labels, count, speakers)
}

fn wrong(op: &'static str, what: &'static str, expected: String, got: impl std::fmt::Debug) -> Error {
    Error::Shape { op, what, expected, got: format!("{got:?}") }
}

/// Checks that `len` values are a matrix with rows of `size`.
fn check_rows(op: &'static str, what: &'static str, len: usize, size: usize) -> Result<()> {
    if size == 0 || !len.is_multiple_of(size) {
        return Err(wrong(op, what, format!("[_, {size}], at least one wide"), len));
    }
    Ok(())
}

/// Checks the input of [`average_linkage()`].
fn check_linked(input: &Linked) -> Result<()> {
    let op = "average_linkage";
    check_rows(op, "embeddings", input.embeddings.len(), input.size)?;
    let count = input.embeddings.len() / input.size;
    for (what, values) in [("frames", input.frames), ("windows", input.windows), ("speakers", input.speakers)] {
        if values.len() != count {
            return Err(wrong(op, what, format!("[{count}]"), values.len()));
        }
    }
    // The frames of a cluster, and those shared by two clusters, are 32-bit integers.
    let total: u64 = input.frames.iter().map(|frames| u64::from(*frames)).sum();
    if input.frames.contains(&0) || total > i32::MAX as u64 {
        return Err(wrong(op, "frames", format!("each at least 1, at most {} together", i32::MAX), total));
    }
    if !input.windows.is_sorted() {
        return Err(wrong(op, "windows", "ascending".into(), input.windows));
    }
    Ok(())
}

/// Checks the input of [`vbx()`].
fn check_vbx(features: &[f64], phi: &[f64], labels: &[usize]) -> Result<()> {
    if phi.is_empty() || features.len() != labels.len() * phi.len() {
        return Err(wrong("vbx", "features", format!("[{}, {}]", labels.len(), phi.len()), features.len()));
    }
    match labels.iter().find(|label| **label >= labels.len()) {
        Some(label) => Err(wrong("vbx", "labels", format!("below {}", labels.len()), label)),
        None => Ok(()),
    }
}

/// Checks the sizes of `activity` and the order of its windows.
fn check_activity(op: &'static str, activity: &Activity) -> Result<()> {
    let Activity { active, frames, speakers, first, .. } = activity;
    if active.len() != first.len() * frames * speakers {
        return Err(wrong(op, "active", format!("[{}, {frames}, {speakers}]", first.len()), active.len()));
    }
    if !first.is_sorted() {
        return Err(wrong(op, "first", "rising".into(), first));
    }
    Ok(())
}

/// Checks the input of [`reconstruct()`].
fn check_votes(
    activity: &Activity,
    labels: &[Option<usize>],
    clusters: usize,
    count: &[usize],
    speakers: usize,
) -> Result<()> {
    check_activity("reconstruct", activity)?;
    if labels.len() != activity.first.len() * activity.speakers {
        let expected = format!("[{}, {}]", activity.first.len(), activity.speakers);
        return Err(wrong("reconstruct", "labels", expected, labels.len()));
    }
    if let Some(label) = labels.iter().flatten().find(|label| **label >= clusters) {
        return Err(wrong("reconstruct", "labels", format!("below {clusters}"), label));
    }
    if count.len() != activity.total {
        return Err(wrong("reconstruct", "count", format!("[{}]", activity.total), count.len()));
    }
    let most = count.iter().copied().max().unwrap_or(0).max(clusters);
    if speakers < most {
        return Err(wrong("reconstruct", "speakers", format!("at least {most}"), speakers));
    }
    Ok(())
}

/// The sum of `term(a[i], b[i])`, added in the order described at [`LANES`].
fn in_lanes<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f64) -> f64 {
    let mut sums = [0.0; LANES];
    let (whole, rest) = a.split_at(a.len() - a.len() % LANES);
    let (other, other_rest) = b.split_at(whole.len());
    for (a, b) in whole.chunks_exact(LANES).zip(other.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(rest.iter().zip(other_rest)) {
        *sum += term(a, b);
    }
    let mut step = LANES / 2;
    while step > 0 {
        for lane in 0..step {
            sums[lane] += sums[lane + step];
        }
        step /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shapes_are_refused() {
        let activity = Activity { active: &[true; 12], frames: 2, speakers: 3, first: &[0, 1], total: 3 };
        let refused = |error: Error| matches!(error, Error::Shape { .. });
        assert!(refused(centroid_linkage(&Host, &[0.0; 5], 2).unwrap_err()));
        assert!(refused(centroid_linkage(&Host, &[0.0; 5], 0).unwrap_err()));
        let linked = Linked {
            embeddings: &[1.0, 0.0, 0.0, 1.0],
            size: 2,
            frames: &[3, 4],
            windows: &[0, 1],
            speakers: &[0, 0],
            penalty: 0.5,
            prior: 1.0,
            threshold: 0.5,
            min: 1,
            max: usize::MAX,
        };
        assert_eq!(average_linkage(&Host, &linked).unwrap(), [0, 1]);
        assert!(refused(average_linkage(&Host, &Linked { size: 3, ..linked }).unwrap_err()));
        assert!(refused(average_linkage(&Host, &Linked { frames: &[3], ..linked }).unwrap_err()));
        assert!(refused(average_linkage(&Host, &Linked { frames: &[0, 1], ..linked }).unwrap_err()));
        assert!(refused(average_linkage(&Host, &Linked { frames: &[u32::MAX, 1], ..linked }).unwrap_err()));
        assert!(refused(average_linkage(&Host, &Linked { windows: &[1, 0], ..linked }).unwrap_err()));
        assert!(refused(super::vbx(&Host, &[0.0; 4], &[1.0; 2], &[0, 0, 1], &VbxOptions::default()).unwrap_err()));
        assert!(refused(super::vbx(&Host, &[0.0; 4], &[1.0; 2], &[0, 2], &VbxOptions::default()).unwrap_err()));
        assert!(refused(super::cosine_similarity(&Host, &[0.0; 4], &[0.0; 3], 2).unwrap_err()));
        assert!(refused(speaker_count(&Host, &Activity { first: &[0], ..activity }).unwrap_err()));
        assert!(refused(speaker_count(&Host, &Activity { first: &[1, 0], ..activity }).unwrap_err()));
        let labels = [Some(0), Some(1), None, Some(0), Some(1), Some(0)];
        assert!(reconstruct(&Host, &activity, &labels, 2, &[1, 2, 1], 2).is_ok());
        assert!(refused(reconstruct(&Host, &activity, &labels, 1, &[1, 2, 1], 2).unwrap_err()));
        assert!(refused(reconstruct(&Host, &activity, &labels[1..], 2, &[1, 2, 1], 2).unwrap_err()));
        assert!(refused(reconstruct(&Host, &activity, &labels, 2, &[1, 2], 2).unwrap_err()));
        assert!(refused(reconstruct(&Host, &activity, &labels, 2, &[1, 3, 1], 2).unwrap_err()));
    }
}
