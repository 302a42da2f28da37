//! An owned recording, for calls that continue in another thread.

use std::path::PathBuf;

use crate::pipeline::Input;

/// The owned form of [`Input`].
#[derive(Clone, Debug)]
pub enum Recording {
    /// Path of an audio file in any format that [`audio`](crate::audio) reads.
    Path(PathBuf),
    /// An audio file in memory, and a name for error messages.
    Bytes(Vec<u8>, String),
    /// Decoded samples: 16 kHz, mono, in `[-1, 1]`.
    Samples(Vec<f32>),
}

impl Recording {
    /// Borrows the recording.
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Recording::Path(path) => Input::Path(path),
            Recording::Bytes(bytes, name) => Input::Bytes(bytes, name),
            Recording::Samples(samples) => Input::Samples(samples),
        }
    }
}

impl From<PathBuf> for Recording {
    fn from(path: PathBuf) -> Self {
        Recording::Path(path)
    }
}

impl From<Vec<f32>> for Recording {
    fn from(samples: Vec<f32>) -> Self {
        Recording::Samples(samples)
    }
}
