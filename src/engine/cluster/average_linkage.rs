//! Agglomerative clustering with average linkage, and a penalty for pairs that the segmentation network separated.
//!
//! Sums of embeddings replace the distance matrix, so memory is linear in the number of embeddings; time is quadratic.
//! Each cluster keeps its nearest neighbour among the later clusters. When the neighbour is merged, the stored cost
//! becomes a lower bound. The cluster with the lowest bound of all is searched again (Müllner 2011, the generic
//! algorithm).

use rayon::prelude::*;

use super::in_lanes;

/// Embeddings to cluster by [`average_linkage`](super::Cluster::average_linkage), and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'a> {
    /// `[N, D]`, each of length one.
    pub embeddings: &'a [f64],
    /// D: size of an embedding.
    pub size: usize,
    /// `[N]`: frames of speech that each embedding was computed from, its weight; at least one.
    pub frames: &'a [u32],
    /// `[N]`: the window of each embedding, ascending.
    pub windows: &'a [u32],
    /// `[N]`: the speaker within that window.
    pub speakers: &'a [u32],
    /// Largest penalty for merging two clusters that are different speakers in the same window.
    pub penalty: f64,
    /// Number of `apart` frames at which half of the penalty is added, with no `same` frames.
    pub prior: f64,
    /// Largest cost of a merge.
    pub threshold: f64,
    /// Smallest number of clusters.
    pub min: usize,
    /// Largest number of clusters: above it, clusters are merged whatever the cost.
    pub max: usize,
}

impl Linked<'_> {
    /// The penalty for two clusters that share windows: as different speakers for `apart` frames, as the same speaker
    /// for `same` frames.
    fn penalty(&self, apart: u32, same: u32) -> f64 {
        let (apart, same) = (f64::from(apart), f64::from(same));
        if apart > 0.0 { self.penalty * apart / (apart + same + self.prior) } else { 0.0 }
    }

    /// The embeddings of the same window as embedding `at`.
    fn window_of(&self, at: usize) -> std::ops::Range<usize> {
        let window = self.windows[at];
        let before = self.windows[..at].iter().rev().take_while(|other| **other == window).count();
        let after = self.windows[at..].iter().take_while(|other| **other == window).count();
        at - before..at + after
    }
}

/// Replaces the index of a nearest cluster that was merged; the stored cost is then a lower bound.
const STALE: usize = usize::MAX;
/// Fewest values worth several threads: below, waking them takes longer than the work, about a quarter of a
/// millisecond.
const PARALLEL_VALUES: usize = 1 << 19;
/// Clusters searched in one pass, so that each sum is read from memory once for all of them.
const SEARCH_BATCH: usize = 16;

/// A cluster, at the index of its last embedding.
#[derive(Clone, Copy)]
struct Place {
    /// Frames of its embeddings; 0 once it is merged into another.
    frames: u32,
    /// The nearest cluster after it, or [`STALE`], and the cost.
    nearest: (usize, f64),
}

const NO_NEAREST: (usize, f64) = (STALE, f64::INFINITY);

struct Clusters<'a> {
    input: &'a Linked<'a>,
    /// `[N, D]` the sum of each cluster's embeddings, weighted by their frames.
    sums: Vec<f64>,
    places: Vec<Place>,
    /// `[N]` the index of the cluster of each embedding.
    cluster: Vec<u32>,
    /// The embeddings of each cluster.
    members: Vec<Vec<u32>>,
    /// `[N]` frames that each cluster shares with the current one, as different speakers of a window; see
    /// [`count_shared_frames`](Self::count_shared_frames).
    apart: Vec<u32>,
    /// `[N]` the same as one speaker of a window.
    same: Vec<u32>,
}

/// The cluster of each embedding, `[N]`, numbered in the order of their first embeddings.
pub(super) fn average_linkage(input: &Linked) -> Vec<usize> {
    let mut clusters = Clusters::new(input);
    clusters.merge_all();
    labels(&clusters.cluster)
}

