//! What a decode step reads and writes besides activations: one record per slot, one per cache row, all on the device.
//!
//! A *slot* decodes one chunk with up to `beams` cache rows; cache row = `slot * beams + beam`. "Generated" tokens are
//! those after the prompt's task tokens: a forced prefix counts, the prompt does not.

use super::backend::Backend;
use super::tensor::Tensor;
use crate::error::Result;

/// Sizes a [`DecodeState`] is allocated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeSizes {
    /// Chunks decoded at once.
    pub slots: usize,
    /// Cache rows per slot: the most beams or samples any search may use.
    pub beams: usize,
    /// `L`: positions of a cache row, prompt included.
    pub positions: usize,
    /// Most tokens a search may generate, forced prefix included.
    pub new_tokens: usize,
}

impl DecodeSizes {
    /// Cache rows of all slots.
    pub fn rows(&self) -> usize {
        self.slots * self.beams
    }

    /// Candidates kept for each row: twice the beams, so that every beam that ends can be replaced.
    pub fn candidates(&self) -> usize {
        2 * self.beams
    }

    /// Numbers that [`Backend::pack_results`] packs for each slot: [`result_column`], then which rows are live, then the
    /// tokens of the best hypothesis.
    pub fn result_width(&self) -> usize {
        result_column::COUNT + self.beams + self.new_tokens
    }
}

/// The token ids the rules know by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleTokens {
    /// `<|endoftext|>`: ends a transcript. Text tokens lie below.
    pub eot: i32,
    /// `<|notimestamps|>`.
    pub no_timestamps: i32,
    /// `<|0.00|>`; every id from here on is a timestamp.
    pub timestamp_begin: i32,
}

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// Beam search as CTranslate2 does it.
    Beam {
        /// Beams kept, at least 1 (one beam is not greedy search: it keeps a second candidate, and looks for
        /// `max_finished` hypotheses).
        beams: usize,
        /// Hypotheses after which the search ends: `round(beams * patience)`.
        max_finished: usize,
    },
    /// Independent samples; the best one is kept. Greedy when the temperature is 0.
    Sample {
        /// Number of samples; 1 when the temperature is 0.
        samples: usize,
        /// Log-probabilities are divided by this before the softmax that is drawn from.
        temperature: f32,
    },
}

impl Search {
    /// Cache rows in use once the search has branched.
    pub fn width(&self) -> usize {
        match *self {
            Search::Beam { beams, .. } => beams,
            Search::Sample { samples, .. } => samples,
        }
    }
}

/// Everything the primitives must know of the chunk in a slot. Constant while the chunk is decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotOptions {
    /// How tokens are chosen.
    pub search: Search,
    /// Prompt tokens before the forced prefix; the first generated token stands at this position.
    pub prompt: usize,
    /// Tokens of the forced prefix: generated, but given.
    pub prefix: usize,
    /// Most tokens to generate, forced prefix included; at least `prefix + 1`.
    pub limit: usize,
    /// A hypothesis' score is its summed log-probability over `len ^ length_penalty`, `len` without end-of-text.
    pub length_penalty: f32,
    /// Logits of tokens already generated are divided by this where positive, multiplied where negative; 1 is off.
    pub repetition_penalty: f32,
    /// No n-gram of this many generated tokens occurs twice; 0 is off.
    pub no_repeat_ngram: usize,
    /// The highest timestamp the first token may be, in steps of 20 ms; `None` when the prompt asks for no timestamps.
    pub max_initial_timestamp: Option<usize>,
    /// Whether the first token may not be one of [`DecodeState::suppress_begin`].
    pub suppress_blank: bool,
    /// Seed of the random draws.
    pub seed: u64,
    /// Names this search's random stream: chunk and attempt. Never the slot, so that a draw is the same in any batch.
    pub stream: [u32; 2],
}

