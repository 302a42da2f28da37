//! `pick_candidates`: top-k tokens for beam search, or a random draw for sampling. This is the reference
//! implementation.
//!
//! The vocabulary is processed in blocks. The inner loops have independent lanes, so that the compiler vectorises them
//! for every instruction set with bit-identical results. Sums are f32 per lane within a block, then f64 over the
//! blocks.

use rayon::prelude::*;

use super::isa::{Isa, Kernel};
use super::{Cpu, advance_search};
use crate::engine::decode::{DecodeState, Search, SlotOptions};
use crate::engine::{StepRows, Tensor};

/// See [`SearchOps::pick_candidates`](crate::engine::backend::SearchOps::pick_candidates): `logits` `[R, V]`.
pub(super) fn pick_candidates(
    cpu: &Cpu,
    state: &mut DecodeState<Cpu>,
    logits: &Tensor<Cpu, f32>,
    rows: &StepRows<Cpu>,
) {
    let (len, vocab) = (logits.len(), logits.width());
    let wanted = state.sizes.candidates();
    let picked: Vec<Option<Picked>> = cpu.threads.run(|| {
        let logits = logits.buf[..len].par_chunks_exact(vocab.max(1));
        logits
            .zip(&rows.row.buf)
            .map(|(logits, &row)| {
                let (slot, options) = advance_search::active(state, row as usize)?;
                let sample = row as usize % state.sizes.beams;
                let context = Context {
                    options: &options,
                    score: state.score.buf[row as usize],
                    sample: sample as u32,
                    step: state.length.buf[slot] as u32,
                };
                Some(cpu.level.run(Pick { logits, row: context }))
            })
            .collect()
    });
    for (picked, &row) in picked.iter().zip(&rows.row.buf) {
        let Some(picked) = picked else { continue };
        let (row, count) = (row as usize, picked.tokens.len());
        state.candidate_count.buf[row] = count as i32;
        state.candidate_token.buf[row * wanted..][..count].copy_from_slice(&picked.tokens);
        state.candidate_score.buf[row * wanted..][..count].copy_from_slice(&picked.scores);
    }
}

/// The candidates of one row.
struct Picked {
    tokens: Vec<i32>,
    scores: Vec<f32>,
}

/// The inputs of one row besides its logits.
struct Context<'a> {
    options: &'a SlotOptions,
    score: f32,
    sample: u32,
    step: u32,
}

/// Picks the candidates of one row of logits `[V]`.
struct Pick<'a> {
    logits: &'a [f32],
    row: Context<'a>,
}

impl Kernel for Pick<'_> {
    type Output = Picked;

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, _: I) -> Picked {
        pick(self.logits, &self.row)
    }
}

#[inline(always)]
fn pick(logits: &[f32], row: &Context) -> Picked {
    let options = row.options;
    match options.search {
        Search::Beam { beams, .. } => {
            let (mut tokens, mut scores) = (vec![0; 2 * beams], vec![0.0; 2 * beams]);
            best(&mut tokens, &mut scores, logits, row.score);
            Picked { tokens, scores }
        }
        Search::Sample { samples, temperature } => {
            // At the first step there is one row, which draws for all samples.
            let first_step = row.step as usize == options.prefix;
            let drawn = if first_step { 0..samples as u32 } else { row.sample..row.sample + 1 };
            let draw = |sample| Draw { seed: options.seed, stream: options.stream, sample, step: row.step };
            let (tokens, scores) = drawn
                .map(|index| sample(logits, temperature, draw(index)))
                .map(|(token, log_probability)| (token, row.score + log_probability))
                .unzip();
            Picked { tokens, scores }
        }
    }
}

/// Elements per block: a multiple of the lanes, small enough that f32 lane sums are exact to an ulp or two.
const BLOCK: usize = 1024;
/// Number of independent partial sums and maxima: one or more registers of every instruction set.
const LANES: usize = 16;

