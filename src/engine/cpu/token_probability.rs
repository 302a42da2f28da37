//! `token_probability`: the probability of one token in some rows of logits, for the no-speech probability.

use super::Cpu;
use crate::engine::Tensor;

/// See [`SearchOps::token_probability`](crate::engine::backend::SearchOps::token_probability): `out` `[S]`, `logits`
/// `[R, V]`, `slot` `[R]`.
pub(super) fn token_probability(
    out: &mut Tensor<Cpu, f32>,
    logits: &Tensor<Cpu, f32>,
    slot: &Tensor<Cpu, i32>,
    token: usize,
) {
    let (slots, vocab) = (out.len(), logits.width());
    for (row, slot) in logits.buf.chunks_exact(vocab.max(1)).zip(&slot.buf[..slot.len()]) {
        let Some(slot) = usize::try_from(*slot).ok().filter(|slot| *slot < slots) else { continue };
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let weight = |logit: f32| f64::from(logit - max).exp();
        let sum: f64 = row.iter().map(|&logit| weight(logit)).sum();
        out.buf[slot] = (weight(row[token]) / sum) as f32;
    }
}
