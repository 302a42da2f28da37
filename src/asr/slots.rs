//! The decoder's slots: prompts in, decode steps, transcripts out. [`scheduler`](super::scheduler) decides which clip is in which slot.

use super::options::AsrOptions;
use super::prompt::Prompt;
use super::readback::Readback;
use super::tokenizer::SpecialTokens;
use crate::engine::decode::{DecodeSizes, DecodeState, Search, SlotOptions};
use crate::engine::profile::range;
use crate::engine::time_warp::TimeWarp;
use crate::engine::{Backend, StepRows, Tensor, ops};
use crate::error::Result;
use crate::models::whisper::{AlignmentPass, DecoderCaches, DecoderScratch, EncoderScratch, KnownTokens, Whisper};

/// One search: what to decode after, and how.
#[derive(Clone, Debug)]
pub struct Decode {
    /// The decoder's prompt.
    pub prompt: Prompt,
    /// 0: beam search; above: sampling.
    pub temperature: f64,
    /// Selects the random number stream: chunk and attempt.
    pub stream: [u32; 2],
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Tokens of the best hypothesis; forced prefix included, end-of-text not.
    pub tokens: Vec<u32>,
    /// Their summed log-probability, end-of-text included.
    pub sum: f32,
    /// Probability of `<|nospeech|>` at the start of the transcript, if there is such a token.
    pub no_speech_prob: Option<f64>,
}

/// Tokens that are never written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// Anywhere.
    pub always: Vec<u32>,
    /// As the first token, if [`AsrOptions::suppress_blank`] is on.
    pub begin: Vec<u32>,
}

/// All slots of one device.
pub struct Slots<'m, B: Backend> {
    model: &'m Whisper<B>,
    caches: DecoderCaches<B>,
    scratch: DecoderScratch<B>,
    state: DecodeState<B>,
    /// `[R]` rows of the next step.
    rows: StepRows<B>,
    /// `[P]` rows of a prompt pass.
    prompt_rows: StepRows<B>,
    /// `[N]` those of them whose logits are wanted.
    picked: StepRows<B>,
    /// `[N]` their indices.
    picked_index: Tensor<B, i32>,
    /// `[N, C]` their hidden states.
    picked_hidden: Tensor<B>,
    /// `[R, V]`.
    logits: Tensor<B, f32>,
    /// Steps of each number of rows, for devices that record them.
    graphs: B::GraphCache,
    readback: Readback<B>,
    /// What each slot holds.
    held: Vec<Option<Held>>,
    /// The cache rows of the next step, as last told to the device.
    listed: Vec<usize>,
    special: SpecialTokens,
}

/// A search in a slot, as far as the host knows it.
struct Held {
    /// Readback asked for before it began: those show the slot's last search.
    began: u64,
    /// Whether its samples end one by one; beams live as long as the search.
    sampling: bool,
    /// Which of its rows go on; a few steps late.
    live: Vec<bool>,
}

