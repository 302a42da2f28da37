//! Agglomerative clustering by average linkage, with a penalty for pairs that a segmentation network told apart.
//!
//! Sums of embeddings replace the matrix of distances, so memory is linear in the number of embeddings; time is quadratic. A cluster keeps
//! the nearest of the clusters after it. When that one is merged, its cost becomes a lower bound, and the cluster whose bound is the lowest
//! of all is searched again (Müllner 2011, the generic algorithm).

use rayon::prelude::*;

use super::in_lanes;

/// Embeddings to cluster by [`average_linkage`](super::Cluster::average_linkage), and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'a> {
    /// `[N, D]`, each of length one.
    pub embeddings: &'a [f64],
    /// Numbers D of an embedding.
    pub size: usize,
    /// Frames of speech behind each embedding, its weight: `[N]`, at least one.
    pub frames: &'a [u32],
    /// The window of each embedding, ascending: `[N]`.
    pub windows: &'a [u32],
    /// The speaker of that window: `[N]`.
    pub speakers: &'a [u32],
    /// Largest addition to the cost of two clusters that windows tell apart.
    pub penalty: f64,
    /// Frames in common windows at which half of the penalty is added.
    pub prior: f64,
    /// Largest cost of a merge.
    pub threshold: f64,
    /// Clusters are not merged below this number.
    pub min: usize,
    /// Clusters are merged beyond the threshold while there are more than this.
    pub max: usize,
}

impl Linked<'_> {
    /// The penalty of two clusters that windows hear as different speakers for `apart` frames and as the same for `same`.
    fn penalty(&self, apart: u32, same: u32) -> f64 {
        let (apart, same) = (f64::from(apart), f64::from(same));
        if apart > 0.0 { self.penalty * apart / (apart + same + self.prior) } else { 0.0 }
    }

    /// The embeddings of the window of one of them.
    fn window_of(&self, at: usize) -> std::ops::Range<usize> {
        let window = self.windows[at];
        let before = self.windows[..at].iter().rev().take_while(|other| **other == window).count();
        let after = self.windows[at..].iter().take_while(|other| **other == window).count();
        at - before..at + after
    }
}

/// In the place of a nearest cluster that was merged: no other costs less than the bound.
const GONE: usize = usize::MAX;
/// Numbers below which waking other threads takes longer than the work: a quarter of a millisecond.
const WORTH_THREADS: usize = 1 << 19;
/// Clusters that are searched together, so that each sum is read from memory once for all of them.
const TOGETHER: usize = 16;

/// A cluster, at the place of its last embedding.
#[derive(Clone, Copy)]
struct Place {
    /// Frames of its embeddings; 0 once it was merged into another.
    frames: u32,
    /// The nearest cluster after it, or [`GONE`], and the cost.
    nearest: (usize, f64),
}

const NO_NEAREST: (usize, f64) = (GONE, f64::INFINITY);

struct Clusters<'a> {
    input: &'a Linked<'a>,
    /// `[N, D]` the sum of each cluster's embeddings, each times its frames.
    sums: Vec<f64>,
    places: Vec<Place>,
    /// `[N]` the place of the cluster of each embedding.
    cluster: Vec<u32>,
    /// The embeddings of each cluster.
    members: Vec<Vec<u32>>,
    /// `[N]` frames in which windows hear each cluster and the one of the current [`row`](Self::row) as different speakers, and as the same.
    apart: Vec<u32>,
    same: Vec<u32>,
}

/// The cluster of each embedding, `[N]`, numbered in the order of their first embeddings.
pub(super) fn average_linkage(input: &Linked) -> Vec<usize> {
    let mut clusters = Clusters::new(input);
    clusters.merge();
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

/// The sums at the start: the embeddings times their frames.
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
        let found: Vec<_> = all.par_chunks(TOGETHER).flat_map_iter(|rows| clusters.first_nearest(rows)).collect();
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

    /// The nearest later embeddings of some embeddings in ascending order, before any merge.
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

    fn merge(&mut self) {
        let mut left = self.places.len();
        while left > self.input.min
            && let Some((x, (y, cost))) = self.cheapest()
            && (cost <= self.input.threshold || left > self.input.max)
        {
            if y == GONE {
                self.row(x);
                self.search(x);
                continue;
            }
            self.join(x, y);
            left -= 1;
            self.row(y);
            self.approach(x, y);
            self.search(y);
        }
    }

    /// The cluster with the nearest other one; ties: the lowest place.
    fn cheapest(&self) -> Option<(usize, (usize, f64))> {
        let all =
            self.places.iter().enumerate().filter(|(_, place)| place.frames > 0 && place.nearest.1 < f64::INFINITY);
        all.map(|(at, place)| (at, place.nearest)).min_by(|a, b| a.1.1.total_cmp(&b.1.1))
    }

    /// Merges the cluster at `x` into the one at the later place `y`.
    fn join(&mut self, x: usize, y: usize) {
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

    /// Sums the frames that the windows of a cluster's embeddings share with the other clusters.
    fn row(&mut self, at: usize) {
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

    /// The cost of a cluster and the one of the current row.
    fn cost(&self, other: usize, row: usize) -> f64 {
        self.distance(other, row) + self.input.penalty(self.apart[other], self.same[other])
    }

    /// Compares the clusters before `y` with the new one there, into which the one at `x` went.
    fn approach(&mut self, x: usize, y: usize) {
        let renewed = |(at, place): (usize, &Place)| {
            if place.frames == 0 {
                return place.nearest;
            }
            let cost = self.cost(at, y);
            match place.nearest {
                (_, before) if cost < before => (y, cost),
                (nearest, before) if nearest == x || nearest == y => (GONE, before),
                nearest => nearest,
            }
        };
        let before = &self.places[..y];
        let found: Vec<_> = if y * self.input.size < WORTH_THREADS {
            before.iter().enumerate().map(renewed).collect()
        } else {
            before.par_iter().enumerate().map(renewed).collect()
        };
        self.places.iter_mut().zip(found).for_each(|(place, found)| place.nearest = found);
    }

    /// Finds the nearest later cluster of the one of the current row; ties: the lowest place.
    fn search(&mut self, at: usize) {
        let nearest = |others: std::ops::Range<usize>| {
            others.filter(|other| self.places[*other].frames > 0).fold(NO_NEAREST, |nearest, other| {
                let cost = self.cost(other, at);
                if cost < nearest.1 { (other, cost) } else { nearest }
            })
        };
        let (first, count) = (at + 1, self.places.len());
        let found = if (count - first) * self.input.size < WORTH_THREADS {
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
        /// All in windows of their own.
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

    /// The definition: the costs of all pairs of clusters by all pairs of embeddings, computed anew for each merge.
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
        // Multiples of one number would make pairs of equal cost.
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
