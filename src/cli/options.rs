//! The options of `transcribe`, `worker` and `vad`: names, meanings and defaults are WhisperX's where it has them.
//!
//! `-h` shows the everyday ones; `--help` shows all.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use diarist::api::{ComputeType, CrossCache};
use diarist::audio::DecoderKind;
use diarist::vad::VadMethod;

use super::channels::Channels;
use super::speakers::Speakers;
use super::values::{Device, LogLevel, OrNone, Task, boolean, bytes, probability, within};
use super::whisperx::Elsewhere;
use super::words::{Subtitles, Words};

/// Everything `transcribe` can be told.
#[derive(Args, Debug)]
pub struct Transcribe {
    /// Recordings, of sound or video; - is stdin.
    #[arg(value_name = "FILE", required_unless_present = "manifest", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub many: Many,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub work: Work,
    #[command(flatten)]
    pub subtitles: Subtitles,
}

/// Recordings by the thousand: from a list, into one file.
#[derive(Args, Debug)]
#[command(next_help_heading = "Many files")]
pub struct Many {
    /// Recordings from a list: a path a line, or JSON lines {"path": .., "id": ..}.
    ///
    /// Paths are relative to the working directory. An id is a text or an integer that names the recording in OUT; without
    /// one it is the path. The same command goes on where it was stopped.
    #[arg(long, value_name = "LIST", requires = "jsonl", value_hint = ValueHint::FilePath, hide_short_help = true,
          conflicts_with_all = ["files", "output_dir", "output_format", "print_progress", "Subtitles"])]
    pub manifest: Option<PathBuf>,
    /// Add a line of JSON to this file as each recording of the list is finished.
    ///
    /// {"path": .., "id": .., "result": the object of -f json}, or "error": {"kind": .., "message": ..} instead of "result".
    /// With --verbose a line for each recording is printed.
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub jsonl: Option<PathBuf>,
    /// Recordings of the list worked on at once [default: 2].
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Try again those recordings of the list that have an error in OUT.
    #[arg(long, hide_short_help = true)]
    pub retry_failed: bool,
}

/// What decides about the words that are found, and what finds them.
#[derive(Args, Debug)]
pub struct Work {
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub audio: Audio,
    #[command(flatten)]
    pub vad: Vad,
    #[command(flatten)]
    pub decode: Decode,
    #[command(flatten)]
    pub words: Words,
    #[command(flatten)]
    pub speakers: Speakers,
    #[command(flatten)]
    pub channels: Channels,
    #[command(flatten)]
    pub elsewhere: Elsewhere,
}

/// Which model, and what it runs on.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct Model {
    /// A name (see `diarist models`), a folder, a file (.pt, ggml), or `builtin`.
    #[arg(long, default_value = "small")]
    pub model: String,
    #[command(flatten)]
    pub files: ModelFiles,
    #[command(flatten)]
    pub compute: Compute,
    /// Chunks decoded side by side. The text does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 8, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch_size: u32,
    /// What of the encoder's output is held for the decoder: keys and values (int8 takes the least traffic of these), or
    /// absorbed, the output itself, which takes the least memory.
    #[arg(long, value_enum, default_value = "default", hide_short_help = true, help_heading = "Computing")]
    pub cross_cache: CrossCache,
}

/// Where models are, and whether they may be fetched.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelFiles {
    /// Look for models here first, and download them to here.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub model_dir: Option<PathBuf>,
    /// Never download; use what is here (also HF_HUB_OFFLINE=1).
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub model_cache_only: bool,
    /// Access token for gated models (also HF_TOKEN).
    #[arg(long, value_name = "TOKEN", hide_short_help = true)]
    pub hf_token: Option<String>,
}

