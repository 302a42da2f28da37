//! The one error type of the crate: what failed, what was expected, what was found, and the cure where it is known.

use std::path::PathBuf;
use std::sync::Arc;

use crate::units::Seconds;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. A copy is the same error: several callers may have met it together.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor handed to an op has the wrong shape: a bug in a model, or weights that disagree with their config.
    #[error("{op}: {what} has shape {got}, expected {expected}")]
    Shape {
        /// The op that checked.
        op: &'static str,
        /// The argument that was wrong.
        what: &'static str,
        /// The shape the op needs.
        expected: String,
        /// The shape it was given.
        got: String,
    },
    /// A weight file is missing, damaged or does not hold what the config promises.
    #[error("{}: {}{reason}", path.display(), tensor(name))]
    Weights {
        /// The file (or folder) read.
        path: PathBuf,
        /// The tensor asked for, or `*` for the file as a whole.
        name: String,
        /// What is wrong with it, and the cure.
        reason: String,
    },
    /// A model folder is incomplete, or one of its JSON files cannot be used.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, and the cure.
        reason: String,
    },
    /// A recording cannot be read or decoded.
    #[error("{}: {reason}", path.display())]
    Audio {
        /// The recording.
        path: PathBuf,
        /// What is wrong with it, and the cure.
        reason: String,
    },
    /// A recording is longer than it may be, by what its container says or by what was decoded of it.
    #[error(
        "{}: it is longer than the {} seconds allowed; split it, or allow more with `max_duration`",
        path.display(),
        limit.0
    )]
    TooLong {
        /// The recording.
        path: PathBuf,
        /// The longest that is allowed.
        limit: Seconds,
    },
    /// An option has a value that cannot be honoured.
    #[error("option `{option}`{}: {rule}", equal(value))]
    Config {
        /// The option's name in the library; the command line has `-` for `_`.
        option: &'static str,
        /// The value; `given` where it does not matter which.
        value: String,
        /// What would be accepted.
        rule: String,
    },
    /// The scores or the voices handed to diarization cannot be used.
    #[error("{what}: {reason}")]
    Diarization {
        /// What was handed over.
        what: &'static str,
        /// What is wrong with it, and the cure.
        reason: String,
    },
    /// A result could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: Arc<std::io::Error>,
    },
    /// A compute device refused a call.
    #[error("{call}: {text} (code {code})")]
    Device {
        /// The driver call or kernel.
        call: String,
        /// The driver's error code.
        code: i32,
        /// The driver's text and, where known, the cure.
        text: String,
    },
    /// The device has not enough free memory.
    #[error("out of device memory during {during}: wanted {wanted} bytes, {free} free")]
    OutOfMemory {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes free.
        free: u64,
        /// What they were for.
        during: String,
    },
    /// Fetching a model failed.
    #[error("model `{model}`: {reason}")]
    Hub {
        /// The model's name.
        model: String,
        /// Why, and how to go on without the network.
        reason: String,
    },
    /// The caller asked to stop (Ctrl-C, a dropped client).
    #[error("cancelled")]
    Cancelled,
    /// An error with the stage of the pipeline it happened in.
    #[error("{stage}: {source}")]
    Stage {
        /// The stage, named as in `pipeline.rs`.
        stage: &'static str,
        /// What happened there.
        source: Box<Error>,
    },
}

/// ` = ` and the value of an option, where the value matters.
fn equal(value: &str) -> String {
    if value == "given" { String::new() } else { format!(" = `{value}`") }
}

/// Names the tensor an error is about, if it is about one.
fn tensor(name: &str) -> String {
    if name == "*" { String::new() } else { format!("weight `{name}`: ") }
}

impl Error {
    /// Short constructor for [`Error::Config`].
    pub fn config(option: &'static str, value: impl ToString, rule: impl Into<String>) -> Self {
        Error::Config { option, value: value.to_string(), rule: rule.into() }
    }

    /// Short constructor for [`Error::Audio`].
    pub fn audio(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::Audio { path: path.into(), reason: reason.into() }
    }

    /// Short constructor for [`Error::Diarization`].
    pub fn diarization(what: &'static str, reason: impl Into<String>) -> Self {
        Error::Diarization { what, reason: reason.into() }
    }

    /// Short constructor for [`Error::Model`].
    pub fn model(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::Model { path: path.into(), reason: reason.into() }
    }

    /// Short constructor for [`Error::Weights`].
    pub fn weights(path: impl Into<PathBuf>, name: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Weights { path: path.into(), name: name.into(), reason: reason.into() }
    }

    /// Short constructor for [`Error::Io`].
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source: Arc::new(source) }
    }

    /// What kind of error it is, in a word that programs can rely on: `shape`, `weights`, `model`, `audio`, `too_long`,
    /// `config`, `diarization`, `io`, `device`, `out_of_memory`, `hub` or `cancelled`. Of an error in a stage, that of its
    /// source.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Shape { .. } => "shape",
            Error::Weights { .. } => "weights",
            Error::Model { .. } => "model",
            Error::Audio { .. } => "audio",
            Error::TooLong { .. } => "too_long",
            Error::Config { .. } => "config",
            Error::Diarization { .. } => "diarization",
            Error::Io { .. } => "io",
            Error::Device { .. } => "device",
            Error::OutOfMemory { .. } => "out_of_memory",
            Error::Hub { .. } => "hub",
            Error::Cancelled => "cancelled",
            Error::Stage { source, .. } => source.kind(),
        }
    }

    /// The same error; one of memory says what the memory was for.
    pub fn while_doing(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Error::OutOfMemory { wanted, free, during } => {
                Error::OutOfMemory { wanted, free, during: format!("{} ({during})", what()) }
            }
            other => other,
        }
    }

    /// The same error, with the stage it happened in. An error that already has a stage, and a cancellation, stay
    /// as they are.
    pub fn in_stage(self, stage: &'static str) -> Self {
        match self {
            Error::Stage { .. } | Error::Cancelled => self,
            source => Error::Stage { stage, source: Box::new(source) },
        }
    }
}
