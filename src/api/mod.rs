//! The front door: an [`Engine`] that is built once and asked many times, from any thread.
//!
//! | file | |
//! |---|---|
//! | [`compute`] | which device, and how numbers are held on it |
//! | [`builder`] | names of models to an [`Engine`] |
//! | [`recording`] | a recording that the engine may keep |
//! | [`stream`] | segments as they are ready |
//! | `stages` | what hides the device's type |
//!
//! It adds nothing to the stages but a device chosen at run time: [`Pipeline`](crate::pipeline::Pipeline) is the same with a
//! device that the compiler knows.
//!
//! ```
//! use diarist::{Engine, config::Options, output::{self, OutputFormat, SubtitleOptions}, pipeline::Input};
//!
//! let engine = Engine::builder().model("builtin").diarizer("builtin").build()?;
//! let options = Options { speakers: Some(Default::default()), ..Options::default() };
//! let transcript = engine.transcribe(Input::Bytes(diarist::assets::SAMPLE, "conversation.flac"), &options)?;
//! print!("{}", output::render(OutputFormat::Txt, &transcript, &SubtitleOptions::default())?);
//! # assert!(!transcript.turns.is_empty());
//! # Ok::<(), diarist::Error>(())
//! ```
//!
//! # Several callers
//!
//! An [`Engine`] is cheap to clone and may be called from many threads at once. Their recordings share what the device has: the
//! recogniser decodes chunks of all of them side by side, in turn, so that a short recording does not wait for the end of a
//! long one. A result does not depend on who else is there.
//!
//! # What stays
//!
//! Semantic versioning covers this module, [`config`](crate::config), [`types`](crate::types), [`pipeline`](crate::pipeline)'s
//! [`Input`], [`Observer`], [`Error`](crate::Error), the options of the stages, and the JSON that [`types`](crate::types) serialise to:
//! within 0.x a minor version may change them, with a note; a patch does not. Texts of errors, logs, kernels, the
//! [`Backend`](crate::engine::Backend) trait and what is under [`models`](crate::models) may change at any time.

pub mod builder;
pub mod compute;
pub mod recording;
mod stages;
pub mod stream;

use std::sync::Arc;

pub use builder::EngineBuilder;
pub use compute::{Compute, ComputeType, CrossCache, Device, OpenDevice};
pub use recording::Recording;
pub use stream::Segments;

use self::stages::Stages;
use crate::config::Options;
use crate::diarize::Diarization;
use crate::error::Result;
use crate::pipeline::{Input, Observer, Prepared};
use crate::types::{Chunk, Segment, Transcript};

/// The models of every stage on one device, loaded once.
#[derive(Clone)]
pub struct Engine {
    stages: Arc<dyn Stages>,
    device: Arc<str>,
    gpu: bool,
}

impl Engine {
    /// Chooses models and a device. Without a choice: the built-in recogniser and aligner, no diarizer, a GPU if there is one.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Writes down what is said in a recording: with word times where [`Options::words`] asks for them, with speakers where
    /// [`Options::speakers`] does.
    ///
    /// # Errors
    /// [`Error::Stage`](crate::Error::Stage) with the stage that failed and why.
    pub fn transcribe(&self, input: Input, options: &Options) -> Result<Transcript> {
        self.stages.transcribe(input, options, &mut ())
    }

    /// The same under the eyes of an observer, who hears of progress and of segments as they are ready, on the caller's thread, and may
    /// stop the work.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); [`Error::Cancelled`](crate::Error::Cancelled) if the observer asked to stop.
    pub fn transcribe_watched(
        &self,
        input: Input,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Transcript> {
        self.stages.transcribe(input, options, observer)
    }

    /// The segments of a recording as they are ready, in its order; the work goes on in a thread of its own. See [`Segments`].
    pub fn segments(&self, recording: Recording, options: Options) -> Segments {
        Segments::start(self.clone(), recording, options)
    }

    /// Where somebody speaks: the chunks that the recogniser would hear, each with the speech in it.
    ///
    /// # Errors
    /// As [`transcribe_watched`](Self::transcribe_watched).
    pub fn speech(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Vec<Chunk>> {
        Ok(self.stages.prepare(input, options, observer)?.into_chunks())
    }

    /// When the words of segments that are known are said: `language` is the code of what is spoken. Segments come back as
    /// sentences, in order of time. Of the options, those of the recording and of [`Options::words`] count.
    ///
    /// # Errors
    /// As [`transcribe_watched`](Self::transcribe_watched); [`Error::Config`](crate::Error::Config) for a language without an aligner.
    pub fn align(
        &self,
        input: Input,
        segments: Vec<Segment>,
        language: &str,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Segment>> {
        self.stages.align(input, segments, language, options, observer)
    }

    /// Who speaks when, without words. Of the options, those of the recording and of [`Options::speakers`] count.
    ///
    /// # Errors
    /// As [`transcribe_watched`](Self::transcribe_watched); [`Error::Config`](crate::Error::Config) for an engine without a diarizer.
    pub fn diarize(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Diarization> {
        self.stages.diarize(input, options, observer)
    }

    /// The stages of [`transcribe`](Self::transcribe) before the recogniser: with several recordings at hand the next one can be
    /// read while the device is busy with this one.
    ///
    /// # Errors
    /// As [`transcribe_watched`](Self::transcribe_watched).
    pub fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared> {
        self.stages.prepare(input, options, observer)
    }

    /// The other stages, with the same options.
    ///
    /// # Errors
    /// As [`transcribe_watched`](Self::transcribe_watched).
    pub fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        self.stages.finish(prepared, options, observer)
    }

    /// Loads the aligner of a language before it is needed; why there is none, if so.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled), and whatever the device reports.
    pub fn load_aligner(&self, language: &str) -> Result<Option<String>> {
        self.stages.load_aligner(language)
    }

    /// What it computes on, as one line for people.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Whether the processor is idle while the recogniser works.
    pub fn spares_the_processor(&self) -> bool {
        self.gpu
    }

    /// Bytes of the device's memory that are free; `None` where nobody counts, as on the CPU.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn available_memory(&self) -> Result<Option<u64>> {
        self.stages.available_memory()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("device", &self.device).finish_non_exhaustive()
    }
}
