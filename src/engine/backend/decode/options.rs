//! What is constant while a chunk is decoded: sizes, rules and search options, and their form on the device.

/// Sizes a [`DecodeState`](super::DecodeState) is allocated for.
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

    /// Numbers that [`SearchOps::pack_results`](crate::engine::backend::SearchOps::pack_results) packs for each slot:
    /// [`result_column`], then which rows are live, then the tokens of the best hypothesis.
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
    /// Whether the first token may not be one of [`DecodeState::suppress_begin`](super::DecodeState::suppress_begin).
    pub suppress_blank: bool,
    /// Seed of the random draws.
    pub seed: u64,
    /// Names this search's random stream: chunk and attempt. Never the slot, so that a draw is the same in any batch.
    pub stream: [u32; 2],
}

/// Columns of [`DecodeState::option_ints`](super::DecodeState::option_ints).
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

/// Columns of [`DecodeState::option_floats`](super::DecodeState::option_floats).
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

/// The first columns of what [`SearchOps::pack_results`](crate::engine::backend::SearchOps::pack_results) packs for a
/// slot.
pub mod result_column {
    /// See [`DecodeState::done`](super::super::DecodeState::done).
    pub const DONE: usize = 0;
    /// See [`DecodeState::best_length`](super::super::DecodeState::best_length).
    pub const LENGTH: usize = 1;
    /// The bits of [`DecodeState::best_sum`](super::super::DecodeState::best_sum).
    pub const SUM: usize = 2;
    /// The bits of [`DecodeState::no_speech`](super::super::DecodeState::no_speech).
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::engine::backend::decode) fn a_beam_search() -> SlotOptions {
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
