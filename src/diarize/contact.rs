//! Agglomerative clustering that listens to the windows as well: they overlap, so a second of talk is heard by ten of them, and
//! what the segmentation network says of it in one window is compared with what it says in the next.
//!
//! Two speakers of one window are two people. Two speakers of neighbouring windows that are active in the same
//! frames are one; those that are active in turns are two. Voices that are much alike stay apart by that, and the voice of one
//! person holds together. Clusters p and q with mean voices v are merged in the order of
//!
//! cost(p, q) = 1 - cos(v_p, v_q) + weight x (apart - together) / (apart + together + 5 s)
//!
//! with `together` and `apart` the seconds in which both, and only one, of two of their speakers are active, over all pairs of
//! windows that see them. Of speakers that are cut into [`pieces`](super::pieces), two pieces are together while both are active, and apart
//! while one is and the other's speaker is not: two pieces of one speaker are neither. On the host, whatever the device. Not pyannote's: it
//! is done for a pipeline whose `params.clustering` has a `contact`, the weight.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::cluster::{length, normalised};
use super::windows::Segmentation;
use crate::error::{Error, Result};

/// Seconds of contact at which half of what it says counts.
const SATURATION: f64 = 5.0;
/// Clusters that one task compares with a merged one.
const TASK: usize = 1024;

/// How long two clusters' speakers are active in frames that both windows see, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Contact {
    together: f64,
    apart: f64,
}

impl Contact {
    /// From -1, one person, to 1, two people; near 0 where there is little.
    fn says(self) -> f64 {
        (self.apart - self.together) / (self.apart + self.together + SATURATION)
    }

    fn add(&mut self, other: Contact) {
        self.together += other.together;
        self.apart += other.apart;
    }
}

/// The cluster of each voice, counted from 0 in the order of their first voices: merged up to a cost of `threshold`.
///
/// `list`: the (window, speaker) of each voice, in order; `voices`: `[N, D]`, centred.
///
/// # Errors
/// [`Error::Diarization`] for a voice that is zero or no number: it has no direction.
pub fn start_labels(
    segmentation: &Segmentation,
    list: &[(usize, usize)],
    voices: &[f64],
    weight: f64,
    threshold: f64,
) -> Result<Vec<usize>> {
    let size = voices.len() / list.len().max(1);
    if voices.chunks_exact(size.max(1)).any(|voice| !(length(voice) > 0.0)) {
        return Err(Error::diarization("embeddings", "have no distances: one is zero or not a number"));
    }
    let mut clusters = Clusters::new(segmentation, list, voices, weight);
    // Below zero the cost of two is only where contact speaks for one person: no others need to be looked at.
    clusters.merge(Candidates::InContact, threshold.min(0.0));
    clusters.merge(Candidates::All, threshold);
    Ok(clusters.labels())
}

/// With which clusters one may be merged.
#[derive(Clone, Copy, PartialEq)]
enum Candidates {
    InContact,
    All,
}

/// What is known of the nearest of a cluster's candidates.
#[derive(Clone, Copy)]
struct Nearest {
    cost: f64,
    /// None where it has to be looked for again: it costs at least that much.
    partner: Option<usize>,
}

struct Clusters {
    /// Numbers D of a voice.
    size: usize,
    weight: f64,
    /// Sum of the voices, each of length one, of each cluster: `[N, D]`. A cluster has the number of its first voice.
    sums: Vec<f64>,
    /// The lengths of the sums.
    lengths: Vec<f64>,
    contacts: Vec<BTreeMap<usize, Contact>>,
    /// The clusters that are left, rising.
    left: Vec<usize>,
    /// The cluster that each voice went to; itself where it was not merged.
    into: Vec<usize>,
}

impl Clusters {
    fn new(segmentation: &Segmentation, list: &[(usize, usize)], voices: &[f64], weight: f64) -> Self {
        let (count, size) = (list.len(), voices.len() / list.len().max(1));
        Clusters {
            size,
            weight,
            sums: normalised(voices, size),
            lengths: vec![1.0; count],
            contacts: contacts(segmentation, list),
            left: (0..count).collect(),
            into: (0..count).collect(),
        }
    }

    fn sum(&self, cluster: usize) -> &[f64] {
        &self.sums[cluster * self.size..(cluster + 1) * self.size]
    }

    fn cost(&self, one: usize, other: usize) -> f64 {
        let product = product(self.sum(one), self.sum(other));
        let contact = self.contacts[one].get(&other).copied().unwrap_or_default();
        1.0 - product / (self.lengths[one] * self.lengths[other]) + self.weight * contact.says()
    }

    /// The cheapest partner of a cluster, the first of equals; none where there is no candidate.
    fn nearest(&self, cluster: usize, candidates: Candidates) -> Option<Nearest> {
        let cheaper = |best: Option<Nearest>, other: usize| {
            let cost = self.cost(cluster, other);
            let better = best.is_none_or(|best| cost < best.cost);
            if better { Some(Nearest { cost, partner: Some(other) }) } else { best }
        };
        match candidates {
            Candidates::InContact => self.contacts[cluster].keys().copied().fold(None, cheaper),
            Candidates::All => self.left.iter().copied().filter(|&other| other != cluster).fold(None, cheaper),
        }
    }

