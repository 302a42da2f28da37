//! In the place of [`fetch`](super::fetch) where the crate is built without it: nothing is asked of the network.

#![allow(dead_code)] // the same errors as where there is a network

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::published::Published;
use super::snapshots::Place;
use super::{Hub, OnProgress};

/// Why nothing was fetched.
pub(super) enum Error {
    /// The caller asked to stop.
    Cancelled,
    /// There is no network.
    Unreachable(String),
    /// The hub wants an access token.
    Refused(String),
    /// Anything else, with the cure.
    Other(String),
}

fn without<T>() -> Result<T, Error> {
    Err(Error::Unreachable("built without the feature `fetch`".into()))
}

/// Fetches nothing.
pub(super) fn fetch(_: &Hub, _: &str, _: &Path, _: &Layout, _: &mut OnProgress<'_>) -> Result<PathBuf, Error> {
    without()
}

/// Fetches nothing.
pub(super) fn published(_: &Hub, _: &Published<'_>, _: &Path, _: &mut OnProgress<'_>) -> Result<PathBuf, Error> {
    without()
}

/// Fetches nothing.
pub(super) fn repair(_: &Hub, _: &Place, _: Vec<String>, _: &mut OnProgress<'_>) -> Result<Vec<String>, Error> {
    without()
}

/// Tells nothing.
pub(super) fn damage(_: &Path) -> Option<String> {
    None
}

pub(super) mod file {
    use super::{Error, Hub, OnProgress, Path, without};

    /// Fetches nothing.
    pub fn fetch(_: &Hub, _: &str, _: &Path, _: &mut OnProgress<'_>) -> Result<(), Error> {
        without()
    }
}
