//! Decoder slots: caches and search state of the clips in a batch, prefill of prompts, decode steps, results.
//!
//! [`scheduler`](super::scheduler) assigns clips to slots.

use super::options::AsrOptions;
use super::prompt::Prompt;
use super::readback::Readback;
use super::tokenizer::SpecialTokens;
use crate::engine::decode::{DecodeSizes, DecodeState, Search, SlotOptions};
use crate::engine::profile::range;
use crate::engine::{Backend, StepRows, Tensor, ops};
use crate::error::Result;
use crate::models::whisper::{AlignmentPass, DecoderCaches, DecoderScratch, EncoderScratch, KnownTokens, Whisper};

/// The parameters of one search.
#[derive(Clone, Debug)]
pub struct Decode {
    /// The decoder's prompt.
    pub prompt: Prompt,
    /// 0: beam search; above 0: sampling.
    pub temperature: f64,
    /// Random number stream: id of the clip and number of the attempt.
    pub stream: [u32; 2],
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Tokens of the best hypothesis; forced prefix included, end-of-text not.
    pub tokens: Vec<u32>,
    /// Their summed log-probability, end-of-text included.
    pub sum: f32,
    /// Probability of `<|nospeech|>` at the start of the transcript, if the model has this token.
    pub no_speech_prob: Option<f64>,
}

/// Tokens that are never emitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// At any position.
    pub always: Vec<u32>,
    /// At the first position, if [`AsrOptions::suppress_blank`] is on.
    pub begin: Vec<u32>,
}

/// All slots of one device.
pub struct Slots<'m, B: Backend> {
    model: &'m Whisper<B>,
    caches: DecoderCaches<B>,
    scratch: DecoderScratch<B>,
    state: DecodeState<B>,
    /// `[R]` rows of the next decode step.
    rows: StepRows<B>,
    /// `[P]` rows of a prefill.
    prompt_rows: StepRows<B>,
    /// `[N]` rows of a prefill whose logits are computed.
    picked: StepRows<B>,
    /// `[N]` indices of these rows in the prefill.
    picked_index: Tensor<B, i32>,
    /// `[N, C]` hidden states of these rows.
    picked_hidden: Tensor<B>,
    /// `[R, V]`.
    logits: Tensor<B, f32>,
    /// Graphs of a decode step for each number of rows, on devices that record graphs.
    graphs: B::GraphCache,
    readback: Readback<B>,
    /// The search in each slot; `None`: the slot is free.
    active: Vec<Option<ActiveSearch>>,
    /// The cache rows in `rows`, on the host.
    listed: Vec<usize>,
    special: SpecialTokens,
}

/// The state of a running search on the host, which lags behind the device by a few steps.
struct ActiveSearch {
    /// Number of snapshots requested before the search began. Those show the previous search of the slot.
    first_snapshot: u64,
    /// Whether it samples. Samples end one by one; beams end with the search.
    sampling: bool,
    /// Which beams or samples are unfinished.
    live: Vec<bool>,
}

impl<'m, B: Backend> Slots<'m, B> {
    /// Allocates `slots` free slots for searches with `options`.
    pub fn new(
        model: &'m Whisper<B>,
        special: SpecialTokens,
        options: &AsrOptions,
        suppressed: &Suppressed,
        slots: usize,
    ) -> Result<Self> {
        let be = &model.be;
        let positions = model.config.max_target_positions;
        let sizes = DecodeSizes { slots, beams: options.rows_per_slot(), positions, new_tokens: positions / 2 };
        // A decode step has a row for every beam, a prefill a row for every token of at least one prompt.
        let capacity = sizes.rows().max(positions);
        let signed = |ids: &[u32]| ids.iter().map(|&id| id as i32).collect::<Vec<i32>>();
        let vocab = model.config.vocab_size;
        let cross = model.cross_kind(options.beam_size);
        let (always, begin) = (signed(&suppressed.always), signed(&suppressed.begin));
        let mut rows = StepRows::zeros(be, sizes.rows())?;
        rows.set_num_rows(0)?;
        Ok(Slots {
            caches: model.caches(slots, sizes.beams, cross)?,
            scratch: model.decoder_scratch(capacity, cross)?,
            state: DecodeState::new(be, sizes, special.rule_tokens(), &always, &begin)?,
            rows,
            prompt_rows: StepRows::zeros(be, capacity)?,
            picked: StepRows::zeros(be, slots)?,
            picked_index: Tensor::zeros(be, &[2 * slots])?,
            picked_hidden: Tensor::zeros(be, &[2 * slots, model.config.d_model])?,
            logits: Tensor::zeros(be, &[sizes.rows().max(2 * slots), vocab])?,
            graphs: B::GraphCache::default(),
            readback: Readback::new(be, sizes)?,
            active: (0..slots).map(|_| None).collect(),
            listed: Vec::new(),
            special,
            model,
        })
    }

