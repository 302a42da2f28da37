//! Agglomerative clustering by centroids.
//!
//! In memory of the points only: the matrix of all distances, which SciPy keeps, is 11 GB for ten hours of speech. A
//! cluster knows the nearest of those after it instead. A merge changes one centroid and takes one away, so only those look
//! anew to whom one of the two was nearest; the others compare with the new one.

use rayon::prelude::*;

use super::in_lanes;

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
pub(super) fn centroid_linkage(points: &[f64], dim: usize) -> Vec<Merge> {
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
    let tell = |(at, place): (usize, &mut Option<Place>)| {
        let place = place.as_mut()?;
        if place.nearest.0 == x || place.nearest.0 == y {
            return Some(at);
        }
        let squared = squared_distance(&centroids[at * dim..(at + 1) * dim], new);
        if squared < place.nearest.1 {
            place.nearest = (y, squared);
        }
        None
    };
    let before = &mut places[..y];
    let mut lost: Vec<usize> = if y * dim < WORTH_THREADS {
        before.iter_mut().enumerate().filter_map(tell).collect()
    } else {
        before.par_iter_mut().enumerate().filter_map(tell).collect()
    };
    lost.push(y);
    lost
}

/// Numbers below which waking other threads takes longer than the work: a quarter of a millisecond.
const WORTH_THREADS: usize = 1 << 19;
/// Clusters that search together, so that each centroid they look at is read from memory once for all of them.
const TOGETHER: usize = 16;

/// Finds the nearest of the later clusters anew for the clusters at `which`, in rising order.
fn search(places: &mut [Option<Place>], centroids: &[f64], dim: usize, which: &[usize]) {
    let nearest = |which: &[usize]| {
        let mut found = vec![(usize::MAX, f64::INFINITY); which.len()];
        let from = which.first().map_or(0, |first| first + 1);
        for (other, centroid) in centroids.chunks_exact(dim).enumerate().skip(from) {
            if places[other].is_none() {
                continue;
            }
            for (&at, nearest) in which.iter().zip(&mut found).take_while(|(at, _)| **at < other) {
                let squared = squared_distance(&centroids[at * dim..(at + 1) * dim], centroid);
                if squared < nearest.1 {
                    *nearest = (other, squared);
                }
            }
        }
        found
    };
    let found: Vec<(usize, f64)> = if which.len() * centroids.len() < WORTH_THREADS {
        which.chunks(TOGETHER).flat_map(nearest).collect()
    } else {
        which.par_chunks(TOGETHER).flat_map_iter(nearest).collect()
    };
    for (&at, found) in which.iter().zip(found) {
        if let Some(place) = &mut places[at] {
            place.nearest = found;
        }
    }
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    in_lanes(a, b, |a, b| (a - b) * (a - b))
}
