//! VBx: how many speakers there are and which voice is whose, by variational Bayes over PLDA features.
//!
//! Landini et al. (2022), "Bayesian HMM clustering of x-vector sequences (VBx)"; in the form without transitions between
//! speakers, as pyannote's community-1 uses it. The numbers of the comments are the paper's equations.

/// Settings. The defaults are community-1's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VbxOptions {
    /// Scale of the features' evidence, Fa.
    pub evidence: f64,
    /// Strength of the prior on speakers, Fb: the greater, the fewer speakers.
    pub prior: f64,
    /// Most iterations.
    pub iterations: usize,
    /// Gain of the bound below which the iterations end.
    pub gain: f64,
    /// How much surer the start is of its own cluster than of another, in logits.
    pub sureness: f64,
}

impl Default for VbxOptions {
    fn default() -> Self {
        VbxOptions { evidence: 0.07, prior: 0.8, iterations: 20, gain: 1e-4, sureness: 7.0 }
    }
}

/// What VBx found, for N voices and K speakers of the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Vbx {
    /// Number of speakers K.
    pub speakers: usize,
    /// Probability that a voice is a speaker's, `[N, K]`.
    pub shares: Vec<f64>,
    /// Share of each speaker in the recording, `[K]`. Those of speakers that are not needed go to zero.
    pub weights: Vec<f64>,
    /// The lower bound of the evidence after each iteration.
    pub bounds: Vec<f64>,
}

/// The model of all speakers.
struct Speakers {
    /// Mean of each along each feature, `[K, E]`.
    means: Vec<f64>,
    /// Variance of those means, `[K, E]`.
    variances: Vec<f64>,
}

/// The start: `[N, K]`, a softmax that is surest of the given label.
pub fn start(labels: &[usize], speakers: usize, sureness: f64) -> Vec<f64> {
    let total = sureness.exp() + (speakers as f64 - 1.0);
    let share = |label: usize, speaker: usize| if label == speaker { sureness.exp() / total } else { 1.0 / total };
    labels.iter().flat_map(|&label| (0..speakers).map(move |speaker| share(label, speaker))).collect()
}

/// Clusters `features` `[N, E]` whose variances between speakers are `phi` `[E]`, from the labels of a first clustering.
pub fn vbx(features: &[f64], phi: &[f64], labels: &[usize], options: &VbxOptions) -> Vbx {
    let speakers = labels.iter().max().map_or(0, |label| label + 1);
    let mut found = Vbx {
        speakers,
        shares: start(labels, speakers, options.sureness),
        weights: vec![1.0 / speakers.max(1) as f64; speakers],
        bounds: Vec::new(),
    };
    // (18)
    let rho: Vec<f64> =
        features.chunks_exact(phi.len()).flat_map(|x| x.iter().zip(phi).map(|(x, phi)| x * phi.sqrt())).collect();
    let constant = phi.len() as f64 * (2.0 * std::f64::consts::PI).ln();
    // The part of (23) that is the same for all speakers.
    let common: Vec<f64> =
        features.chunks_exact(phi.len()).map(|x| -0.5 * (x.iter().map(|x| x * x).sum::<f64>() + constant)).collect();
    for iteration in 0..options.iterations {
        let model = fit(&rho, phi, &found, options);
        let evidence = share(&rho, phi, &common, &model, &mut found, options);
        // (25)
        let of_one = |(mean, variance): (&f64, &f64)| variance.ln() - variance - mean * mean + 1.0;
        let distance: f64 = model.means.iter().zip(&model.variances).map(of_one).sum();
        found.bounds.push(evidence + options.prior * 0.5 * distance);
        if iteration > 0 && found.bounds[iteration] - found.bounds[iteration - 1] < options.gain {
            break;
        }
    }
    found
}

/// The speakers' models, given who is who: (16) and (17).
fn fit(rho: &[f64], phi: &[f64], found: &Vbx, options: &VbxOptions) -> Speakers {
    let (size, speakers) = (phi.len(), found.speakers);
    let ratio = options.evidence / options.prior;
    let mut totals = vec![0.0; speakers];
    let mut means = vec![0.0; speakers * size];
    for (shares, rho) in found.shares.chunks_exact(speakers).zip(rho.chunks_exact(size)) {
        for (speaker, share) in shares.iter().enumerate() {
            totals[speaker] += share;
            for (mean, rho) in means[speaker * size..(speaker + 1) * size].iter_mut().zip(rho) {
                *mean += share * rho;
            }
        }
    }
    let variances: Vec<f64> =
        totals.iter().flat_map(|total| phi.iter().map(move |phi| 1.0 / (1.0 + ratio * total * phi))).collect();
    for (mean, variance) in means.iter_mut().zip(&variances) {
        *mean *= ratio * variance;
    }
    Speakers { means, variances }
}

/// Who is who, given the speakers' models: (23); returns the log-likelihood of all voices.
fn share(rho: &[f64], phi: &[f64], common: &[f64], model: &Speakers, found: &mut Vbx, options: &VbxOptions) -> f64 {
    let (size, speakers) = (phi.len(), found.speakers);
    let spread = |speaker: usize| -> f64 {
        let own = speaker * size..(speaker + 1) * size;
        let terms = model.means[own.clone()].iter().zip(&model.variances[own]).zip(phi);
        terms.map(|((mean, variance), phi)| (variance + mean * mean) * phi).sum()
    };
    let spreads: Vec<f64> = (0..speakers).map(spread).collect();
    let weights: Vec<f64> = found.weights.iter().map(|weight| (weight + 1e-8).ln()).collect();
    let mut evidence = 0.0;
    let mut totals = vec![0.0; speakers];
    for ((shares, rho), common) in found.shares.chunks_exact_mut(speakers).zip(rho.chunks_exact(size)).zip(common) {
        for (speaker, share) in shares.iter_mut().enumerate() {
            let mean = &model.means[speaker * size..(speaker + 1) * size];
            let product: f64 = rho.iter().zip(mean).map(|(rho, mean)| rho * mean).sum();
            *share = options.evidence * (product - 0.5 * spreads[speaker] + common) + weights[speaker];
        }
        let most = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = most + shares.iter().map(|share| (share - most).exp()).sum::<f64>().ln();
        evidence += sum;
        for (share, total) in shares.iter_mut().zip(&mut totals) {
            *share = (*share - sum).exp();
            *total += *share;
        }
    }
    let all: f64 = totals.iter().sum();
    found.weights = totals.iter().map(|total| total / all).collect();
    evidence
}
