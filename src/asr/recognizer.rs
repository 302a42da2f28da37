//! The interface of speech recognisers ([`Recognizer`]), and its implementation for Whisper.

use std::sync::Arc;

use super::language::RequestedLanguage;
use super::{AsrOptions, AsrResult, Chunks, Observer, SharedSlots, Tokenizer, language_names};
use crate::engine::Backend;
use crate::error::Result;
use crate::models::whisper::Whisper;
use crate::units::Seconds;

/// The features of a recogniser, from which the pipeline selects its stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    /// Longest chunk that can be recognised in one piece.
    pub window: Seconds,
    /// Whether [`AsrOptions::word_timestamps`] gives the times of words.
    pub word_times: bool,
    /// Code of the language, for a recogniser of a single language.
    pub only_language: Option<String>,
}

/// A speech recogniser: chunks of audio in, segments with text and tokens out.
///
/// Among [`AsrOptions`], [`language`](AsrOptions::language) and [`word_timestamps`](AsrOptions::word_timestamps) apply
/// to every recogniser that supports them. The others are Whisper's; a recogniser without prompts or timestamps ignores
/// them.
pub trait Recognizer: Send + Sync {
    /// What this recogniser supports.
    fn capabilities(&self) -> Capabilities;

    /// Refuses options that this recogniser cannot honour, before a recording is read.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the option.
    fn check(&self, options: &AsrOptions) -> Result<()> {
        let _ = options;
        Ok(())
    }

    /// Detects the language of a recording: its code, and its probability if known. `None` if it cannot be detected.
    ///
    /// # Errors
    /// As [`recognise`](Self::recognise).
    fn detect_language(
        &self,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        options: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<Option<(String, Option<f64>)>>;

    /// Recognises the chunks of a recording. `samples`: the whole recording, 16 kHz mono in `[-1, 1]`. Segments are in
    /// order of time.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for invalid options; [`Error::Cancelled`](crate::Error::Cancelled) if
    /// the observer cancelled; errors of the device.
    fn recognise(
        &self,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        options: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<AsrResult>;
}

/// Whisper with its tokenizer and decoder slots. Concurrent callers share the slots.
pub struct WhisperRecognizer<B: Backend> {
    /// The model.
    pub whisper: Arc<Whisper<B>>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The decoder's slots, shared by all concurrent calls.
    pub slots: SharedSlots<B>,
}

impl<B: Backend> WhisperRecognizer<B> {
    /// A recogniser without slots; they are allocated by the first recording.
    pub fn new(whisper: Whisper<B>, tokenizer: Tokenizer) -> Self {
        WhisperRecognizer { whisper: Arc::new(whisper), tokenizer: Arc::new(tokenizer), slots: SharedSlots::default() }
    }

    /// The language of a model that supports only one.
    fn only_language(&self) -> Option<String> {
        if !self.tokenizer.is_multilingual() {
            return Some("en".into());
        }
        let mut known =
            language_names::LANGUAGES.iter().filter(|(code, _)| self.tokenizer.language_token(code).is_some());
        let first = known.next()?;
        known.next().is_none().then(|| first.0.to_string())
    }
}

impl<B: Backend> Recognizer for WhisperRecognizer<B> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            window: self.whisper.config.window(),
            // Dynamic time warping needs a checkpoint that lists its alignment heads.
            word_times: self.whisper.generation.alignment_heads.as_ref().is_some_and(|heads| !heads.is_empty()),
            only_language: self.only_language(),
        }
    }

    fn check(&self, options: &AsrOptions) -> Result<()> {
        RequestedLanguage::of(&self.tokenizer, options).map(|_| ())
    }

    fn detect_language(
        &self,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        options: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<Option<(String, Option<f64>)>> {
        self.slots.detect_language(&self.whisper, &self.tokenizer, samples, chunks, options, observer)
    }

    fn recognise(
        &self,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        options: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<AsrResult> {
        self.slots.transcribe(&self.whisper, &self.tokenizer, samples, chunks, options, observer)
    }
}
