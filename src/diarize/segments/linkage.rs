//! Average linkage on the cosine similarity of embeddings, with a penalty where the segmentation network told two speakers apart.
//!
//! cost(p, q) = 1 - S_p . S_q / (n_p n_q) + penalty x apart / (apart + same + prior)
//!
//! with `S` the sum of a cluster's embeddings of length one, each times its seconds, and `n` the sum of these seconds: the mean cosine
//! distance of all pairs, by their products of seconds. `apart` and `same` are the seconds (the smaller of two) of all pairs of embeddings in
//! one window, of different speakers of that window and of the same one.
//!
//! Sums replace the matrix of distances: memory is linear in the number of embeddings, time is quadratic.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::SegmentClustering;
use crate::diarize::cluster::Bounds;

/// Clusters that one task compares with a merged one.
const TASK: usize = 1024;

/// An embedding that is clustered.
#[derive(Clone, Debug)]
pub struct Item {
    /// Of length one, `[D]`.
    pub embedding: Vec<f64>,
    /// Seconds of speech behind it.
    pub seconds: f64,
    /// The window.
    pub window: usize,
    /// The speaker of the window.
    pub speaker: usize,
}

/// Seconds that a window hears of two clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Together {
    /// As different speakers.
    apart: f64,
    /// As the same speaker.
    same: f64,
}

/// What is known of a cluster's nearest other one.
#[derive(Clone, Copy)]
struct Nearest {
    cost: f64,
    /// None where it has to be searched again: it costs at least that much.
    other: Option<usize>,
}

/// The cluster of each item, counted from 0 in the order of their first items. Clusters are merged while that costs at most the threshold,
/// further while there are more than `bounds.max`, and not below `bounds.min`. Items of one window stand together.
pub fn cluster(items: &[Item], options: &SegmentClustering, bounds: Bounds) -> Vec<usize> {
    let mut clusters = Clusters::new(items, options);
    clusters.merge(bounds);
    clusters.labels()
}

struct Clusters<'a> {
    options: &'a SegmentClustering,
    /// Numbers D of an embedding.
    size: usize,
    /// `[N, D]` the sum of each cluster, which has the number of its first item.
    sums: Vec<f64>,
    /// `[N]` its seconds.
    seconds: Vec<f64>,
    together: Vec<BTreeMap<usize, Together>>,
    /// The clusters that are left, rising.
    left: Vec<usize>,
    /// The cluster that each item went to; itself where it was not merged.
    into: Vec<usize>,
}

impl<'a> Clusters<'a> {
    fn new(items: &[Item], options: &'a SegmentClustering) -> Self {
        let scaled = |item: &Item| item.embedding.iter().map(|x| x * item.seconds).collect::<Vec<_>>();
        Clusters {
            options,
            size: items.first().map_or(0, |item| item.embedding.len()),
            sums: items.iter().flat_map(scaled).collect(),
            seconds: items.iter().map(|item| item.seconds).collect(),
            together: together(items),
            left: (0..items.len()).collect(),
            into: (0..items.len()).collect(),
        }
    }

    fn sum(&self, cluster: usize) -> &[f64] {
        &self.sums[cluster * self.size..(cluster + 1) * self.size]
    }

    fn cost(&self, one: usize, other: usize) -> f64 {
        let similarity = dot(self.sum(one), self.sum(other)) / (self.seconds[one] * self.seconds[other]);
        let Together { apart, same } = self.together[one].get(&other).copied().unwrap_or_default();
        1.0 - similarity + self.options.penalty * apart / (apart + same + self.options.penalty_prior.0)
    }

    /// The cheapest to merge a cluster with, the first of equals; none where there is no other.
    fn nearest(&self, cluster: usize) -> Option<Nearest> {
        let others = self.left.iter().copied().filter(|&other| other != cluster);
        others.fold(None, |best: Option<Nearest>, other| {
            let cost = self.cost(cluster, other);
            let better = best.is_none_or(|best| cost < best.cost);
            if better { Some(Nearest { cost, other: Some(other) }) } else { best }
        })
    }

