//! The state of one caller's recording in the shared slots: remaining chunks, language detection, results.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use crate::asr::attempt::Setup;
use crate::asr::batched::{ChunkDecoding, range_of};
use crate::asr::language::{self, Language, Spoken, Vote};
use crate::asr::slots::{Decode, Decoded};
use crate::asr::source::Clip;
use crate::asr::token_times::{Text, TokenTimes};
use crate::asr::{AsrOptions, Tokenizer};
use crate::error::Result;
use crate::types::{Chunk, Segment};

/// A message to a caller.
pub(super) enum Message {
    /// The segments of the next chunk, and the share of all work done.
    Chunk(Vec<Segment>, f64),
    /// The end: the language, or the error.
    End(Result<Option<Language>>),
}

/// The result that a caller needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The transcript.
    Text,
    /// The language only.
    Language,
}

/// The channel to a caller.
pub(super) struct Caller {
    pub tell: Sender<Message>,
    /// Whether the caller has left.
    pub gone: Arc<AtomicBool>,
}

impl Caller {
    /// Sends a message, unless the caller has left.
    pub fn tell(&self, told: Message) {
        if self.tell.send(told).is_err() {
            self.gone.store(true, Ordering::Relaxed);
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
    known: DecodeSetup,
    samples: Arc<Vec<f32>>,
    chunks: Vec<Chunk>,
    wanted: Goal,
    /// Whether the language is known.
    settled: bool,
    votes: Vote,
    /// Chunks whose language was detected.
    heard: usize,
    /// Whether the next one is being detected.
    listening: bool,
    /// Chunks that have not been started, in order.
    rest: VecDeque<usize>,
    work: ChunkDecoding,
    pub caller: Caller,
}

impl Recording {
    /// A recording of which nothing is decoded. There must be chunks.
    pub fn new(
        mut known: DecodeSetup,
        samples: Arc<Vec<f32>>,
        chunks: Vec<Chunk>,
        spoken: Spoken,
        wanted: Goal,
        caller: Caller,
    ) -> Result<Self> {
        let settled = match spoken {
            Spoken::Known(language) => {
                known.language = language;
                true
            }
            Spoken::Unknown => false,
        };
        Ok(Recording {
            work: ChunkDecoding::new(&known.setup(), chunks.len())?,
            rest: (0..chunks.len()).collect(),
            known,
            samples,
            chunks,
            wanted,
            settled,
            votes: Vote::default(),
            heard: 0,
            listening: false,
            caller,
        })
    }

    pub fn options(&self) -> &AsrOptions {
        &self.known.options
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.known.tokenizer
    }

    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    pub fn language(&self) -> Option<Language> {
        self.known.language
    }

    /// Whether its caller has left.
    pub fn is_abandoned(&self) -> bool {
        self.caller.gone.load(Ordering::Relaxed)
    }

    /// How many slots it could use.
    pub fn demand(&self) -> usize {
        match self.wanted {
            Goal::Text => self.work.undone(),
            Goal::Language => 1,
        }
    }

    /// The next clip, by the number of its chunk. Until the language is known, one at a time.
    pub fn next(&mut self) -> Option<Clip> {
        let (id, detect_language) = if self.settled {
            (self.rest.pop_front()?, self.known.setup().detects_each())
        } else if self.listening {
            return None;
        } else {
            self.listening = true;
            (self.heard, true)
        };
        Some(Clip { id, range: range_of(&self.chunks[id]), detect_language })
    }

    /// See [`Source::begin`](crate::asr::source::Source::begin). The chunk that decides the language is decoded at once;
    /// others are decoded later.
    pub fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>> {
        if !self.settled {
            self.listening = false;
            self.vote(logits.unwrap_or_default());
            if !self.settled || self.wanted == Goal::Language {
                return Ok(None);
            }
            self.rest.retain(|chunk| *chunk != id);
        }
        let setup = self.known.setup();
        let each = setup.detects_each();
        self.work.begin(&setup, id, logits.filter(|_| each)).map(Some)
    }

    /// Adds the language of one more chunk to the vote.
    fn vote(&mut self, logits: &[f32]) {
        let DecodeSetup { tokenizer, options, .. } = &self.known;
        self.heard += 1;
        let winner = language::rank(tokenizer, logits).first().copied();
        let decided = winner.and_then(|winner| self.votes.add(winner, options.language_detection_threshold));
        let is_last = self.heard >= options.language_detection_segments.min(self.chunks.len());
        if decided.is_some() || is_last {
            self.known.language = decided.or_else(|| self.votes.majority()).map(Language::from);
            self.settled = true;
        }
    }

    /// See [`Source::finish`](crate::asr::source::Source::finish).
    pub fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let again = self.work.finish(&self.known.setup(), &self.chunks, id, decoded)?;
        self.tell();
        Ok(again)
    }

    /// See [`Source::wants_times`](crate::asr::source::Source::wants_times).
    pub fn wants_times(&mut self, id: usize) -> Option<Text> {
        self.work.wants_times(id)
    }

    /// See [`Source::timed`](crate::asr::source::Source::timed).
    pub fn timed(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        self.work.timed(&self.known.setup(), &self.chunks, id, times)?;
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        while let Some((segments, progress)) = self.work.told() {
            self.caller.tell(Message::Chunk(segments, progress));
        }
    }

    /// Whether all results have been sent, except the end.
    pub fn is_over(&self) -> bool {
        match self.wanted {
            Goal::Text => self.work.is_over(),
            Goal::Language => self.settled,
        }
    }
}
