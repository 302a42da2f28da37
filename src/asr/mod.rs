//! Speech recognition with Whisper: chunks to tokens to text.
//!
//! [`transcribe`] decodes the chunks of a recording, or its windows without voice activity detection, in decoder slots
//! of one device. A slot is the key-value cache and the search state of one clip; all busy slots form the batch of a
//! decode step.
//!
//! | file | |
//! |---|---|
//! | [`recognizer`] | the interface to the pipeline, and Whisper behind it |
//! | [`options`] | options and their defaults |
//! | [`tokenizer`], [`language_names`] | text to token ids and back |
//! | [`prompt`] | the decoder's prompt |
//! | [`clips`] | encoding: audio to encoder output |
//! | [`slots`] | the decoder's slots: prompt, decode steps, transcript |
//! | `readback` | asynchronous copies of the search state to the host |
//! | [`prefetch`] | encoding of clips before a slot is free |
//! | [`source`] | clips, and the interface between the scheduler and its callers |
//! | [`scheduler`] | continuous batching: assignment of clips to slots |
//! | [`attempt`], [`fallback`] | the searches of one clip, temperature fallback |
//! | [`batched`], [`sequential`] | decoding of independent chunks; of consecutive windows |
//! | [`shared`] | slots shared by the recordings of concurrent callers |
//! | [`suppress`] | suppressed tokens |
//! | [`memory`] | the number of slots that fit the device's memory |
//! | [`token_times`], [`word_times`] | times of tokens and words from cross-attention |
//! | [`segments`] | splitting a transcript at its timestamps |
//! | [`language`] | language detection |
//!
//! The logit rules and the searches are operations of the device:
//! [`SearchOps`](crate::engine::backend::search_ops::SearchOps).

pub mod attempt;
pub mod batched;
pub mod clips;
pub mod fallback;
pub mod language;
pub mod language_names;
pub mod memory;
pub mod options;
pub mod prefetch;
pub mod prompt;
mod readback;
pub mod recognizer;
pub mod scheduler;
pub mod segments;
pub mod sequential;
pub mod shared;
pub mod slots;
pub mod source;
pub mod suppress;
pub mod token_times;
pub mod tokenizer;
pub mod word_times;

use std::ops::{ControlFlow, Range};

pub use options::{AsrOptions, Task};
pub use recognizer::{Capabilities, Recognizer, WhisperRecognizer};
pub use shared::SharedSlots;
pub use tokenizer::Tokenizer;

use self::attempt::Setup;
use self::batched::Batched;
use self::clips::Clips;
use self::language::{Language, LanguageVote, RequestedLanguage};
use self::scheduler::Scheduler;
use self::sequential::Sequential;
use self::slots::Slots;
use self::suppress::{DefaultSuppression, suppressed};
use crate::engine::Backend;
use crate::error::Result;
use crate::models::whisper::Whisper;
use crate::types::{Chunk, Segment};
use crate::units::{EncoderFrame, MelFrame};

/// What to decode.
#[derive(Clone, Copy, Debug)]
pub enum Chunks<'a> {
    /// Chunks of speech, decoded independently; each at most as long as the model's window.
    Speech(&'a [Chunk]),
    /// The whole recording as consecutive windows.
    Windows,
}

/// Callbacks for progress and cancellation.
pub trait Observer {
    /// Called when a chunk or window and all earlier ones are finished, with its segments, and the share of all work
    /// done, in `[0, 1]`.
    fn chunk(&mut self, segments: &[Segment], progress: f64) {
        let _ = (segments, progress);
    }
    /// Whether to stop as soon as possible. Called before every decode step, or every few milliseconds with shared
    /// slots.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Ignores all events and never cancels.
impl Observer for () {}

/// The recognised segments and their language.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AsrResult {
    /// In order of time.
    pub segments: Vec<Segment>,
    /// Code of the language, such as `en`.
    pub language: String,
    /// The probability of the language, if it was detected.
    pub language_probability: Option<f64>,
}

impl AsrResult {
    fn new(segments: Vec<Segment>, language: Option<Language>) -> Self {
        AsrResult {
            segments,
            language: language.map_or("en", |language| language.code).to_owned(),
            language_probability: language.and_then(|language| language.probability),
        }
    }
}

