//! The stage that gives words their times, and what to do where it cannot.

use super::aligners::Found;
use super::speakers::StageWatch;
use super::{AsrWatch, Pipeline, Prepared, Run};
use crate::align::{AlignOptions, Aligner};
use crate::asr::{AsrOptions, AsrResult, language_names};
use crate::engine::waveform::Waveform;
use crate::error::Result;
use crate::types::{Segment, Span, Word};

/// How words get their times.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WordTimes {
    /// They get none.
    #[default]
    None,
    /// By alignment. Where a language has no aligner, by [`Dtw`](Self::Dtw) if the recogniser can do that, else not at all;
    /// the observer hears of it.
    Aligned(AlignOptions),
    /// From the recogniser's cross-attention.
    Dtw,
}

impl<B: Waveform> Pipeline<B> {
    /// What was said, its words with times.
    pub(super) fn words(
        &self,
        prepared: &Prepared,
        options: &AsrOptions,
        words: &WordTimes,
        run: &mut Run,
    ) -> Result<AsrResult> {
        let mut options = options.clone();
        options.word_timestamps |= *words == WordTimes::Dtw;
        let WordTimes::Aligned(align) = words else {
            return run.stage("asr", |run| self.recognise(prepared, &options, run));
        };
        // Where there is something to fall back to, the recogniser must know beforehand whether it is needed.
        let mut language = options.language.clone().or_else(|| self.only_language());
        let mut detected = None;
        if language.is_none() && self.has_dtw() {
            detected = run.stage("language", |run| self.detect_language(prepared, &options, run))?;
            options.language = detected.as_ref().map(|(code, _)| code.clone());
            language = options.language.clone();
        }
        let mut aligner = None;
        // A name (German) is as good as a code.
        let language = language.map(|language| language_names::code(&language).map(str::to_string)).transpose()?;
        if let Some(language) = language {
            aligner = self.aligner(&language, run)?;
            options.word_timestamps |= aligner.is_none() && self.has_dtw();
        }
        let mut found = run.stage("asr", |run| self.recognise(prepared, &options, run))?;
        if let Some((code, probability)) = detected.filter(|(code, _)| *code == found.language) {
            found = AsrResult { language: code, language_probability: probability, ..found };
        }
        if aligner.is_none() && !options.word_timestamps && !found.segments.is_empty() {
            aligner = self.aligner(&found.language, run)?;
        }
        if let Some(aligner) = aligner {
            found.segments = run.stage("align", |run| {
                let segments = std::mem::take(&mut found.segments);
                run.align(&aligner, &self.whisper.be, prepared, (segments, &found.language), align)
            })?;
        }
        Ok(found)
    }

    /// The aligner of a language; the observer hears why there is none.
    fn aligner(&self, language: &str, run: &mut Run) -> Result<Option<std::sync::Arc<Aligner<B>>>> {
        match self.aligners.of(&self.whisper.be, language)? {
            Found::Aligner(aligner) => Ok(Some(aligner)),
            Found::Nothing(reason) => {
                run.observer.unaligned(language, &reason, if self.has_dtw() { Instead::Dtw } else { Instead::Nothing });
                Ok(None)
            }
        }
    }

    /// Whether the checkpoint says which of its heads tell when a word is said.
    fn has_dtw(&self) -> bool {
        self.whisper.generation.alignment_heads.as_ref().is_some_and(|heads| !heads.is_empty())
    }

    /// That of a model that knows no other.
    fn only_language(&self) -> Option<String> {
        if !self.tokenizer.is_multilingual() {
            return Some("en".into());
        }
        let mut known =
            language_names::LANGUAGES.iter().filter(|(code, _)| self.tokenizer.language_token(code).is_some());
        let first = known.next()?;
        known.next().is_none().then(|| first.0.to_string())
    }

    fn detect_language(
        &self,
        prepared: &Prepared,
        options: &AsrOptions,
        run: &mut Run,
    ) -> Result<Option<(String, Option<f64>)>> {
        let Some(chunks) = self.chunks_of(prepared) else { return Ok(None) };
        let Pipeline { whisper, tokenizer, slots, .. } = self;
        let mut watch = AsrWatch { run, duration: prepared.duration() };
        slots.detect_language(whisper, tokenizer, &prepared.samples, chunks, options, &mut watch)
    }

    fn recognise(&self, prepared: &Prepared, options: &AsrOptions, run: &mut Run) -> Result<AsrResult> {
        let Some(chunks) = self.chunks_of(prepared) else { return Ok(AsrResult::default()) };
        let Pipeline { whisper, tokenizer, slots, .. } = self;
        let mut watch = AsrWatch { run, duration: prepared.duration() };
        slots.transcribe(whisper, tokenizer, &prepared.samples, chunks, options, &mut watch)
    }
}

/// What a language without an aligner has instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Times from the recogniser's cross-attention.
    Dtw,
    /// No times of words.
    Nothing,
}

impl Run<'_> {
    fn align<B: Waveform>(
        &mut self,
        aligner: &Aligner<B>,
        be: &B,
        prepared: &Prepared,
        (segments, language): (Vec<Segment>, &str),
        options: &AlignOptions,
    ) -> Result<Vec<Segment>> {
        let mut watch = StageWatch { observer: &mut *self.observer, stage: "align" };
        aligner.segments(be, &prepared.samples, segments, language, options, &mut watch)
    }
}

/// The words of all segments, one after another.
pub(super) fn all(segments: &[Segment]) -> Vec<Word> {
    segments.iter().flat_map(|segment| segment.words.iter().flatten()).cloned().collect()
}

/// The spans of the words that have both times.
pub(super) fn spans(words: &[Word]) -> Vec<Span> {
    words.iter().filter_map(|word| Some(Span { start: word.start?, end: word.end? })).collect()
}
