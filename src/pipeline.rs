//! The transcription pipeline: runs all stages on a recording and returns the transcript.
//!
//! Every stage runs inside `Run::stage`, which measures its time, opens a tracing span and a profiler range, notifies
//! the observer and adds the stage's name to errors. No stage calls another.

pub mod aligners;
mod alone;
mod channels;
mod speakers;
mod words;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::asr::{self, Chunks, SharedSlots, Tokenizer};
use crate::assets;
use crate::audio::{self, Audio};
use crate::config::Options;
use crate::diarize::diarizer::Heard;
use crate::engine::profile::range;
use crate::engine::waveform::Waveform;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::hub::Source;
use crate::models::whisper::{Checkpoint, Config, GenerationConfig, Whisper};
use crate::types::{Chunk, Segment, Transcript};
use crate::units::Seconds;
use crate::vad::{self, Detector, VadOptions};

pub use aligners::Aligners;
pub use speakers::{SpeakerOptions, Speakers};
pub use words::{Instead, WordTimes};

/// A recording, in any form that the caller may have.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Path of an audio file in any format that [`audio`] reads, or of a named pipe.
    Path(&'a Path),
    /// An audio file on the standard input. It can be read only once.
    Stdin,
    /// An audio file in memory, and a name for error messages.
    Bytes(&'a [u8], &'a str),
    /// Decoded samples: 16 kHz, mono, in `[-1, 1]`.
    Samples(&'a [f32]),
}

/// Callbacks for progress, results and cancellation. The default implementations do nothing.
pub trait Observer {
    /// `done` of `total` seconds of audio have passed `stage`. `total` is `None` if the container does not state a
    /// duration.
    fn progress(&mut self, stage: &'static str, done: Seconds, total: Option<Seconds>) {
        let _ = (stage, done, total);
    }
    /// New segments, in order of time. Called as soon as these and all earlier segments are final; with
    /// [`Options::channel_speakers`] called once with all segments.
    fn segments(&mut self, segments: &[Segment]) {
        let _ = segments;
    }
    /// There is no aligner for `language`: why, and the fallback that is used for the word times.
    fn unaligned(&mut self, language: &str, reason: &str, instead: Instead) {
        let _ = (language, reason, instead);
    }
    /// Diarization of this recording failed: the transcript has no speakers.
    fn without_speakers(&mut self, reason: &Error) {
        let _ = reason;
    }
    /// `stage` has finished, after `took`.
    fn finished(&mut self, stage: &'static str, took: Duration) {
        let _ = (stage, took);
    }
    /// Whether to stop as soon as possible, with [`Error::Cancelled`].
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Ignores all events and never cancels.
impl Observer for () {}

/// A decoded recording with the result of voice activity detection: the output of [`Pipeline::prepare`].
#[derive(Debug, Default)]
pub struct Prepared {
    /// 16 kHz mono samples; with channel speakers those of the first channel.
    samples: Arc<Vec<f32>>,
    chunks: Vec<Chunk>,
    /// Output of the diarizer's segmentation network, if the VAD stage has run it. Reused by diarization.
    heard: Option<Heard>,
    /// With channel speakers: the other channels.
    others: Vec<Prepared>,
    /// With channel speakers: index of an earlier channel with the same samples. A duplicate is not transcribed again.
    repeats: Option<usize>,
}

impl Prepared {
    fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }
}

/// The models of every stage, loaded once. Several threads may use it at the same time; their chunks share the
/// decoder's slots.
pub struct Pipeline<B: Waveform> {
    /// The recogniser.
    pub whisper: Arc<Whisper<B>>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Voice activity detection. [`Detector::None`] decodes consecutive 30 s windows, as openai-whisper does.
    pub detector: Detector,
    /// Forced alignment, for [`WordTimes::Aligned`]. Default: the built-in aligner for English.
    pub aligners: Aligners<B>,
    /// Diarization, for [`Options::speakers`].
    pub speakers: Option<Speakers>,
    /// The decoder's slots, shared by all concurrent calls.
    pub slots: SharedSlots<B>,
}

impl<B: Waveform> Pipeline<B> {
    /// Loads a Whisper model folder in the Hugging Face layout.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] with the file that is missing or invalid.
    pub fn open(be: &B, folder: &Path, detector: Detector) -> Result<Self> {
        Self::open_checkpoint(be, &Checkpoint::hugging_face(folder), detector)
    }

    /// Loads a Whisper checkpoint of any format.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_checkpoint(be: &B, checkpoint: &Checkpoint, detector: Detector) -> Result<Self> {
        let files = checkpoint.open()?;
        let tokenizer = Tokenizer::of(checkpoint, &files)?;
        Ok(Self::new(Whisper::load(be, files.config, files.generation, &files.weights)?, tokenizer, detector))
    }

    /// Loads the model that is embedded in the binary.
    ///
    /// # Errors
    /// Only those of the device, such as [`Error::OutOfMemory`].
    pub fn builtin(be: &B, detector: Detector) -> Result<Self> {
        let (name, files) = (Path::new("builtin"), &assets::MODEL);
        let config = Config::parse(files.config, name)?;
        let generation = GenerationConfig::parse(files.generation_config, name)?;
        let weights = Weights::from_static("builtin", files.weights)?;
        let whisper = Whisper::load(be, config, generation, &weights)?;
        let tokenizer = Tokenizer::from_bytes(name, files.tokenizer.as_bytes(), asr::is_multilingual(&whisper))?;
        Ok(Self::new(whisper, tokenizer, detector))
    }

    fn new(whisper: Whisper<B>, tokenizer: Tokenizer, detector: Detector) -> Self {
        Pipeline {
            whisper: Arc::new(whisper),
            tokenizer: Arc::new(tokenizer),
            detector,
            aligners: Aligners::builtin(),
            speakers: None,
            slots: SharedSlots::default(),
        }
    }

    /// Loads a model that [`Hub::obtain`](crate::hub::Hub::obtain) returned.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(be: &B, source: &Source, detector: Detector) -> Result<Self> {
        match source {
            Source::Checkpoint(checkpoint) => Self::open_checkpoint(be, checkpoint, detector),
            Source::Builtin => Self::builtin(be, detector),
        }
    }

    /// Transcribes a recording.
    ///
    /// # Errors
    /// [`Error::Stage`] with the stage that failed and why; [`Error::Cancelled`] if the observer cancelled.
    pub fn transcribe(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        self.finish(&self.prepare(input, options, observer)?, options, observer)
    }

    /// The stages before the recogniser: decoding and voice activity detection. They run on the CPU, except for a VAD
    /// network on the device. A caller with several recordings can prepare the next one while the device works on the
    /// current one.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared> {
        let mut run = Run { observer };
        let reading = channels::reading(input, options)?;
        let audio = run.stage("audio", |run| run.decode(input, &reading))?;
        run.observer.progress("vad", Seconds(0.0), Some(audio.duration()));
        if let Some(speakers) = &options.channel_speakers {
            speakers.labels(1 + audio.others.len())?;
            return run.stage("vad", |run| self.prepare_channels(audio, options, run));
        }
        let (chunks, heard) = run.stage("vad", |run| self.chunks(&audio.samples, &options.vad, run))?;
        Ok(Prepared { samples: Arc::new(audio.samples), chunks, heard, ..Prepared::default() })
    }

    /// The stages from the recogniser on. `options` must be those given to [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        let mut run = Run { observer };
        if let Some(speakers) = &options.channel_speakers {
            return self.finish_channels(prepared, speakers, options, &mut run);
        }
        let found = self.words(prepared, &options.asr, &options.words, &mut run)?;
        let transcript = Transcript {
            duration: prepared.duration(),
            language: (!found.language.is_empty()).then_some(found.language),
            language_probability: found.language_probability,
            word_segments: words::all(&found.segments),
            segments: found.segments,
            ..Transcript::default()
        };
        match &options.speakers {
            Some(options) => self.with_speakers(prepared, transcript, options, &mut run),
            None => Ok(transcript),
        }
    }

    /// Voice activity detection: speech merged into chunks no longer than `chunk_size` and the model's window. Also
    /// returns the output of the diarizer's segmentation network, if that was the detector.
    fn chunks(&self, samples: &[f32], options: &VadOptions, run: &mut Run) -> Result<(Vec<Chunk>, Option<Heard>)> {
        let window = self.whisper.config.window();
        let chunk_size = if options.chunk_size.0 < window.0 { options.chunk_size } else { window };
        let options = VadOptions { chunk_size, ..*options };
        let heard = match self.detector {
            Detector::Diarizer => self.hear(samples, run)?,
            _ => None,
        };
        let chunks = match &heard {
            Some(heard) => {
                vad::chunks_of_scores(&heard.speech, heard.grid, Seconds::from_samples(samples.len()), &options)
            }
            None => self.detector.chunks(samples, &options),
        }?;
        Ok((chunks, heard))
    }

    /// The recogniser's input; `None` if no speech was detected.
    fn chunks_of<'a>(&self, prepared: &'a Prepared) -> Option<Chunks<'a>> {
        match self.detector {
            Detector::None => Some(Chunks::Windows),
            _ if prepared.chunks.is_empty() => None,
            _ => Some(Chunks::Speech(&prepared.chunks)),
        }
    }
}