    /// Number of slots, busy or free.
    pub fn count(&self) -> usize {
        self.active.len()
    }

    /// The special tokens of the model.
    pub(super) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Fills the cross-attention caches of `slots` from the clips in `encoded`.
    pub fn load(&mut self, slots: &[usize], encoded: &mut EncoderScratch<B>) -> Result<()> {
        self.model.fill_slots(&mut self.caches, slots, encoded)
    }

    /// Fills the cross-attention cache of `slot` from encoder output `[1, T, C]`. `kv` `[1, T, 2 C]` is scratch.
    pub fn load_encoded(&mut self, slot: usize, encoded: &Tensor<B>, kv: &mut Tensor<B>) -> Result<()> {
        self.model.fill_slots_from(&mut self.caches, &[slot], encoded, kv)
    }

    /// Logits `[V]` after a prompt of `token` only, for each of `slots`.
    pub fn logits_after(&mut self, token: u32, slots: &[usize]) -> Result<Vec<Vec<f32>>> {
        let prompt = [token];
        let prompts: Vec<(usize, &[u32])> = slots.iter().map(|&slot| (slot, &prompt[..])).collect();
        for &slot in slots {
            self.reset_lineage(slot)?;
        }
        self.prefill(&prompts, &vec![0; slots.len()])?;
        (0..slots.len()).map(|i| self.read_logits(i)).collect()
    }

    /// Starts a search in each of the given slots: prefill of the prompt, and the first decode step. Each search has
    /// its own options, except rows and suppressed tokens, which [`new`](Self::new) has fixed.
    pub fn start(&mut self, searches: &[(usize, &Decode, &AsrOptions)]) -> Result<()> {
        let _range = range("start");
        let mut rest = searches;
        while !rest.is_empty() {
            // As many prompts as fit in one prefill.
            let mut tokens = 0;
            let fits = |&(_, decode, _): &&(usize, &Decode, &AsrOptions)| {
                tokens += decode.prompt.tokens.len();
                tokens <= self.prompt_capacity()
            };
            let count = rest.iter().take_while(fits).count().max(1);
            self.start_group(&rest[..count])?;
            rest = &rest[count..];
        }
        self.list_rows()
    }

    /// Most tokens of prompts or texts in one pass of the decoder.
    pub(super) fn prompt_capacity(&self) -> usize {
        self.state.sizes.rows().max(self.state.sizes.positions)
    }

    fn start_group(&mut self, searches: &[(usize, &Decode, &AsrOptions)]) -> Result<()> {
        let be = &self.model.be;
        let beams = self.state.sizes.beams;
        let count = searches.len();
        for &(slot, decode, options) in searches {
            let prefix: Vec<i32> = decode.prompt.prefix().iter().map(|&id| id as i32).collect();
            let slot_options = slot_options(decode, options, self.state.sizes.positions);
            self.state.start(be, slot, &slot_options, &prefix)?;
            self.active[slot] = Some(ActiveSearch {
                first_snapshot: self.readback.requested(),
                sampling: matches!(slot_options.search, Search::Sample { .. }),
                live: vec![true; slot_options.search.width()],
            });
        }
        // Logits after the last token of each prompt, for the first decode step, and after each start of transcript,
        // for the probability of no speech.
        let prompts: Vec<(usize, &[u32])> = searches.iter().map(|&(s, d, _)| (s, &d.prompt.tokens[..])).collect();
        let wanted: Vec<usize> = searches.iter().map(|(_, d, _)| d.prompt.tokens.len() - 1).collect();
        let starts = searches.iter().map(|(_, d, _)| d.prompt.sot);
        let wanted: Vec<usize> = wanted.into_iter().chain(starts).collect();
        self.prefill(&prompts, &wanted)?;
        if let Some(token) = self.special.no_speech {
            let slots = searches.iter().map(|&(slot, ..)| slot as i32);
            let slots: Vec<i32> = std::iter::repeat_n(-1, count).chain(slots).collect();
            be.write(&mut self.picked_index.buf, 0, &slots)?;
            let no_speech = &mut self.state.no_speech;
            ops::token_probability(be, no_speech, &self.logits, &self.picked_index, token as usize)?;
        }
        let vocab = self.model.config.vocab_size;
        self.logits.reshape(&[count, vocab])?;
        self.picked.set_num_rows(count)?;
        let first_rows: Vec<i32> = searches.iter().map(|&(slot, ..)| (slot * beams) as i32).collect();
        be.write(&mut self.picked.row.buf, 0, &first_rows)?;
        ops::logit_rules(be, &mut self.logits, &self.picked, &self.state)?;
        ops::pick_candidates(be, &mut self.state, &self.logits, &self.picked)?;
        ops::advance_search(be, &mut self.picked, &mut self.state)
    }

