//! Chunks that voice activity detection found: independent, in any order, as many at once as there are slots.
//!
//! WhisperX decodes each chunk once; here a chunk whose result fails the thresholds is decoded again while the others go
//! on. Chunks that pass have WhisperX's text.

use super::Observer;
use super::attempt::{Outcome, Setup, Trial};
use super::fallback::{Attempt, is_no_speech};
use super::language;
use super::listener::{Text, TokenTimes};
use super::scheduler::{Clip, Source};
use super::segments::split;
use super::slots::{Decode, Decoded};
use super::word_times::Untimed;
use crate::error::Result;
use crate::types::{Chunk, Segment};
use crate::units::{MelFrame, Seconds};

/// The chunks of one recording.
pub struct Batched<'a> {
    setup: Setup<'a>,
    chunks: &'a [Chunk],
    /// Prompt tokens of the initial prompt, the same for every chunk.
    initial: Vec<u32>,
    observer: &'a mut dyn Observer,
    /// The first chunk not yet handed out.
    next: usize,
    /// The first chunk the observer has not heard of.
    told: usize,
    trials: Vec<Option<Trial>>,
    /// Segments whose words are listened for.
    untimed: Vec<Option<Untimed>>,
    finished: Vec<Option<Vec<Segment>>>,
}

impl<'a> Batched<'a> {
    /// All chunks still to decode.
    pub fn new(setup: Setup<'a>, chunks: &'a [Chunk], observer: &'a mut dyn Observer) -> Result<Self> {
        let initial = setup.initial_prompt()?;
        let count = chunks.len();
        let (trials, untimed, finished) = (vec![None; count], vec![None; count], vec![None; count]);
        Ok(Batched { setup, chunks, initial, observer, next: 0, told: 0, trials, untimed, finished })
    }

    /// The segments of all chunks, in the order of the chunks.
    pub fn into_segments(self) -> Vec<Segment> {
        self.finished.into_iter().flatten().flatten().collect()
    }

    /// A chunk has its text. Its segments are finished, unless their words are to be listened for.
    fn heard(&mut self, id: usize, trial: &Trial, attempt: &Attempt) -> Result<()> {
        let Setup { tokenizer, options, .. } = self.setup;
        let segments = segments_of(&self.chunks[id], attempt, &self.setup)?;
        if options.word_timestamps {
            let frames = window_of(&self.chunks[id]);
            self.untimed[id] = Untimed::new(tokenizer, options.task, trial.prompt(), &segments, frames);
        }
        if self.untimed[id].is_none() {
            self.done(id, segments);
        }
        Ok(())
    }

    fn done(&mut self, id: usize, mut segments: Vec<Segment>) {
        segments.retain(|segment| !segment.text.trim().is_empty());
        self.finished[id] = Some(segments);
        // Chunks finish in any order, but are read in one: a chunk is told when all before it have been.
        while let Some(segments) = self.finished.get(self.told).and_then(Option::as_deref) {
            self.told += 1;
            self.observer.chunk(segments, self.told as f64 / self.chunks.len() as f64);
        }
    }
}

impl Source for Batched<'_> {
    fn next(&mut self) -> Option<Clip> {
        let id = self.next;
        let span = self.chunks.get(id)?.span;
        self.next += 1;
        let range = span.start.to_samples_floor()..span.end.to_samples_floor().max(span.start.to_samples_floor());
        let detect_language = self.setup.options.multilingual && self.setup.tokenizer.is_multilingual();
        Some(Clip { id, range, detect_language })
    }

    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Decode> {
        let ranked = logits.map(|logits| language::rank(self.setup.tokenizer, logits)).unwrap_or_default();
        let prompt = self.setup.prompt(&self.initial, ranked.first().map(|best| best.token), true)?;
        let trial = Trial::new(id, prompt);
        let first = trial.first(self.setup.options);
        self.trials[id] = Some(trial);
        Ok(first)
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let Some(mut trial) = self.trials[id].take() else { return Ok(None) };
        match trial.judge(decoded, &self.setup)? {
            Outcome::Again(decode) => {
                self.trials[id] = Some(trial);
                Ok(Some(decode))
            }
            Outcome::Done(attempt) => {
                self.heard(id, &trial, &attempt)?;
                Ok(None)
            }
        }
    }

    fn wants_times(&mut self, id: usize) -> Option<Text> {
        self.untimed[id].as_ref().map(Untimed::text)
    }

    fn timed(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        let Some(untimed) = self.untimed[id].take() else { return Ok(()) };
        // the chunk before may not be finished, but where its speech ends is known
        let before = id.checked_sub(1).map_or(Seconds(0.0), |before| self.chunks[before].span.end);
        let segments = untimed.timed(self.setup.tokenizer, &times, self.chunks[id].span.start, before)?;
        self.done(id, segments);
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}

/// Mel frames of a chunk.
fn window_of(chunk: &Chunk) -> MelFrame {
    MelFrame((chunk.span.duration() * MelFrame::PER_SECOND as f64).max(0.0) as usize)
}

/// One segment for the chunk, or one for each of its pieces where the model wrote timestamps; none for silence. Their text
/// may be empty.
fn segments_of(chunk: &Chunk, attempt: &Attempt, setup: &Setup) -> Result<Vec<Segment>> {
    if is_no_speech(attempt, setup.options) {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    let mut push = |start: Seconds, end: Seconds, tokens: &[u32]| -> Result<()> {
        let text = setup.tokenizer.decode(tokens)?;
        segments.push(segment(start, end, tokens, text, attempt));
        Ok(())
    };
    if setup.options.without_timestamps {
        push(chunk.span.start, chunk.span.end, &attempt.tokens)?;
        return Ok(segments);
    }
    let split = split(setup.tokenizer, &attempt.tokens, window_of(chunk));
    for piece in split.pieces.iter().chain(&split.unfinished) {
        // a timestamp may lie beyond the end of the chunk, in the padding
        let at = |frame: MelFrame| Seconds((chunk.span.start + frame.to_seconds()).0.min(chunk.span.end.0));
        push(at(piece.start), at(piece.end), &piece.tokens)?;
    }
    Ok(segments)
}

/// A segment with the measures of the attempt it comes from.
pub(super) fn segment(start: Seconds, end: Seconds, tokens: &[u32], text: String, attempt: &Attempt) -> Segment {
    Segment {
        start: start.round_ms(),
        end: end.round_ms(),
        text,
        tokens: tokens.to_vec(),
        avg_logprob: Some(attempt.avg_logprob),
        no_speech_prob: attempt.no_speech_prob,
        compression_ratio: Some(attempt.compression_ratio),
        temperature: Some(attempt.temperature),
        ..Segment::default()
    }
}
