//! `logit_rules`: suppression, n-gram, repetition and timestamp rules on the logits. This is the reference
//! implementation.
//!
//! Order and effect are CTranslate2's (`src/decoding_utils.cc`, `ApplyTimestampRules` in `src/models/whisper.cc`);
//! without n-gram and repetition rules they are also openai-whisper's and transformers'.

use rayon::prelude::*;

use super::isa::{Isa, Kernel};
use super::pick_candidates::{log_sum_exp, max};
use super::{Cpu, advance_search};
use crate::engine::decode::{DecodeState, RuleTokens, SlotOptions};
use crate::engine::{StepRows, Tensor};

/// See [`SearchOps::logit_rules`](crate::engine::backend::SearchOps::logit_rules): `logits` `[R, V]`.
pub(super) fn logit_rules(cpu: &Cpu, logits: &mut Tensor<Cpu, f32>, rows: &StepRows<Cpu>, state: &DecodeState<Cpu>) {
    let (len, vocab) = (logits.len(), logits.width());
    let logits = logits.buf[..len].par_chunks_exact_mut(vocab.max(1));
    cpu.threads.run(|| {
        logits.zip(&rows.row.buf).for_each(|(logits, &row)| {
            let Some((slot, options)) = advance_search::active(state, row as usize) else { return };
            let history = row as usize * state.sizes.new_tokens;
            let row = Row {
                options: &options,
                special: state.special,
                suppress: &state.suppress.buf,
                suppress_begin: &state.suppress_begin.buf,
                generated: &state.history.buf[history..][..state.length.buf[slot] as usize],
            };
            cpu.level.run(Apply { logits, row });
        });
    });
}

/// The logit of a forbidden token. Its probability after log-softmax is 0, and unlike minus infinity it gives no NaN.
pub(super) const FORBIDDEN: f32 = f32::MIN;

/// The inputs of the rules for one row.
pub(super) struct Row<'a> {
    pub options: &'a SlotOptions,
    pub special: RuleTokens,
    pub suppress: &'a [i32],
    pub suppress_begin: &'a [i32],
    /// Generated tokens, forced prefix included.
    pub generated: &'a [i32],
}

/// Applies all rules to the logits `[V]` of one row, as a [`Kernel`].
struct Apply<'a> {
    logits: &'a mut [f32],
    row: Row<'a>,
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, _: I) {
        apply(self.logits, &self.row);
    }
}

/// Applies all rules to the logits `[V]` of one row.
#[inline(always)]
pub(super) fn apply(logits: &mut [f32], row: &Row) {
    let options = row.options;
    if options.repetition_penalty != 1.0 {
        penalize_repetition(logits, row.generated, options.repetition_penalty);
    }
    if options.no_repeat_ngram > 0 {
        forbid_ngrams(logits, row.generated, options.no_repeat_ngram);
    }
    forbid(logits, row.suppress);
    if options.suppress_blank && row.generated.len() == options.prefix {
        forbid(logits, row.suppress_begin);
    }
    if let Some(max_initial) = options.max_initial_timestamp {
        timestamp_rules(logits, row, max_initial);
    }
}

fn forbid(logits: &mut [f32], tokens: &[i32]) {
    for &token in tokens {
        logits[token as usize] = FORBIDDEN;
    }
}

/// Applies the penalty once to each distinct token, however often it occurred.
fn penalize_repetition(logits: &mut [f32], generated: &[i32], penalty: f32) {
    for (i, &token) in generated.iter().enumerate() {
        if generated[..i].contains(&token) {
            continue;
        }
        let logit = &mut logits[token as usize];
        *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty };
    }
}

/// Forbids every token that would complete an n-gram already generated.
fn forbid_ngrams(logits: &mut [f32], generated: &[i32], size: usize) {
    if generated.len() < size {
        return;
    }
    let current = &generated[generated.len() + 1 - size..];
    for ngram in generated.windows(size) {
        if &ngram[..size - 1] == current {
            logits[ngram[size - 1] as usize] = FORBIDDEN;
        }
    }
}

