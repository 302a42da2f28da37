//! What the service is told when it is started: by flags, or by variables of the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use diarist::api::{ComputeType, Device};
use diarist::audio::DecoderKind;
use diarist::config::Options;
use diarist::hub::{AUTO, Hub, Network};
use diarist::units::Seconds;
use diarist::{Engine, Error};

use crate::auth::Tokens;
use crate::options::Defaults;
use crate::upload::UploadLimits;

/// Where tokens are looked for; not among the flags, which everybody on the machine can read.
const TOKENS: &str = "DIARIST_TOKENS";

/// Transcription with speakers over HTTP.
#[derive(Parser)]
#[command(
    name = "diarist-rest",
    version,
    max_term_width = 110,
    args_override_self = true,
    after_help = "Tokens: DIARIST_TOKENS, separated by commas."
)]
pub struct Config {
    /// Where to listen; port 0 takes any that is free.
    #[arg(long, env = "DIARIST_ADDRESS", default_value = "127.0.0.1:8000")]
    pub address: SocketAddr,
    /// A file with a token a line, besides those in DIARIST_TOKENS.
    #[arg(long, env = "DIARIST_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let everybody in.
    #[arg(long)]
    insecure_no_token: bool,
    #[command(flatten)]
    models: Models,
    #[command(flatten)]
    pub limits: Limits,
}

/// What is loaded, once.
#[derive(clap::Args)]
#[command(next_help_heading = "Models")]
struct Models {
    /// The recogniser: a name (see `diarist models`), a folder, or builtin, for tests.
    #[arg(long, env = "DIARIST_MODEL", default_value = "small")]
    model: String,
    /// What tells speakers apart: open, a pipeline on the hub, a folder, none, or auto: community-1 where it is here or HF_TOKEN
    /// fetches it, else open.
    #[arg(long, env = "DIARIST_DIARIZE_MODEL", value_name = "MODEL", default_value = AUTO)]
    diarize_model: String,
    /// What finds words in the sound [default: the language's].
    #[arg(long, env = "DIARIST_ALIGN_MODEL", value_name = "MODEL")]
    align_model: Option<String>,
    /// Languages whose aligners are loaded before the first request, by commas.
    #[arg(long, env = "DIARIST_LANGUAGES", value_name = "CODES", value_delimiter = ',')]
    languages: Vec<String>,
    /// Look for models here first, and download them to here.
    #[arg(long, env = "DIARIST_MODEL_DIR", value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Never download.
    #[arg(long, env = "DIARIST_MODEL_CACHE_ONLY")]
    model_cache_only: bool,
    /// auto (a GPU if there is one), cpu, cuda or cuda:N.
    #[arg(long, env = "DIARIST_DEVICE", default_value = "auto", value_parser = device)]
    device: Device,
    /// How numbers are held in memory: default, float32, float16, bfloat16, int8, int8_float16, ...
    #[arg(long, env = "DIARIST_COMPUTE_TYPE", default_value = "default", value_parser = compute_type)]
    compute_type: ComputeType,
    /// Threads of the CPU [default: one per core].
    #[arg(long, env = "DIARIST_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Most memory of the GPU to use, in MiB [default: all of it].
    #[arg(long, env = "DIARIST_GPU_MEMORY_MIB", value_name = "MIB")]
    gpu_memory_mib: Option<u64>,
    /// Chunks decoded side by side.
    #[arg(long, env = "DIARIST_BATCH_SIZE", value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch_size: u16,
    /// Longest piece heard at once where a request says nothing, in seconds [default: 5 with the built-in model, else 30].
    #[arg(long, env = "DIARIST_CHUNK_SIZE", value_name = "SECONDS")]
    chunk_size: Option<f64>,
}

