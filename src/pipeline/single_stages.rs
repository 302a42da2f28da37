//! Alignment and diarization as single calls, without transcription.

use super::aligners::Found;
use super::observer::StageWatch;
use super::{Input, Observer, Pipeline, Prepared, Run, WordTimes};
use crate::align::AlignOptions;
use crate::asr::{Recognizer, language_names};
use crate::config::Options;
use crate::diarize::Diarization;
use crate::engine::Backend;
use crate::error::{Error, Result};
use crate::types::{Chunk, Segment};

impl<B: Backend, R: Recognizer> Pipeline<B, R> {
    /// Forced alignment of existing segments: returns them with word times, split into sentences and in order of time;
    /// see [`Aligner::segments`](crate::align::Aligner::segments). `language` is a code or an English name. Uses only
    /// [`Options::audio`] and the options in [`WordTimes::Aligned`].
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
        let be = &self.be;
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

    /// Diarization without transcription. Speakers that match [`Speakers::gallery`](super::Speakers::gallery) get the
    /// names in it. Uses only [`Options::audio`] and [`SpeakerOptions::diarize`](super::SpeakerOptions::diarize).
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
            let mut found = speakers.diarizer.diarize(&audio.samples, &bounds, &mut watch)?;
            speakers.name(&mut found)?;
            Ok(found)
        })
    }
}

impl Prepared {
    /// The chunks that the recogniser would decode; with channel speakers those of all channels, in order of time.
    pub fn into_chunks(self) -> Vec<Chunk> {
        self.all_chunks()
    }
}
