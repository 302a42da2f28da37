//! The main API: an [`Engine`] is built once and transcribes many recordings, from any thread.
//!
//! | module | contents |
//! |---|---|
//! | [`compute`] | selection of the device and data types |
//! | [`builder`] | builds an [`Engine`] from model names |
//! | [`recording`] | an owned recording |
//! | [`stream`] | iterator over the segments while they are decoded |
//! | `stages` | trait object that hides the backend's type |
//!
//! An engine chooses its device at run time. [`Pipeline`](crate::pipeline::Pipeline) has the same functions, generic
//! over the backend.
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
//! An [`Engine`] is cheap to clone and may be called from many threads at once. The recogniser batches chunks of all
//! concurrent recordings and takes them in turn, so that a short recording does not wait for the end of a long one. A
//! result does not depend on other calls.
//!
//! # Stability
//!
//! Semantic versioning covers this module, [`config`](crate::config), [`types`](crate::types) and their JSON, [`Input`]
//! and [`Observer`] of [`pipeline`](crate::pipeline), [`Error`](crate::Error), and the options of the stages. Within
//! 0.x a minor version may change them, with a note in its release; a patch does not. Error messages, logs, kernels,
//! the [`Backend`](crate::engine::Backend) trait and [`models`](crate::models) may change at any time.

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
    /// A builder to choose models and a device. Defaults: the built-in recogniser and aligner, no diarizer, a GPU if
    /// there is one.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Transcribes a recording, with word times and speakers if [`Options::words`] and [`Options::speakers`] request
    /// them.
    ///
    /// # Errors
    /// [`Error::Stage`](crate::Error::Stage) with the stage that failed and why.
    pub fn transcribe(&self, input: Input, options: &Options) -> Result<Transcript> {
        self.stages.transcribe(input, options, &mut ())
    }

    /// Like [`transcribe`](Self::transcribe), with an observer that receives progress and finished segments, and can
    /// cancel. It is called on the caller's thread.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); [`Error::Cancelled`](crate::Error::Cancelled) if the observer cancelled.
    pub fn transcribe_with_observer(
        &self,
        input: Input,
        options: &Options,
        observer: &mut dyn Observer,
    ) -> Result<Transcript> {
        self.stages.transcribe(input, options, observer)
    }

    /// Transcribes a recording in a new thread; returns an iterator over its segments. See [`Segments`].
    pub fn segments(&self, recording: Recording, options: Options) -> Segments {
        Segments::start(self.clone(), recording, options)
    }

    /// Voice activity detection: the chunks that the recogniser would decode, each with its speech spans.
    ///
    /// # Errors
    /// As [`transcribe_with_observer`](Self::transcribe_with_observer).
    pub fn speech(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Vec<Chunk>> {
        Ok(self.stages.prepare(input, options, observer)?.into_chunks())
    }

    /// Forced alignment of existing segments: returns them with word times, split into sentences and in order of time.
    /// `language` is a code or an English name. Uses only [`Options::audio`] and [`Options::words`].
    ///
    /// # Errors
    /// As [`transcribe_with_observer`](Self::transcribe_with_observer); [`Error::Config`](crate::Error::Config) for a
    /// language without an aligner.
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

    /// Diarization without transcription. Uses only [`Options::audio`] and [`Options::speakers`].
    ///
    /// # Errors
    /// As [`transcribe_with_observer`](Self::transcribe_with_observer); [`Error::Config`](crate::Error::Config) for an
    /// engine without a diarizer.
    pub fn diarize(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Diarization> {
        self.stages.diarize(input, options, observer)
    }

    /// The stages of [`transcribe`](Self::transcribe) before the recogniser: decoding and voice activity detection. A
    /// caller with several recordings can prepare the next one while the device works on the current one.
    ///
    /// # Errors
    /// As [`transcribe_with_observer`](Self::transcribe_with_observer).
    pub fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared> {
        self.stages.prepare(input, options, observer)
    }

    /// The stages of [`transcribe`](Self::transcribe) from the recogniser on. `options` must be those given to
    /// [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// As [`transcribe_with_observer`](Self::transcribe_with_observer).
    pub fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        self.stages.finish(prepared, options, observer)
    }

    /// Loads the aligner of a language in advance. Returns `None` on success, else why there is no aligner.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) and errors of the device.
    pub fn load_aligner(&self, language: &str) -> Result<Option<String>> {
        self.stages.load_aligner(language)
    }

    /// One-line description of the device, for people.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Whether the engine computes on a GPU, so that the CPU is idle while the recogniser works.
    pub fn uses_gpu(&self) -> bool {
        self.gpu
    }

    /// Free memory of the device in bytes; `None` if the device does not report it, as on the CPU.
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
