//! End-to-end benchmark: from the bytes of a recording to tokens or text, with the time of each stage.

use std::time::Instant;

use diarist::asr::clips::Clips;
use diarist::asr::{self, AsrOptions, Chunks};
use diarist::audio::{self, DecodeOptions};
use diarist::models::whisper::Config;
use diarist::types::Chunk;
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::vad::{Detector, VadOptions};
use diarist::{Error, Result, assets};

use crate::Subject;
use crate::args::Args;
use crate::check;
use crate::job::Job;
use crate::machine::Machine;

/// The measurements.
#[derive(Clone, Debug, Default)]
pub struct EndToEnd {
    /// Length of the audio.
    pub audio_seconds: f64,
    /// Number of VAD chunks.
    pub chunks: usize,
    /// Number of decoded tokens.
    pub tokens: usize,
    /// Seconds of each stage, in each timed run.
    pub runs: Vec<Vec<(&'static str, f64)>>,
    /// The text of the first chunk; `None` with random weights.
    pub text: Option<String>,
}

/// An encoded recording in memory, and how often it is repeated.
struct Recording {
    bytes: Vec<u8>,
    name: String,
    times: usize,
}

impl EndToEnd {
    /// Runs everything once to warm up, then `--runs` times with the clock. Stores the windows in `job`.
    ///
    /// # Errors
    /// Also if two runs differ, or if random weights gave another number of tokens than `--tokens`.
    pub fn measure<B: Machine>(args: &Args, subject: &Subject<B>, job: &mut Job) -> Result<Self> {
        let recording = Recording::read(args)?;
        let mut measured = EndToEnd::default();
        let mut before: Option<Vec<Vec<u32>>> = None;
        for run in 0..=args.runs {
            let mut clock = Clock { stages: Vec::new(), since: Instant::now() };
            let samples = recording.decode()?;
            clock.lap("audio");
            let chunks = speech(&samples, &subject.model().config)?;
            clock.lap("vad");
            if chunks.is_empty() {
                return Err(Error::config("audio", &recording.name, "nobody speaks in it; nothing is timed"));
            }
            let tokens = recognise(args, subject, job, &samples, &chunks, &mut measured.text)?;
            subject.model().be.wait()?;
            clock.lap("asr");
            match &before {
                Some(before) => check::repeated(before, &tokens)?,
                None if matches!(subject, Subject::Random(_)) => {
                    check::alone(subject.model(), job, &Clips::Samples(&samples), &tokens)?;
                }
                None => {}
            }
            if run > 0 {
                measured.runs.push(clock.stages);
            }
            measured.audio_seconds = samples.len() as f64 / SAMPLE_RATE as f64;
            measured.chunks = chunks.len();
            measured.tokens = tokens.iter().map(Vec::len).sum();
            before = Some(tokens);
        }
        Ok(measured)
    }
}

/// Stopwatch: the time of each stage.
struct Clock {
    stages: Vec<(&'static str, f64)>,
    since: Instant,
}

impl Clock {
    /// Ends the stage `name`.
    fn lap(&mut self, name: &'static str) {
        self.stages.push((name, self.since.elapsed().as_secs_f64()));
        self.since = Instant::now();
    }
}

impl Recording {
    fn read(args: &Args) -> Result<Self> {
        let (bytes, name) = match &args.audio {
            Some(path) => (std::fs::read(path).map_err(|e| Error::io(path, e))?, path.display().to_string()),
            None => (assets::SAMPLE.to_vec(), "conversation.flac".into()),
        };
        let mut recording = Recording { bytes, name, times: 1 };
        if let Some(hours) = args.hours {
            let once = recording.decode()?.len() as f64 / SAMPLE_RATE as f64;
            recording.times = (hours * 3600.0 / once).round().max(1.0) as usize;
        }
        Ok(recording)
    }

    /// The samples. Each repetition is decoded again, so that the time is that of a recording of the full length.
    fn decode(&self) -> Result<Vec<f32>> {
        let mut samples = Vec::new();
        for _ in 0..self.times {
            let audio =
                audio::decode_bytes(&self.bytes, &self.name, &DecodeOptions::default(), audio::ignore_progress)?;
            samples.extend_from_slice(&audio.samples);
        }
        Ok(samples)
    }
}

/// VAD chunks of at most the model's window.
fn speech(samples: &[f32], config: &Config) -> Result<Vec<Chunk>> {
    let chunk_size = Seconds(config.window().0.min(30.0));
    Detector::Energy.chunks(samples, &VadOptions { chunk_size, ..VadOptions::default() })
}

/// The tokens of each chunk. A checkpoint ends its text by itself; random weights give exactly `--tokens` tokens.
fn recognise<B: Machine>(
    args: &Args,
    subject: &Subject<B>,
    job: &mut Job,
    samples: &[f32],
    chunks: &[Chunk],
    text: &mut Option<String>,
) -> Result<Vec<Vec<u32>>> {
    match subject {
        Subject::Random(model) => {
            job.windows =
                chunks.iter().map(|c| c.span.start.to_samples_floor()..c.span.end.to_samples_floor()).collect();
            job.batch = args.batch(chunks.len());
            job.run(model, &Clips::Samples(samples))
        }
        Subject::Real(pipeline) => {
            let options = AsrOptions {
                language: Some("en".into()),
                batch_size: args.batch(chunks.len()),
                beam_size: args.beam as usize,
                ..AsrOptions::default()
            };
            let (model, tokenizer) = (&pipeline.recognizer.whisper, &pipeline.recognizer.tokenizer);
            let found = asr::transcribe(model, tokenizer, samples, Chunks::Speech(chunks), &options, &mut ())?;
            *text = found.segments.first().map(|segment| segment.text.clone());
            Ok(found.segments.into_iter().map(|segment| segment.tokens).collect())
        }
    }
}
