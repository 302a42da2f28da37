//! The crate's error type. A message states what failed, what was expected, what was found and, where known, the cure.

use std::path::PathBuf;
use std::sync::Arc;

use crate::units::Seconds;

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of this crate. `Clone`, because one failed batch can fail the calls of several threads.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor passed to an op has the wrong shape: a bug in a model, or weights that disagree with their config.
    #[error("{op}: {what} has shape {got}, expected {expected}")]
    Shape {
        /// The op that checked the shape.
        op: &'static str,
        /// The argument with the wrong shape.
        what: &'static str,
        /// The shape the op needs.
        expected: String,
        /// The shape it received.
        got: String,
    },
    /// A weights file is missing, damaged, or does not contain the tensors that the config requires.
    #[error("{}: {}{reason}", path.display(), tensor(name))]
    Weights {
        /// The file (or folder) that was read.
        path: PathBuf,
        /// The requested tensor, or `*` for the file as a whole.
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
    /// A recording exceeds the duration limit, according to its container or to the samples decoded so far.
    #[error(
        "{}: it is longer than the {} seconds allowed; split it, or allow more with `max_duration`",
        path.display(),
        limit.0
    )]
    TooLong {
        /// The recording.
        path: PathBuf,
        /// The longest duration allowed.
        limit: Seconds,
    },
    /// An option has a value that is not supported.
    #[error("option `{option}`{}: {rule}", equal(value))]
    Config {
        /// The option's name in the library; on the command line `_` is `-`.
        option: &'static str,
        /// The value; `given` if the option is rejected whatever its value.
        value: String,
        /// The accepted values, or why the option is rejected.
        rule: String,
    },
    /// The scores or the speaker embeddings passed to diarization cannot be used.
    #[error("{what}: {reason}")]
    Diarization {
        /// The input that was rejected.
        what: &'static str,
        /// What is wrong with it, and the cure.
        reason: String,
    },
    /// A result could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<std::io::Error>,
    },
    /// A call to a compute device failed.
    #[error("{call}: {text} (code {code})")]
    Device {
        /// The driver call or kernel.
        call: String,
        /// The driver's error code.
        code: i32,
        /// The driver's text and, where known, the cure.
        text: String,
    },
    /// The device does not have enough free memory.
    #[error("out of device memory during {during}: wanted {wanted} bytes, {free} free")]
    OutOfMemory {
        /// Bytes requested.
        wanted: u64,
        /// Bytes free.
        free: u64,
        /// What the memory was requested for.
        during: String,
    },
    /// Downloading a model failed.
    #[error("model `{model}`: {reason}")]
    Hub {
        /// The model's name.
        model: String,
        /// Why, and how to go on without the network.
        reason: String,
    },
    /// The caller cancelled the work (Ctrl-C, a client that disconnected).
    #[error("cancelled")]
    Cancelled,
    /// An error, with the pipeline stage in which it occurred.
    #[error("{stage}: {source}")]
    Stage {
        /// The stage, named as in `pipeline.rs`.
        stage: &'static str,
        /// The error that occurred in this stage.
        source: Box<Error>,
    },
}

/// ` = ` and the value of an option; empty for `given`.
fn equal(value: &str) -> String {
    if value == "given" { String::new() } else { format!(" = `{value}`") }
}

/// The message's prefix that names the tensor; empty if the error concerns the whole file.
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

    /// A stable identifier of the kind of error, for programs: `shape`, `weights`, `model`, `audio`, `too_long`,
    /// `config`, `diarization`, `io`, `device`, `out_of_memory`, `hub` or `cancelled`. [`Error::Stage`] has the kind of
    /// its source.
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

    /// Whether it is a failure of the compute device, which does not recover within the process. Running out of memory
    /// is none.
    pub fn is_of_device(&self) -> bool {
        match self {
            Error::Device { .. } => true,
            Error::Stage { source, .. } => source.is_of_device(),
            _ => false,
        }
    }

    /// Adds context to [`Error::OutOfMemory`]: `what` describes the work that needed the memory. Other errors are
    /// returned unchanged.
    pub fn while_doing(self, what: impl FnOnce() -> String) -> Self {
        match self {
            Error::OutOfMemory { wanted, free, during } => {
                Error::OutOfMemory { wanted, free, during: format!("{} ({during})", what()) }
            }
            other => other,
        }
    }

    /// Wraps the error in [`Error::Stage`]. An error that already has a stage and [`Error::Cancelled`] are returned
    /// unchanged.
    pub fn in_stage(self, stage: &'static str) -> Self {
        match self {
            Error::Stage { .. } | Error::Cancelled => self,
            source => Error::Stage { stage, source: Box::new(source) },
        }
    }
}