/// The largest value; `f32::MIN` if there are none. NaN is ignored.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::MIN; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let rest = chunks.remainder().iter().copied().fold(f32::MIN, larger);
    lanes.iter().copied().fold(rest, larger)
}

/// `exp(x)` for `x <= 0`, within 2 ulp; 0 below -87, where the result would be subnormal.
///
/// Cody-Waite reduction by ln 2 in two parts and a degree-6 polynomial. Loops over it are vectorised, unlike calls of
/// `f32::exp`.
#[inline(always)]
pub(super) fn exp_nonpositive(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * r * r + r + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { y * scale }
}

/// Sum of `exp((value - max) * sharpness)` over one block.
#[inline(always)]
fn block_sum(block: &[f32], max: f32, sharpness: f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let mut chunks = block.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += exp_nonpositive((value - max) * sharpness);
        }
    }
    let rest: f32 = chunks.remainder().iter().map(|&value| exp_nonpositive((value - max) * sharpness)).sum();
    lanes.iter().sum::<f32>() + rest
}

#[inline(always)]
fn sum_exp(values: &[f32], max: f32, sharpness: f32) -> f64 {
    values.chunks(BLOCK).map(|block| f64::from(block_sum(block, max, sharpness))).sum()
}

/// `ln(sum(exp(values)))`.
#[inline(always)]
pub(super) fn log_sum_exp(values: &[f32]) -> f32 {
    let max = max(values);
    max + sum_exp(values, max, 1.0).ln() as f32
}

/// The `tokens.len()` best tokens of a row by `score + log_softmax(logits)`, best first. Ties: the lower id first.
#[inline(always)]
pub(super) fn best(tokens: &mut [i32], scores: &mut [f32], logits: &[f32], score: f32) {
    let wanted = tokens.len();
    let normalizer = log_sum_exp(logits);
    // `max` replaces NaN by `f32::MIN`.
    let total = |logit: f32| ((logit - normalizer) + score).max(f32::MIN);
    let mut found = 0;
    let mut worst = f32::NEG_INFINITY;
    for (index, block) in logits.chunks(LANES * 4).enumerate() {
        // Rounding is monotonic, so the best logit of a block has the best total.
        if found == wanted && total(max(block)) <= worst {
            continue;
        }
        for (i, &logit) in block.iter().enumerate() {
            let value = total(logit);
            if found == wanted && value <= worst {
                continue;
            }
            let place = scores[..found].iter().position(|&other| value > other).unwrap_or(found);
            found = (found + 1).min(wanted);
            scores.copy_within(place..found - 1, place + 1);
            tokens.copy_within(place..found - 1, place + 1);
            scores[place] = value;
            tokens[place] = (index * LANES * 4 + i) as i32;
            worst = scores[found - 1];
        }
    }
}

/// The key of one random draw. It does not depend on the batch.
#[derive(Clone, Copy)]
pub(super) struct Draw {
    pub seed: u64,
    pub stream: [u32; 2],
    /// Index among the samples of the slot.
    pub sample: u32,
    /// Number of tokens generated before.
    pub step: u32,
}

