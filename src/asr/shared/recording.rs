//! The state of one caller's recording in the shared slots: remaining chunks, language detection, results.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use crate::asr::attempt::Setup;
use crate::asr::batched::{ChunkDecoding, range_of};
use crate::asr::language::{Language, LanguageVote, RequestedLanguage};
use crate::asr::slots::{Decode, Decoded};
use crate::asr::source::Clip;
use crate::asr::token_times::{KnownText, TokenTimes};
use crate::asr::{AsrOptions, Tokenizer};
use crate::error::Result;
use crate::types::{Chunk, Segment};

/// A message from the worker to a caller.
pub(super) enum Message {
    /// The segments of the next chunk, and the share of all work done, in `[0, 1]`.
    Chunk(Vec<Segment>, f64),
    /// The last message: the language, or the error.
    End(Result<Option<Language>>),
}

/// The requested result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The transcript.
    Text,
    /// Only the language.
    Language,
}

/// The channel to a caller.
pub(super) struct Caller {
    pub sender: Sender<Message>,
    /// Whether the caller has abandoned the recording.
    pub abandoned: Arc<AtomicBool>,
}

impl Caller {
    /// Sends a message. If the caller no longer receives, the recording counts as abandoned.
    pub fn send(&self, message: Message) {
        if self.sender.send(message).is_err() {
            self.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

/// Tokenizer, options and language that all chunks of a recording share.
pub(super) struct DecodeSetup {
    tokenizer: Arc<Tokenizer>,
    options: AsrOptions,
    positions: usize,
    language: Option<Language>,
}

impl DecodeSetup {
    pub fn new(tokenizer: Arc<Tokenizer>, options: AsrOptions, positions: usize) -> Self {
        DecodeSetup { tokenizer, options, positions, language: None }
    }

    fn setup(&self) -> Setup<'_> {
        Setup {
            tokenizer: &self.tokenizer,
            options: &self.options,
            positions: self.positions,
            language: self.language.and_then(|language| self.tokenizer.language_token(language.code)),
        }
    }
}

/// A recording in the shared slots.
pub(super) struct Recording {
    setup: DecodeSetup,
    samples: Arc<Vec<f32>>,
    chunks: Vec<Chunk>,
    goal: Goal,
    /// Whether the language is known, so that decoding can start.
    language_known: bool,
    votes: LanguageVote,
    /// Whether the language of the next chunk is being detected.
    detecting: bool,
    /// Chunks that have not been started, in order.
    remaining: VecDeque<usize>,
    work: ChunkDecoding,
    pub caller: Caller,
}

impl Recording {
    /// A recording before decoding. It must have chunks.
    pub fn new(
        mut setup: DecodeSetup,
        samples: Arc<Vec<f32>>,
        chunks: Vec<Chunk>,
        spoken: RequestedLanguage,
        goal: Goal,
        caller: Caller,
    ) -> Result<Self> {
        let language_known = match spoken {
            RequestedLanguage::Known(language) => {
                setup.language = language;
                true
            }
            RequestedLanguage::Unknown => false,
        };
        let votes = LanguageVote::new(chunks.len(), &setup.options);
        Ok(Recording {
            work: ChunkDecoding::new(&setup.setup(), chunks.len())?,
            remaining: (0..chunks.len()).collect(),
            setup,
            samples,
            chunks,
            goal,
            language_known,
            votes,
            detecting: false,
            caller,
        })
    }

    pub fn options(&self) -> &AsrOptions {
        &self.setup.options
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.setup.tokenizer
    }

    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    pub fn language(&self) -> Option<Language> {
        self.setup.language
    }

    /// Whether the caller has abandoned it.
    pub fn is_abandoned(&self) -> bool {
        self.caller.abandoned.load(Ordering::Relaxed)
    }

    /// Number of slots that it could use.
    pub fn demand(&self) -> usize {
        match self.goal {
            Goal::Text => self.work.unfinished(),
            Goal::Language => 1,
        }
    }

    /// The next clip; its id is the index of its chunk. Until the language is known, there is one clip at a time.
    pub fn next(&mut self) -> Option<Clip> {
        let (id, detect_language) = if self.language_known {
            (self.remaining.pop_front()?, self.setup.setup().detects_each())
        } else if self.detecting {
            return None;
        } else {
            self.detecting = true;
            (self.votes.voted(), true)
        };
        Some(Clip { id, range: range_of(&self.chunks[id]), detect_language })
    }

    /// See [`Source::begin`](crate::asr::source::Source::begin). During language detection, the chunk that decides the
    /// language is decoded at once, because it is already encoded; the others are decoded later.
    pub fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>> {
        if !self.language_known {
            self.detecting = false;
            self.vote(logits.unwrap_or_default());
            if !self.language_known || self.goal == Goal::Language {
                return Ok(None);
            }
            self.remaining.retain(|chunk| *chunk != id);
        }
        let setup = self.setup.setup();
        let each = setup.detects_each();
        self.work.begin(&setup, id, logits.filter(|_| each)).map(Some)
    }

    /// Adds the language of the next chunk to the vote. The language is known if its probability is above the
    /// threshold, or after the last chunk for detection.
    fn vote(&mut self, logits: &[f32]) {
        if let ControlFlow::Break(language) = self.votes.add(&self.setup.tokenizer, logits) {
            self.setup.language = language;
            self.language_known = true;
        }
    }

    /// See [`Source::finish`](crate::asr::source::Source::finish).
    pub fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let again = self.work.finish(&self.setup.setup(), &self.chunks, id, decoded)?;
        self.send_finished();
        Ok(again)
    }

    /// See [`Source::text_to_align`](crate::asr::source::Source::text_to_align).
    pub fn text_to_align(&mut self, id: usize) -> Option<KnownText> {
        self.work.text_to_align(id)
    }

    /// See [`Source::set_token_times`](crate::asr::source::Source::set_token_times).
    pub fn set_token_times(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        self.work.set_token_times(&self.setup.setup(), &self.chunks, id, times)?;
        self.send_finished();
        Ok(())
    }

    /// Sends the chunks that are finished, in order.
    fn send_finished(&mut self) {
        while let Some((segments, progress)) = self.work.next_finished() {
            self.caller.send(Message::Chunk(segments, progress));
        }
    }

    /// Whether all results have been sent, except the end message.
    pub fn is_finished(&self) -> bool {
        match self.goal {
            Goal::Text => self.work.is_finished(),
            Goal::Language => self.language_known,
        }
    }
}
