//! Batched decoding of independent chunks from voice activity detection, in all slots at once.
//!
//! WhisperX decodes each chunk once. Here a chunk whose result fails the thresholds is decoded again at a higher
//! temperature while the others continue. The text of chunks that pass is the same as WhisperX's.

use std::ops::Range;

use super::Observer;
use super::attempt::{ClipDecoding, ClipOutcome, Setup};
use super::fallback::{Attempt, is_no_speech};
use super::language;
use super::segments::split;
use super::slots::{Decode, Decoded};
use super::source::{Clip, Source};
use super::token_times::{KnownText, TokenTimes};
use super::word_times::PendingWords;
use crate::error::Result;
use crate::types::{Chunk, Segment};
use crate::units::{MelFrame, Seconds};

/// The [`Source`] of the chunks of one recording that has the slots for itself.
pub struct Batched<'a> {
    setup: Setup<'a>,
    chunks: &'a [Chunk],
    observer: &'a mut dyn Observer,
    /// The first chunk that has not been started.
    next: usize,
    work: ChunkDecoding,
    segments: Vec<Segment>,
}

impl<'a> Batched<'a> {
    /// All chunks still to decode.
    pub fn new(setup: Setup<'a>, chunks: &'a [Chunk], observer: &'a mut dyn Observer) -> Result<Self> {
        let work = ChunkDecoding::new(&setup, chunks.len())?;
        Ok(Batched { setup, chunks, observer, next: 0, work, segments: Vec::new() })
    }

    /// The segments of all chunks, in the order of the chunks.
    pub fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// Reports the chunks that are finished, in order.
    fn report(&mut self) {
        while let Some((segments, progress)) = self.work.next_finished() {
            self.observer.chunk(&segments, progress);
            self.segments.extend(segments);
        }
    }
}

impl Source for Batched<'_> {
    fn next(&mut self) -> Option<Clip> {
        let id = self.next;
        let range = range_of(self.chunks.get(id)?);
        self.next += 1;
        Some(Clip { id, range, detect_language: self.setup.detects_each() })
    }

    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>> {
        self.work.begin(&self.setup, id, logits).map(Some)
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let again = self.work.finish(&self.setup, self.chunks, id, decoded)?;
        self.report();
        Ok(again)
    }

    fn text_to_align(&mut self, id: usize) -> Option<KnownText> {
        self.work.text_to_align(id)
    }

    fn set_token_times(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        self.work.set_token_times(&self.setup, self.chunks, id, times)?;
        self.report();
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}

/// The state of all chunks of one recording.
pub(super) struct ChunkDecoding {
    /// Prompt tokens of the initial prompt, the same for every chunk.
    initial: Vec<u32>,
    /// Chunks being decoded.
    decodings: Vec<Option<ClipDecoding>>,
    /// Segments that wait for their word times.
    pending: Vec<Option<PendingWords>>,
    /// Segments of finished chunks that have not been reported.
    finished: Vec<Option<Vec<Segment>>>,
    /// Number of reported chunks.
    reported: usize,
    /// Number of finished chunks.
    done: usize,
}

impl ChunkDecoding {
    pub fn new(setup: &Setup, chunks: usize) -> Result<Self> {
        let (decodings, pending, finished) = (vec![None; chunks], vec![None; chunks], vec![None; chunks]);
        Ok(ChunkDecoding { initial: setup.initial_prompt()?, decodings, pending, finished, reported: 0, done: 0 })
    }

    /// See [`Source::begin`]; the number of a chunk is its id.
    pub fn begin(&mut self, setup: &Setup, id: usize, logits: Option<&[f32]>) -> Result<Decode> {
        let ranked = logits.map(|logits| language::rank(setup.tokenizer, logits)).unwrap_or_default();
        let prompt = setup.prompt(&self.initial, ranked.first().map(|best| best.token), true)?;
        let decoding = ClipDecoding::new(id, prompt);
        let first = decoding.first(setup.options);
        self.decodings[id] = Some(decoding);
        Ok(first)
    }

    /// See [`Source::finish`].
    pub fn finish(&mut self, setup: &Setup, chunks: &[Chunk], id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let Some(mut decoding) = self.decodings[id].take() else { return Ok(None) };
        match decoding.judge(decoded, setup)? {
            ClipOutcome::Again(decode) => {
                self.decodings[id] = Some(decoding);
                Ok(Some(decode))
            }
            ClipOutcome::Done(attempt) => {
                self.accept(setup, &chunks[id], (id, &decoding, &attempt))?;
                Ok(None)
            }
        }
    }

    /// Takes the accepted attempt of a chunk. Its segments are finished unless word times are requested.
    fn accept(
        &mut self,
        setup: &Setup,
        chunk: &Chunk,
        (id, decoding, attempt): (usize, &ClipDecoding, &Attempt),
    ) -> Result<()> {
        let segments = segments_of(chunk, attempt, setup)?;
        if setup.options.word_timestamps {
            let prompt = decoding.prompt();
            self.pending[id] =
                PendingWords::new(setup.tokenizer, setup.options.task, prompt, &segments, window_of(chunk));
        }
        if self.pending[id].is_none() {
            self.done(id, segments);
        }
        Ok(())
    }

    /// See [`Source::text_to_align`].
    pub fn text_to_align(&mut self, id: usize) -> Option<KnownText> {
        self.pending[id].as_ref().map(PendingWords::text)
    }

    /// See [`Source::set_token_times`].
    pub fn set_token_times(&mut self, setup: &Setup, chunks: &[Chunk], id: usize, times: TokenTimes) -> Result<()> {
        let Some(pending) = self.pending[id].take() else { return Ok(()) };
        // The previous chunk may not be finished yet, but voice activity detection has the end of its speech.
        let before = id.checked_sub(1).map_or(Seconds(0.0), |before| chunks[before].span.end);
        let segments = pending.with_token_times(setup.tokenizer, &times, chunks[id].span.start, before)?;
        self.done(id, segments);
        Ok(())
    }

    fn done(&mut self, id: usize, mut segments: Vec<Segment>) {
        segments.retain(|segment| !segment.text.trim().is_empty());
        self.finished[id] = Some(segments);
        self.done += 1;
    }

    /// The segments of the next chunk in order, if it is finished, and the share of all work done.
    pub fn next_finished(&mut self) -> Option<(Vec<Segment>, f64)> {
        let segments = self.finished.get_mut(self.reported)?.take()?;
        self.reported += 1;
        Some((segments, self.reported as f64 / self.finished.len() as f64))
    }

    /// Number of chunks that are not finished.
    pub fn unfinished(&self) -> usize {
        self.finished.len() - self.done
    }

    /// Whether all chunks have been reported.
    pub fn is_finished(&self) -> bool {
        self.reported == self.finished.len()
    }
}

/// The range of samples of a chunk.
pub(super) fn range_of(chunk: &Chunk) -> Range<usize> {
    let start = chunk.span.start.to_samples_floor();
    start..chunk.span.end.to_samples_floor().max(start)
}

/// Length of a chunk in mel frames.
fn window_of(chunk: &Chunk) -> MelFrame {
    MelFrame((chunk.span.duration() * MelFrame::PER_SECOND as f64).max(0.0) as usize)
}

/// The segments of a chunk: one without timestamps, one per piece between timestamps otherwise, none if the attempt
/// counts as no speech. Segments may have empty text.
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

/// A segment with the scores of its attempt.
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
