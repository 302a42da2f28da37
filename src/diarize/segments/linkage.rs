//! Average-linkage clustering of segments with a penalty for different speakers of a window, on the device:
//! [`Cluster::average_linkage`].

use super::{Posteriors, Segment, SegmentClustering};
use crate::diarize::cluster::Bounds;
use crate::engine::cluster::{self, Cluster, Linked};
use crate::error::Result;

/// The cluster of each segment, `[N]`, numbered by first occurrence. Merging stops when the cost exceeds the threshold,
/// except that it goes on down to `bounds.max` clusters and never below `bounds.min`. `segments` are ordered by window.
///
/// # Errors
/// Those of the device.
pub fn cluster(
    be: &impl Cluster,
    posteriors: &Posteriors,
    segments: &[&Segment],
    options: &SegmentClustering,
    bounds: Bounds,
) -> Result<Vec<usize>> {
    let Some(first) = segments.first() else { return Ok(Vec::new()) };
    let all = |value: fn(&Segment) -> usize| segments.iter().map(|segment| value(segment) as u32).collect::<Vec<u32>>();
    cluster::average_linkage(
        be,
        &Linked {
            embeddings: &segments.iter().flat_map(|segment| &segment.direction).copied().collect::<Vec<f64>>(),
            size: first.direction.len(),
            frames: &all(|segment| segment.run.frames().count()),
            windows: &all(|segment| segment.run.window),
            speakers: &all(|segment| segment.run.speaker),
            penalty: options.penalty,
            prior: options.penalty_prior.0 / posteriors.seconds(1),
            threshold: options.threshold,
            min: bounds.min,
            max: bounds.max,
        },
    )
}