/// Numbers the clusters in the order of their first embeddings.
pub(in crate::engine) fn labels(cluster: &[u32]) -> Vec<usize> {
    let mut numbers = vec![usize::MAX; cluster.len()];
    let mut count = 0;
    let number = |place: &u32| {
        let number = &mut numbers[*place as usize];
        if *number == usize::MAX {
            *number = count;
            count += 1;
        }
        *number
    };
    cluster.iter().map(number).collect()
}

/// The initial sums: the embeddings weighted by their frames.
pub(in crate::engine) fn weighted(input: &Linked) -> Vec<f64> {
    let rows = input.embeddings.chunks_exact(input.size).zip(input.frames);
    rows.flat_map(|(row, frames)| row.iter().map(move |x| x * f64::from(*frames))).collect()
}

impl<'a> Clusters<'a> {
    fn new(input: &'a Linked<'a>) -> Self {
        let count = input.frames.len();
        let mut clusters = Clusters {
            input,
            sums: weighted(input),
            places: input.frames.iter().map(|frames| Place { frames: *frames, nearest: NO_NEAREST }).collect(),
            cluster: (0..count as u32).collect(),
            members: (0..count as u32).map(|at| vec![at]).collect(),
            apart: vec![0; count],
            same: vec![0; count],
        };
        let all: Vec<usize> = (0..count).collect();
        let found: Vec<_> = all.par_chunks(SEARCH_BATCH).flat_map_iter(|rows| clusters.first_nearest(rows)).collect();
        clusters.places.iter_mut().zip(found).for_each(|(place, found)| place.nearest = found);
        clusters
    }

    fn sum(&self, at: usize) -> &[f64] {
        &self.sums[at * self.input.size..(at + 1) * self.input.size]
    }

    /// The cost of two clusters without the penalty: 1 minus the mean cosine similarity.
    fn distance(&self, at: usize, other: usize) -> f64 {
        let product = in_lanes(self.sum(at), self.sum(other), |a, b| a * b);
        1.0 - product / (f64::from(self.places[at].frames) * f64::from(self.places[other].frames))
    }

    /// The nearest later embedding of each of `rows` (ascending), before any merge.
    fn first_nearest(&self, rows: &[usize]) -> Vec<(usize, f64)> {
        let input = self.input;
        let mut found = vec![NO_NEAREST; rows.len()];
        let first = rows.first().map_or(0, |first| first + 1);
        for other in first..self.places.len() {
            for (&at, nearest) in rows.iter().zip(&mut found).take_while(|(at, _)| **at < other) {
                let mut cost = self.distance(at, other);
                if input.windows[at] == input.windows[other] && input.speakers[at] != input.speakers[other] {
                    cost += input.penalty(input.frames[at].min(input.frames[other]), 0);
                }
                if cost < nearest.1 {
                    *nearest = (other, cost);
                }
            }
        }
        found
    }

    fn merge_all(&mut self) {
        let mut left = self.places.len();
        while left > self.input.min
            && let Some((x, (y, cost))) = self.cheapest()
            && (cost <= self.input.threshold || left > self.input.max)
        {
            if y == STALE {
                self.count_shared_frames(x);
                self.search_nearest(x);
                continue;
            }
            self.merge_pair(x, y);
            left -= 1;
            self.count_shared_frames(y);
            self.update_nearest(x, y);
            self.search_nearest(y);
        }
    }

    /// The cluster with the lowest cost, and its nearest neighbour. Ties: the lowest index.
    fn cheapest(&self) -> Option<(usize, (usize, f64))> {
        let all =
            self.places.iter().enumerate().filter(|(_, place)| place.frames > 0 && place.nearest.1 < f64::INFINITY);
        all.map(|(at, place)| (at, place.nearest)).min_by(|a, b| a.1.1.total_cmp(&b.1.1))
    }

