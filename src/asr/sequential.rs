//! A recording without voice activity detection: one window after the other, each beginning where the transcript of the
//! last one ends, with the text so far as its prompt if wanted.
//!
//! Source: faster-whisper `transcribe.py::generate_segments`.

use std::ops::Range;

use super::Observer;
use super::attempt::{Outcome, Setup, Trial};
use super::batched::segment;
use super::fallback::{Attempt, is_no_speech};
use super::language;
use super::scheduler::{Clip, Source};
use super::segments::{Split, split};
use super::slots::{Decode, Decoded};
use crate::error::Result;
use crate::types::Segment;
use crate::units::{EncoderFrame, MelFrame};

/// The walk through one recording.
pub struct Sequential<'a> {
    setup: Setup<'a>,
    observer: &'a mut dyn Observer,
    /// Mel frames with audio.
    frames: usize,
    /// Parts to transcribe that have not been finished, first one last; in mel frames.
    clips: Vec<Range<usize>>,
    /// Mel frames of a window.
    window: usize,
    /// Where the next window begins, in mel frames.
    seek: usize,
    /// Windows handed out.
    windows: usize,
    /// The window being decoded.
    trial: Option<Trial>,
    /// Tokens of the initial prompt and of all segments.
    written: Vec<u32>,
    /// Those from here on are the next window's prompt.
    prompt_from: usize,
    segments: Vec<Segment>,
}

impl<'a> Sequential<'a> {
    /// A recording of `frames` whole mel frames, for a model with `source_positions` encoder frames.
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
            trial: None,
            prompt_from: 0,
            segments: Vec::new(),
        })
    }

    /// All segments in order of time.
    pub fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// Mel frames of the window at `seek`: no further than the end of the clip it is in. 0 at the end of the last one.
    fn window_frames(&self) -> usize {
        let end = self.clips.last().map_or(0, |clip| clip.end);
        self.window.min(end.saturating_sub(self.seek))
    }

    /// Goes on to the next clip, if this one is finished.
    fn leave_finished_clips(&mut self) {
        while let Some(clip) = self.clips.last() {
            self.seek = self.seek.max(clip.start);
            if self.seek < clip.end {
                return;
            }
            self.clips.pop();
            self.seek = self.clips.last().map_or(self.seek, |next| next.start);
        }
    }

    fn done(&mut self, attempt: &Attempt) -> Result<()> {
        let options = self.setup.options;
        let window = self.window_frames();
        let before = self.segments.len();
        if is_no_speech(attempt, options) {
            self.seek += window;
        } else {
            let pieces = split(self.setup.tokenizer, &attempt.tokens, MelFrame(window));
            self.write(&pieces, attempt)?;
            // a transcript whose only timestamps are 0.00 would have the window heard for ever
            self.seek += if pieces.advance.0 == 0 { window } else { pieces.advance.0 };
            let doubtful = attempt.temperature > options.prompt_reset_on_temperature;
            if !options.condition_on_previous_text || doubtful {
                self.prompt_from = self.written.len();
            }
        }
        let progress = self.seek as f64 / self.frames.max(1) as f64;
        self.observer.chunk(&self.segments[before..], progress.min(1.0));
        Ok(())
    }

    /// Adds the pieces that have text and take time.
    fn write(&mut self, pieces: &Split, attempt: &Attempt) -> Result<()> {
        for piece in &pieces.pieces {
            let text = self.setup.tokenizer.decode(&piece.tokens)?;
            if piece.start == piece.end || text.trim().is_empty() {
                continue;
            }
            self.written.extend(&piece.tokens);
            let at = |frame: MelFrame| MelFrame(self.seek + frame.0).to_seconds();
            self.segments.push(segment(at(piece.start), at(piece.end), &piece.tokens, text, attempt));
        }
        Ok(())
    }
}

/// The parts between alternating starts and ends, the first one last, cut at the end of the recording.
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
        if self.trial.is_some() {
            return None;
        }
        self.leave_finished_clips();
        if self.window_frames() == 0 {
            return None;
        }
        // the id names the random stream: a window that is heard again has another one
        let id = self.windows;
        self.windows += 1;
        let detect_language = self.setup.options.multilingual && self.setup.tokenizer.is_multilingual();
        Some(Clip { id, range: self.seek..self.seek + self.window_frames(), detect_language })
    }

    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Decode> {
        let ranked = logits.map(|logits| language::rank(self.setup.tokenizer, logits)).unwrap_or_default();
        let language = ranked.first().map(|best| best.token);
        let prompt = self.setup.prompt(&self.written[self.prompt_from..], language, self.seek == 0)?;
        let trial = Trial::new(id, prompt);
        let first = trial.first(self.setup.options);
        self.trial = Some(trial);
        Ok(first)
    }

    fn finish(&mut self, _: usize, decoded: Decoded) -> Result<Option<Decode>> {
        let Some(trial) = self.trial.as_mut() else { return Ok(None) };
        match trial.judge(decoded, &self.setup)? {
            Outcome::Again(decode) => Ok(Some(decode)),
            Outcome::Done(attempt) => {
                self.trial = None;
                self.done(&attempt)?;
                Ok(None)
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}