    /// Merges the cheapest pair again and again. After each merge, a cluster whose nearest is gone keeps the cost as a bound, and is searched
    /// again when no other is cheaper than that (Müllner 2011, the generic algorithm).
    fn merge(&mut self, bounds: Bounds) {
        let mut nearest: Vec<Option<Nearest>> =
            (0..self.into.len()).into_par_iter().map(|at| self.nearest(at)).collect();
        while let Some((cluster, found)) = self.cheapest(&nearest)
            && self.left.len() > bounds.min
            && (found.cost <= self.options.threshold || self.left.len() > bounds.max)
        {
            let Some(other) = found.other else {
                nearest[cluster] = self.nearest(cluster);
                continue;
            };
            let (one, other) = (cluster.min(other), cluster.max(other));
            self.join(one, other);
            nearest[one] = self.nearest(one);
            let renew = |&cluster: &usize| Some((cluster, self.renewed(cluster, (one, other), nearest[cluster])?));
            let others = self.left.par_iter().with_min_len(TASK).filter(|&&cluster| cluster != one);
            let renewed: Vec<_> = others.filter_map(renew).collect();
            renewed.into_iter().for_each(|(cluster, found)| nearest[cluster] = Some(found));
        }
    }

    /// The cluster with the cheapest other, the first of equals; one that has to be searched again comes before the others.
    fn cheapest(&self, nearest: &[Option<Nearest>]) -> Option<(usize, Nearest)> {
        let all = self.left.iter().filter_map(|&cluster| Some((cluster, nearest[cluster]?)));
        all.min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then(a.other.is_some().cmp(&b.other.is_some())))
    }

    /// What is known of a cluster's nearest after `other` went into `one`, if it is not what it was.
    fn renewed(&self, cluster: usize, (one, other): (usize, usize), before: Option<Nearest>) -> Option<Nearest> {
        let cost = self.cost(cluster, one);
        match before {
            // All others cost as much at least.
            Some(before) if cost > before.cost => {
                let lost = before.other == Some(one) || before.other == Some(other);
                lost.then_some(Nearest { other: None, ..before })
            }
            _ => Some(Nearest { cost, other: Some(one) }),
        }
    }

    /// Lets `other` go into `one`, which comes before it.
    fn join(&mut self, one: usize, other: usize) {
        let (head, tail) = self.sums.split_at_mut(other * self.size);
        let sum = &mut head[one * self.size..(one + 1) * self.size];
        sum.iter_mut().zip(tail).for_each(|(sum, x)| *sum += *x);
        self.seconds[one] += self.seconds[other];
        for (third, more) in std::mem::take(&mut self.together[other]) {
            self.together[third].remove(&other);
            if third != one {
                self.add(one, third, more);
            }
        }
        self.into[other] = one;
        self.left.retain(|&cluster| cluster != other);
    }

    fn add(&mut self, one: usize, other: usize, more: Together) {
        for (one, other) in [(one, other), (other, one)] {
            let sum = self.together[one].entry(other).or_default();
            sum.apart += more.apart;
            sum.same += more.same;
        }
    }

    fn labels(&self) -> Vec<usize> {
        let mut labels = vec![0; self.into.len()];
        let mut count = 0;
        for (item, &into) in self.into.iter().enumerate() {
            // A cluster's first item comes before those that went into it.
            labels[item] = if into == item { count } else { labels[into] };
            count += usize::from(into == item);
        }
        labels
    }
}

/// For each item, those of its window.
fn together(items: &[Item]) -> Vec<BTreeMap<usize, Together>> {
    let mut together = vec![BTreeMap::new(); items.len()];
    for (at, item) in items.iter().enumerate() {
        let later = items.iter().enumerate().skip(at + 1).take_while(|(_, later)| later.window == item.window);
        for (next, later) in later {
            let seconds = item.seconds.min(later.seconds);
            let pair = match item.speaker == later.speaker {
                true => Together { apart: 0.0, same: seconds },
                false => Together { apart: seconds, same: 0.0 },
            };
            together[at].insert(next, pair);
            together[next].insert(at, pair);
        }
    }
    together
}