/// Runs stages on one recording and reports them to the observer.
struct Run<'a> {
    observer: &'a mut dyn Observer,
}

impl Run<'_> {
    fn stage<T>(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.observer.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let _span = tracing::info_span!("stage", name).entered();
        let _range = range(name);
        let start = Instant::now();
        let result = work(self).map_err(|error| error.in_stage(name))?;
        let took = start.elapsed();
        tracing::info!(stage = name, ms = took.as_millis() as u64, "done");
        self.observer.finished(name, took);
        Ok(result)
    }

    fn decode(&mut self, input: Input, options: &Options) -> Result<Audio> {
        let observer = &mut *self.observer;
        let watch = |progress: audio::Progress| {
            observer.progress("audio", progress.decoded, progress.total);
            if observer.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let audio = match input {
            Input::Path(path) => audio::decode(path, &options.audio, watch),
            Input::Stdin => audio::decode_stdin(&options.audio, watch),
            Input::Bytes(bytes, name) => audio::decode_bytes(bytes, name, &options.audio, watch),
            Input::Samples(samples) => {
                audio::from_samples(samples, 1, crate::units::SAMPLE_RATE as u32, options.audio.channel)
            }
        }?;
        let (container, codec) = (&audio.source.container, &audio.source.codec);
        tracing::info!(%container, %codec, duration = audio.duration().0, "decoded");
        Ok(audio)
    }
}

/// Adapts the pipeline's observer to [`asr::Observer`].
struct AsrWatch<'a, 'b> {
    run: &'a mut Run<'b>,
    duration: Seconds,
}

impl asr::Observer for AsrWatch<'_, '_> {
    fn chunk(&mut self, segments: &[Segment], progress: f64) {
        self.run.observer.segments(segments);
        self.run.observer.progress("asr", Seconds(progress * self.duration.0), Some(self.duration));
    }

    fn is_cancelled(&self) -> bool {
        self.run.observer.is_cancelled()
    }
}
