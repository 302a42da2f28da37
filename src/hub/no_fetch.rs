//! In the place of [`fetch`](super::fetch) where the crate is built without it: nothing is asked of the network.

#![allow(dead_code)] // the same errors as where there is a network

use std::path::{Path, PathBuf};

use super::{Hub, Layout, OnProgress};

/// Why nothing was fetched.
pub(super) enum Error {
    /// The caller asked to stop.
    Cancelled,
    /// There is no network.
    Unreachable(String),
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

pub(super) mod file {
    use super::{Error, Hub, OnProgress, Path, without};

    /// Fetches nothing.
    pub fn fetch(_: &Hub, _: &str, _: &Path, _: &mut OnProgress<'_>) -> Result<(), Error> {
        without()
    }
}
