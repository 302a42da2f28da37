//! The fixed work of the benchmark: windows of features or samples, a prompt, and a fixed number of tokens per window.

use std::ops::Range;

use diarist::asr::AsrOptions;
use diarist::asr::clips::Clips;
use diarist::asr::prompt::Prompt;
use diarist::asr::scheduler::Scheduler;
use diarist::asr::slots::{Decode, Decoded, Slots, Suppressed};
use diarist::asr::source::{Clip, Source};
use diarist::asr::tokenizer::SpecialTokens;
use diarist::engine::Tensor;
use diarist::engine::prelude::*;
use diarist::models::whisper::Whisper;
use diarist::{Error, Result};

/// What to decode.
#[derive(Clone)]
pub struct Job {
    pub special: SpecialTokens,
    pub prompt: Prompt,
    /// Range of each window, in mel frames or samples, depending on the [`Clips`].
    pub windows: Vec<Range<usize>>,
    /// Windows decoded in one batch.
    pub batch: usize,
    /// Tokens decoded per window.
    pub tokens: usize,
    /// Number of beams; 1 is greedy.
    pub beam: usize,
}

impl Job {
    /// The decoding options of every window.
    pub fn options(&self) -> AsrOptions {
        AsrOptions {
            batch_size: self.batch,
            beam_size: self.beam,
            temperatures: vec![0.0],
            suppress_blank: false,
            max_new_tokens: Some(self.tokens),
            ..AsrOptions::default()
        }
    }

    /// Suppresses the end-of-text token, so that every window gets exactly [`tokens`](Self::tokens) tokens.
    pub fn suppressed(&self) -> Suppressed {
        Suppressed { always: vec![self.special.eot], begin: Vec::new() }
    }

    /// Encodes and decodes all windows. Returns the tokens of each.
    ///
    /// # Errors
    /// Also if a window did not get exactly [`tokens`](Self::tokens) tokens, so that such a run is never timed.
    pub fn run<B: Backend>(&self, model: &Whisper<B>, clips: &Clips<B>) -> Result<Vec<Vec<u32>>> {
        let options = self.options();
        let slots = Slots::new(model, self.special, &options, &self.suppressed(), self.batch)?;
        let mut scheduler = Scheduler::new(model, slots, &options, self.special.sot)?;
        let mut work = Queue {
            prompt: self.prompt.clone(),
            windows: &self.windows,
            next: 0,
            tokens: vec![Vec::new(); self.windows.len()],
        };
        scheduler.run(clips, &mut work)?;
        let counts: Vec<usize> = work.tokens.iter().map(Vec::len).collect();
        if counts.iter().any(|n| *n != self.tokens) {
            let reason = format!("the chunks gave {counts:?} tokens; nothing is timed");
            return Err(Error::config("tokens", self.tokens, reason));
        }
        Ok(work.tokens)
    }
}

/// A [`Source`] that decodes every window once with the same prompt.
struct Queue<'a> {
    prompt: Prompt,
    windows: &'a [Range<usize>],
    next: usize,
    tokens: Vec<Vec<u32>>,
}

impl Source for Queue<'_> {
    fn next(&mut self) -> Option<Clip> {
        let id = self.next;
        self.next += 1;
        let range = self.windows.get(id)?.clone();
        Some(Clip { id, range, detect_language: false })
    }

    fn begin(&mut self, id: usize, _: Option<&[f32]>) -> Result<Option<Decode>> {
        Ok(Some(Decode { prompt: self.prompt.clone(), temperature: 0.0, stream: [id as u32, 0] }))
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        self.tokens[id] = decoded.tokens;
        Ok(None)
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// The ranges of `chunks` consecutive windows of `frames` mel frames.
pub fn side_by_side(chunks: usize, frames: usize) -> Vec<Range<usize>> {
    (0..chunks).map(|id| id * frames..(id + 1) * frames).collect()
}

/// Synthetic features of `chunks` consecutive windows, constant over 8 frames. They equal those of
/// `tests/reference/seeded.py` with the seeds 2024, 2025, ..., which the peers' benchmarks use, too.
pub fn clips<B: Backend>(model: &Whisper<B>, chunks: usize) -> Result<Clips<'static, B>> {
    let (mels, window) = (model.config.num_mel_bins, 2 * model.config.max_source_positions);
    let blocks = window.div_ceil(8);
    let frames = chunks * window;
    let mut values = Vec::with_capacity((frames + 1) * mels);
    for chunk in 0..chunks {
        let base = fnv1a("features") ^ (2024 + chunk as u64);
        for frame in 0..window {
            values.extend((0..mels).map(|mel| seeded(base, (mel * blocks + frame / 8) as u64)));
        }
    }
    values.resize((frames + 1) * mels, 0.0);
    let mut mel = Tensor::zeros(&model.be, &[frames + 1, mels])?;
    model.be.write_act(&mut mel.buf, 0, &values)?;
    Ok(Clips::Recording { mel, frames })
}

fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The splitmix64 generator at `index`, as an f16-exact number in [-1, 1).
fn seeded(base: u64, index: u64) -> f32 {
    let mut z = base.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    half::f16::from_f32((z >> 40) as f32 / (1u32 << 24) as f32 * 2.0 - 1.0).to_f32()
}