/// What is computed on, and in what precision.
#[derive(Args, Debug)]
#[command(next_help_heading = "Computing")]
pub struct Compute {
    /// auto, cpu, cuda, or cuda:N for the GPU of that number.
    ///
    /// auto is a GPU if there is one, else the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,
    /// Number of the GPU, as in cuda:N; the CPU has only 0.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub device_index: usize,
    /// Most memory of the GPU to use, for example 8G [default: all of it].
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide_short_help = true)]
    pub gpu_memory_limit: Option<u64>,
    /// CPU threads, at most one per core; 0 for one per core.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub threads: usize,
    /// How numbers are held in memory: float32 is exact, the others smaller.
    #[arg(long, value_enum, default_value = "default", hide_short_help = true)]
    pub compute_type: ComputeType,
    /// True is `--compute-type float16`, False is `--compute-type float32`.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_missing_value = "True", conflicts_with = "compute_type", hide_short_help = true)]
    pub fp16: Option<bool>,
}

/// Where the results go.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Folder for the results; made if need be.
    #[arg(long, short, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub output_dir: PathBuf,
    /// txt, srt, vtt, tsv, json, several by commas, or all.
    ///
    /// Also aud, labels for Audacity, and where speakers are told apart rttm.
    #[arg(long, short = 'f', value_name = "FORMAT", default_value = "all")]
    pub output_format: String,
    /// Print the text to stdout, and which files were written.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "True", default_missing_value = "True", hide_short_help = true)]
    pub verbose: bool,
    /// Print the share done to stdout, in per cent.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub print_progress: bool,
    /// What is told on stderr about the inner workings [default: warning].
    #[arg(long, value_enum, value_name = "LEVEL", hide_short_help = true)]
    pub log_level: Option<LogLevel>,
}

/// Which part of the recording is heard.
#[derive(Args, Debug)]
#[command(next_help_heading = "Audio")]
pub struct Audio {
    /// Use one channel, counted from 0, instead of the mean of all.
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub channel: Option<usize>,
    /// Use this audio track, counted from 1, instead of the default one.
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub track: Option<u16>,
    /// Ignore gaps and start offsets in the times of the file, instead of keeping them as silence.
    #[arg(long, hide_short_help = true)]
    pub no_sync: bool,
    /// Keep what can be decoded of a damaged or cut-off file instead of refusing it.
    #[arg(long, hide_short_help = true)]
    pub allow_truncated: bool,
    /// Who decodes: auto, builtin or ffmpeg.
    ///
    /// auto: the built-in reader, and an ffmpeg found on PATH for formats that it does not know. ffmpeg is given no network.
    #[arg(long, value_name = "DECODER", default_value = "auto", hide_short_help = true)]
    pub decoder: DecoderKind,
    /// Refuse longer recordings, before they take memory [default: 172800, two days; of a worker 14400].
    #[arg(long, value_name = "SECONDS", hide_short_help = true, value_parser = |s: &str| within(s, 0.001, 1e9))]
    pub max_duration: Option<f64>,
}

/// How speech is found, and cut into pieces the model can hear at once.
#[derive(Args, Debug)]
#[command(next_help_heading = "Finding speech")]
pub struct Vad {
    /// none, energy, silero or pyannote.
    ///
    /// Unless one is named: that of --vad-model; where speakers are told apart pyannote, by the network that is at work anyway; else energy.
    #[arg(id = "vad_method", long = "vad-method", visible_alias = "vad", value_name = "METHOD")]
    pub method: Option<VadMethod>,
    /// The network: a file, a folder, or a name on the hub.
    ///
    /// pyannote's pytorch_model.bin, its folder, a pipeline's folder, or organisation/name on the hub; silero_vad.onnx of Silero
    /// v6; either as safetensors.
    #[arg(id = "vad_model", long = "vad-model", value_name = "MODEL", value_hint = ValueHint::FilePath,
          hide_short_help = true)]
    pub model: Option<PathBuf>,
    /// Speech begins where its probability is above this.
    #[arg(id = "vad_onset", long = "vad-onset", value_name = "P", default_value_t = 0.5, value_parser = probability,
          hide_short_help = true)]
    pub onset: f64,
    /// Speech ends where its probability is below this.
    #[arg(id = "vad_offset", long = "vad-offset", value_name = "P", default_value_t = 0.363, value_parser = probability,
          hide_short_help = true)]
    pub offset: f64,
    /// Longest piece heard at once, in seconds [default: 30, of the built-in model 5].
    #[arg(long, value_name = "SECONDS", hide_short_help = true, value_parser = |s: &str| within(s, 1.0, 30.0))]
    pub chunk_size: Option<f64>,
}

