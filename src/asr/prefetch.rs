//! Prefetch: clips are encoded before a slot is free for them, on a second stream if the device has one.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clips::{ClipInput, Clips, encode_samples};
use super::slots::Slots;
use super::source::{Clip, Source};
use crate::engine::{Backend, Tensor, ops};
use crate::error::Result;
use crate::models::whisper::{EncoderScratch, Whisper};

/// Most groups of encoded clips that wait for slots: one is consumed while the next one is encoded.
pub const PREFETCH_GROUPS: usize = 2;

/// The encoder and its prefetched clips.
pub struct Prefetcher<'m, B: Backend> {
    model: &'m Whisper<B>,
    encoder: EncoderScratch<B>,
    input: ClipInput<B>,
    /// Most clips encoded in one pass.
    group: usize,
    /// Most clips that may wait for a slot.
    most_waiting: usize,
    /// For each clip of a group, the indices `[T]` of its rows in the encoder output `[B T, C]`.
    rows: Vec<Tensor<B, i32>>,
    /// Encoded clips in the order of the source.
    waiting: VecDeque<Encoded<B>>,
    /// Free buffers for encoder output, `[1, T, C]` each.
    spare: Vec<Tensor<B>>,
    /// `[1, T, 2 C]` scratch: keys and values of the clip that is loaded into a slot.
    kv: Tensor<B>,
}

/// An encoded clip that waits for a slot.
pub struct Encoded<B: Backend> {
    /// The clip.
    pub clip: Clip,
    /// Encoder output `[1, T, C]`.
    audio: Tensor<B>,
    /// Signalled when `audio` is complete.
    fence: Arc<B::Fence>,
}

impl<'m, B: Backend> Prefetcher<'m, B> {
    /// Allocates buffers for groups of up to `group` clips, and for `kept` clips whose buffers stay with their slots.
    pub fn new(model: &'m Whisper<B>, group: usize, kept: usize) -> Result<Self> {
        let (be, frames, width) = (&model.be, model.config.max_source_positions, model.config.d_model);
        let rows = |clip: usize| {
            let all: Vec<i32> = (clip * frames..(clip + 1) * frames).map(|row| row as i32).collect();
            Tensor::from_host(be, &[frames], &all)
        };
        let waiting = if be.has_concurrent_streams() { PREFETCH_GROUPS * group } else { group };
        let spare = (0..waiting + kept).map(|_| Tensor::zeros(be, &[1, frames, width]));
        Ok(Prefetcher {
            encoder: model.encoder_scratch(group)?,
            input: ClipInput::default(),
            group,
            most_waiting: waiting,
            rows: (0..group).map(rows).collect::<Result<_>>()?,
            waiting: VecDeque::new(),
            spare: spare.collect::<Result<_>>()?,
            kv: Tensor::zeros(be, &[1, frames, 2 * width])?,
            model,
        })
    }

    /// The next encoded clip for a free slot; `None` if the source has none at the moment. Skips abandoned clips.
    pub fn next(&mut self, clips: &Clips<B>, source: &mut impl Source) -> Result<Option<Encoded<B>>> {
        while let Some(encoded) = self.waiting.pop_front() {
            if !source.is_abandoned(encoded.clip.id) {
                return Ok(Some(encoded));
            }
            self.spare.push(encoded.audio);
        }
        self.encode_group(clips, source)?;
        Ok(self.waiting.pop_front())
    }

    /// Encodes groups until the waiting clips are at their limit, if the device can overlap encoding with other work.
    pub fn prepare(&mut self, clips: &Clips<B>, source: &mut impl Source) -> Result<()> {
        while self.model.be.has_concurrent_streams() && self.waiting.len() + self.group <= self.most_waiting {
            if !self.encode_group(clips, source)? {
                break;
            }
        }
        Ok(())
    }

    /// Loads an encoded clip into `slot`. Returns the clip and its buffer `[1, T, C]`, which the caller must return
    /// with [`give_back`](Self::give_back).
    pub fn load(&mut self, encoded: Encoded<B>, slots: &mut Slots<B>, slot: usize) -> Result<(Clip, Tensor<B>)> {
        self.model.be.join(&encoded.fence)?;
        slots.load_encoded(slot, &encoded.audio, &mut self.kv)?;
        Ok((encoded.clip, encoded.audio))
    }

    /// Returns the buffer of a clip for reuse.
    pub fn give_back(&mut self, audio: Tensor<B>) {
        self.spare.push(audio);
    }

    /// Encodes the next group of clips on the second stream. Returns false if the source has none.
    fn encode_group(&mut self, clips: &Clips<B>, source: &mut impl Source) -> Result<bool> {
        let most = self.group.min(self.spare.len());
        let group: Vec<Clip> = std::iter::from_fn(|| source.next()).take(most).collect();
        if group.is_empty() {
            return Ok(false);
        }
        let ranges: Vec<_> = group.iter().map(|clip| clip.range.clone()).collect();
        let clip_samples = |clip: &Clip| Some((source.samples(clip.id)?, clip.range.clone()));
        let clip_samples: Option<Vec<_>> = group.iter().map(clip_samples).collect();
        let mut audio = self.spare.split_off(self.spare.len() - group.len());
        let Prefetcher { model, encoder, input, rows, .. } = self;
        let fence = model.be.fork(|| {
            match &clip_samples {
                Some(clip_samples) => encode_samples(model, encoder, input, clip_samples)?,
                None => clips.encode(model, encoder, input, &ranges)?,
            }
            for (audio, rows) in audio.iter_mut().zip(rows.iter()) {
                ops::gather_rows(&model.be, audio, &encoder.out, rows)?;
            }
            Ok(())
        })?;
        let fence = Arc::new(fence);
        let encoded = group.into_iter().zip(audio);
        self.waiting.extend(encoded.map(|(clip, audio)| Encoded { clip, audio, fence: fence.clone() }));
        Ok(true)
    }

    /// Encodes one clip immediately and loads it into `slot`.
    pub fn encode_into(
        &mut self,
        clips: &Clips<B>,
        range: std::ops::Range<usize>,
        slots: &mut Slots<B>,
        slot: usize,
    ) -> Result<()> {
        let Prefetcher { model, encoder, input, kv, .. } = self;
        let fence = model.be.fork(|| clips.encode(model, encoder, input, &[range]))?;
        model.be.join(&fence)?;
        slots.load_encoded(slot, &encoder.out, kv)
    }
}
