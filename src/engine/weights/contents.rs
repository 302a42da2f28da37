//! The result of a checkpoint reader, and its errors.

use std::ops::Range;

use serde_json::Value;

use super::location::TensorLocation;

/// Largest number of tensors, or of aliases, in a CTranslate2 or ggml file; Whisper large has about 1300. An entry of
/// such a file takes a few bytes, but a [`TensorLocation`] takes hundreds, so the limit bounds the memory for a damaged
/// file.
pub(super) const MAX_TENSORS: usize = 1 << 14;

/// The contents of a file.
#[derive(Default)]
pub(super) struct Contents {
    pub locations: Vec<TensorLocation>,
    /// See [`Weights::metadata`](super::Weights::metadata).
    pub metadata: Value,
    /// See [`Weights::vocabulary`](super::Weights::vocabulary).
    pub vocabulary: Vec<Range<usize>>,
}

/// Why a file cannot be read.
pub(super) enum ReadError {
    /// The bytes violate the format. The message is only a detail.
    Damaged(String),
    /// The file may be valid, but is not supported. The message is complete.
    Unsupported(String),
}

impl From<String> for ReadError {
    fn from(reason: String) -> Self {
        ReadError::Damaged(reason)
    }
}

impl From<&str> for ReadError {
    fn from(reason: &str) -> Self {
        ReadError::Damaged(reason.into())
    }
}