    /// Prefill: one pass over whole prompts, each in the first cache row of its slot. Row `i` of `self.logits` has the
    /// logits after token `wanted[i]` of prompt `i % prompts.len()`.
    fn prefill(&mut self, prompts: &[(usize, &[u32])], wanted: &[usize]) -> Result<()> {
        let be = &self.model.be;
        let first = write_prompts(be, &mut self.prompt_rows, prompts, self.state.sizes.beams)?;
        let index: Vec<i32> = wanted.iter().enumerate().map(|(i, at)| (first[i % prompts.len()] + at) as i32).collect();
        self.model.decode(&mut self.scratch, &mut self.caches, &self.prompt_rows, &self.state.lineage)?;
        self.picked_index.reshape(&[index.len()])?;
        be.write(&mut self.picked_index.buf, 0, &index)?;
        self.picked_hidden.reshape(&[index.len(), self.model.config.d_model])?;
        ops::gather_rows(be, &mut self.picked_hidden, &self.scratch.hidden, &self.picked_index)?;
        self.logits.reshape(&[index.len(), self.model.config.vocab_size])?;
        self.model.logits(&mut self.logits, &self.picked_hidden)
    }

    /// Alignment pass: one pass of the decoder over known texts (teacher forcing), for token times. Each text is in a
    /// slot whose search has ended and whose cross-attention cache is still valid. Fills the matrix of `pass`, and
    /// calls `hidden` with the hidden states `[R, C]`. `known` has the rows of each text.
    pub(super) fn align_texts<T>(
        &mut self,
        texts: &[(usize, &[u32])],
        known: &[KnownTokens<B>],
        pass: &mut AlignmentPass<B>,
        hidden: impl FnOnce(&Tensor<B>) -> Result<T>,
    ) -> Result<T>
    where
        B: Backend,
    {
        let Slots { model, caches, scratch, state, prompt_rows, .. } = self;
        for &(slot, tokens) in texts {
            let first = slot * state.sizes.beams;
            let own_row = vec![first as i32; tokens.len()];
            model.be.write(&mut state.lineage.buf, first * state.sizes.positions, &own_row)?;
        }
        write_prompts(&model.be, prompt_rows, texts, state.sizes.beams)?;
        model.decode_aligning(scratch, caches, prompt_rows, &state.lineage, known, pass)?;
        hidden(&scratch.hidden)
    }

    /// Runs one decode step in all busy slots. All inputs of a step are on the device, so steps with the same number of
    /// rows can replay the same graph.
    pub fn step(&mut self) -> Result<()> {
        let Slots { model, caches, scratch, state, rows, logits, graphs, .. } = self;
        let be = &model.be;
        let num_rows = rows.num_rows();
        if num_rows == 0 {
            return Ok(());
        }
        let _range = range("step");
        be.replay(graphs, num_rows, || {
            model.decode(scratch, caches, rows, &state.lineage)?;
            logits.reshape(&[num_rows, model.config.vocab_size])?;
            model.logits(logits, &scratch.hidden)?;
            ops::logit_rules(be, logits, rows, state)?;
            ops::pick_candidates(be, state, logits, rows)?;
            ops::advance_search(be, rows, state)
        })
    }

    /// Requests a readback of the search state after the steps queued so far. The next [`collect`](Self::collect) uses
    /// it if it is complete by then; the one after that waits for it.
    pub fn request_readback(&mut self) -> Result<()> {
        let _range = range("look");
        self.readback.request(&self.model.be, &self.state)
    }

    /// The slots and results of the searches that have ended, as of the completed readbacks. Frees these slots.
    pub fn collect(&mut self) -> Result<Vec<(usize, Decoded)>> {
        let _range = range("collect");
        let be = &self.model.be;
        let mut ended = Vec::new();
        while let Some(snapshot) = self.readback.next(be)? {
            for (slot, entry) in self.active.iter_mut().enumerate() {
                let search = entry.as_mut().filter(|search| search.first_snapshot <= snapshot.number);
                let Some(search) = search else { continue };
                if snapshot.is_done(slot) {
                    let (tokens, sum) = snapshot.best(slot);
                    let no_speech_prob = self.special.no_speech.map(|_| f64::from(snapshot.no_speech(slot)));
                    ended.push((slot, Decoded { tokens, sum, no_speech_prob }));
                    *entry = None;
                } else if search.sampling {
                    (0..search.live.len()).for_each(|beam| search.live[beam] = snapshot.is_live(slot, beam));
                }
            }
        }
        for &(slot, _) in &ended {
            self.state.clear(be, slot)?;
        }
        self.list_rows()?;
        Ok(ended)
    }

