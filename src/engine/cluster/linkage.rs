//! Agglomerative clustering with centroid linkage, in memory linear in the number of points.
//!
//! SciPy keeps the matrix of all distances, which is 11 GB for ten hours of speech. Here each cluster keeps its nearest
//! neighbour among the later clusters only. A merge moves one centroid and removes another; where one of the two was
//! the nearest neighbour, the stored distance becomes a lower bound. A cluster whose bound is the smallest of all is
//! searched again before it may merge; most never are. (Müllner 2011, the generic algorithm.)

use rayon::prelude::*;

use super::in_lanes;

/// One merge. Clusters below the number of points N are the points; cluster N + i is the result of merge i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merge {
    /// The cluster with the lower number.
    pub left: usize,
    /// The cluster with the higher number.
    pub right: usize,
    /// Distance of the centroids. It may be smaller than that of an earlier merge.
    pub distance: f64,
    /// Points in the merged cluster.
    pub size: usize,
}

/// A cluster that can still be merged. Its index in the list is that of one of its points.
#[derive(Clone, Copy)]
struct Active {
    /// Its number in [`Merge`].
    number: usize,
    size: usize,
    /// The nearest cluster among those with a higher index, and its squared distance. [`STALE`]: the distance is a
    /// lower bound.
    nearest: (usize, f64),
}

/// Replaces the index of a nearest cluster that was merged.
const STALE: usize = usize::MAX;

/// All N - 1 merges of `points` `[N, D]`, in the order of SciPy's `linkage(points, "centroid")`.
pub(super) fn centroid_linkage(points: &[f64], dim: usize) -> Vec<Merge> {
    let mut centroids = points.to_vec();
    let count = points.len() / dim;
    let mut clusters: Vec<Option<Active>> =
        (0..count).map(|number| Some(Active { number, size: 1, nearest: (usize::MAX, f64::INFINITY) })).collect();
    let all: Vec<usize> = (0..count).collect();
    search_nearest(&mut clusters, &centroids, dim, &all);
    let mut merges = Vec::with_capacity(count.saturating_sub(1));
    while merges.len() + 1 < count {
        let closest = clusters.iter().enumerate().filter_map(|(at, cluster)| Some((at, (*cluster)?.nearest)));
        let closest = closest.filter(|(_, nearest)| nearest.1 < f64::INFINITY).min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let Some((x, (y, squared))) = closest else { break };
        if y == STALE {
            search_nearest(&mut clusters, &centroids, dim, &[x]);
            continue;
        }
        let (Some(a), Some(b)) = (clusters[x], clusters.get(y).copied().flatten()) else { break };
        let size = a.size + b.size;
        let (before, after) = centroids.split_at_mut(y * dim);
        for (to, from) in after[..dim].iter_mut().zip(&before[x * dim..(x + 1) * dim]) {
            *to = (a.size as f64 * from + b.size as f64 * *to) / size as f64;
        }
        let (left, right) = (a.number.min(b.number), a.number.max(b.number));
        merges.push(Merge { left, right, distance: squared.sqrt(), size });
        clusters[x] = None;
        clusters[y] = Some(Active { number: count + merges.len() - 1, size, nearest: (usize::MAX, f64::INFINITY) });
        update_nearest(&mut clusters, &centroids, dim, (x, y));
        search_nearest(&mut clusters, &centroids, dim, &[y]);
    }
    merges
}

/// After the merge of `x` and `y` into `y`: updates the nearest neighbour of the clusters before `y`.
fn update_nearest(clusters: &mut [Option<Active>], centroids: &[f64], dim: usize, (x, y): (usize, usize)) {
    let new = &centroids[y * dim..(y + 1) * dim];
    let update = |(at, cluster): (usize, &mut Option<Active>)| {
        let Some(cluster) = cluster else { return };
        let squared = squared_distance(&centroids[at * dim..(at + 1) * dim], new);
        if squared < cluster.nearest.1 {
            cluster.nearest = (y, squared);
        } else if cluster.nearest.0 == x || cluster.nearest.0 == y {
            cluster.nearest.0 = STALE;
        }
    };
    let before = &mut clusters[..y];
    if y * dim < PARALLEL_VALUES {
        before.iter_mut().enumerate().for_each(update);
    } else {
        before.par_iter_mut().enumerate().for_each(update);
    }
}

/// Fewest values worth several threads: below, waking them takes longer than the work, about a quarter of a
/// millisecond.
const PARALLEL_VALUES: usize = 1 << 19;
/// Clusters searched in one pass, so that each centroid is read from memory once for all of them.
const SEARCH_BATCH: usize = 16;

/// Searches the nearest later neighbour of the clusters `rows`, in ascending order.
fn search_nearest(clusters: &mut [Option<Active>], centroids: &[f64], dim: usize, rows: &[usize]) {
    let threads = rayon::current_num_threads();
    let found: Vec<(usize, f64)> = if rows.len() > SEARCH_BATCH {
        rows.par_chunks(SEARCH_BATCH)
            .flat_map_iter(|rows| nearest(clusters, centroids, dim, rows, 0..clusters.len()))
            .collect()
    } else if centroids.len() < PARALLEL_VALUES {
        nearest(clusters, centroids, dim, rows, 0..clusters.len())
    } else {
        // Few rows: the other clusters are divided among the threads. Ties: the lowest index wins.
        let part = clusters.len().div_ceil(threads);
        let parts = (0..threads).into_par_iter().map(|at| at * part..((at + 1) * part).min(clusters.len()));
        let parts: Vec<_> = parts.map(|part| nearest(clusters, centroids, dim, rows, part)).collect();
        let first = |at: usize| parts.iter().map(|part| part[at]).reduce(|a, b| if b.1 < a.1 { b } else { a });
        (0..rows.len()).map(|at| first(at).unwrap_or((STALE, f64::INFINITY))).collect()
    };
    for (&at, found) in rows.iter().zip(found) {
        if let Some(cluster) = &mut clusters[at] {
            cluster.nearest = found;
        }
    }
}

/// The nearest later neighbour of each of `rows` within the index range `others`.
fn nearest(
    clusters: &[Option<Active>],
    centroids: &[f64],
    dim: usize,
    rows: &[usize],
    others: std::ops::Range<usize>,
) -> Vec<(usize, f64)> {
    let mut found = vec![(STALE, f64::INFINITY); rows.len()];
    let from = rows.first().map_or(0, |first| first + 1).max(others.start);
    for other in (from..others.end).filter(|other| clusters[*other].is_some()) {
        let centroid = &centroids[other * dim..(other + 1) * dim];
        for (&at, nearest) in rows.iter().zip(&mut found).take_while(|(at, _)| **at < other) {
            let squared = squared_distance(&centroids[at * dim..(at + 1) * dim], centroid);
            if squared < nearest.1 {
                *nearest = (other, squared);
            }
        }
    }
    found
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    in_lanes(a, b, |a, b| (a - b) * (a - b))
}
