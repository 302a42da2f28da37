//! Command-line options of `transcribe`, `worker` and `vad`. Names, meanings and defaults are those of WhisperX where
//! it has the option.
//!
//! `-h` shows the common options; `--help` shows all.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use diarist::api::{ComputeType, CrossCache};
use diarist::audio::DecoderKind;
use diarist::vad::VadMethod;

use super::values::{Device, LogLevel, OrNone, Task, boolean, bytes, probability, within};
use super::whisperx::Elsewhere;

mod channels;
mod speakers;
mod words;

pub use self::channels::Channels;
pub use self::speakers::{Speakers, Voices};
pub use self::words::{Align, Interpolation, Method, Subtitles, Topology, Words};

/// Options of `transcribe`.
#[derive(Args, Debug)]
pub struct Transcribe {
    /// Recordings, audio or video; - is stdin.
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

/// Options of batch transcription: recordings from a list, results into one file.
#[derive(Args, Debug)]
#[command(next_help_heading = "Many files")]
pub struct Many {
    /// List of recordings: one path per line, or JSON lines {"path": .., "id": ..}.
    ///
    /// Paths are relative to the working directory. The id, a text or an integer, names the recording in OUT; the
    /// default is the path. The same command resumes an interrupted run.
    #[arg(long, value_name = "LIST", requires = "jsonl", value_hint = ValueHint::FilePath, hide_short_help = true,
          conflicts_with_all = ["files", "output_dir", "output_format", "print_progress", "Subtitles"])]
    pub manifest: Option<PathBuf>,
    /// Append a line of JSON to this file as each recording of the list is finished.
    ///
    /// {"path": .., "id": .., "result": the object of -f json}, or "error": {"kind": .., "message": ..} instead of
    /// "result". With --verbose, a line is also printed for each recording.
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub jsonl: Option<PathBuf>,
    /// Number of recordings of the list transcribed at once [default: 2].
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub jobs: Option<u32>,
    /// Retry the recordings of the list that have an error in OUT.
    #[arg(long, hide_short_help = true)]
    pub retry_failed: bool,
}

/// Options of models and results, shared by `transcribe` and `worker`.
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

/// The recogniser and its device.
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
    /// Chunks decoded in one batch. The text does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 8, hide_short_help = true,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch_size: u32,
    /// Form of the cross-attention cache: keys and values (int8 needs the least memory traffic of these), or absorbed:
    /// the encoder's output itself, which needs the least memory.
    #[arg(long, value_enum, default_value = "default", hide_short_help = true, help_heading = "Computing")]
    pub cross_cache: CrossCache,
}

/// Where models are stored, and whether they may be downloaded.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model")]
pub struct ModelFiles {
    /// Folder that is searched for models first, and that downloads go to.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub model_dir: Option<PathBuf>,
    /// Never download; use only models on this machine (also HF_HUB_OFFLINE=1).
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub model_cache_only: bool,
    /// Access token for gated models (also HF_TOKEN).
    #[arg(long, value_name = "TOKEN", hide_short_help = true)]
    pub hf_token: Option<String>,
}

/// Device and precision.
#[derive(Args, Debug)]
#[command(next_help_heading = "Computing")]
pub struct Compute {
    /// auto, cpu, cuda, or cuda:N for GPU number N.
    ///
    /// auto is a GPU if there is one, else the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,
    /// GPU number, as in cuda:N; the CPU has only 0.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub device_index: usize,
    /// Maximum GPU memory to use, for example 8G [default: all].
    #[arg(long, value_name = "BYTES", value_parser = bytes, hide_short_help = true)]
    pub gpu_memory_limit: Option<u64>,
    /// CPU threads, at most one per core; 0 is one per core.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub threads: usize,
    /// Precision of weights and activations: float32 is exact, the others need less memory.
    #[arg(long, value_enum, default_value = "default", hide_short_help = true)]
    pub compute_type: ComputeType,
    /// True is the same as `--compute-type float16`, False as `--compute-type float32`.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_missing_value = "True", conflicts_with = "compute_type", hide_short_help = true)]
    pub fp16: Option<bool>,
}

