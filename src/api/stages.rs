//! Type erasure: the stages of a [`Pipeline`] as a trait object, independent of the backend.

use crate::asr::Recognizer;
use crate::config::Options;
use crate::diarize::Diarization;
use crate::engine::Backend;
use crate::error::Result;
use crate::pipeline::aligners::Found;
use crate::pipeline::{Input, Observer, Pipeline, Prepared};
use crate::types::{Segment, Transcript};

/// Object-safe interface of [`Pipeline`]. The methods are documented there and at [`Engine`](super::Engine).
pub(super) trait Stages: Send + Sync {
    fn transcribe(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Transcript>;
    fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared>;
    fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript>;
    fn align(
        &self,
        input: Input,
        segments: Vec<Segment>,
        language: &str,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Segment>>;
    fn diarize(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Diarization>;
    fn load_aligner(&self, language: &str) -> Result<Option<String>>;
    fn available_memory(&self) -> Result<Option<u64>>;
}

impl<B: Backend, R: Recognizer> Stages for Pipeline<B, R> {
    fn transcribe(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        Pipeline::transcribe(self, input, options, observer)
    }

    fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared> {
        Pipeline::prepare(self, input, options, observer)
    }

    fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        Pipeline::finish(self, prepared, options, observer)
    }

    fn align(
        &self,
        input: Input,
        segments: Vec<Segment>,
        language: &str,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Segment>> {
        Pipeline::align(self, input, segments, language, options, observer)
    }

    fn diarize(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Diarization> {
        Pipeline::diarize(self, input, options, observer)
    }

    fn load_aligner(&self, language: &str) -> Result<Option<String>> {
        Ok(match self.aligners.of(&self.be, language)? {
            Found::Aligner(_) => None,
            Found::Nothing(reason) => Some(reason),
        })
    }

    fn available_memory(&self) -> Result<Option<u64>> {
        self.be.available_memory()
    }
}