/// How the words are found.
#[derive(Args, Debug)]
#[command(next_help_heading = "Decoding")]
pub struct Decode {
    /// transcribe, or translate: into English.
    #[arg(long, value_enum, default_value = "transcribe", hide_possible_values = true)]
    pub task: Task,
    /// Language spoken: a code (de) or a name (German) [default: found out].
    #[arg(long)]
    pub language: Option<String>,
    /// Pieces of the recording that are asked for their language.
    #[arg(long, value_name = "N", default_value_t = 1, hide_short_help = true)]
    pub language_detection_segments: usize,
    /// Find out the language of every chunk anew.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub multilingual: bool,
    /// Text given to the model as what came before: names, spelling, style.
    #[arg(long, value_name = "TEXT")]
    pub initial_prompt: Option<String>,
    /// Words to expect.
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    pub hotwords: Option<String>,
    /// Text every chunk begins with.
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    pub prefix: Option<String>,
    /// Give each window the text of the one before (only with --vad none).
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub condition_on_previous_text: bool,
    /// Beams searched; 1 or None is greedy.
    #[arg(long, value_name = "N", default_value = "5")]
    pub beam_size: OrNone<usize>,
    /// Beam search goes on until this times the beams have ended.
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_short_help = true)]
    pub patience: f64,
    /// Beams are ranked by log-probability / length to this power.
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_short_help = true, allow_negative_numbers = true)]
    pub length_penalty: f64,
    /// Above 1, tokens already written become less likely.
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_short_help = true)]
    pub repetition_penalty: f64,
    /// No sequence of this many tokens comes twice; 0 for off.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub no_repeat_ngram_size: usize,
    /// Sampling temperature of the first attempt; 0 takes the likeliest.
    #[arg(long, value_name = "T", default_value_t = 0.0, hide_short_help = true,
          value_parser = |s: &str| within(s, 0.0, 10.0))]
    pub temperature: f64,
    /// Added to the temperature, up to 1, when an attempt fails; None for one attempt only.
    #[arg(long, value_name = "T", default_value = "0.2", hide_short_help = true)]
    pub temperature_increment_on_fallback: OrNone<f64>,
    /// Samples drawn, of which the likeliest is taken, when the temperature is above 0.
    #[arg(long, value_name = "N", default_value = "5", hide_short_help = true)]
    pub best_of: OrNone<usize>,
    /// Seed of the sampling; the same seed gives the same text.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub seed: u64,
    /// An attempt fails when its text can be compressed more than this.
    #[arg(long, value_name = "X", default_value = "2.4", hide_short_help = true)]
    pub compression_ratio_threshold: OrNone<f64>,
    /// An attempt fails when its mean log-probability is below this.
    #[arg(long, value_name = "X", default_value = "-1.0", hide_short_help = true, allow_negative_numbers = true)]
    pub logprob_threshold: OrNone<f64>,
    /// A chunk is silent when this is exceeded and the log-probability is too low.
    #[arg(long, value_name = "P", default_value = "0.6", hide_short_help = true)]
    pub no_speech_threshold: OrNone<f64>,
    /// Token ids never written, by commas; -1 stands for the model's own list.
    #[arg(long, value_name = "IDS", default_value = "-1", hide_short_help = true, allow_hyphen_values = true)]
    pub suppress_tokens: String,
    /// Write numbers as words: no token with a digit, %, $ or a pound sign.
    #[arg(long, hide_short_help = true)]
    pub suppress_numerals: bool,
    /// Most tokens written per chunk [default: what fits].
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_new_tokens: Option<usize>,
    /// The first timestamp is at most this, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, hide_short_help = true)]
    pub max_initial_timestamp: f64,
    /// Whether the model writes no times [default: True with chunks from a VAD, False with --vad none].
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_missing_value = "True", hide_short_help = true)]
    pub without_timestamps: Option<bool>,
}