/// Timestamps come in pairs and never decrease. If the total probability of all timestamps is higher than that of every
/// single text token, a timestamp is forced.
#[inline(always)]
fn timestamp_rules(logits: &mut [f32], row: &Row, max_initial: usize) {
    let begin = row.special.timestamp_begin as usize;
    let is_timestamp = |token: i32| token >= row.special.timestamp_begin;
    logits[row.special.no_timestamps as usize] = FORBIDDEN;
    let free = &row.generated[row.options.prefix..];
    let Some(&last) = free.last() else {
        if row.options.prefix == 0 {
            logits[..begin].fill(FORBIDDEN);
            let above = (begin + max_initial + 1).min(logits.len());
            logits[above..].fill(FORBIDDEN);
        }
        return;
    };
    if is_timestamp(last) {
        let pair = free.len() < 2 || is_timestamp(free[free.len() - 2]);
        if pair {
            logits[begin..].fill(FORBIDDEN);
            return;
        }
        logits[..row.special.eot as usize].fill(FORBIDDEN);
        logits[begin..last as usize].fill(FORBIDDEN);
    } else if let Some(&latest) = free.iter().rev().find(|&&token| is_timestamp(token)) {
        logits[begin..=latest as usize].fill(FORBIDDEN);
    }
    let (text, timestamps) = logits.split_at(begin);
    if log_sum_exp(timestamps) > max(text) {
        logits[..begin].fill(FORBIDDEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decode::Search;

    const SPECIAL: RuleTokens = RuleTokens { eot: 6, no_timestamps: 8, timestamp_begin: 9 };
    const VOCAB: usize = 20;

    fn options() -> SlotOptions {
        SlotOptions {
            search: Search::Beam { beams: 2, max_finished: 2 },
            prompt: 1,
            prefix: 0,
            limit: 16,
            length_penalty: 1.0,
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
            max_initial_timestamp: None,
            suppress_blank: false,
            seed: 0,
            stream: [0, 0],
        }
    }

    fn allowed(options: &SlotOptions, generated: &[i32], logits: &[f32]) -> Vec<usize> {
        let mut logits = logits.to_vec();
        apply(&mut logits, &Row { options, special: SPECIAL, suppress: &[2], suppress_begin: &[3, 6], generated });
        (0..logits.len()).filter(|&i| logits[i] > FORBIDDEN).collect()
    }

    fn all_but(forbidden: &[usize]) -> Vec<usize> {
        (0..VOCAB).filter(|i| !forbidden.contains(i)).collect()
    }

    #[test]
    fn suppression_at_every_and_at_the_first_free_step() {
        let flat = [0.0; VOCAB];
        assert_eq!(allowed(&options(), &[], &flat), all_but(&[2]));
        let blank = SlotOptions { suppress_blank: true, ..options() };
        assert_eq!(allowed(&blank, &[], &flat), all_but(&[2, 3, 6]));
        assert_eq!(allowed(&blank, &[4], &flat), all_but(&[2]));
        let prefixed = SlotOptions { prefix: 1, ..blank };
        assert_eq!(allowed(&prefixed, &[4], &flat), all_but(&[2, 3, 6]));
    }

    #[test]
    fn ngrams_do_not_repeat() {
        let ngram = SlotOptions { no_repeat_ngram: 3, ..options() };
        assert_eq!(allowed(&ngram, &[0, 1, 4, 0, 1], &[0.0; VOCAB]), all_but(&[2, 4]));
        assert_eq!(allowed(&ngram, &[0, 1], &[0.0; VOCAB]), all_but(&[2]));
        let single = SlotOptions { no_repeat_ngram: 1, ..options() };
        assert_eq!(allowed(&single, &[0, 5], &[0.0; VOCAB]), all_but(&[0, 2, 5]));
    }

    #[test]
    fn repetition_penalty_applies_once_per_token() {
        let penalized = SlotOptions { repetition_penalty: 2.0, ..options() };
        let mut logits = [1.0, -1.0, 0.0, 3.0];
        let row = Row {
            options: &penalized,
            special: RuleTokens { eot: 3, no_timestamps: 3, timestamp_begin: 4 },
            suppress: &[],
            suppress_begin: &[],
            generated: &[0, 1, 0],
        };
        apply(&mut logits, &row);
        assert_eq!(logits, [0.5, -2.0, 0.0, 3.0]);
    }

    #[test]
    fn timestamps_come_in_rising_pairs() {
        let timed = SlotOptions { max_initial_timestamp: Some(4), ..options() };
        // Text is far likelier than all timestamps together, so only the pairing and order rules have an effect.
        let mut logits = [0.0; VOCAB];
        logits[..9].fill(20.0);
        let first: Vec<usize> = (9..=13).collect();
        assert_eq!(allowed(&timed, &[], &logits), first);
        // After the first timestamp: text or end-of-text.
        assert_eq!(allowed(&timed, &[11], &logits), vec![0, 1, 3, 4, 5, 6, 7]);
        // After text: text, or any later timestamp.
        assert_eq!(allowed(&timed, &[11, 4], &logits), all_but(&[2, 8, 9, 10, 11]));
        // After text and a timestamp: the same or a later timestamp, or end-of-text (7 is a task token; CTranslate2
        // allows it).
        assert_eq!(allowed(&timed, &[11, 4, 13], &logits), vec![6, 7, 13, 14, 15, 16, 17, 18, 19]);
        // After a pair: text.
        assert_eq!(allowed(&timed, &[11, 4, 13, 13], &logits), vec![0, 1, 3, 4, 5, 6, 7]);
        // After a forced prefix, the first free step does not need a timestamp.
        let prefixed = SlotOptions { prefix: 2, ..timed };
        assert_eq!(allowed(&prefixed, &[9, 4], &logits), all_but(&[2, 8]));
    }

    #[test]
    fn a_timestamp_is_forced_by_the_total_probability_of_timestamps() {
        let timed = SlotOptions { max_initial_timestamp: Some(4), ..options() };
        let mut logits = [0.0; VOCAB];
        logits[4] = 2.0; // one timestamp has 0.0, but eight of them ln(8) = 2.08
        assert_eq!(allowed(&timed, &[11, 4], &logits), (12..20).collect::<Vec<_>>());
        logits[4] = 2.1;
        assert_eq!(allowed(&timed, &[11, 4], &logits), all_but(&[2, 8, 9, 10, 11]));
        assert_eq!(max(&logits), 2.1);
    }
}
