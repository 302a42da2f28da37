//! Continuous batching: when a search ends, its slot gets the next clip, or the same clip at a higher temperature,
//! while the other slots continue. No clip waits for the slowest of a batch.

use std::ops::Range;

use super::AsrOptions;
use super::clips::Clips;
use super::prefetch::Prefetcher;
use super::slots::{Decode, Slots};
use super::source::{Clip, Source};
use super::token_times::{TimedText, TokenAligner};
use crate::engine::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::models::whisper::Whisper;

/// Decodes all clips of a source.
pub struct Scheduler<'m, B: Backend> {
    prefetcher: Prefetcher<'m, B>,
    slots: Slots<'m, B>,
    /// Computes word times, if they are requested.
    token_aligner: Option<TokenAligner<'m, B>>,
    options: AsrOptions,
    sot: u32,
    /// Id of the clip in each slot; `None`: the slot is free.
    held: Vec<Option<usize>>,
    /// Encoder output `[1, T, C]` of the clip in each slot, if word times are requested.
    audio: Vec<Option<Tensor<B>>>,
    steps_per_readback: usize,
}

impl<'m, B: Backend> Scheduler<'m, B> {
    /// A scheduler over empty slots. `sot` is `<|startoftranscript|>`.
    pub fn new(model: &'m Whisper<B>, slots: Slots<'m, B>, options: &AsrOptions, sot: u32) -> Result<Self> {
        let encoder_batch = model.be.encoder_batch().clamp(1, slots.count().max(1));
        let kept = if options.word_timestamps { slots.count() } else { 0 };
        let token_aligner = options.word_timestamps.then(|| TokenAligner::new(model, &slots, options)).transpose()?;
        Ok(Scheduler {
            prefetcher: Prefetcher::new(model, encoder_batch, kept)?,
            token_aligner,
            held: vec![None; slots.count()],
            audio: (0..slots.count()).map(|_| None).collect(),
            slots,
            options: options.clone(),
            sot,
            steps_per_readback: model.be.steps_per_readback().max(1),
        })
    }

    /// Overrides the number of decode steps between readbacks. Results do not depend on it.
    pub fn set_steps_per_readback(&mut self, steps: usize) {
        self.steps_per_readback = steps.max(1);
    }

    /// Runs until the source has no more clips.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; errors of the source, the model or the device.
    pub fn run(&mut self, clips: &Clips<B>, source: &mut impl Source) -> Result<()> {
        loop {
            self.free_abandoned(source)?;
            let taken = self.fill(clips, source)?;
            if self.held.iter().all(Option::is_none) {
                if taken {
                    continue;
                }
                return Ok(());
            }
            for _ in 0..self.steps_per_readback {
                if source.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                self.slots.step()?;
            }
            // Readback and encoding are asynchronous, and the device still has steps to run. So the host prepares the
            // next clips before it collects results.
            self.slots.request_readback()?;
            self.prefetcher.prepare(clips, source)?;
            self.collect(source)?;
        }
    }

    /// The logits `[V]` after `<|startoftranscript|>` of one clip. Uses slot 0: call it only while all slots are free.
    pub fn logits_at_start(&mut self, clips: &Clips<B>, range: Range<usize>) -> Result<Vec<f32>> {
        self.prefetcher.encode_into(clips, range, &mut self.slots, 0)?;
        let mut logits = self.slots.logits_after(self.sot, &[0])?;
        Ok(logits.pop().unwrap_or_default())
    }

    /// Frees the slots of abandoned clips.
    fn free_abandoned(&mut self, source: &mut impl Source) -> Result<()> {
        let is_abandoned = |slot: &usize| self.held[*slot].is_some_and(|id| source.is_abandoned(id));
        let abandoned: Vec<usize> = (0..self.held.len()).filter(is_abandoned).collect();
        if abandoned.is_empty() {
            return Ok(());
        }
        abandoned.iter().for_each(|&slot| self.free(slot));
        self.slots.abandon(&abandoned)
    }

    fn free(&mut self, slot: usize) {
        self.held[slot] = None;
        self.audio[slot].take().into_iter().for_each(|audio| self.prefetcher.give_back(audio));
    }

    /// Fills the free slots with clips and starts their searches. Returns whether there was a clip.
    fn fill(&mut self, clips: &Clips<B>, source: &mut impl Source) -> Result<bool> {
        let mut taken: Vec<(usize, Clip)> = Vec::new();
        for slot in (0..self.held.len()).filter(|&slot| self.held[slot].is_none()) {
            let Some(encoded) = self.prefetcher.next(clips, source)? else { break };
            let (clip, audio) = self.prefetcher.load(encoded, &mut self.slots, slot)?;
            match self.token_aligner {
                Some(_) => self.audio[slot] = Some(audio),
                None => self.prefetcher.give_back(audio),
            }
            taken.push((slot, clip));
        }
        if taken.is_empty() {
            return Ok(false);
        }
        let detecting: Vec<usize> =
            taken.iter().filter(|(_, clip)| clip.detect_language).map(|&(slot, _)| slot).collect();
        let detected = if detecting.is_empty() { Vec::new() } else { self.slots.logits_after(self.sot, &detecting)? };
        let mut searches = Vec::with_capacity(taken.len());
        for (slot, clip) in &taken {
            let logits = detecting.iter().position(|other| other == slot).map(|i| &detected[i][..]);
            match source.begin(clip.id, logits)? {
                Some(decode) => {
                    searches.push((*slot, decode));
                    self.held[*slot] = Some(clip.id);
                }
                None => self.free(*slot),
            }
        }
        self.start(source, &searches)?;
        Ok(true)
    }

    fn start(&mut self, source: &impl Source, searches: &[(usize, Decode)]) -> Result<()> {
        let clip_options = |slot: usize| source.options(self.held[slot]?);
        let options = |slot: usize| clip_options(slot).unwrap_or(&self.options);
        let searches: Vec<_> = searches.iter().map(|(slot, decode)| (*slot, decode, options(*slot))).collect();
        self.slots.start(&searches)
    }

    /// Passes the results of ended searches to the source. Their slots are freed, or decode the same clip again.
    fn collect(&mut self, source: &mut impl Source) -> Result<()> {
        let (mut again, mut ended) = (Vec::new(), Vec::new());
        for (slot, decoded) in self.slots.collect()? {
            let Some(id) = self.held[slot] else { continue };
            match source.finish(id, decoded)? {
                Some(decode) => again.push((slot, decode)),
                None => ended.push((slot, id)),
            }
        }
        self.compute_word_times(source, &ended)?;
        ended.into_iter().for_each(|(slot, _)| self.free(slot));
        self.start(source, &again)
    }

    /// Computes token times for those of the `ended` clips (slot and id) whose source requests them.
    fn compute_word_times(&mut self, source: &mut impl Source, ended: &[(usize, usize)]) -> Result<()> {
        let Some(token_aligner) = self.token_aligner.as_mut() else { return Ok(()) };
        let mut requested = Vec::new();
        for &(slot, id) in ended {
            let Some(audio) = self.audio[slot].as_ref() else { continue };
            requested.extend(source.text_to_align(id).map(|text| (id, TimedText { slot, text, audio })));
        }
        let (ids, texts): (Vec<usize>, Vec<TimedText<B>>) = requested.into_iter().unzip();
        for (id, times) in ids.into_iter().zip(token_aligner.times(&mut self.slots, &texts)?) {
            source.set_token_times(id, times)?;
        }
        Ok(())
    }
}
