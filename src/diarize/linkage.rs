//! Agglomerative clustering: again and again the two clusters whose centroids are closest become one.
//!
//! In memory of the points only: the matrix of all distances, which SciPy keeps, is 11 GB for ten hours of speech.

use rayon::prelude::*;

/// One merge. Clusters below the number of points N are the points; cluster N + i is the result of merge i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merge {
    /// The cluster of the lower number.
    pub left: usize,
    /// The other.
    pub right: usize,
    /// Distance of the centroids. It may be smaller than an earlier one.
    pub distance: f64,
    /// Points in the result.
    pub size: usize,
}

/// A cluster during the merging, in the place of one of its points.
#[derive(Clone, Copy)]
struct Place {
    cluster: usize,
    size: usize,
    /// The nearest cluster among the places after this one, and its squared distance.
    nearest: (usize, f64),
}

/// All N - 1 merges of `points` `[N, D]`, in order, as SciPy's `linkage(points, "centroid")` has them.
pub fn centroid_linkage(points: &[f64], dim: usize) -> Vec<Merge> {
    let mut centroids = points.to_vec();
    let count = points.len() / dim;
    let mut places: Vec<Option<Place>> =
        (0..count).map(|cluster| Some(Place { cluster, size: 1, nearest: (usize::MAX, f64::INFINITY) })).collect();
    let all: Vec<usize> = (0..count).collect();
    search(&mut places, &centroids, dim, &all);
    let mut merges = Vec::with_capacity(count.saturating_sub(1));
    for merge in 0..count.saturating_sub(1) {
        let closest = places.iter().enumerate().filter_map(|(at, place)| Some((at, (*place)?.nearest)));
        let closest = closest.min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let Some((x, (y, squared))) = closest else { break };
        let (Some(a), Some(b)) = (places[x], places.get(y).copied().flatten()) else { break };
        let size = a.size + b.size;
        let (before, after) = centroids.split_at_mut(y * dim);
        for (to, from) in after[..dim].iter_mut().zip(&before[x * dim..(x + 1) * dim]) {
            *to = (a.size as f64 * from + b.size as f64 * *to) / size as f64;
        }
        let (left, right) = (a.cluster.min(b.cluster), a.cluster.max(b.cluster));
        merges.push(Merge { left, right, distance: squared.sqrt(), size });
        places[x] = None;
        places[y] = Some(Place { cluster: count + merge, size, nearest: (usize::MAX, f64::INFINITY) });
        let lost = approach(&mut places, &centroids, dim, (x, y));
        search(&mut places, &centroids, dim, &lost);
    }
    merges
}

/// Tells the places before `y` that a new cluster stands there; returns those that have to search again, since what was
/// nearest to them is gone: `x` and the old `y`. `y` is one of them.
fn approach(places: &mut [Option<Place>], centroids: &[f64], dim: usize, (x, y): (usize, usize)) -> Vec<usize> {
    let new = &centroids[y * dim..(y + 1) * dim];
    let told = places[..y].par_iter_mut().enumerate().filter_map(|(at, place)| {
        let place = place.as_mut()?;
        if place.nearest.0 == x || place.nearest.0 == y {
            return Some(at);
        }
        let squared = squared_distance(&centroids[at * dim..(at + 1) * dim], new);
        if squared < place.nearest.1 {
            place.nearest = (y, squared);
        }
        None
    });
    let mut lost: Vec<usize> = told.collect();
    lost.push(y);
    lost
}

/// Finds the nearest of the later clusters anew for the clusters at `which`.
fn search(places: &mut [Option<Place>], centroids: &[f64], dim: usize, which: &[usize]) {
    let nearest = |&at: &usize| {
        let own = &centroids[at * dim..(at + 1) * dim];
        let mut nearest = (usize::MAX, f64::INFINITY);
        for (other, centroid) in centroids.chunks_exact(dim).enumerate().skip(at + 1) {
            if places[other].is_some() {
                let squared = squared_distance(own, centroid);
                if squared < nearest.1 {
                    nearest = (other, squared);
                }
            }
        }
        nearest
    };
    let found: Vec<(usize, f64)> = which.par_iter().map(nearest).collect();
    for (&at, found) in which.iter().zip(found) {
        if let Some(place) = &mut places[at] {
            place.nearest = found;
        }
    }
}

/// In four sums, so that the compiler can use wide registers; always the same four.
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (a, b) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in a.zip(b) {
        for i in 0..4 {
            sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// The cluster of each point, numbered as SciPy's `fcluster` does but from 0, when only those clusters stay whole in
/// which no merge has a `height` above `limit`. `heights` has one number for each merge.
pub fn cut(merges: &[Merge], heights: &[f64], limit: f64) -> Vec<usize> {
    let points = merges.len() + 1;
    // The greatest height within a cluster: centroids may come closer by a merge, so the top is not enough.
    let mut tops: Vec<f64> = Vec::with_capacity(merges.len());
    for (merge, &height) in merges.iter().zip(heights) {
        let below = [merge.left, merge.right].into_iter().filter_map(|child| child.checked_sub(points));
        tops.push(below.fold(height, |top, child| top.max(tops[child])));
    }
    let mut labels = vec![0; points];
    let mut found = 0;
    // From the root down, left before right; a merge's own points are numbered after the points of its sub-clusters.
    // The entry: the merge, the label of the whole cluster it belongs to, and whether its sub-clusters are done.
    let mut stack: Vec<(usize, Option<usize>, bool)> =
        merges.len().checked_sub(1).map(|root| (root, None, false)).into_iter().collect();
    while let Some((at, whole, done)) = stack.pop() {
        let Merge { left, right, .. } = merges[at];
        if done {
            for point in [left, right].into_iter().filter(|child| *child < points) {
                labels[point] = whole.unwrap_or_else(|| {
                    found += 1;
                    found - 1
                });
            }
            continue;
        }
        let whole = whole.or_else(|| {
            (tops[at] <= limit).then(|| {
                found += 1;
                found - 1
            })
        });
        stack.push((at, whole, true));
        stack
            .extend([right, left].into_iter().filter_map(|child| child.checked_sub(points)).map(|c| (c, whole, false)));
    }
    labels
}
