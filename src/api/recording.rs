//! A recording that outlives the call it was handed to.

use std::path::PathBuf;

use crate::pipeline::Input;

/// [`Input`], owned.
#[derive(Clone, Debug)]
pub enum Recording {
    /// A file of any format that [`audio`](crate::audio) reads.
    Path(PathBuf),
    /// Such a file in memory, with a name for errors.
    Bytes(Vec<u8>, String),
    /// Decoded already: 16 kHz mono in `[-1, 1]`.
    Samples(Vec<f32>),
}

impl Recording {
    /// The same, lent.
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
