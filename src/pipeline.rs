//! The spine: a recording in, a transcript out, one line per stage.
//!
//! Every stage goes through `Run::stage`, which times it, marks it in the log and for profilers, reports it and adds its name to an
//! error. No stage calls another.

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

/// A recording, as the caller has it.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A file of any format that [`audio`] reads, or a named pipe.
    Path(&'a Path),
    /// What comes through the standard input, which can be read once.
    Stdin,
    /// Such a file in memory, with a name for errors.
    Bytes(&'a [u8], &'a str),
    /// Decoded already: 16 kHz mono in `[-1, 1]`.
    Samples(&'a [f32]),
}

/// Hears how the work goes on, and may stop it. Every method has a body that does nothing.
pub trait Observer {
    /// `done` of `total` seconds of audio have passed `stage`; no total where the container does not tell.
    fn progress(&mut self, stage: &'static str, done: Seconds, total: Option<Seconds>) {
        let _ = (stage, done, total);
    }
    /// New segments, in the order of the recording, as soon as they and all before them are known; with
    /// [`Options::channel_speakers`] all of them at once.
    fn segments(&mut self, segments: &[Segment]) {
        let _ = segments;
    }
    /// Words of recordings in `language` cannot be aligned, for this reason; what they have instead.
    fn unaligned(&mut self, language: &str, reason: &str, instead: Instead) {
        let _ = (language, reason, instead);
    }
    /// Speakers cannot be told apart in this recording, for this reason: its transcript names none.
    fn without_speakers(&mut self, reason: &Error) {
        let _ = reason;
    }
    /// `stage` is finished.
    fn finished(&mut self, stage: &'static str, took: Duration) {
        let _ = (stage, took);
    }
    /// Whether to stop as soon as possible, with [`Error::Cancelled`].
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Wants to know nothing.
impl Observer for () {}

/// A recording that has been read, and in which speech has been found.
#[derive(Debug, Default)]
pub struct Prepared {
    /// 16 kHz mono; where channels are speakers the first one.
    samples: Arc<Vec<f32>>,
    chunks: Vec<Chunk>,
    /// What the diarizer's first network heard, where speech was found with it.
    heard: Option<Heard>,
    /// The other channels, where each is a speaker.
    others: Vec<Prepared>,
    /// The earlier channel whose sound this one repeats: it is not heard again.
    repeats: Option<usize>,
}

impl Prepared {
    fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }
}

/// The models of every stage, loaded once. Threads may use it at the same time: what they have to decode meets in the same slots.
pub struct Pipeline<B: Waveform> {
    /// The recogniser.
    pub whisper: Arc<Whisper<B>>,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// What finds speech. [`Detector::None`] decodes windows that follow each other, as openai-whisper does.
    pub detector: Detector,
    /// What finds the words in the sound, where [`WordTimes::Aligned`] asks for it: unless put here, the built-in one, which
    /// knows English.
    pub aligners: Aligners<B>,
    /// What tells speakers apart, where [`Options::speakers`] asks for it.
    pub speakers: Option<Speakers>,
    /// Where the recogniser works, for all who call at once.
    pub slots: SharedSlots<B>,
}

impl<B: Waveform> Pipeline<B> {
    /// Loads a Whisper model folder in the Hugging Face layout.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] naming the file that is missing or wrong.
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

    /// Loads the model that is compiled into the program.
    ///
    /// # Errors
    /// None, unless the device has no room.
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

    /// Loads what [`Hub::obtain`](crate::hub::Hub::obtain) found.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(be: &B, source: &Source, detector: Detector) -> Result<Self> {
        match source {
            Source::Checkpoint(checkpoint) => Self::open_checkpoint(be, checkpoint, detector),
            Source::Builtin => Self::builtin(be, detector),
        }
    }

    /// Writes down what is said in a recording.
    ///
    /// # Errors
    /// [`Error::Stage`] with the stage that failed and why; [`Error::Cancelled`] if the observer asked to stop.
    pub fn transcribe(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        self.finish(&self.prepare(input, options, observer)?, options, observer)
    }

    /// The stages before the recogniser, which need the processor only, but for a network that finds speech: a caller with several recordings can read the next
    /// one while the device is busy with this one.
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

    /// The other stages, with the same options.
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

    /// Speech, merged into chunks that fit `chunk_size` and the model's window; and what the diarizer heard, if it was asked.
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

    /// What the recogniser is to hear; `None` where nobody speaks.
    fn chunks_of<'a>(&self, prepared: &'a Prepared) -> Option<Chunks<'a>> {
        match self.detector {
            Detector::None => Some(Chunks::Windows),
            _ if prepared.chunks.is_empty() => None,
            _ => Some(Chunks::Speech(&prepared.chunks)),
        }
    }
}

/// One recording on its way through the stages.
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

/// The recogniser's view of the observer.
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