/// Columns of [`DecodeState::option_ints`].
pub mod int_column {
    /// 0: the slot is empty; 1: beam search; 2: sampling.
    pub const MODE: usize = 0;
    /// Beams or samples.
    pub const WIDTH: usize = 1;
    /// See [`Search::Beam::max_finished`](super::Search::Beam).
    pub const MAX_FINISHED: usize = 2;
    /// See [`SlotOptions::prompt`](super::SlotOptions::prompt).
    pub const PROMPT: usize = 3;
    /// See [`SlotOptions::prefix`](super::SlotOptions::prefix).
    pub const PREFIX: usize = 4;
    /// See [`SlotOptions::limit`](super::SlotOptions::limit).
    pub const LIMIT: usize = 5;
    /// See [`SlotOptions::no_repeat_ngram`](super::SlotOptions::no_repeat_ngram).
    pub const NO_REPEAT_NGRAM: usize = 6;
    /// See [`SlotOptions::max_initial_timestamp`](super::SlotOptions::max_initial_timestamp); -1: no timestamps.
    pub const MAX_INITIAL_TIMESTAMP: usize = 7;
    /// 1: see [`SlotOptions::suppress_blank`](super::SlotOptions::suppress_blank).
    pub const SUPPRESS_BLANK: usize = 8;
    /// Low half of the seed.
    pub const SEED_LOW: usize = 9;
    /// High half of the seed.
    pub const SEED_HIGH: usize = 10;
    /// First and second word of the stream.
    pub const STREAM: usize = 11;
    /// Number of columns.
    pub const COUNT: usize = 13;
}

/// Columns of [`DecodeState::option_floats`].
pub mod float_column {
    /// See [`SlotOptions::length_penalty`](super::SlotOptions::length_penalty).
    pub const LENGTH_PENALTY: usize = 0;
    /// See [`SlotOptions::repetition_penalty`](super::SlotOptions::repetition_penalty).
    pub const REPETITION_PENALTY: usize = 1;
    /// Sampling temperature; 0 is greedy.
    pub const TEMPERATURE: usize = 2;
    /// Number of columns.
    pub const COUNT: usize = 3;
}

/// The first columns of what [`Backend::pack_results`] packs for a slot.
pub mod result_column {
    /// See [`DecodeState::done`](super::DecodeState::done).
    pub const DONE: usize = 0;
    /// See [`DecodeState::best_length`](super::DecodeState::best_length).
    pub const LENGTH: usize = 1;
    /// The bits of [`DecodeState::best_sum`](super::DecodeState::best_sum).
    pub const SUM: usize = 2;
    /// The bits of [`DecodeState::no_speech`](super::DecodeState::no_speech).
    pub const NO_SPEECH: usize = 3;
    /// Number of columns before the live rows.
    pub const COUNT: usize = 4;
}

impl SlotOptions {
    /// The device's form: integers and floats in the order of [`int_column`] and [`float_column`].
    pub fn pack(&self) -> ([i32; int_column::COUNT], [f32; float_column::COUNT]) {
        let (mode, max_finished, temperature) = match self.search {
            Search::Beam { max_finished, .. } => (1, max_finished, 0.0),
            Search::Sample { temperature, .. } => (2, 0, temperature),
        };
        let timestamp = self.max_initial_timestamp.map_or(-1, |index| index as i32);
        let ints = [
            mode,
            self.search.width() as i32,
            max_finished as i32,
            self.prompt as i32,
            self.prefix as i32,
            self.limit as i32,
            self.no_repeat_ngram as i32,
            timestamp,
            i32::from(self.suppress_blank),
            self.seed as u32 as i32,
            (self.seed >> 32) as u32 as i32,
            self.stream[0] as i32,
            self.stream[1] as i32,
        ];
        (ints, [self.length_penalty, self.repetition_penalty, temperature])
    }

    /// The inverse of [`pack`](Self::pack); `None` for an empty slot.
    pub fn unpack(ints: &[i32], floats: &[f32]) -> Option<Self> {
        let count = |column: usize| ints[column].max(0) as usize;
        let search = match ints[int_column::MODE] {
            1 => Search::Beam { beams: count(int_column::WIDTH), max_finished: count(int_column::MAX_FINISHED) },
            2 => Search::Sample { samples: count(int_column::WIDTH), temperature: floats[float_column::TEMPERATURE] },
            _ => return None,
        };
        let seed = (ints[int_column::SEED_HIGH] as u32 as u64) << 32 | ints[int_column::SEED_LOW] as u32 as u64;
        Some(SlotOptions {
            search,
            prompt: count(int_column::PROMPT),
            prefix: count(int_column::PREFIX),
            limit: count(int_column::LIMIT),
            length_penalty: floats[float_column::LENGTH_PENALTY],
            repetition_penalty: floats[float_column::REPETITION_PENALTY],
            no_repeat_ngram: count(int_column::NO_REPEAT_NGRAM),
            max_initial_timestamp: usize::try_from(ints[int_column::MAX_INITIAL_TIMESTAMP]).ok(),
            suppress_blank: ints[int_column::SUPPRESS_BLANK] != 0,
            seed,
            stream: [ints[int_column::STREAM] as u32, ints[int_column::STREAM + 1] as u32],
        })
    }
}

