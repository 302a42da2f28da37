//! Stages without the recogniser.

use super::aligners::Found;
use super::speakers::StageWatch;
use super::{Input, Observer, Pipeline, Prepared, Run, WordTimes};
use crate::align::AlignOptions;
use crate::asr::language_names;
use crate::config::Options;
use crate::diarize::Diarization;
use crate::engine::waveform::Waveform;
use crate::error::{Error, Result};
use crate::types::{Chunk, Segment};

impl<B: Waveform> Pipeline<B> {
    /// When the words of segments that are known are said; `language` is a code or an English name. Segments come back as sentences,
    /// in order of time; see [`Aligner::segments`](crate::align::Aligner::segments). Of the options, those of the recording and of
    /// [`WordTimes::Aligned`] count.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); [`Error::Config`] for a language without an aligner.
    pub fn align(
        &self,
        input: Input,
        segments: Vec<Segment>,
        language: &str,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Segment>> {
        let language = language_names::code(language)?;
        let be = &self.whisper.be;
        let aligner = match self.aligners.of(be, language)? {
            Found::Aligner(aligner) => aligner,
            Found::Nothing(reason) => return Err(Error::config("language", language, reason)),
        };
        let mut run = Run { observer };
        let audio = run.stage("audio", |run| run.decode(input, options))?;
        let align = match &options.words {
            WordTimes::Aligned(options) => options,
            WordTimes::None | WordTimes::Dtw => &AlignOptions::default(),
        };
        run.stage("align", |run| {
            let mut watch = StageWatch { observer: &mut *run.observer, stage: "align" };
            aligner.segments(be, &audio.samples, segments, language, align, &mut watch)
        })
    }

    /// Who speaks when, the speakers named after [`Speakers::gallery`](super::Speakers::gallery) if there is one. Of the options, those of
    /// the recording and how many speakers there may be count.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); [`Error::Config`] without [`speakers`](Self::speakers).
    pub fn diarize(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Diarization> {
        let Some(speakers) = &self.speakers else {
            return Err(Error::config("diarize", "given", "there is no diarizer; load one"));
        };
        let mut run = Run { observer };
        let audio = run.stage("audio", |run| run.decode(input, options))?;
        let bounds = options.speakers.map(|options| options.diarize).unwrap_or_default();
        run.stage("diarize", |run| {
            let mut watch = StageWatch { observer: &mut *run.observer, stage: "diarize" };
            let mut found = speakers.finder.diarize(&audio.samples, &bounds, &mut watch)?;
            speakers.name(&mut found)?;
            Ok(found)
        })
    }
}

impl Prepared {
    /// What the recogniser is to hear.
    pub fn into_chunks(self) -> Vec<Chunk> {
        self.all_chunks()
    }
}