    /// Merges cluster `x` into cluster `y`, `x < y`.
    fn merge_pair(&mut self, x: usize, y: usize) {
        let size = self.input.size;
        let (head, tail) = self.sums.split_at_mut(y * size);
        tail[..size].iter_mut().zip(&head[x * size..(x + 1) * size]).for_each(|(sum, more)| *sum += more);
        let members = std::mem::take(&mut self.members[x]);
        members.iter().for_each(|member| self.cluster[*member as usize] = y as u32);
        self.members[y].extend(members);
        let frames = self.places[x].frames + self.places[y].frames;
        self.places[x] = Place { frames: 0, nearest: NO_NEAREST };
        self.places[y] = Place { frames, nearest: NO_NEAREST };
    }

    /// Makes cluster `at` the current one: counts the frames that each other cluster shares with it in the same
    /// windows.
    fn count_shared_frames(&mut self, at: usize) {
        self.apart.fill(0);
        self.same.fill(0);
        for &member in &self.members[at] {
            let member = member as usize;
            for other in self.input.window_of(member) {
                let cluster = self.cluster[other] as usize;
                let is_same = self.input.speakers[member] == self.input.speakers[other];
                let frames = if is_same { &mut self.same } else { &mut self.apart };
                frames[cluster] += self.input.frames[member].min(self.input.frames[other]);
            }
        }
    }

    /// The cost of merging a cluster with the current one.
    fn cost(&self, other: usize, current: usize) -> f64 {
        self.distance(other, current) + self.input.penalty(self.apart[other], self.same[other])
    }

    /// After the merge of `x` into `y`, the current cluster: updates the nearest neighbour of the clusters before `y`.
    fn update_nearest(&mut self, x: usize, y: usize) {
        let renewed = |(at, place): (usize, &Place)| {
            if place.frames == 0 {
                return place.nearest;
            }
            let cost = self.cost(at, y);
            match place.nearest {
                (_, before) if cost < before => (y, cost),
                (nearest, before) if nearest == x || nearest == y => (STALE, before),
                nearest => nearest,
            }
        };
        let before = &self.places[..y];
        let found: Vec<_> = if y * self.input.size < PARALLEL_VALUES {
            before.iter().enumerate().map(renewed).collect()
        } else {
            before.par_iter().enumerate().map(renewed).collect()
        };
        self.places.iter_mut().zip(found).for_each(|(place, found)| place.nearest = found);
    }

    /// Finds the nearest later cluster of `at`, the current cluster. Ties: the lowest index.
    fn search_nearest(&mut self, at: usize) {
        let nearest = |others: std::ops::Range<usize>| {
            others.filter(|other| self.places[*other].frames > 0).fold(NO_NEAREST, |nearest, other| {
                let cost = self.cost(other, at);
                if cost < nearest.1 { (other, cost) } else { nearest }
            })
        };
        let (first, count) = (at + 1, self.places.len());
        let found = if (count - first) * self.input.size < PARALLEL_VALUES {
            nearest(first..count)
        } else {
            let part = (count - first).div_ceil(rayon::current_num_threads());
            let parts = (first..count).into_par_iter().step_by(part).map(|at| nearest(at..(at + part).min(count)));
            let parts: Vec<_> = parts.collect();
            parts.into_iter().fold(NO_NEAREST, |best, part| if part.1 < best.1 { part } else { best })
        };
        self.places[at].nearest = found;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Embeddings in a plane, at angles in degrees.
    struct Items {
        embeddings: Vec<f64>,
        frames: Vec<u32>,
        windows: Vec<u32>,
        speakers: Vec<u32>,
    }

    impl Items {
        /// Embeddings at these angles, each in a window of its own.
        fn at(degrees: &[f64]) -> Self {
            let count = degrees.len() as u32;
            Items {
                embeddings: degrees.iter().map(|angle| angle.to_radians()).flat_map(|a| [a.cos(), a.sin()]).collect(),
                frames: (0..count).map(|at| 60 + 50 * (at % 3)).collect(),
                windows: (0..count).collect(),
                speakers: vec![0; degrees.len()],
            }
        }

        fn linked(&self, min: usize, max: usize) -> Linked<'_> {
            let Items { embeddings, frames, windows, speakers } = self;
            Linked {
                embeddings,
                size: 2,
                frames,
                windows,
                speakers,
                penalty: 0.5,
                prior: 118.0,
                threshold: 0.64,
                min,
                max,
            }
        }
    }