    /// Frees slots whose searches were abandoned.
    pub fn abandon(&mut self, slots: &[usize]) -> Result<()> {
        for &slot in slots {
            self.active[slot] = None;
            self.state.clear(&self.model.be, slot)?;
        }
        self.list_rows()
    }

    /// Uploads the rows of the next step: the unfinished beams and samples, as far as the host knows. A row that has
    /// ended on the device in the meantime does no harm: the device ignores it.
    fn list_rows(&mut self) -> Result<()> {
        let beams = self.state.sizes.beams;
        let live = |(slot, search): (usize, &Option<ActiveSearch>)| {
            let rows = search.iter().flat_map(|search| search.live.iter().enumerate().filter(|(_, live)| **live));
            rows.map(|(beam, _)| slot * beams + beam).collect::<Vec<usize>>()
        };
        let rows: Vec<usize> = self.active.iter().enumerate().flat_map(live).collect();
        let started = self.active.iter().flatten().any(|search| search.first_snapshot == self.readback.requested());
        if rows == self.listed && !started {
            return Ok(());
        }
        let be = &self.model.be;
        self.rows.set_num_rows(rows.len())?;
        let numbers: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        be.write(&mut self.rows.row.buf, 0, &numbers)?;
        self.listed = rows;
        ops::list_rows(be, &mut self.rows, &self.state)
    }

    fn read_logits(&self, row: usize) -> Result<Vec<f32>> {
        let vocab = self.model.config.vocab_size;
        let mut logits = vec![0.0; vocab];
        self.model.be.read(&mut logits, &self.logits.buf, row * vocab)?;
        Ok(logits)
    }

    /// Points the lineage of the slot's first position to its own first cache row. Attention reads the cache through
    /// the lineage, which may still point to a beam of the previous search.
    fn reset_lineage(&mut self, slot: usize) -> Result<()> {
        let first = slot * self.state.sizes.beams;
        self.model.be.write(&mut self.state.lineage.buf, first * self.state.sizes.positions, &[first as i32])
    }
}

/// Uploads the tokens of each slot's prompt as the rows of a prefill. Returns the first row of each prompt.
fn write_prompts<B: Backend>(
    be: &B,
    rows: &mut StepRows<B>,
    prompts: &[(usize, &[u32])],
    beams: usize,
) -> Result<Vec<usize>> {
    let (mut token, mut position, mut row, mut first) = (vec![], vec![], vec![], vec![]);
    for &(slot, tokens) in prompts {
        first.push(token.len());
        token.extend(tokens.iter().map(|&id| id as i32));
        position.extend(0..tokens.len() as i32);
        row.extend(std::iter::repeat_n((slot * beams) as i32, tokens.len()));
    }
    rows.set_num_rows(row.len())?;
    be.write(&mut rows.token.buf, 0, &token)?;
    be.write(&mut rows.position.buf, 0, &position)?;
    be.write(&mut rows.row.buf, 0, &row)?;
    Ok(first)
}

fn slot_options(decode: &Decode, options: &AsrOptions, positions: usize) -> SlotOptions {
    let search = match decode.temperature {
        t if t > 0.0 => Search::Sample { samples: options.best_of, temperature: t as f32 },
        _ if options.beam_size == 1 => Search::Sample { samples: 1, temperature: 0.0 },
        _ => Search::Beam { beams: options.beam_size, max_finished: options.max_finished() },
    };
    let prefix = decode.prompt.prefix().len();
    let most = options.max_new_tokens.unwrap_or(usize::MAX).max(prefix + 1);
    // Timestamps are 20 ms apart. faster-whisper rounds half to even, which differs for 0.01 s, 0.05 s, 0.09 s and so on.
    let max_initial = (options.max_initial_timestamp * crate::units::EncoderFrame::PER_SECOND as f64).round();
    SlotOptions {
        search,
        prompt: decode.prompt.len,
        prefix,
        limit: decode.prompt.limit(positions).min(most),
        length_penalty: options.length_penalty as f32,
        repetition_penalty: options.repetition_penalty as f32,
        no_repeat_ngram: options.no_repeat_ngram_size,
        max_initial_timestamp: (!options.without_timestamps).then_some(max_initial as usize),
        suppress_blank: options.suppress_blank,
        seed: options.seed,
        stream: decode.stream,
    }
}