    /// Merges the cheapest pair until the next would cost more than `limit`.
    ///
    /// A large cluster is the nearest of nearly all others, and after each merge it is another: who was nearest to it keeps the cost as a
    /// bound and looks again when its turn comes (Müllner 2011, the generic algorithm).
    fn merge(&mut self, candidates: Candidates, limit: f64) {
        let mut nearest: Vec<Option<Nearest>> = vec![None; self.into.len()];
        let found: Vec<_> = self.left.par_iter().map(|&cluster| (cluster, self.nearest(cluster, candidates))).collect();
        found.into_iter().for_each(|(cluster, partner)| nearest[cluster] = partner);
        while let Some((cluster, found)) = self.cheapest(&nearest)
            && found.cost <= limit
        {
            let Some(partner) = found.partner else {
                nearest[cluster] = self.nearest(cluster, candidates);
                continue;
            };
            let (one, other) = (cluster.min(partner), cluster.max(partner));
            self.join(one, other);
            nearest[one] = self.nearest(one, candidates);
            let in_contact: Vec<usize>;
            let touched = match candidates {
                // Whoever had one of the two as the nearest was in contact with it, and now is with what became of them.
                Candidates::InContact => {
                    in_contact = self.contacts[one].keys().copied().collect();
                    &in_contact
                }
                Candidates::All => &self.left,
            };
            let renewed: Vec<_> = touched
                .par_iter()
                .with_min_len(TASK)
                .filter(|&&cluster| cluster != one)
                .filter_map(|&cluster| Some((cluster, self.renewed(cluster, (one, other), nearest[cluster])?)))
                .collect();
            renewed.into_iter().for_each(|(cluster, partner)| nearest[cluster] = Some(partner));
        }
    }

    /// The cluster with the cheapest partner, the first of equals; one that has to look again comes before the others.
    fn cheapest(&self, nearest: &[Option<Nearest>]) -> Option<(usize, Nearest)> {
        let all = self.left.iter().filter_map(|&cluster| Some((cluster, nearest[cluster]?)));
        all.min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then(a.partner.is_some().cmp(&b.partner.is_some())))
    }

    /// What is known of a cluster's nearest after `other` went into `one`, if it is not what it was.
    fn renewed(&self, cluster: usize, (one, other): (usize, usize), before: Option<Nearest>) -> Option<Nearest> {
        let lost = before.is_some_and(|before| before.partner == Some(one) || before.partner == Some(other));
        let cost = self.cost(cluster, one);
        match before {
            // All others cost as much at least.
            Some(before) if cost > before.cost => lost.then_some(Nearest { partner: None, ..before }),
            _ => Some(Nearest { cost, partner: Some(one) }),
        }
    }

    /// Lets `other` go into `one`.
    fn join(&mut self, one: usize, other: usize) {
        let (head, tail) = self.sums.split_at_mut(other * self.size);
        let sum = &mut head[one * self.size..(one + 1) * self.size];
        sum.iter_mut().zip(tail).for_each(|(sum, x)| *sum += *x);
        self.lengths[one] = length(self.sum(one));
        for (third, contact) in std::mem::take(&mut self.contacts[other]) {
            self.contacts[third].remove(&other);
            if third != one {
                self.contacts[one].entry(third).or_default().add(contact);
                self.contacts[third].entry(one).or_default().add(contact);
            }
        }
        self.into[other] = one;
        self.left.retain(|&cluster| cluster != other);
    }

    fn labels(&self) -> Vec<usize> {
        let mut label = vec![0; self.into.len()];
        let mut count = 0;
        for (voice, &into) in self.into.iter().enumerate() {
            // A cluster's first voice comes before those that went into it.
            label[voice] = if into == voice { count } else { label[into] };
            count += usize::from(into == voice);
        }
        label
    }
}

/// The scalar product, in four sums that do not wait for each other.
fn product(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (fours, rest) = a.as_chunks::<4>();
    let (others, other_rest) = b.as_chunks::<4>();
    for (a, b) in fours.iter().zip(others) {
        (0..4).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums.iter().sum::<f64>() + rest.iter().zip(other_rest).map(|(a, b)| a * b).sum::<f64>()
}

/// For each (window, speaker) of a list in order, those that a window sees with it.
fn contacts(segmentation: &Segmentation, list: &[(usize, usize)]) -> Vec<BTreeMap<usize, Contact>> {
    let first = segmentation.first_frames();
    let of = |at: usize| {
        let (window, speaker) = list[at];
        let seen = list[at + 1..].iter().take_while(|later| first[later.0] < first[window] + segmentation.frames);
        let contact = |later: &(usize, usize)| {
            let shift = first[later.0] - first[window];
            let [mut together, mut apart] = [0usize; 2];
            for frame in shift..segmentation.frames {
                let one = segmentation.frame(window, frame)[speaker];
                let other = segmentation.frame(later.0, frame - shift)[later.1];
                together += usize::from(one && other);
                apart += usize::from(one && !segmentation.speaks(later.0, frame - shift, later.1));
                apart += usize::from(other && !segmentation.speaks(window, frame, speaker));
            }
            let [together, apart] = [together, apart].map(|frames| frames as f64 * segmentation.clock.frame_step);
            Contact { together, apart }
        };
        seen.map(contact).collect::<Vec<_>>()
    };
    let later: Vec<Vec<Contact>> = (0..list.len()).into_par_iter().map(of).collect();
    let mut contacts = vec![BTreeMap::new(); list.len()];
    for (at, later) in later.into_iter().enumerate() {
        for (next, contact) in later.into_iter().enumerate().filter(|(_, contact)| *contact != Contact::default()) {
            contacts[at].insert(at + 1 + next, contact);
            contacts[at + 1 + next].insert(at, contact);
        }
    }
    contacts
}
