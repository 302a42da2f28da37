//! The result of reading a file of weights.

use std::ops::Range;

use serde_json::Value;

use super::place::Place;

/// Most tensors, or aliases of them, in a file whose entries take a few bytes each while a [`Place`] takes hundreds. Whisper
/// large has about 1300.
pub(super) const MAX_TENSORS: usize = 1 << 14;

/// What a reader finds in a file.
#[derive(Default)]
pub(super) struct Found {
    pub places: Vec<Place>,
    /// See [`Weights::facts`](super::Weights::facts).
    pub facts: Value,
    /// See [`Weights::vocabulary`](super::Weights::vocabulary).
    pub vocabulary: Vec<Range<usize>>,
}

/// Why a reader finds nothing.
pub(super) enum Unreadable {
    /// The bytes are not what the format asks for.
    Damaged(String),
    /// The file may be in order, but cannot be used; the reason says so by itself.
    Unsupported(String),
}

impl From<String> for Unreadable {
    fn from(reason: String) -> Self {
        Unreadable::Damaged(reason)
    }
}

impl From<&str> for Unreadable {
    fn from(reason: &str) -> Self {
        Unreadable::Damaged(reason.into())
    }
}
