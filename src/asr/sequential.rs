//! Sequential decoding without voice activity detection: each window begins where the transcript of the previous one
//! ends. The text so far is its prompt if requested
//! ([`condition_on_previous_text`](super::AsrOptions::condition_on_previous_text)).
//!
//! With word times the next window begins where the last word ends, unless the transcript ends with a single timestamp,
//! which means that no speech follows.
//!
//! Source: faster-whisper `transcribe.py::generate_segments`.

use std::ops::Range;

use super::Observer;
use super::attempt::{ClipDecoding, ClipOutcome, Setup};
use super::batched::segment;
use super::fallback::{Attempt, is_no_speech};
use super::language;
use super::segments::{Piece, Split, ends_in_single, split};
use super::slots::{Decode, Decoded};
use super::source::{Clip, Source};
use super::token_times::{KnownText, TokenTimes};
use super::word_times::PendingWords;
use crate::error::Result;
use crate::types::Segment;
use crate::units::{EncoderFrame, MelFrame, Seconds};

/// The [`Source`] of the consecutive windows of one recording.
pub struct Sequential<'a> {
    setup: Setup<'a>,
    observer: &'a mut dyn Observer,
    /// Length of the recording in mel frames.
    frames: usize,
    /// Unfinished parts of the recording to transcribe, in mel frames; the first one is last.
    clips: Vec<Range<usize>>,
    /// Length of a full window in mel frames.
    window: usize,
    /// Start of the next window in mel frames.
    seek: usize,
    /// Number of windows so far.
    windows: usize,
    /// The window being decoded.
    decoding: Option<ClipDecoding>,
    /// Tokens of the initial prompt and of all segments.
    written: Vec<u32>,
    /// Index in `written` where the next window's prompt begins.
    prompt_from: usize,
    /// The segments of the window, while they wait for word times.
    pending: Option<(PendingWords, Window)>,
    /// End of the last word so far.
    last_speech: Seconds,
    segments: Vec<Segment>,
}

/// The consequences of a window's transcript for the next window.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Start of the next window, relative to this one.
    advance: MelFrame,
    /// Whether the transcript ends with a single timestamp, so that no speech follows.
    complete: bool,
    /// Whether the transcript is excluded from the next window's prompt.
    resets_prompt: bool,
}

impl<'a> Sequential<'a> {
    /// A recording of `frames` mel frames, for a model whose window has `source_positions` encoder frames.
    pub fn new(
        setup: Setup<'a>,
        frames: usize,
        source_positions: usize,
        observer: &'a mut dyn Observer,
    ) -> Result<Self> {
        let clips = clips(&setup.options.clip_timestamps, frames);
        Ok(Sequential {
            written: setup.initial_prompt()?,
            setup,
            observer,
            frames,
            seek: clips.last().map_or(frames, |clip| clip.start),
            clips,
            window: source_positions * EncoderFrame::MEL_FRAMES,
            windows: 0,
            decoding: None,
            prompt_from: 0,
            pending: None,
            last_speech: Seconds::default(),
            segments: Vec::new(),
        })
    }

    /// All segments in order of time.
    pub fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// Length of the window at `seek` in mel frames. It ends with its clip at the latest. 0 at the end of the last
    /// clip.
    fn window_frames(&self) -> usize {
        let end = self.clips.last().map_or(0, |clip| clip.end);
        self.window.min(end.saturating_sub(self.seek))
    }

    /// Removes finished clips, and moves `seek` to the start of the next one.
    fn skip_finished_clips(&mut self) {
        while let Some(clip) = self.clips.last() {
            self.seek = self.seek.max(clip.start);
            if self.seek < clip.end {
                return;
            }
            self.clips.pop();
            self.seek = self.clips.last().map_or(self.seek, |next| next.start);
        }
    }

    /// Takes the accepted attempt of the window. The window is finished unless word times are requested.
    fn accept(&mut self, decoding: &ClipDecoding, attempt: &Attempt) -> Result<()> {
        let Setup { tokenizer, options, .. } = self.setup;
        let frames = MelFrame(self.window_frames());
        if is_no_speech(attempt, options) {
            self.done(Vec::new(), Window { advance: frames, complete: true, resets_prompt: false });
            return Ok(());
        }
        let pieces = split(tokenizer, &attempt.tokens, frames);
        let segments = self.segments_of(&pieces, attempt)?;
        let window = Window {
            // If 0.00 is the only timestamp, the same window would be decoded forever.
            advance: if pieces.advance.0 == 0 { frames } else { pieces.advance },
            complete: ends_in_single(tokenizer, &attempt.tokens),
            resets_prompt: !options.condition_on_previous_text
                || attempt.temperature > options.prompt_reset_on_temperature,
        };
        let pending = match options.word_timestamps {
            true => PendingWords::new(tokenizer, options.task, decoding.prompt(), &segments, frames),
            false => None,
        };
        match pending {
            Some(pending) => self.pending = Some((pending, window)),
            None => self.done(segments, window),
        }
        Ok(())
    }