/// Transcribes `samples` (16 kHz mono in `[-1, 1]`).
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) for an option that is invalid, or that this model does not support (such as
/// a language); [`Error::Cancelled`](crate::Error::Cancelled); errors of the model and the device.
pub fn transcribe<B: Backend>(
    model: &Whisper<B>,
    tokenizer: &Tokenizer,
    samples: &[f32],
    chunks: Chunks,
    options: &AsrOptions,
    observer: &mut dyn Observer,
) -> Result<AsrResult> {
    options.check()?;
    tokenizer.check_vocab(model.config.vocab_size)?;
    let (minus_one, slots) = match chunks {
        Chunks::Speech(chunks) => (DefaultSuppression::ModelList, options.batch_size.min(chunks.len()).max(1)),
        Chunks::Windows => (DefaultSuppression::NonSpeech, 1),
    };
    let suppressed = suppressed(model, tokenizer, options, minus_one)?;
    let slots = memory::slots_that_fit(model, options, slots)?;
    let slots = Slots::new(model, tokenizer.special, options, &suppressed, slots)?;
    let mut scheduler = Scheduler::new(model, slots, options, tokenizer.special.sot)?;
    let clips = match chunks {
        Chunks::Speech(_) => Clips::Samples(samples),
        Chunks::Windows => Clips::recording(model, samples)?,
    };
    let language =
        decide_language(&mut scheduler, tokenizer, &clips, &detection_ranges(model, samples, chunks), options)?;
    let setup = Setup {
        tokenizer,
        options,
        positions: model.config.max_target_positions,
        language: language.as_ref().and_then(|language| tokenizer.language_token(language.code)),
    };
    let segments = match chunks {
        Chunks::Speech(chunks) => {
            let mut source = Batched::new(setup, chunks, observer)?;
            scheduler.run(&clips, &mut source)?;
            source.into_segments()
        }
        Chunks::Windows => {
            let frames = samples.len() / MelFrame::SAMPLES;
            let mut source = Sequential::new(setup, frames, model.config.max_source_positions, observer)?;
            scheduler.run(&clips, &mut source)?;
            source.into_segments()
        }
    };
    Ok(AsrResult::new(segments, language))
}

/// Detects the language of a recording: its code and probability, as [`transcribe`] detects it. For callers that need
/// the language before the transcript. `None` for a recording without chunks or windows, and for an English-only model.
///
/// # Errors
/// As [`transcribe`].
pub fn detect_language<B: Backend>(
    model: &Whisper<B>,
    tokenizer: &Tokenizer,
    samples: &[f32],
    chunks: Chunks,
    options: &AsrOptions,
) -> Result<Option<(String, Option<f64>)>> {
    let options = &AsrOptions { word_timestamps: false, ..options.clone() };
    options.check()?;
    tokenizer.check_vocab(model.config.vocab_size)?;
    let suppressed = suppressed(model, tokenizer, options, DefaultSuppression::ModelList)?;
    let slots = Slots::new(model, tokenizer.special, options, &suppressed, 1)?;
    let mut scheduler = Scheduler::new(model, slots, options, tokenizer.special.sot)?;
    let clips = match chunks {
        Chunks::Speech(_) => Clips::Samples(samples),
        Chunks::Windows => Clips::recording(model, samples)?,
    };
    let ranges = detection_ranges(model, samples, chunks);
    let language = decide_language(&mut scheduler, tokenizer, &clips, &ranges, options)?;
    Ok(language.map(|language| (language.code.to_string(), language.probability)))
}

/// Whether a model is multilingual, that is, trained with language and task tokens; an argument of [`Tokenizer::open`].
/// If the checkpoint has no such field, the size of the vocabulary decides: the published English-only models have
/// 51864 tokens, the others more.
pub fn is_multilingual<B: Backend>(model: &Whisper<B>) -> bool {
    model.generation.is_multilingual.unwrap_or(model.config.vocab_size >= 51_865)
}

/// The clips for language detection, in order: the chunks of speech, or the windows. In samples or mel frames, as in
/// [`Clips`].
fn detection_ranges<B: Backend>(model: &Whisper<B>, samples: &[f32], chunks: Chunks) -> Vec<Range<usize>> {
    match chunks {
        Chunks::Speech(chunks) => chunks.iter().map(batched::range_of).collect(),
        Chunks::Windows => {
            let window = model.config.max_source_positions * EncoderFrame::MEL_FRAMES;
            let frames = samples.len() / MelFrame::SAMPLES + 1;
            (0..frames).step_by(window).map(|start| start..frames.min(start + window)).collect()
        }
    }
}

/// The requested language, or else the detected one. `None` for an English-only model, and if there is no clip to
/// detect it from.
fn decide_language<B: Backend>(
    scheduler: &mut Scheduler<B>,
    tokenizer: &Tokenizer,
    clips: &Clips<B>,
    ranges: &[Range<usize>],
    options: &AsrOptions,
) -> Result<Option<Language>> {
    if let RequestedLanguage::Known(language) = RequestedLanguage::of(tokenizer, options)? {
        return Ok(language);
    }
    let mut votes = LanguageVote::new(ranges.len(), options);
    for range in ranges {
        let logits = scheduler.logits_at_start(clips, range.clone())?;
        if let ControlFlow::Break(language) = votes.add(tokenizer, &logits) {
            return Ok(language);
        }
    }
    Ok(None)
}
