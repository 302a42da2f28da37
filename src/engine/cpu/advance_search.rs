//! `advance_search`: one step of beam search with length penalty and patience, or of sampling. This is the reference
//! implementation. It touches only a few hundred numbers per slot.
//!
//! Source: CTranslate2 `src/decoding.cc`, `BeamSearch::search` and, for sampling, `GreedySearch`.

use super::Cpu;
use crate::engine::StepRows;
use crate::engine::decode::{DecodeState, RuleTokens, Search, SlotOptions, float_column, int_column};

/// See [`SearchOps::advance_search`](crate::engine::backend::SearchOps::advance_search).
pub(super) fn advance_search(rows: &mut StepRows<Cpu>, state: &mut DecodeState<Cpu>) {
    for slot in 0..state.sizes.slots {
        if let Some(options) = options(state, slot) {
            slot_of(state, slot, options).advance();
        }
    }
    for r in 0..rows.num_rows() {
        let row = rows.row.buf[r] as usize;
        if state.live.buf[row] != 0 {
            rows.token.buf[r] = state.token.buf[row];
            rows.position.buf[r] = state.position.buf[row];
        }
    }
}

fn options(state: &DecodeState<Cpu>, slot: usize) -> Option<SlotOptions> {
    let ints = &state.option_ints.buf[slot * int_column::COUNT..][..int_column::COUNT];
    let floats = &state.option_floats.buf[slot * float_column::COUNT..][..float_column::COUNT];
    SlotOptions::unpack(ints, floats)
}

/// The slot of a cache row and its options; `None` if the row is not live or its search has ended.
pub(super) fn active(state: &DecodeState<Cpu>, row: usize) -> Option<(usize, SlotOptions)> {
    let slot = row / state.sizes.beams;
    if state.live.buf[row] == 0 || state.done.buf[slot] != 0 {
        return None;
    }
    Some((slot, options(state, slot)?))
}

fn slot_of(state: &mut DecodeState<Cpu>, slot: usize, options: SlotOptions) -> Slot<'_> {
    let (beams, new_tokens) = (state.sizes.beams, state.sizes.new_tokens);
    let (positions, candidates) = (state.sizes.positions, state.sizes.candidates());
    let rows = slot * beams..(slot + 1) * beams;
    let of_rows = |width: usize| rows.start * width..rows.end * width;
    Slot {
        options,
        special: state.special,
        length: &mut state.length.buf[slot],
        done: &mut state.done.buf[slot],
        num_finished: &mut state.num_finished.buf[slot],
        top_finished: &mut state.top_finished.buf[slot],
        best_length: &mut state.best_length.buf[slot],
        best_sum: &mut state.best_sum.buf[slot],
        best_score: &mut state.best_score.buf[slot],
        best_tokens: &mut state.best_tokens.buf[slot * new_tokens..(slot + 1) * new_tokens],
        token: &mut state.token.buf[rows.clone()],
        position: &mut state.position.buf[rows.clone()],
        live: &mut state.live.buf[rows.clone()],
        score: &mut state.score.buf[rows.clone()],
        history: &mut state.history.buf[of_rows(new_tokens)],
        lineage: &mut state.lineage.buf[of_rows(positions)],
        candidate_count: &mut state.candidate_count.buf[rows.clone()],
        candidate_token: &state.candidate_token.buf[of_rows(candidates)],
        candidate_score: &state.candidate_score.buf[of_rows(candidates)],
    }
}

/// The score that CTranslate2 gives to a forbidden candidate at the first step after a forced prefix.
const REJECTED: f32 = -1e10;

/// One slot of a [`DecodeState`]. `K` rows, `G` new tokens, `L` positions, `N`
/// candidates.
pub(super) struct Slot<'a> {
    pub options: SlotOptions,
    pub special: RuleTokens,
    pub length: &'a mut i32,
    pub done: &'a mut i32,
    pub num_finished: &'a mut i32,
    pub top_finished: &'a mut i32,
    pub best_length: &'a mut i32,
    pub best_sum: &'a mut f32,
    pub best_score: &'a mut f32,
    /// `[G]`
    pub best_tokens: &'a mut [i32],
    /// `[K]`
    pub token: &'a mut [i32],
    /// `[K]`
    pub position: &'a mut [i32],
    /// `[K]`
    pub live: &'a mut [i32],
    /// `[K]`
    pub score: &'a mut [f32],
    /// `[K, G]`
    pub history: &'a mut [i32],
    /// `[K, L]`
    pub lineage: &'a mut [i32],
    /// `[K]`
    pub candidate_count: &'a mut [i32],
    /// `[K, N]`
    pub candidate_token: &'a [i32],
    /// `[K, N]`
    pub candidate_score: &'a [f32],
}

/// A continuation of row `origin` by one token.
#[derive(Clone, Copy)]
struct Candidate {
    origin: usize,
    token: i32,
    score: f32,
}

