//! Searches step by step: given the same logits, both backends make the same decisions.

use diarist::engine::cpu::Cpu;
use diarist::engine::decode::{DecodeSizes, DecodeState, RuleTokens, Search, SlotOptions};
use diarist::engine::prelude::*;
use diarist::engine::{StepRows, Tensor, ops};

use crate::cases::{F16, compare, ints, open, random};
use crate::driver::machine;

const SIZES: DecodeSizes = DecodeSizes { slots: 4, beams: 5, positions: 40, new_tokens: 20 };

/// The state of a search after a step, as far as the host may read it.
#[derive(Debug, PartialEq)]
struct Snapshot {
    whole: Vec<(&'static str, Vec<i32>)>,
    scores: Vec<f32>,
}

/// Runs four searches of different kinds to their ends and returns all steps.
fn search<B: Backend>(be: &B, vocab: usize) -> Vec<Snapshot> {
    let eot = vocab as i32 / 2;
    let special = RuleTokens { eot, no_timestamps: eot + 3, timestamp_begin: eot + 4 };
    let mut state = DecodeState::new(be, SIZES, special, &[1, 5, eot + 1], &[0, eot]).unwrap();
    let base = SlotOptions {
        search: Search::Beam { beams: 5, max_finished: 5 },
        prompt: 3,
        prefix: 0,
        limit: 12,
        length_penalty: 1.0,
        repetition_penalty: 1.0,
        no_repeat_ngram: 0,
        max_initial_timestamp: Some(4),
        suppress_blank: true,
        seed: 0x1234_5678_9abc_def0,
        stream: [7, 2],
    };
    let sample = |samples, temperature| Search::Sample { samples, temperature };
    let options = [
        base,
        SlotOptions {
            search: Search::Beam { beams: 3, max_finished: 2 },
            prefix: 2,
            limit: 9,
            length_penalty: 0.0,
            repetition_penalty: 1.3,
            no_repeat_ngram: 2,
            max_initial_timestamp: None,
            ..base
        },
        SlotOptions { search: sample(4, 0.7), limit: 16, ..base },
        SlotOptions { search: sample(1, 0.0), max_initial_timestamp: None, repetition_penalty: 0.8, ..base },
    ];
    for (slot, options) in options.iter().enumerate() {
        state.start(be, slot, options, &[2, 9][..options.prefix]).unwrap();
    }
    // the first step has one row for each slot, the others one for each beam
    let first: Vec<i32> = (0..4).map(|slot| slot * 5).collect();
    let all: Vec<i32> = (0..20).collect();
    let mut snapshots = Vec::new();
    for step in 0..17 {
        let row = if step == 0 { &first } else { &all };
        let zeros = vec![0; row.len()];
        let mut rows = StepRows { token: ints(be, &zeros), position: ints(be, &zeros), row: ints(be, row) };
        let values = logits(step, row, vocab, eot as usize);
        let mut logits = Tensor::from_host(be, &[row.len(), vocab], &values).unwrap();
        ops::logit_rules(be, &mut logits, &rows, &state).unwrap();
        ops::pick_candidates(be, &mut state, &logits, &rows).unwrap();
        ops::advance_search(be, &mut rows, &mut state).unwrap();
        snapshots.push(snapshot(be, &state, &rows));
    }
    let done = state.done.to_host(be).unwrap();
    assert_eq!(done, [1, 1, 1, 1], "a search that does not end tests less than it should");
    snapshots
}

/// Peaked, so that two candidates are rarely within rounding of each other, with an end-of-text now and then.
fn logits(step: usize, row: &[i32], vocab: usize, eot: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(row.len() * vocab);
    for &row in row {
        let seed = 1000 * step as u64 + row as u64 + 17;
        let noise = random(seed, vocab);
        let fine = random(seed + 500_000, vocab);
        values.extend(noise.iter().zip(&fine).map(|(coarse, fine)| 6.0 * coarse + 0.01 * fine));
        let at = values.len() - vocab + eot;
        values[at] += if (step + row as usize) % 4 == 3 { 5.0 } else { -3.0 };
    }
    values
}

fn snapshot<B: Backend>(be: &B, state: &DecodeState<B>, rows: &StepRows<B>) -> Snapshot {
    let read = |t: &Tensor<B, i32>| t.to_host(be).unwrap();
    let live = read(&state.live);
    let done = read(&state.done);
    let length = read(&state.length);
    // entries beyond the end of a history and rows that are not live are undefined
    let of_live = |values: Vec<i32>, width: usize, used: &dyn Fn(usize) -> usize| -> Vec<i32> {
        let rows = values.chunks_exact(width).enumerate().filter(|(row, _)| live[*row] != 0);
        rows.flat_map(|(row, values)| values[..used(row).min(width)].to_vec()).collect()
    };
    let generated = |row: usize| length[row / SIZES.beams] as usize;
    let best_length = read(&state.best_length);
    let best = read(&state.best_tokens);
    let best =
        best.chunks_exact(SIZES.new_tokens).zip(&best_length).flat_map(|(t, n)| t[..*n as usize].to_vec()).collect();
    let floats = |t: &Tensor<B, f32>| t.to_host(be).unwrap();
    let score = floats(&state.score);
    let mut scores: Vec<f32> = (0..live.len()).filter(|row| live[*row] != 0).map(|row| score[row]).collect();
    let finished = read(&state.num_finished);
    for (slot, count) in finished.iter().enumerate() {
        if *count > 0 {
            scores.extend([floats(&state.best_sum)[slot], floats(&state.best_score)[slot]]);
        }
    }
    Snapshot {
        whole: vec![
            ("length", length.clone()),
            ("finished", finished),
            ("best length", best_length),
            ("best tokens", best),
            ("token", of_live(read(&state.token), 1, &|_| 1)),
            ("position", of_live(read(&state.position), 1, &|_| 1)),
            ("history", of_live(read(&state.history), SIZES.new_tokens, &generated)),
            ("lineage", of_live(read(&state.lineage), SIZES.positions, &|row| 3 + generated(row))),
            ("fed token", read(&rows.token)),
            ("fed position", read(&rows.position)),
            ("candidates left", read(&state.candidate_count)),
            ("live", live),
            ("done", done),
        ],
        scores,
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn searches_decide_as_on_the_cpu() {
    let machine = machine();
    for vocab in [31, 1031, 51_866] {
        let want = search(&Cpu::new(Some(1)).unwrap(), vocab);
        let cuda = open(F16);
        machine.schedules(|seed| {
            for (step, (got, want)) in search(&cuda, vocab).iter().zip(&want).enumerate() {
                for (got, want) in got.whole.iter().zip(&want.whole) {
                    assert_eq!(got, want, "vocabulary {vocab}, step {step}, schedule {seed}");
                }
                let tolerance = crate::cases::Tolerance { atol: 2e-5, rtol: 2e-6 };
                compare(&format!("scores, vocabulary {vocab}, step {step}"), &got.scores, &want.scores, tolerance);
            }
        });
    }
}