impl<'m, B: Backend> Slots<'m, B> {
    /// `slots` empty slots for searches of `options`.
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
        // a pass has a row for every beam, or for every token of at least one prompt
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
            held: (0..slots).map(|_| None).collect(),
            listed: Vec::new(),
            special,
            model,
        })
    }

    /// Number of slots, busy or not.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// The special tokens of its model.
    pub(super) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Makes the clips in `encoded` the audio of `slots`.
    pub fn load(&mut self, slots: &[usize], encoded: &mut EncoderScratch<B>) -> Result<()> {
        self.model.fill_slots(&mut self.caches, slots, encoded)
    }

    /// Makes the clip `encoded` `[1, T, C]` the audio of `slot`. `kv` `[1, T, 2 C]` is scratch.
    pub fn load_encoded(&mut self, slot: usize, encoded: &Tensor<B>, kv: &mut Tensor<B>) -> Result<()> {
        self.model.fill_slots_from(&mut self.caches, &[slot], encoded, kv)
    }

    /// Logits `[V]` after `token` alone, for each of `slots`.
    pub fn logits_after(&mut self, token: u32, slots: &[usize]) -> Result<Vec<Vec<f32>>> {
        let prompt = [token];
        let prompts: Vec<(usize, &[u32])> = slots.iter().map(|&slot| (slot, &prompt[..])).collect();
        for &slot in slots {
            self.point_lineage_home(slot)?;
        }
        self.prefill(&prompts, &vec![0; slots.len()])?;
        (0..slots.len()).map(|i| self.read_logits(i)).collect()
    }

    /// Starts a search in each of the slots given: feeds the prompt and takes the first step. What the slots were made for
    /// (rows, suppressed tokens) is as it was; the other options are each search's own.
    pub fn start(&mut self, searches: &[(usize, &Decode, &AsrOptions)]) -> Result<()> {
        let _range = range("start");
        let mut rest = searches;
        while !rest.is_empty() {
            // as many prompts as one pass has rows for
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

    /// Most tokens of prompts or texts in one pass.
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
            self.held[slot] = Some(Held {
                began: self.readback.asked(),
                sampling: matches!(slot_options.search, Search::Sample { .. }),
                live: vec![true; slot_options.search.width()],
            });
        }
        // logits after the last token of each prompt, which the search begins with, and at each start of transcript
        let prompts: Vec<(usize, &[u32])> = searches.iter().map(|&(s, d, _)| (s, &d.prompt.tokens[..])).collect();
        let wanted: Vec<usize> = searches.iter().map(|(_, d, _)| d.prompt.tokens.len() - 1).collect();
        let starts = searches.iter().map(|(_, d, _)| d.prompt.sot);
        let wanted: Vec<usize> = wanted.into_iter().chain(starts).collect();
        self.prefill(&prompts, &wanted)?;
        if let Some(token) = self.special.no_speech {
            let asked = searches.iter().map(|&(slot, ..)| slot as i32);
            let asked: Vec<i32> = std::iter::repeat_n(-1, count).chain(asked).collect();
            be.write(&mut self.picked_index.buf, 0, &asked)?;
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

    /// One pass over whole prompts, each on the first cache row of its slot. Leaves in `self.logits` those after token
    /// `wanted[i]` of prompt `i % prompts.len()`.
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

    /// One pass over texts that are known, each in a slot whose search has ended and whose audio is still there: fills the
    /// matrix of `pass`, and gives `hidden` the hidden states `[R, C]`. `known` says which rows are whose.
    pub(super) fn listen<T>(
        &mut self,
        texts: &[(usize, &[u32])],
        known: &[KnownTokens<B>],
        pass: &mut AlignmentPass<B>,
        hidden: impl FnOnce(&Tensor<B>) -> Result<T>,
    ) -> Result<T>
    where
        B: TimeWarp,
    {
        let Slots { model, caches, scratch, state, prompt_rows, .. } = self;
        for &(slot, tokens) in texts {
            let first = slot * state.sizes.beams;
            let home = vec![first as i32; tokens.len()];
            model.be.write(&mut state.lineage.buf, first * state.sizes.positions, &home)?;
        }
        write_prompts(&model.be, prompt_rows, texts, state.sizes.beams)?;
        model.decode_aligning(scratch, caches, prompt_rows, &state.lineage, known, pass)?;
        hidden(&scratch.hidden)
    }

    /// Takes one step in all busy slots. All that a step needs lies on the device, so the number of rows is the only thing
    /// in which one differs from another.
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

    /// Asks for a look at the searches as the steps queued so far leave them. The next [`collect`](Self::collect) sees it
    /// if it has arrived by then, the one after that in any case.
    pub fn look(&mut self) -> Result<()> {
        let _range = range("look");
        self.readback.ask(&self.model.be, &self.state)
    }

    /// The slots whose search has ended, as far as the looks show, each with what it found; they are empty afterwards.
    pub fn collect(&mut self) -> Result<Vec<(usize, Decoded)>> {
        let _range = range("collect");
        let be = &self.model.be;
        let mut found = Vec::new();
        while let Some(look) = self.readback.next(be)? {
            for (slot, place) in self.held.iter_mut().enumerate() {
                let Some(held) = place.as_mut().filter(|held| held.began <= look.number) else { continue };
                if look.is_done(slot) {
                    let (tokens, sum) = look.best(slot);
                    let no_speech_prob = self.special.no_speech.map(|_| f64::from(look.no_speech(slot)));
                    found.push((slot, Decoded { tokens, sum, no_speech_prob }));
                    *place = None;
                } else if held.sampling {
                    (0..held.live.len()).for_each(|beam| held.live[beam] = look.is_live(slot, beam));
                }
            }
        }
        for &(slot, _) in &found {
            self.state.clear(be, slot)?;
        }
        self.list_rows()?;
        Ok(found)
    }

    /// Frees slots whose searches were abandoned.
    pub fn abandon(&mut self, slots: &[usize]) -> Result<()> {
        for &slot in slots {
            self.held[slot] = None;
            self.state.clear(&self.model.be, slot)?;
        }
        self.list_rows()
    }

    /// Makes the rows that go on, as far as the host knows, the rows of the next step. One too many does no harm: nothing
    /// is written for it.
    fn list_rows(&mut self) -> Result<()> {
        let beams = self.state.sizes.beams;
        let live = |(slot, held): (usize, &Option<Held>)| {
            let rows = held.iter().flat_map(|held| held.live.iter().enumerate().filter(|(_, live)| **live));
            rows.map(|(beam, _)| slot * beams + beam).collect::<Vec<usize>>()
        };
        let rows: Vec<usize> = self.held.iter().enumerate().flat_map(live).collect();
        let begun = self.held.iter().flatten().any(|held| held.began == self.readback.asked());
        if rows == self.listed && !begun {
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

    /// A pass of a prompt reads position `p` of its cache row where the lineage says; before a search has started,
    /// that may be a row of the last one.
    fn point_lineage_home(&mut self, slot: usize) -> Result<()> {
        let first = slot * self.state.sizes.beams;
        self.model.be.write(&mut self.state.lineage.buf, first * self.state.sizes.positions, &[first as i32])
    }
}

/// Makes the tokens of each slot's prompt the rows of a pass; where each prompt begins.
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
    // timestamps are 20 ms apart; faster-whisper rounds half to even, which no option in hundredths meets
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