/// What is refused.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest body, in MiB; base64 takes a third more than the recording.
    #[arg(long, env = "DIARIST_MAX_BODY_MIB", value_name = "MIB", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=4096))]
    max_body_mib: u64,
    /// Most memory for bodies, all requests together, in MiB.
    #[arg(long, env = "DIARIST_MAX_HELD_MIB", value_name = "MIB", default_value_t = 1024,
          value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    max_held_mib: u64,
    /// Let an ffmpeg found on PATH decode what the built-in reader does not know. It is started on whatever is sent; run the service
    /// in a container or the like then.
    #[arg(long, env = "DIARIST_FFMPEG")]
    ffmpeg: bool,
    /// Longest recording, in seconds; decoded, an hour takes 230 MB.
    #[arg(long, env = "DIARIST_MAX_DURATION", value_name = "SECONDS", default_value = "7200", value_parser = seconds)]
    max_duration: Duration,
    /// Most channels of a recording where each is a speaker (`channel_speakers`); each takes the memory of a recording.
    #[arg(long, env = "DIARIST_MAX_CHANNELS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(2..=26))]
    max_channels: u8,
    /// Recordings that are worked on at once.
    #[arg(long, env = "DIARIST_CONCURRENCY", value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Requests that are received or wait besides; more are told to come back.
    #[arg(long, env = "DIARIST_QUEUE", value_name = "N", default_value_t = 64)]
    pub queue: u16,
    /// Open connections; more wait to be accepted.
    #[arg(long, env = "DIARIST_MAX_CONNECTIONS", value_name = "N", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// Longest wait for a request's headers, for the next request, and for the next piece of a body, in seconds.
    #[arg(long, env = "DIARIST_READ_TIME", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub read_time: Duration,
    /// Longest time that a body takes, in seconds.
    #[arg(long, env = "DIARIST_UPLOAD_TIME", value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    upload_time: Duration,
    /// Longest time from a body's end to its answer, in seconds.
    #[arg(long, env = "DIARIST_REQUEST_TIME", value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub request_time: Duration,
    /// After SIGTERM, how long new requests are still told to go elsewhere, in seconds.
    #[arg(long, env = "DIARIST_DRAIN_DELAY", value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub drain_delay: Duration,
    /// After that, how long what was accepted may take, in seconds.
    #[arg(long, env = "DIARIST_DRAIN_TIME", value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub drain_time: Duration,
}

impl Config {
    /// Who may ask.
    ///
    /// # Errors
    /// No token, unless that was asked for; tokens although it was; a file that cannot be read.
    pub fn tokens(&self) -> Result<Tokens, String> {
        let mut tokens: Vec<String> = Vec::new();
        if let Ok(list) = std::env::var(TOKENS) {
            tokens.extend(list.split(',').map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned));
        }
        if let Some(file) = &self.token_file {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            tokens.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        match (tokens.is_empty(), self.insecure_no_token) {
            (true, false) => {
                Err(format!("no token: set {TOKENS} or --token-file, or let everybody in with --insecure-no-token"))
            }
            (false, true) => Err("--insecure-no-token, and there are tokens: leave one of the two out".into()),
            _ => Tokens::new(&tokens),
        }
    }

    /// What a request has that says nothing about it.
    pub fn defaults(&self) -> Defaults {
        let usual = Options::of_model(&self.models.model).vad.chunk_size;
        Defaults {
            chunk_size: self.models.chunk_size.map_or(usual, Seconds),
            batch_size: usize::from(self.models.batch_size),
            max_duration: Seconds(self.limits.max_duration.as_secs_f64()),
            decoder: if self.limits.ffmpeg { DecoderKind::Auto } else { DecoderKind::Builtin },
            diarizes: self.models.diarizer().is_some(),
            max_channels: usize::from(self.limits.max_channels),
        }
    }

    /// Loads the models.
    ///
    /// # Errors
    /// Those of [`diarist::EngineBuilder::build`].
    pub fn engine(&self) -> Result<Engine, Error> {
        self.models.load()
    }
}

impl Models {
    fn diarizer(&self) -> Option<&str> {
        Some(self.diarize_model.as_str()).filter(|name| *name != "none")
    }