impl Slot<'_> {
    /// Does one step of the search, if the slot has candidates.
    pub(super) fn advance(&mut self) {
        if *self.done != 0 || self.candidate_count.iter().all(|&count| count == 0) {
            return;
        }
        match self.options.search {
            Search::Beam { beams, max_finished } => self.advance_beams(beams, max_finished),
            Search::Sample { samples, .. } => self.advance_samples(samples),
        }
        self.candidate_count.fill(0);
        *self.length += 1;
    }

    fn step(&self) -> usize {
        *self.length as usize
    }

    fn is_last_step(&self) -> bool {
        self.step() + 1 >= self.options.limit
    }

    /// The best `2 * beams` candidates of all rows, best first. Ties: the lower row, then the lower token.
    fn merge_candidates(&self, beams: usize) -> Vec<Candidate> {
        let per_row = self.candidate_token.len() / self.live.len();
        let mut all: Vec<Candidate> = (0..self.live.len())
            .flat_map(|origin| (0..self.candidate_count[origin] as usize).map(move |i| (origin, origin * per_row + i)))
            .map(|(origin, at)| Candidate { origin, token: self.candidate_token[at], score: self.candidate_score[at] })
            .collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable
        all.truncate(2 * beams);
        let first_free_step = self.step() == self.options.prefix;
        if first_free_step && self.options.prefix > 0 {
            for candidate in all.iter_mut().skip(1).filter(|c| c.token == self.special.eot) {
                *candidate = Candidate { origin: 0, token: 0, score: REJECTED };
            }
        }
        all
    }

    fn advance_beams(&mut self, beams: usize, max_finished: usize) {
        let candidates = self.merge_candidates(beams);
        let (last_step, eot) = (self.is_last_step(), self.special.eot);
        let mut substitutes = candidates.iter().skip(beams).filter(|c| c.token != eot);
        let mut next = Vec::with_capacity(beams);
        for (place, &candidate) in candidates.iter().take(beams).enumerate() {
            let mut chosen = candidate;
            if candidate.token == eot || last_step {
                if place == 0 {
                    *self.top_finished = 1;
                }
                self.register(candidate);
                chosen = substitutes.next().copied().unwrap_or(candidate);
            }
            next.push(chosen);
        }
        let finished = *self.num_finished as usize;
        let enough = if self.options.length_penalty == 0.0 {
            *self.top_finished != 0 && finished >= 1
        } else {
            finished >= max_finished
        };
        if last_step || enough {
            *self.done = 1;
            self.live.fill(0);
        } else {
            self.branch(&next);
        }
    }

    fn advance_samples(&mut self, samples: usize) {
        let per_row = self.candidate_token.len() / self.live.len();
        let first_step = self.step() == self.options.prefix;
        let drawn: Vec<(usize, Candidate)> = (0..samples)
            .filter_map(|sample| {
                // At the first step there is one row, which draws for all samples.
                let (origin, at) = if first_step { (0, sample) } else { (sample, sample * per_row) };
                (self.candidate_count[origin] > 0).then(|| {
                    let (token, score) = (self.candidate_token[at], self.candidate_score[at]);
                    (sample, Candidate { origin, token, score })
                })
            })
            .collect();
        let width = self.history.len() / self.live.len();
        let (step, last_step) = (self.step(), self.is_last_step());
        for (sample, candidate) in drawn {
            if candidate.origin != sample {
                self.history.copy_within(..self.options.prefix, sample * width);
            }
            if candidate.token == self.special.eot || last_step {
                self.register(candidate);
                self.live[sample] = 0;
            } else {
                self.live[sample] = 1;
                self.history[sample * width + step] = candidate.token;
                self.feed(sample, candidate);
            }
        }
        if *self.num_finished as usize >= samples {
            *self.done = 1;
        }
    }

    /// Counts a finished hypothesis, and stores it if it is the best so far.
    fn register(&mut self, candidate: Candidate) {
        let step = self.step();
        let ended = candidate.token == self.special.eot;
        let length = if ended { step } else { step + 1 };
        let score = candidate.score / (length as f32).powf(self.options.length_penalty);
        *self.num_finished += 1;
        let better = score > *self.best_score || self.best_score.is_nan();
        if *self.num_finished > 1 && !better {
            return;
        }
        *self.best_score = score;
        *self.best_sum = candidate.score;
        *self.best_length = length as i32;
        let width = self.history.len() / self.live.len();
        let from = candidate.origin * width;
        self.best_tokens[..step].copy_from_slice(&self.history[from..from + step]);
        if !ended {
            self.best_tokens[step] = candidate.token;
        }
    }

    /// Replaces the slot's rows by the candidates; each takes over the history and lineage of its origin.
    fn branch(&mut self, next: &[Candidate]) {
        let (rows, step) = (self.live.len(), self.step());
        let (width, positions) = (self.history.len() / rows, self.lineage.len() / rows);
        // Lineage of the positions before the first generated token is the same for all rows of the slot.
        let fed = self.options.prompt + self.options.prefix..self.options.prompt + step;
        let (history, lineage) = (self.history.to_vec(), self.lineage.to_vec());
        for (row, &candidate) in next.iter().enumerate() {
            let origin = candidate.origin;
            self.history[row * width..][..step].copy_from_slice(&history[origin * width..][..step]);
            self.history[row * width + step] = candidate.token;
            self.lineage[row * positions..][fed.clone()].copy_from_slice(&lineage[origin * positions..][fed.clone()]);
            self.live[row] = 1;
            self.feed(row, candidate);
        }
    }

    /// Sets the row's input of the next pass. Its keys and values are written to its own cache row; `lineage` has
    /// pointed there for all later positions since the search started.
    fn feed(&mut self, row: usize, candidate: Candidate) {
        self.token[row] = candidate.token;
        self.position[row] = (self.options.prompt + self.step()) as i32;
        self.score[row] = candidate.score;
    }
}
