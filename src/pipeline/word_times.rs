//! Word times: the choice between forced alignment and dynamic time warping, and the stages that depend on it.
//!
//! Dynamic time warping runs during decoding. So whether the language has an aligner must be known before recognition, if the recogniser
//! could fall back to it.

use std::sync::Arc;

use super::aligners::Found;
use super::observer::{AsrWatch, StageWatch};
use super::{Pipeline, Prepared, Run};
use crate::align::{AlignOptions, Aligner};
use crate::asr::{AsrOptions, AsrResult, Recognizer, language_names};
use crate::config::{Options, WordTimes};
use crate::engine::Backend;
use crate::error::Result;
use crate::types::{Span, Word};

/// How the words of one recording get their times.
pub(super) struct Choice<'a, B: Backend> {
    /// The recogniser's options, with the language if it was detected, and with word times if it must give them.
    asr: AsrOptions,
    /// The language that was detected, and its probability.
    detected: Option<(String, Option<f64>)>,
    /// Forced alignment was requested, with these options.
    align: Option<&'a AlignOptions>,
    /// The aligner of the language, if the language is known and has one.
    aligner: Option<Arc<Aligner<B>>>,
}

impl<B: Backend, R: Recognizer> Pipeline<B, R> {
    /// Chooses the source of the word times. Detects the language first if the choice depends on it.
    pub(super) fn choose_word_times<'a>(
        &self,
        prepared: &Prepared,
        options: &'a Options,
        run: &mut Run,
    ) -> Result<Choice<'a, B>> {
        let mut choice = Choice { asr: options.asr.clone(), detected: None, align: None, aligner: None };
        let align = match &options.words {
            WordTimes::None => return Ok(choice),
            WordTimes::Dtw => {
                choice.asr.word_timestamps = true;
                return Ok(choice);
            }
            WordTimes::Aligned(align) => align,
        };
        choice.align = Some(align);
        let capabilities = self.recognizer.capabilities();
        let mut language = options.asr.language.clone().or(capabilities.only_language);
        if language.is_none() && capabilities.word_times {
            choice.detected = run.stage("language", |run| self.detect_language(prepared, &choice.asr, run))?;
            choice.asr.language = choice.detected.as_ref().map(|(code, _)| code.clone());
            language = choice.asr.language.clone();
        }
        // The option may hold an English name ("German") instead of a code.
        let language = language.map(|language| language_names::code(&language).map(str::to_string)).transpose()?;
        if let Some(language) = language {
            choice.aligner = self.aligner(&language, run)?;
            choice.asr.word_timestamps |= choice.aligner.is_none() && capabilities.word_times;
        }
        Ok(choice)
    }

    /// The stage "asr".
    pub(super) fn recognise(&self, prepared: &Prepared, choice: &Choice<B>, run: &mut Run) -> Result<AsrResult> {
        let found = run.stage("asr", |run| {
            let Some(chunks) = self.chunks_of(prepared) else { return Ok(AsrResult::default()) };
            let mut watch = AsrWatch { run, duration: prepared.duration() };
            self.recognizer.recognise(&prepared.samples, chunks, &choice.asr, &mut watch)
        })?;
        Ok(match choice.detected.clone().filter(|(code, _)| *code == found.language) {
            Some((code, probability)) => AsrResult { language: code, language_probability: probability, ..found },
            None => found,
        })
    }

    /// The stage "align", if there is an aligner for the language.
    pub(super) fn align_words(
        &self,
        prepared: &Prepared,
        choice: Choice<B>,
        mut found: AsrResult,
        run: &mut Run,
    ) -> Result<AsrResult> {
        let Some(options) = choice.align else { return Ok(found) };
        let mut aligner = choice.aligner;
        if aligner.is_none() && !choice.asr.word_timestamps && !found.segments.is_empty() {
            aligner = self.aligner(&found.language, run)?;
        }
        let Some(aligner) = aligner else { return Ok(found) };
        found.segments = run.stage("align", |run| {
            let mut watch = StageWatch { observer: &mut *run.observer, stage: "align" };
            let segments = std::mem::take(&mut found.segments);
            aligner.segments(&self.be, &prepared.samples, segments, &found.language, options, &mut watch)
        })?;
        Ok(found)
    }

    /// The aligner of a language; if there is none, reports the reason to the observer.
    fn aligner(&self, language: &str, run: &mut Run) -> Result<Option<Arc<Aligner<B>>>> {
        match self.aligners.of(&self.be, language)? {
            Found::Aligner(aligner) => Ok(Some(aligner)),
            Found::Nothing(reason) => {
                let has_dtw = self.recognizer.capabilities().word_times;
                run.observer.unaligned(
                    language,
                    &reason,
                    if has_dtw { WordTimeFallback::Dtw } else { WordTimeFallback::Nothing },
                );
                Ok(None)
            }
        }
    }

    fn detect_language(
        &self,
        prepared: &Prepared,
        options: &AsrOptions,
        run: &mut Run,
    ) -> Result<Option<(String, Option<f64>)>> {
        let Some(chunks) = self.chunks_of(prepared) else { return Ok(None) };
        let mut watch = AsrWatch { run, duration: prepared.duration() };
        self.recognizer.detect_language(&prepared.samples, chunks, options, &mut watch)
    }
}

/// The fallback for word times in a language without an aligner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordTimeFallback {
    /// Dynamic time warping over the recogniser's cross-attention weights.
    Dtw,
    /// No word times.
    Nothing,
}

/// The spans of the words that have a start and an end.
pub(super) fn spans(words: &[Word]) -> Vec<Span> {
    words.iter().filter_map(|word| Some(Span { start: word.start?, end: word.end? })).collect()
}