/// Output folder, formats and messages.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Folder for the results, created if missing.
    #[arg(long, short, value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub output_dir: PathBuf,
    /// txt, srt, vtt, tsv, json; several with commas; or all.
    ///
    /// Also aud (labels for Audacity), and with --diarize or --channel-speakers rttm.
    #[arg(long, short = 'f', value_name = "FORMAT", default_value = "all")]
    pub output_format: String,
    /// Print the text and the names of the written files to stdout.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "True", default_missing_value = "True", hide_short_help = true)]
    pub verbose: bool,
    /// Print progress in per cent to stdout.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub print_progress: bool,
    /// Least severe log messages shown on stderr [default: warning].
    #[arg(long, value_enum, value_name = "LEVEL", hide_short_help = true)]
    pub log_level: Option<LogLevel>,
}

/// Audio decoding: channel, track and limits.
#[derive(Args, Debug)]
#[command(next_help_heading = "Audio")]
pub struct Audio {
    /// Use only this channel, counted from 0, instead of the mean of all channels.
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub channel: Option<usize>,
    /// Use this audio track, counted from 1, instead of the default one.
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub track: Option<u16>,
    /// Ignore gaps and start offsets in the file's timestamps instead of filling them with silence.
    #[arg(long, hide_short_help = true)]
    pub no_sync: bool,
    /// Accept a damaged or truncated file, and use the part that can be decoded.
    #[arg(long, hide_short_help = true)]
    pub allow_truncated: bool,
    /// Audio decoder: auto, builtin or ffmpeg.
    ///
    /// auto: the built-in decoder, and an ffmpeg found on PATH for formats that it does not support. ffmpeg gets no
    /// network access.
    #[arg(long, value_name = "DECODER", default_value = "auto", hide_short_help = true)]
    pub decoder: DecoderKind,
    /// Refuse recordings longer than this before they use memory [default: 172800, two days; worker: 14400].
    #[arg(long, value_name = "SECONDS", hide_short_help = true, value_parser = |s: &str| within(s, 0.001, 1e9))]
    pub max_duration: Option<f64>,
}

/// Voice activity detection, and merging of speech into chunks for the recogniser.
#[derive(Args, Debug)]
#[command(next_help_heading = "Finding speech")]
pub struct Vad {
    /// none, energy, silero or pyannote.
    ///
    /// Default: the method of --vad-model; with speaker diarization, pyannote with its segmentation network; else
    /// energy.
    #[arg(id = "vad_method", long = "vad-method", visible_alias = "vad", value_name = "METHOD")]
    pub method: Option<VadMethod>,
    /// VAD network: a file, a folder, or a name on the hub.
    ///
    /// For pyannote: pytorch_model.bin, its folder, the folder of a pipeline, or organisation/name on the hub. For
    /// silero: silero_vad.onnx of v6. Both also as safetensors.
    #[arg(id = "vad_model", long = "vad-model", value_name = "MODEL", value_hint = ValueHint::FilePath,
          hide_short_help = true)]
    pub model: Option<PathBuf>,
    /// Speech begins where its probability rises above this.
    #[arg(id = "vad_onset", long = "vad-onset", value_name = "P", default_value_t = 0.5, value_parser = probability,
          hide_short_help = true)]
    pub onset: f64,
    /// Speech ends where its probability falls below this.
    #[arg(id = "vad_offset", long = "vad-offset", value_name = "P", default_value_t = 0.363, value_parser = probability,
          hide_short_help = true)]
    pub offset: f64,
    /// Maximum length of a chunk, in seconds [default: 30; 5 for the built-in model].
    #[arg(long, value_name = "SECONDS", hide_short_help = true, value_parser = |s: &str| within(s, 1.0, 30.0))]
    pub chunk_size: Option<f64>,
}

