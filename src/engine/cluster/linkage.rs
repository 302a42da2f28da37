//! Agglomerative clustering by centroids.
//!
//! In memory of the points only: the matrix of all distances, which SciPy keeps, is 11 GB for ten hours of speech. A
//! cluster knows the nearest of those after it instead. A merge changes one centroid and takes one away, and where one of the
//! two was nearest, its distance is from then on only a bound that nothing falls below: whose bound is the least searches
//! anew, before it may merge. Most never do. (Müllner 2011, the generic algorithm.)

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
    /// The nearest cluster among the places after this one, and its squared distance. [`GONE`]: none is closer than that.
    nearest: (usize, f64),
}

/// In the place of a nearest cluster that is not there any more.
const GONE: usize = usize::MAX;

/// All N - 1 merges of `points` `[N, D]`, in order, as SciPy's `linkage(points, "centroid")` has them.
pub(super) fn centroid_linkage(points: &[f64], dim: usize) -> Vec<Merge> {
    let mut centroids = points.to_vec();
    let count = points.len() / dim;
    let mut places: Vec<Option<Place>> =
        (0..count).map(|cluster| Some(Place { cluster, size: 1, nearest: (usize::MAX, f64::INFINITY) })).collect();
    let all: Vec<usize> = (0..count).collect();
    search(&mut places, &centroids, dim, &all);
    let mut merges = Vec::with_capacity(count.saturating_sub(1));
    while merges.len() + 1 < count {
        let closest = places.iter().enumerate().filter_map(|(at, place)| Some((at, (*place)?.nearest)));
        let closest = closest.filter(|(_, nearest)| nearest.1 < f64::INFINITY).min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        let Some((x, (y, squared))) = closest else { break };
        if y == GONE {
            search(&mut places, &centroids, dim, &[x]);
            continue;
        }
        let (Some(a), Some(b)) = (places[x], places.get(y).copied().flatten()) else { break };
        let size = a.size + b.size;
        let (before, after) = centroids.split_at_mut(y * dim);
        for (to, from) in after[..dim].iter_mut().zip(&before[x * dim..(x + 1) * dim]) {
            *to = (a.size as f64 * from + b.size as f64 * *to) / size as f64;
        }
        let (left, right) = (a.cluster.min(b.cluster), a.cluster.max(b.cluster));
        merges.push(Merge { left, right, distance: squared.sqrt(), size });
        places[x] = None;
        places[y] = Some(Place { cluster: count + merges.len() - 1, size, nearest: (usize::MAX, f64::INFINITY) });
        approach(&mut places, &centroids, dim, (x, y));
        search(&mut places, &centroids, dim, &[y]);
    }
    merges
}

/// Tells the places before `y` that a new cluster stands there, and that what stood at `x` and `y` is gone.
fn approach(places: &mut [Option<Place>], centroids: &[f64], dim: usize, (x, y): (usize, usize)) {
    let new = &centroids[y * dim..(y + 1) * dim];
    let tell = |(at, place): (usize, &mut Option<Place>)| {
        let Some(place) = place else { return };
        let squared = squared_distance(&centroids[at * dim..(at + 1) * dim], new);
        if squared < place.nearest.1 {
            place.nearest = (y, squared);
        } else if place.nearest.0 == x || place.nearest.0 == y {
            place.nearest.0 = GONE;
        }
    };
    let before = &mut places[..y];
    if y * dim < WORTH_THREADS {
        before.iter_mut().enumerate().for_each(tell);
    } else {
        before.par_iter_mut().enumerate().for_each(tell);
    }
}

/// Numbers below which waking other threads takes longer than the work: a quarter of a millisecond.
const WORTH_THREADS: usize = 1 << 19;
/// Clusters that search together, so that each centroid they look at is read from memory once for all of them.
const TOGETHER: usize = 16;

/// Finds the nearest of the later clusters anew for the clusters at `which`, in rising order.
fn search(places: &mut [Option<Place>], centroids: &[f64], dim: usize, which: &[usize]) {
    let threads = rayon::current_num_threads();
    let found: Vec<(usize, f64)> = if which.len() > TOGETHER {
        which
            .par_chunks(TOGETHER)
            .flat_map_iter(|which| nearest(places, centroids, dim, which, 0..places.len()))
            .collect()
    } else if centroids.len() < WORTH_THREADS {
        nearest(places, centroids, dim, which, 0..places.len())
    } else {
        // Few clusters: each thread looks at a part of the others, and of equals the first counts.
        let part = places.len().div_ceil(threads);
        let parts = (0..threads).into_par_iter().map(|at| at * part..((at + 1) * part).min(places.len()));
        let parts: Vec<_> = parts.map(|part| nearest(places, centroids, dim, which, part)).collect();
        let first = |at: usize| parts.iter().map(|part| part[at]).reduce(|a, b| if b.1 < a.1 { b } else { a });
        (0..which.len()).map(|at| first(at).unwrap_or((GONE, f64::INFINITY))).collect()
    };
    for (&at, found) in which.iter().zip(found) {
        if let Some(place) = &mut places[at] {
            place.nearest = found;
        }
    }
}

/// The nearest of the later clusters that stand within `others`.
fn nearest(
    places: &[Option<Place>],
    centroids: &[f64],
    dim: usize,
    which: &[usize],
    others: std::ops::Range<usize>,
) -> Vec<(usize, f64)> {
    let mut found = vec![(GONE, f64::INFINITY); which.len()];
    let from = which.first().map_or(0, |first| first + 1).max(others.start);
    for other in (from..others.end).filter(|other| places[*other].is_some()) {
        let centroid = &centroids[other * dim..(other + 1) * dim];
        for (&at, nearest) in which.iter().zip(&mut found).take_while(|(at, _)| **at < other) {
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
