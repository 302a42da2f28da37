//! Command-line options of the benchmark.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};
use diarist::models::whisper::Config;
use diarist::{Error, Result};

use crate::shapes;

/// Benchmark of the recogniser (end to end on audio, or encoder and decoder on a fixed amount of work), of the aligner,
/// or of the diarization networks.
#[derive(Parser)]
#[command(name = "diarist-bench", version, max_term_width = 110)]
#[command(group(ArgGroup::new("subject").required(true).args(["model", "shape", "align_model", "diarize_model"])))]
pub struct Args {
    /// A Whisper folder in the Hugging Face layout, or `builtin`.
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// Whisper with random weights in a published size.
    #[arg(long, value_parser = shapes::NAMES)]
    pub shape: Option<String>,
    /// Benchmark forced alignment: a wav2vec2 folder, or random weights in a published size (wav2vec2-base,
    /// wav2vec2-large or wav2vec2-1b).
    #[arg(long, conflicts_with_all = ["chunks", "batch", "tokens", "stage", "profile"])]
    pub align_model: Option<String>,
    /// Benchmark the diarization networks: a folder with `segmentation` and `embedding`, or random weights in the
    /// published sizes (pyannote).
    #[arg(long, conflicts_with_all = ["chunks", "batch", "tokens", "stage", "profile", "segments"])]
    pub diarize_model: Option<String>,
    /// The transcript of the recording as JSON, for --align-model [default: synthetic].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "shape"])]
    pub segments: Option<PathBuf>,
    /// Device: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Type of activations on a GPU: float16 or bfloat16.
    #[arg(long, default_value = "float16", value_parser = ["float16", "bfloat16"])]
    pub compute_type: String,
    /// Cross-attention cache: keys and values as auto, f32 (CPU only), f16 or int8; or absorbed, the encoder's output.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8", "absorbed"])]
    pub cross_cache: String,
    /// Maximum bytes of GPU memory to use.
    #[arg(long)]
    pub gpu_memory_limit: Option<u64>,
    /// A recording to transcribe end to end, including audio decoding and voice activity detection.
    #[arg(long, value_name = "FILE", conflicts_with = "chunks")]
    pub audio: Option<PathBuf>,
    /// Hours of audio to transcribe end to end: the recording, or the built-in sample, repeated.
    #[arg(long, conflicts_with = "chunks", value_parser = hours)]
    pub hours: Option<f64>,
    /// Number of windows of synthetic features, used instead of audio [default: one batch].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub chunks: Option<u32>,
    /// Windows decoded in one batch [default: all, at most 32].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: Option<u32>,
    /// Tokens decoded per window, with synthetic features or random weights; at least 3 [default: 120, or the model's
    /// maximum].
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..))]
    pub tokens: Option<u32>,
    /// Number of beams; 1 is greedy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub beam: u32,
    /// CPU threads; 0 is one per core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Type of the weights. CPU: auto (f16 if that is exact, else f32), f32, f16 or int8. GPU: auto or int8.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8"])]
    pub weights: String,
    /// Number of timed runs, after one warm-up run; the median is reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Also time these stages separately, by kernel, and compare them with this machine's ceilings: all, features,
    /// encode, decode.
    #[arg(long, value_name = "STAGE", value_parser = ["all", "features", "encode", "decode"])]
    pub stage: Vec<String>,
    /// Run only this stage, between the profiler's start and stop marks: features, encode or decode.
    #[arg(long, value_name = "STAGE", value_parser = ["features", "encode", "decode"])]
    pub profile: Option<String>,
    /// Divisor of the work with which the ceilings are measured, for slow machines [default: 1 on a GPU, 40 on the
    /// CPU].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub scale: Option<u32>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Whether audio is transcribed end to end, rather than windows of synthetic features.
    pub fn is_end_to_end(&self) -> bool {
        self.audio.is_some() || self.hours.is_some()
    }

    /// Whether `--stage` names this stage.
    pub fn wants(&self, stage: &str) -> bool {
        self.stage.iter().any(|asked| asked == stage || asked == "all")
    }

    /// Tokens decoded per window.
    ///
    /// # Errors
    /// If the model's context is too short for that number.
    pub fn tokens(&self, config: &Config) -> Result<usize> {
        // Half of the positions is reserved for the prompt.
        let most = config.max_target_positions / 2;
        match self.tokens {
            Some(tokens) if tokens as usize > most => {
                Err(Error::config("tokens", tokens, format!("this model writes at most {most} for a window")))
            }
            Some(tokens) => Ok(tokens as usize),
            None => Ok(most.min(120)),
        }
    }

    /// Number of windows of synthetic features.
    pub fn window_count(&self) -> usize {
        self.chunks.or(self.batch).unwrap_or(8) as usize
    }

    /// Batch size for this number of windows.
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