/// Decoding of the recogniser.
#[derive(Args, Debug)]
#[command(next_help_heading = "Decoding")]
pub struct Decode {
    /// transcribe, or translate (into English).
    #[arg(long, value_enum, default_value = "transcribe", hide_possible_values = true)]
    pub task: Task,
    /// Language spoken: a code (de) or a name (German) [default: detected].
    #[arg(long)]
    pub language: Option<String>,
    /// Number of pieces of the recording used to detect the language.
    #[arg(long, value_name = "N", default_value_t = 1, hide_short_help = true)]
    pub language_detection_segments: usize,
    /// Detect the language of every chunk separately.
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub multilingual: bool,
    /// Text given to the model as if it came before: names, spelling, style.
    #[arg(long, value_name = "TEXT")]
    pub initial_prompt: Option<String>,
    /// Words that are likely to occur, given to the model as a hint.
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    pub hotwords: Option<String>,
    /// Text that every chunk begins with.
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    pub prefix: Option<String>,
    /// Give the model the text of the previous window as context (only with --vad none).
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_value = "False", default_missing_value = "True", hide_short_help = true)]
    pub condition_on_previous_text: bool,
    /// Number of beams; 1 or None is greedy decoding.
    #[arg(long, value_name = "N", default_value = "5")]
    pub beam_size: OrNone<usize>,
    /// Beam search stops after patience x beam size finished hypotheses.
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_short_help = true)]
    pub patience: f64,
    /// Hypotheses are ranked by log-probability / length to the power of this.
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_short_help = true, allow_negative_numbers = true)]
    pub length_penalty: f64,
    /// Above 1, tokens that were already generated become less likely.
    #[arg(long, value_name = "X", default_value_t = 1.0, hide_short_help = true)]
    pub repetition_penalty: f64,
    /// No sequence of this many tokens is generated twice; 0 is off.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub no_repeat_ngram_size: usize,
    /// Sampling temperature of the first attempt; 0 is no sampling.
    #[arg(long, value_name = "T", default_value_t = 0.0, hide_short_help = true,
          value_parser = |s: &str| within(s, 0.0, 10.0))]
    pub temperature: f64,
    /// Added to the temperature, up to 1, after each failed attempt; None is a single attempt.
    #[arg(long, value_name = "T", default_value = "0.2", hide_short_help = true)]
    pub temperature_increment_on_fallback: OrNone<f64>,
    /// Number of samples when the temperature is above 0; the likeliest is used.
    #[arg(long, value_name = "N", default_value = "5", hide_short_help = true)]
    pub best_of: OrNone<usize>,
    /// Random seed of the sampling; the same seed gives the same text.
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true)]
    pub seed: u64,
    /// An attempt fails if the compression ratio of its text is above this.
    #[arg(long, value_name = "X", default_value = "2.4", hide_short_help = true)]
    pub compression_ratio_threshold: OrNone<f64>,
    /// An attempt fails if its mean log-probability is below this.
    #[arg(long, value_name = "X", default_value = "-1.0", hide_short_help = true, allow_negative_numbers = true)]
    pub logprob_threshold: OrNone<f64>,
    /// A chunk is silent if its no-speech probability is above this and its log-probability too low.
    #[arg(long, value_name = "P", default_value = "0.6", hide_short_help = true)]
    pub no_speech_threshold: OrNone<f64>,
    /// Comma-separated ids of tokens that are never generated; -1 is the model's own list.
    #[arg(long, value_name = "IDS", default_value = "-1", hide_short_help = true, allow_hyphen_values = true)]
    pub suppress_tokens: String,
    /// Write numbers as words: suppress tokens with a digit, %, $ or a pound sign.
    #[arg(long, hide_short_help = true)]
    pub suppress_numerals: bool,
    /// Maximum number of tokens generated per chunk [default: what fits the context].
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub max_new_tokens: Option<usize>,
    /// Maximum value of the first timestamp, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, hide_short_help = true)]
    pub max_initial_timestamp: f64,
    /// Decode without timestamp tokens [default: True with chunks from a VAD, False with --vad none].
    #[arg(long, value_name = "True|False", num_args = 0..=1, require_equals = true, value_parser = boolean,
          default_missing_value = "True", hide_short_help = true)]
    pub without_timestamps: Option<bool>,
}