/// The device side of all searches in progress.
///
/// `S` slots, `K` beams (cache rows per slot), `L` positions, `G` new tokens, `N = 2 K` candidates.
pub struct DecodeState<B: Backend> {
    /// What the tensors below are allocated for.
    pub sizes: DecodeSizes,
    /// Ids the rules know by name.
    pub special: RuleTokens,
    /// Tokens never chosen; any length.
    pub suppress: Tensor<B, i32>,
    /// Tokens not chosen as the first free one; any length.
    pub suppress_begin: Tensor<B, i32>,

    /// `[S, int_column::COUNT]`
    pub option_ints: Tensor<B, i32>,
    /// `[S, float_column::COUNT]`
    pub option_floats: Tensor<B, f32>,
    /// `[S]` tokens generated so far, the same for all live rows of a slot.
    pub length: Tensor<B, i32>,
    /// `[S]` 1 when the search has ended. The rows of such a slot may go on through the network; nothing is written.
    pub done: Tensor<B, i32>,
    /// `[S]` hypotheses that have ended.
    pub num_finished: Tensor<B, i32>,
    /// `[S]` 1 once the best candidate of some step has ended (used when there is no length penalty).
    pub top_finished: Tensor<B, i32>,
    /// `[S]` length of the best hypothesis, end-of-text not counted.
    pub best_length: Tensor<B, i32>,
    /// `[S]` its summed log-probability, end-of-text included.
    pub best_sum: Tensor<B, f32>,
    /// `[S]` its score: the sum over `length ^ length_penalty`.
    pub best_score: Tensor<B, f32>,
    /// `[S, G]` its tokens.
    pub best_tokens: Tensor<B, i32>,
    /// `[S]` probability of silence at the start of the transcript, where it was asked for.
    pub no_speech: Tensor<B, f32>,

    /// `[S K]` token to feed next.
    pub token: Tensor<B, i32>,
    /// `[S K]` position of that token.
    pub position: Tensor<B, i32>,
    /// `[S K]` 1 while the row takes part in the search.
    pub live: Tensor<B, i32>,
    /// `[S K]` summed log-probability.
    pub score: Tensor<B, f32>,
    /// `[S K, G]` tokens generated.
    pub history: Tensor<B, i32>,
    /// `[S K, L]` the cache row that holds the row's keys and values of each position. A row's own index from its
    /// next position on.
    pub lineage: Tensor<B, i32>,

    /// `[S K]` candidates found by the step in progress; 0 for a row that takes no part in it.
    pub candidate_count: Tensor<B, i32>,
    /// `[S K, N]` their tokens, best first.
    pub candidate_token: Tensor<B, i32>,
    /// `[S K, N]` their scores: the row's score + log-probability.
    pub candidate_score: Tensor<B, f32>,
}

impl<B: Backend> DecodeState<B> {
    /// Empty slots. `suppress` and `suppress_begin` may hold ids in any order, each below the vocabulary's size.
    pub fn new(
        be: &B,
        sizes: DecodeSizes,
        special: RuleTokens,
        suppress: &[i32],
        suppress_begin: &[i32],
    ) -> Result<Self> {
        let (slots, rows) = (sizes.slots, sizes.rows());
        let candidates = sizes.candidates();
        Ok(DecodeState {
            sizes,
            special,
            suppress: Tensor::from_host(be, &[suppress.len()], suppress)?,
            suppress_begin: Tensor::from_host(be, &[suppress_begin.len()], suppress_begin)?,
            option_ints: Tensor::zeros(be, &[slots, int_column::COUNT])?,
            option_floats: Tensor::zeros(be, &[slots, float_column::COUNT])?,
            length: Tensor::zeros(be, &[slots])?,
            done: Tensor::zeros(be, &[slots])?,
            num_finished: Tensor::zeros(be, &[slots])?,
            top_finished: Tensor::zeros(be, &[slots])?,
            best_length: Tensor::zeros(be, &[slots])?,
            best_sum: Tensor::zeros(be, &[slots])?,
            best_score: Tensor::zeros(be, &[slots])?,
            best_tokens: Tensor::zeros(be, &[slots, sizes.new_tokens])?,
            no_speech: Tensor::zeros(be, &[slots])?,
            token: Tensor::zeros(be, &[rows])?,
            position: Tensor::zeros(be, &[rows])?,
            live: Tensor::zeros(be, &[rows])?,
            score: Tensor::zeros(be, &[rows])?,
            history: Tensor::zeros(be, &[rows, sizes.new_tokens])?,
            lineage: Tensor::zeros(be, &[rows, sizes.positions])?,
            candidate_count: Tensor::zeros(be, &[rows])?,
            candidate_token: Tensor::zeros(be, &[rows, candidates])?,
            candidate_score: Tensor::zeros(be, &[rows, candidates])?,
        })
    }