impl Draw {
    /// A uniform number in `[0, 1)` with 24 random bits: two rounds of splitmix64's output function over the key.
    pub(super) fn uniform(self) -> f32 {
        let mix = |z: u64| {
            let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let stream = mix(self.seed ^ mix(pair(self.stream[0], self.stream[1])));
        let bits = mix(stream ^ mix(pair(self.sample, self.step)));
        (bits >> 40) as f32 / (1 << 24) as f32
    }
}

/// Draws a token from `softmax(logits / temperature)` (the best one at temperature 0) with the uniform number of
/// `draw`. Returns the token and its log-probability at temperature 1.
#[inline(always)]
pub(super) fn sample(logits: &[f32], temperature: f32, draw: Draw) -> (i32, f32) {
    let largest = max(logits);
    let normalizer = largest + sum_exp(logits, largest, 1.0).ln() as f32;
    let token = if temperature > 0.0 {
        invert_cdf(logits, largest, 1.0 / temperature, draw.uniform())
    } else {
        logits.iter().position(|&logit| logit >= largest).unwrap_or(0)
    };
    (token as i32, logits[token] - normalizer)
}

/// Inverse transform sampling: the first token at which the running sum of weights exceeds `uniform` times the total.
#[inline(always)]
fn invert_cdf(logits: &[f32], max: f32, sharpness: f32, uniform: f32) -> usize {
    let mut left = f64::from(uniform) * sum_exp(logits, max, sharpness);
    let mut last = 0;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let sum = f64::from(block_sum(block, max, sharpness));
        if left >= sum {
            left -= sum;
            continue;
        }
        // Lane sums round differently from this running sum. If it does not quite reach the sum of the block, the last
        // token with a weight is drawn.
        for (i, &logit) in block.iter().enumerate() {
            let weight = f64::from(exp_nonpositive((logit - max) * sharpness));
            if weight > 0.0 {
                last = index * BLOCK + i;
            }
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        return last;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(len: usize) -> Vec<f32> {
        (0..len).map(|i| (Draw { seed: 1, stream: [0, 0], sample: 0, step: i as u32 }.uniform() - 0.5) * 12.0).collect()
    }

    #[test]
    fn exp_is_close() {
        for i in 0..=87_000 {
            let x = -(i as f32) / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp_nonpositive(x)) - expected).abs() / expected;
            assert!(error <= 2.4e-7, "exp({x}): relative error {error:e}");
        }
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert_eq!(exp_nonpositive(f32::MIN), 0.0);
        assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn best_is_a_sorted_log_softmax() {
        for len in [9, 64, 1000, 51_866] {
            let logits = logits(len);
            let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            let mut order: Vec<usize> = (0..len).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let (mut tokens, mut scores) = ([0; 7], [0.0; 7]);
            best(&mut tokens, &mut scores, &logits, -3.0);
            for k in 0..7 {
                assert_eq!(tokens[k] as usize, order[k]);
                let expected = f64::from(logits[order[k]]) - sum.ln() - 3.0;
                let error = (f64::from(scores[k]) - expected).abs();
                assert!(error <= 2e-6, "{len} {k}: {} instead of {expected}", scores[k]);
            }
        }
    }

    #[test]
    fn best_prefers_lower_ids_among_equals() {
        let mut flat = vec![1.0; 300];
        flat[200] = 2.0;
        let (mut tokens, mut scores) = ([0; 4], [0.0; 4]);
        best(&mut tokens, &mut scores, &flat, 0.0);
        assert_eq!(tokens, [200, 0, 1, 2]);
    }

    #[test]
    fn samples_follow_the_tempered_distribution() {
        let (a, b) = (3.0_f32.ln(), 0.0);
        let mut logits = vec![super::super::logit_rules::FORBIDDEN; 3000];
        logits[5] = a;
        logits[2000] = b;
        for (temperature, expected) in [(1.0, 0.75), (0.5, 0.9)] {
            let draws = 4000;
            let mut hits = 0;
            for step in 0..draws {
                let draw = Draw { seed: 9, stream: [1, 2], sample: 0, step };
                let (token, log_probability) = sample(&logits, temperature, draw);
                assert!(token == 5 || token == 2000);
                let p: f32 = if token == 5 { 0.75 } else { 0.25 };
                assert!((log_probability - p.ln()).abs() <= 1e-6);
                hits += u32::from(token == 5);
            }
            let share = f64::from(hits) / f64::from(draws);
            assert!((share - expected).abs() <= 0.025, "{share} instead of {expected}");
        }
        let greedy = sample(&logits, 0.0, Draw { seed: 0, stream: [0, 0], sample: 0, step: 0 });
        assert_eq!(greedy.0, 5);
    }
}