    /// Reference implementation: recomputes the cost of all pairs of clusters over all pairs of embeddings for each
    /// merge.
    fn naive(input: &Linked) -> Vec<usize> {
        let mut clusters: Vec<Vec<usize>> = (0..input.frames.len()).map(|at| vec![at]).collect();
        let cost = |p: &[usize], q: &[usize]| {
            let (mut similarity, mut weight, mut apart, mut same) = (0.0, 0.0, 0, 0);
            for (&a, &b) in p.iter().flat_map(|a| q.iter().map(move |b| (a, b))) {
                let product = f64::from(input.frames[a]) * f64::from(input.frames[b]);
                weight += product;
                similarity +=
                    product * (0..2).map(|i| input.embeddings[2 * a + i] * input.embeddings[2 * b + i]).sum::<f64>();
                if input.windows[a] == input.windows[b] {
                    let frames = input.frames[a].min(input.frames[b]);
                    *(if input.speakers[a] == input.speakers[b] { &mut same } else { &mut apart }) += frames;
                }
            }
            let (apart, same) = (f64::from(apart), f64::from(same));
            1.0 - similarity / weight + input.penalty * apart / (apart + same + input.prior)
        };
        while clusters.len() > input.min {
            let pairs = (0..clusters.len()).flat_map(|p| (p + 1..clusters.len()).map(move |q| (p, q)));
            let costs = pairs.map(|(p, q)| (cost(&clusters[p], &clusters[q]), p, q));
            let Some((least, p, q)) = costs.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            if least > input.threshold && clusters.len() <= input.max {
                break;
            }
            let merged = clusters.remove(q);
            clusters[p].extend(merged);
        }
        let of = |item| clusters.iter().position(|cluster| cluster.contains(&item)).expect("in a cluster");
        (0..input.frames.len()).map(of).collect()
    }

    #[test]
    fn sums_give_the_mean_over_all_pairs() {
        let mut state = 1u64;
        // Random angles: equally spaced ones would give pairs of equal cost.
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        for round in 0..40 {
            let mut items = Items::at(&(0..24).map(|_| random() * 300.0).collect::<Vec<_>>());
            for at in 0..24 {
                (items.windows[at], items.speakers[at]) = (at as u32 / 3, (random() * 3.0) as u32);
                items.frames[at] = 60 + (random() * 60.0) as u32;
            }
            for (min, max) in [(1, usize::MAX), (6, usize::MAX), (1, 2), (4, 4)] {
                let input = items.linked(min, max);
                assert_eq!(average_linkage(&input), naive(&input), "round {round}, {min} to {max}");
            }
        }
    }

    #[test]
    fn the_penalty_keeps_speakers_of_a_window_apart() {
        let mut two = Items::at(&[0.0, 60.0]);
        assert_eq!(average_linkage(&two.linked(1, usize::MAX)), [0, 0]);
        (two.frames, two.windows, two.speakers) = (vec![237; 2], vec![0; 2], vec![0, 1]);
        assert_eq!(average_linkage(&two.linked(1, usize::MAX)), [0, 1]);
        assert_eq!(average_linkage(&two.linked(1, 1)), [0, 0]);
        assert!(average_linkage(&Items::at(&[]).linked(1, usize::MAX)).is_empty());
    }
}
