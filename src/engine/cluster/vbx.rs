//! VBx (variational Bayes clustering of embeddings) on the host.
//!
//! Landini et al. (2022), "Bayesian HMM clustering of x-vector sequences (VBx)"; the variant without speaker
//! transitions, as in pyannote's community-1. Numbers in parentheses are equations of the paper.

use rayon::prelude::*;

/// Parameters of VBx. The defaults are those of pyannote's community-1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VbxOptions {
    /// Fa: scale of the log-likelihood of the features.
    pub evidence: f64,
    /// Fb: strength of the prior on speakers; a higher value gives fewer speakers.
    pub prior: f64,
    /// Largest number of iterations.
    pub iterations: usize,
    /// Iterations end when the lower bound grows by less than this.
    pub gain: f64,
    /// Logit of the initial label in the initial responsibilities; all other logits are 0.
    pub init_smoothing: f64,
}

impl Default for VbxOptions {
    fn default() -> Self {
        VbxOptions { evidence: 0.07, prior: 0.8, iterations: 20, gain: 1e-4, init_smoothing: 7.0 }
    }
}

/// The result of VBx, for N embeddings and the K speakers of the initial labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Vbx {
    /// Number of speakers K.
    pub speakers: usize,
    /// Responsibilities `[N, K]`: the probability of each speaker for each embedding.
    pub responsibilities: Vec<f64>,
    /// Prior probability of each speaker, `[K]`; it goes to zero for redundant speakers.
    pub weights: Vec<f64>,
    /// The evidence lower bound (ELBO) after each iteration.
    pub bounds: Vec<f64>,
}

/// Constants of the iterations, for N embeddings of E features.
pub(in crate::engine) struct Prepared {
    /// Scaled features, (18): `[N, E]`.
    pub rho: Vec<f64>,
    /// The term of (23) that does not depend on the speaker: `[N]`.
    pub common: Vec<f64>,
}

pub(in crate::engine) fn prepare(features: &[f64], phi: &[f64]) -> Prepared {
    let scaled = |x: &[f64]| x.iter().zip(phi).map(|(x, phi)| x * phi.sqrt()).collect::<Vec<f64>>();
    let constant = phi.len() as f64 * (2.0 * std::f64::consts::PI).ln();
    let common = |x: &[f64]| -0.5 * (x.iter().map(|x| x * x).sum::<f64>() + constant);
    Prepared {
        rho: features.chunks_exact(phi.len()).flat_map(scaled).collect(),
        common: features.chunks_exact(phi.len()).map(common).collect(),
    }
}

/// The state before the first iteration.
pub(in crate::engine) fn begin(labels: &[usize], options: &VbxOptions) -> Vbx {
    let speakers = labels.iter().max().map_or(0, |label| label + 1);
    Vbx {
        speakers,
        responsibilities: start(labels, speakers, options.init_smoothing),
        weights: vec![1.0 / speakers.max(1) as f64; speakers],
        bounds: Vec::new(),
    }
}

impl Vbx {
    /// Ends an iteration: sets the weights from `totals`, each speaker's sum of responsibilities, and records the lower
    /// bound, (25). Returns whether the iterations have converged.
    pub(in crate::engine) fn end_iteration(&mut self, bound: f64, totals: &[f64], options: &VbxOptions) -> bool {
        let all: f64 = totals.iter().sum();
        self.weights = totals.iter().map(|total| total / all).collect();
        let before = self.bounds.last().copied();
        self.bounds.push(bound);
        before.is_some_and(|before| bound - before < options.gain)
    }

    /// The logarithms of the weights for (23), with 1e-8 added to avoid `ln 0`.
    pub(in crate::engine) fn log_weights(&self) -> Vec<f64> {
        self.weights.iter().map(|weight| (weight + 1e-8).ln()).collect()
    }
}

/// The posteriors of the speaker models.
struct Speakers {
    /// Posterior means, `[K, E]`.
    means: Vec<f64>,
    /// Posterior variances, `[K, E]`.
    variances: Vec<f64>,
}

/// Initial responsibilities `[N, K]`: the softmax of logits that are `init_smoothing` for the given label and 0 for the
/// others.
pub fn start(labels: &[usize], speakers: usize, init_smoothing: f64) -> Vec<f64> {
    let total = init_smoothing.exp() + (speakers as f64 - 1.0);
    let share =
        |label: usize, speaker: usize| if label == speaker { init_smoothing.exp() / total } else { 1.0 / total };
    labels.iter().flat_map(|&label| (0..speakers).map(move |speaker| share(label, speaker))).collect()
}