    /// Adds the segments that have text and a duration, and moves `seek` to the next window.
    fn done(&mut self, segments: Vec<Segment>, window: Window) {
        let before = self.segments.len();
        for segment in segments {
            if segment.start != segment.end && !segment.text.trim().is_empty() {
                self.written.extend(&segment.tokens);
                self.segments.push(segment);
            }
        }
        self.seek += window.advance.0;
        if window.resets_prompt {
            self.prompt_from = self.written.len();
        }
        let progress = self.seek as f64 / self.frames.max(1) as f64;
        self.observer.chunk(&self.segments[before..], progress.min(1.0));
    }

    fn segments_of(&self, pieces: &Split, attempt: &Attempt) -> Result<Vec<Segment>> {
        let at = |frame: MelFrame| MelFrame(self.seek + frame.0).to_seconds();
        let one = |piece: &Piece| {
            let text = self.setup.tokenizer.decode(&piece.tokens)?;
            Ok(segment(at(piece.start), at(piece.end), &piece.tokens, text, attempt))
        };
        pieces.pieces.iter().map(one).collect()
    }

    /// Start of the next window, relative to this one, from the word times: the end of the last word, unless the
    /// transcript is complete.
    fn advance(&mut self, segments: &[Segment], window: Window) -> MelFrame {
        let words = segments.iter().rev().flat_map(|segment| segment.words.iter().flatten().rev());
        let last_word = words.map(|word| word.end).next().flatten();
        let Some(end) = last_word.or(segments.last().map(|segment| segment.end)) else { return window.advance };
        self.last_speech = end;
        let frame = (end.0 * MelFrame::PER_SECOND as f64).round_ties_even() as usize;
        match frame.checked_sub(self.seek) {
            Some(advance) if advance > 0 && !window.complete => MelFrame(advance),
            _ => window.advance,
        }
    }
}

/// The parts between alternating starts and ends, limited to the length of the recording; the first one is last.
fn clips(timestamps: &[f64], frames: usize) -> Vec<Range<usize>> {
    // faster-whisper rounds half to even
    let mut points: Vec<usize> =
        timestamps.iter().map(|t| (t * MelFrame::PER_SECOND as f64).round_ties_even() as usize).collect();
    if points.is_empty() {
        points.push(0);
    }
    if !points.len().is_multiple_of(2) {
        points.push(frames);
    }
    points.chunks_exact(2).rev().map(|pair| pair[0]..pair[1].min(frames)).collect()
}

impl Source for Sequential<'_> {
    fn next(&mut self) -> Option<Clip> {
        if self.decoding.is_some() || self.pending.is_some() {
            return None;
        }
        self.skip_finished_clips();
        if self.window_frames() == 0 {
            return None;
        }
        // The id selects the random number stream, so it is unique for every window.
        let id = self.windows;
        self.windows += 1;
        let range = self.seek..self.seek + self.window_frames();
        Some(Clip { id, range, detect_language: self.setup.detects_each() })
    }

    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>> {
        let ranked = logits.map(|logits| language::rank(self.setup.tokenizer, logits)).unwrap_or_default();
        let language = ranked.first().map(|best| best.token);
        let prompt = self.setup.prompt(&self.written[self.prompt_from..], language, self.seek == 0)?;
        let decoding = ClipDecoding::new(id, prompt);
        let first = decoding.first(self.setup.options);
        self.decoding = Some(decoding);
        Ok(Some(first))
    }

    fn finish(&mut self, _: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let Some(mut decoding) = self.decoding.take() else { return Ok(None) };
        match decoding.judge(decoded, &self.setup)? {
            ClipOutcome::Again(decode) => {
                self.decoding = Some(decoding);
                Ok(Some(decode))
            }
            ClipOutcome::Done(attempt) => {
                self.accept(&decoding, &attempt)?;
                Ok(None)
            }
        }
    }

    fn text_to_align(&mut self, _: usize) -> Option<KnownText> {
        self.pending.as_ref().map(|(pending, _)| pending.text())
    }

    fn set_token_times(&mut self, _: usize, times: TokenTimes) -> Result<()> {
        let Some((pending, window)) = self.pending.take() else { return Ok(()) };
        let offset = MelFrame(self.seek).to_seconds();
        let segments = pending.with_token_times(self.setup.tokenizer, &times, offset, self.last_speech)?;
        let advance = self.advance(&segments, window);
        self.done(segments, Window { advance, ..window });
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}