    fn load(&self) -> Result<Engine, Error> {
        let mut hub = Hub::from_env();
        hub.model_dir = self.model_dir.clone();
        if self.model_cache_only {
            hub.network = Network::Forbidden;
        }
        let mut builder =
            Engine::builder().model(&self.model).hub(hub).device(self.device).compute_type(self.compute_type);
        if let Some(name) = self.diarizer() {
            builder = builder.diarizer(name);
        }
        if let Some(name) = &self.align_model {
            builder = builder.aligner(name);
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        if let Some(mib) = self.gpu_memory_mib {
            builder = builder.memory_limit(mib << 20);
        }
        let engine = builder.build()?;
        for language in &self.languages {
            if let Some(reason) = engine.load_aligner(language)? {
                tracing::warn!(language, reason, "words will have no times");
            }
        }
        Ok(engine)
    }
}

impl Limits {
    /// Of one body.
    pub fn upload(&self) -> UploadLimits {
        UploadLimits { bytes: self.max_body_mib << 20, pause: self.read_time, whole: self.upload_time }
    }

    /// Bytes of all bodies.
    pub fn held(&self) -> usize {
        (self.max_held_mib as usize) << 20
    }
}

fn device(text: &str) -> Result<Device, String> {
    match text.split_once(':') {
        None if text == "auto" => Ok(Device::Auto),
        None if text == "cpu" => Ok(Device::Cpu),
        None if text == "cuda" => Ok(Device::Cuda(0)),
        Some(("cuda", number)) => usize::from_str(number).map(Device::Cuda).map_err(|error| error.to_string()),
        _ => Err("expected auto, cpu, cuda or cuda:N".into()),
    }
}

fn compute_type(text: &str) -> Result<ComputeType, String> {
    use ComputeType::{Bfloat16, Default, Float16, Float32, Int8, Int8Bfloat16, Int8Float16, Int8Float32};
    let all = [Default, Float32, Float16, Bfloat16, Int8, Int8Float16, Int8Bfloat16, Int8Float32];
    let named = all.into_iter().find(|kind| kind.name() == text);
    named.ok_or_else(|| format!("expected one of {}", all.map(ComputeType::name).join(", ")))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value = f64::from_str(text).map_err(|error| error.to_string())?;
    let known = Duration::try_from_secs_f64(value).ok().filter(|time| *time <= Duration::from_secs(31_536_000));
    known.ok_or_else(|| "expected a number of seconds, up to a year".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn values_are_read_or_refused() {
        assert_eq!(device("cuda:3"), Ok(Device::Cuda(3)));
        assert!(device("gpu").is_err() && device("cuda:x").is_err());
        assert_eq!(compute_type("int8_float16"), Ok(ComputeType::Int8Float16));
        assert!(compute_type("int4").is_err());
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("nan").is_err() && seconds("inf").is_err());
    }

    #[test]
    fn ffmpeg_is_started_only_where_that_was_asked_for() {
        let decoder = |args: &[&str]| Config::parse_from([&["diarist-rest"], args].concat()).defaults().decoder;
        assert_eq!(decoder(&[]), DecoderKind::Builtin);
        assert_eq!(decoder(&["--ffmpeg"]), DecoderKind::Auto);
    }

    #[test]
    fn speakers_are_told_apart_unless_nothing_is_to_do_it() {
        let config = Config::parse_from(["diarist-rest", "--model", "builtin"]);
        let defaults = config.defaults();
        assert_eq!((defaults.chunk_size, defaults.diarizes), (Seconds(5.0), true));
        assert_eq!(config.models.diarizer(), Some(AUTO), "the toy pipeline is used only where it is named");
        let config = Config::parse_from(["diarist-rest", "--model", "small", "--diarize-model", "none"]);
        let defaults = config.defaults();
        assert_eq!((defaults.chunk_size, defaults.diarizes), (Seconds(30.0), false));
    }
}