    /// Starts a search in `slot`. The prompt, forced prefix included, is to be fed to the slot's first cache row; its
    /// last token's logits are the first step's.
    ///
    /// `prefix` holds [`SlotOptions::prefix`] tokens.
    pub fn start(&mut self, be: &B, slot: usize, options: &SlotOptions, prefix: &[i32]) -> Result<()> {
        let (ints, floats) = options.pack();
        be.write(&mut self.option_ints.buf, slot * int_column::COUNT, &ints)?;
        be.write(&mut self.option_floats.buf, slot * float_column::COUNT, &floats)?;
        be.write(&mut self.length.buf, slot, &[prefix.len() as i32])?;
        for flag in [&mut self.done, &mut self.num_finished, &mut self.top_finished, &mut self.best_length] {
            be.write(&mut flag.buf, slot, &[0])?;
        }
        let (beams, first) = (self.sizes.beams, slot * self.sizes.beams);
        be.write(&mut self.score.buf, first, &vec![0.0; beams])?;
        be.write(&mut self.candidate_count.buf, first, &vec![0; beams])?;
        let mut live = vec![0; beams];
        live[0] = 1;
        be.write(&mut self.live.buf, first, &live)?;
        be.write(&mut self.history.buf, first * self.sizes.new_tokens, prefix)?;
        // a row that is listed but never lives feeds this, to a position of its own that nobody reads
        let fed = options.prompt + options.prefix;
        be.write(&mut self.token.buf, first, &vec![0; beams])?;
        be.write(&mut self.position.buf, first, &vec![fed as i32; beams])?;
        let mut lineage = vec![first as i32; beams * self.sizes.positions];
        for (beam, row) in lineage.chunks_exact_mut(self.sizes.positions).enumerate() {
            row[fed..].fill((first + beam) as i32);
        }
        be.write(&mut self.lineage.buf, first * self.sizes.positions, &lineage)
    }

    /// Takes the chunk out of `slot`: its rows are no longer touched.
    pub fn clear(&mut self, be: &B, slot: usize) -> Result<()> {
        be.write(&mut self.option_ints.buf, slot * int_column::COUNT, &[0])?;
        be.write(&mut self.live.buf, slot * self.sizes.beams, &vec![0; self.sizes.beams])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_beam_search() -> SlotOptions {
        SlotOptions {
            search: Search::Beam { beams: 5, max_finished: 6 },
            prompt: 4,
            prefix: 2,
            limit: 224,
            length_penalty: 0.8,
            repetition_penalty: 1.1,
            no_repeat_ngram: 3,
            max_initial_timestamp: Some(0),
            suppress_blank: true,
            seed: 0xFEDC_BA98_7654_3210,
            stream: [u32::MAX, 7],
        }
    }

    /// Rows of the slot's last search stand wherever that ended, perhaps within the new prompt. Listed before the host knows
    /// that they do not go on, they must not write there.
    #[test]
    fn rows_of_the_last_search_write_behind_the_new_prompt() -> Result<()> {
        let be = crate::engine::cpu::Cpu::new(Some(1))?;
        let sizes = DecodeSizes { slots: 2, beams: 3, positions: 20, new_tokens: 10 };
        let special = RuleTokens { eot: 5, no_timestamps: 6, timestamp_begin: 7 };
        let mut state = DecodeState::new(&be, sizes, special, &[], &[])?;
        be.write(&mut state.position.buf, 0, &[4; 6])?;
        be.write(&mut state.token.buf, 0, &[-1; 6])?;
        let search = Search::Sample { samples: 3, temperature: 1.0 };
        let options = SlotOptions { search, prompt: 9, prefix: 2, limit: 8, ..a_beam_search() };
        state.start(&be, 1, &options, &[1, 2])?;
        assert_eq!(state.position.to_host(&be)?, [4, 4, 4, 11, 11, 11]);
        assert_eq!(state.token.to_host(&be)?[3..], [0, 0, 0]);
        Ok(())
    }

    #[test]
    fn options_survive_the_device() {
        let options = SlotOptions { search: Search::Sample { samples: 3, temperature: 0.4 }, ..a_beam_search() };
        let beam = SlotOptions { max_initial_timestamp: None, ..a_beam_search() };
        for options in [options, beam] {
            let (ints, floats) = options.pack();
            assert_eq!(SlotOptions::unpack(&ints, &floats), Some(options));
        }
        assert_eq!(SlotOptions::unpack(&[0; int_column::COUNT], &[0.0; float_column::COUNT]), None);
    }
}