/// The scalar product, in four sums that do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let ((fours, rest), (others, other_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (a, b) in fours.iter().zip(others) {
        (0..4).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums.iter().sum::<f64>() + rest.iter().zip(other_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directions in a plane, in degrees; all in windows of their own.
    fn items(degrees: &[f64]) -> Vec<Item> {
        let item = |(window, degrees): (usize, &f64)| {
            let angle = degrees.to_radians();
            Item { embedding: vec![angle.cos(), angle.sin()], seconds: 1.0 + (window % 3) as f64, window, speaker: 0 }
        };
        degrees.iter().enumerate().map(item).collect()
    }

    /// The same by all pairs of items: the mean of the costs of pairs, every time.
    fn naive(items: &[Item], options: &SegmentClustering, bounds: Bounds) -> Vec<usize> {
        let mut clusters: Vec<Vec<usize>> = (0..items.len()).map(|at| vec![at]).collect();
        let cost = |p: &[usize], q: &[usize]| {
            let (mut similarity, mut weight, mut apart, mut same) = (0.0, 0.0, 0.0, 0.0);
            for (a, b) in p.iter().flat_map(|a| q.iter().map(move |b| (&items[*a], &items[*b]))) {
                weight += a.seconds * b.seconds;
                similarity += a.seconds * b.seconds * dot(&a.embedding, &b.embedding);
                let seconds = if a.window == b.window { a.seconds.min(b.seconds) } else { 0.0 };
                *(if a.speaker == b.speaker { &mut same } else { &mut apart }) += seconds;
            }
            1.0 - similarity / weight + options.penalty * apart / (apart + same + options.penalty_prior.0)
        };
        while clusters.len() > bounds.min {
            let pairs = (0..clusters.len()).flat_map(|p| (p + 1..clusters.len()).map(move |q| (p, q)));
            let costs = pairs.map(|(p, q)| (cost(&clusters[p], &clusters[q]), p, q));
            let Some((least, p, q)) = costs.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            if least > options.threshold && clusters.len() <= bounds.max {
                break;
            }
            let gone = clusters.remove(q);
            clusters[p].extend(gone);
        }
        let of = |item| clusters.iter().position(|cluster| cluster.contains(&item)).expect("in a cluster");
        (0..items.len()).map(of).collect()
    }

    #[test]
    fn sums_give_the_mean_over_all_pairs() {
        let options = SegmentClustering::default();
        let mut state = 1u64;
        // Multiples of one number would make pairs of equal cost.
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1u32 << 31)
        };
        for round in 0..40 {
            let mut items = items(&(0..24).map(|_| random() * 300.0).collect::<Vec<_>>());
            for (at, item) in items.iter_mut().enumerate() {
                (item.window, item.speaker, item.seconds) = (at / 3, (random() * 3.0) as usize, 1.0 + random());
            }
            for bounds in [(1, usize::MAX), (6, usize::MAX), (1, 2), (4, 4)].map(|(min, max)| Bounds { min, max }) {
                assert_eq!(cluster(&items, &options, bounds), naive(&items, &options, bounds), "{round} {bounds:?}");
            }
        }
    }

    #[test]
    fn the_penalty_keeps_speakers_of_a_window_apart() {
        let mut two = items(&[0.0, 60.0]);
        let options = SegmentClustering::default();
        assert_eq!(cluster(&two, &options, Bounds::default()), [0, 0]);
        two.iter_mut().for_each(|item| item.seconds = 4.0);
        (two[0].window, two[1].window, two[1].speaker) = (0, 0, 1);
        assert_eq!(cluster(&two, &options, Bounds::default()), [0, 1]);
        assert_eq!(cluster(&two, &options, Bounds { min: 1, max: 1 }), [0, 0]);
        assert!(cluster(&[], &options, Bounds::default()).is_empty());
    }
}