/// Clusters `features` `[N, E]`, whose between-speaker variances are `phi` `[E]`, starting from `labels` `[N]`.
pub(super) fn vbx(features: &[f64], phi: &[f64], labels: &[usize], options: &VbxOptions) -> Vbx {
    let mut found = begin(labels, options);
    if found.speakers == 0 {
        return found;
    }
    let prepared = prepare(features, phi);
    for _ in 0..options.iterations {
        let model = fit(&prepared.rho, phi, &found, options);
        let (evidence, totals) = update_shares(&prepared, phi, &model, &mut found, options);
        let of_one = |(mean, variance): (&f64, &f64)| variance.ln() - variance - mean * mean + 1.0;
        let distance: f64 = model.means.iter().zip(&model.variances).map(of_one).sum();
        if found.end_iteration(evidence + options.prior * 0.5 * distance, &totals, options) {
            break;
        }
    }
    found
}

/// Updates the speaker models from the responsibilities: (16) and (17).
fn fit(rho: &[f64], phi: &[f64], found: &Vbx, options: &VbxOptions) -> Speakers {
    let (size, speakers) = (phi.len(), found.speakers);
    let ratio = options.evidence / options.prior;
    let mut totals = vec![0.0; speakers];
    let mut means = vec![0.0; speakers * size];
    // One task per speaker: every sum is computed by one thread, so it does not depend on the number of threads.
    means.par_chunks_exact_mut(size).zip(&mut totals).enumerate().for_each(|(speaker, (means, total))| {
        for (responsibilities, rho) in found.responsibilities.chunks_exact(speakers).zip(rho.chunks_exact(size)) {
            let share = responsibilities[speaker];
            *total += share;
            means.iter_mut().zip(rho).for_each(|(mean, rho)| *mean += share * rho);
        }
    });
    let variances: Vec<f64> =
        totals.iter().flat_map(|total| phi.iter().map(move |phi| 1.0 / (1.0 + ratio * total * phi))).collect();
    for (mean, variance) in means.iter_mut().zip(&variances) {
        *mean *= ratio * variance;
    }
    Speakers { means, variances }
}

/// Updates the responsibilities from the speaker models, (23). Returns the log-likelihood of all embeddings, and each
/// speaker's sum of responsibilities.
fn update_shares(
    Prepared { rho, common }: &Prepared,
    phi: &[f64],
    model: &Speakers,
    found: &mut Vbx,
    options: &VbxOptions,
) -> (f64, Vec<f64>) {
    let (size, speakers) = (phi.len(), found.speakers);
    let spread = |speaker: usize| -> f64 {
        let own = speaker * size..(speaker + 1) * size;
        let terms = model.means[own.clone()].iter().zip(&model.variances[own]).zip(phi);
        terms.map(|((mean, variance), phi)| (variance + mean * mean) * phi).sum()
    };
    let spreads: Vec<f64> = (0..speakers).map(spread).collect();
    let weights = found.log_weights();
    let sums = found.responsibilities.par_chunks_exact_mut(speakers).zip(rho.par_chunks_exact(size)).zip(common);
    let sums = sums.map(|((responsibilities, rho), common)| {
        for (speaker, share) in responsibilities.iter_mut().enumerate() {
            let mean = &model.means[speaker * size..(speaker + 1) * size];
            let product: f64 = rho.iter().zip(mean).map(|(rho, mean)| rho * mean).sum();
            *share = options.evidence * (product - 0.5 * spreads[speaker] + common) + weights[speaker];
        }
        let most = responsibilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = most + responsibilities.iter().map(|share| (share - most).exp()).sum::<f64>().ln();
        responsibilities.iter_mut().for_each(|share| *share = (*share - sum).exp());
        sum
    });
    let evidence = sums.collect::<Vec<f64>>().iter().sum();
    let mut totals = vec![0.0; speakers];
    for responsibilities in found.responsibilities.chunks_exact(speakers) {
        totals.iter_mut().zip(responsibilities).for_each(|(total, share)| *total += share);
    }
    (evidence, totals)
}
