//! Replacement of [`fetch`](super::fetch) in builds without the feature `fetch`: every download fails.

#![allow(dead_code)] // the error type has the same variants as in `fetch`

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::pinned::Published;
use super::snapshots::Place;
use super::{Hub, OnProgress};

/// See `fetch::Error`.
pub(super) enum Error {
    /// The caller cancelled.
    Cancelled,
    /// Downloads are not compiled in.
    Unreachable(String),
    /// The hub requires an access token.
    Refused(String),
    /// Any other reason, and the cure.
    Other(String),
}

fn unavailable<T>() -> Result<T, Error> {
    Err(Error::Unreachable("built without the feature `fetch`".into()))
}

/// Always [`Error::Unreachable`].
pub(super) fn fetch(_: &Hub, _: &str, _: &Path, _: &Layout, _: &mut OnProgress<'_>) -> Result<PathBuf, Error> {
    unavailable()
}

/// Always [`Error::Unreachable`].
pub(super) fn published(_: &Hub, _: &Published<'_>, _: &Path, _: &mut OnProgress<'_>) -> Result<PathBuf, Error> {
    unavailable()
}

/// Always [`Error::Unreachable`].
pub(super) fn repair(_: &Hub, _: &Place, _: Vec<String>, _: &mut OnProgress<'_>) -> Result<Vec<String>, Error> {
    unavailable()
}

/// Always `None`: files cannot be checked without the feature.
pub(super) fn damage(_: &Path) -> Option<String> {
    None
}

pub(super) mod file {
    use super::{Error, Hub, OnProgress, Path, unavailable};

    /// Always [`Error::Unreachable`].
    pub fn fetch(_: &Hub, _: &str, _: &Path, _: &mut OnProgress<'_>) -> Result<(), Error> {
        unavailable()
    }
}
