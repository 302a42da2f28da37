//! Recognition with word times: forced alignment, or dynamic time warping if the language has no aligner.

use super::aligners::Found;
use super::speakers::StageWatch;
use super::{AsrWatch, Pipeline, Prepared, Run};
use crate::align::{AlignOptions, Aligner};
use crate::asr::{AsrOptions, AsrResult, language_names};
use crate::engine::waveform::Waveform;
use crate::error::Result;
use crate::types::{Segment, Span, Word};

/// Source of the word times.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WordTimes {
    /// No word times.
    #[default]
    None,
    /// Forced alignment with a wav2vec2 model. If the language has no aligner, the fallback is [`Dtw`](Self::Dtw) if
    /// the recogniser supports it, else no word times; reported with
    /// [`Observer::unaligned`](super::Observer::unaligned).
    Aligned(AlignOptions),
    /// Dynamic time warping over the recogniser's cross-attention weights.
    Dtw,
}

impl<B: Waveform> Pipeline<B> {
    /// Recognises speech and determines the word times that `words` requests.
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
        // DTW runs during decoding, so whether the fallback is needed must be known before: detect the language first.
        let mut language = options.language.clone().or_else(|| self.only_language());
        let mut detected = None;
        if language.is_none() && self.has_dtw() {
            detected = run.stage("language", |run| self.detect_language(prepared, &options, run))?;
            options.language = detected.as_ref().map(|(code, _)| code.clone());
            language = options.language.clone();
        }
        let mut aligner = None;
        // The option may hold an English name ("German") instead of a code.
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

    /// The aligner of a language; if there is none, reports the reason to the observer.
    fn aligner(&self, language: &str, run: &mut Run) -> Result<Option<std::sync::Arc<Aligner<B>>>> {
        match self.aligners.of(&self.whisper.be, language)? {
            Found::Aligner(aligner) => Ok(Some(aligner)),
            Found::Nothing(reason) => {
                run.observer.unaligned(language, &reason, if self.has_dtw() { Instead::Dtw } else { Instead::Nothing });
                Ok(None)
            }
        }
    }

    /// Whether the checkpoint lists alignment heads, which DTW needs.
    fn has_dtw(&self) -> bool {
        self.whisper.generation.alignment_heads.as_ref().is_some_and(|heads| !heads.is_empty())
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

/// The fallback for word times in a language without an aligner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Dynamic time warping over the recogniser's cross-attention weights.
    Dtw,
    /// No word times.
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

/// The words of all segments, concatenated.
pub(super) fn all(segments: &[Segment]) -> Vec<Word> {
    segments.iter().flat_map(|segment| segment.words.iter().flatten()).cloned().collect()
}

/// The spans of the words that have a start and an end.
pub(super) fn spans(words: &[Word]) -> Vec<Span> {
    words.iter().filter_map(|word| Some(Span { start: word.start?, end: word.end? })).collect()
}
