//! The command line of the benchmark.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};
use diarist::models::whisper::Config;
use diarist::{Error, Result};

use crate::shapes;

/// Times the recogniser: end to end on audio, or encoder and decoder on a fixed amount of work. Or the aligner, or the networks of
/// diarization.
#[derive(Parser)]
#[command(name = "diarist-bench", version, max_term_width = 110)]
#[command(group(ArgGroup::new("subject").required(true).args(["model", "shape", "align_model", "diarize_model"])))]
pub struct Args {
    /// A Whisper folder in the Hugging Face layout, or `builtin`.
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Random weights in a published size instead.
    #[arg(long, value_parser = shapes::NAMES)]
    pub shape: Option<String>,
    /// Time word times instead: a wav2vec2 folder, or random weights in a published size, wav2vec2-base, wav2vec2-large or
    /// wav2vec2-1b.
    #[arg(long, conflicts_with_all = ["chunks", "batch", "tokens", "stage", "profile"])]
    pub align_model: Option<String>,
    /// Time the networks of diarization instead: a folder with `segmentation` and `embedding`, or random weights in the published
    /// sizes, pyannote.
    #[arg(long, conflicts_with_all = ["chunks", "batch", "tokens", "stage", "profile", "segments"])]
    pub diarize_model: Option<String>,
    /// The transcript of the recording, as JSON, for --align-model [default: made up].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "shape"])]
    pub segments: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// How activations are stored on a GPU: float16 or bfloat16.
    #[arg(long, default_value = "float16", value_parser = ["float16", "bfloat16"])]
    pub compute_type: String,
    /// What is kept of the audio: auto, f32 (on the CPU), f16, int8 keys and values, or absorbed, the encoder's output.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8", "absorbed"])]
    pub cross_cache: String,
    /// Most bytes of GPU memory to use.
    #[arg(long)]
    pub gpu_memory_limit: Option<u64>,
    /// A recording to transcribe end to end, decoding and voice activity included.
    #[arg(long, value_name = "FILE", conflicts_with = "chunks")]
    pub audio: Option<PathBuf>,
    /// Hours of audio end to end: the recording, or the built-in sample, again and again.
    #[arg(long, conflicts_with = "chunks", value_parser = hours)]
    pub hours: Option<f64>,
    /// Windows of made-up features, instead of audio [default: one batch].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Windows decoded at once [default: all, at most 32].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: Option<u32>,
    /// Tokens decoded for each window of made-up features or of random weights, at least 3 [default: 120, or as many as the
    /// model can].
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..))]
    pub tokens: Option<u32>,
    /// Beams; 1 is greedy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub beam: u32,
    /// CPU threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// How weights are held on the CPU: auto (f16 where that loses nothing, else f32), f32, f16; on both devices: int8.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8"])]
    pub weights: String,
    /// Timed runs, after one that is not counted; the median is reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Also time these stages by themselves, kernel by kernel, against this machine's ceilings: all, features, encode,
    /// decode.
    #[arg(long, value_name = "STAGE", value_parser = ["all", "features", "encode", "decode"])]
    pub stage: Vec<String>,
    /// Run this stage alone between the profiler's start and stop marks: features, encode or decode.
    #[arg(long, value_name = "STAGE", value_parser = ["features", "encode", "decode"])]
    pub profile: Option<String>,
    /// Shrinks the work the ceilings are measured with, for slow machines [default: 1 on a GPU, 40 on the CPU].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub scale: Option<u32>,
    /// Print one JSON object instead of a table for people.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Whether recordings are transcribed, and not windows of made-up features.
    pub fn is_end_to_end(&self) -> bool {
        self.audio.is_some() || self.hours.is_some()
    }

    /// Whether this stage is to be timed by itself.
    pub fn wants(&self, stage: &str) -> bool {
        self.stage.iter().any(|asked| asked == stage || asked == "all")
    }

    /// Tokens for each window.
    ///
    /// # Errors
    /// If the model cannot write as many.
    pub fn tokens(&self, config: &Config) -> Result<usize> {
        // The text has half of the positions.
        let most = config.max_target_positions / 2;
        match self.tokens {
            Some(tokens) if tokens as usize > most => {
                Err(Error::config("tokens", tokens, format!("this model writes at most {most} for a window")))
            }
            Some(tokens) => Ok(tokens as usize),
            None => Ok(most.min(120)),
        }
    }

    /// Windows of made-up features.
    pub fn window_count(&self) -> usize {
        self.chunks.or(self.batch).unwrap_or(8) as usize
    }

    /// Windows decoded at once, of `windows`.
    pub fn batch(&self, windows: usize) -> usize {
        self.batch.map_or(32, |batch| batch as usize).min(windows).max(1)
    }
}

fn hours(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(hours) if hours > 0.0 && hours <= 48.0 => Ok(hours),
        _ => Err("expected hours, more than 0 and at most 48".into()),
    }
}
