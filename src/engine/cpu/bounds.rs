//! Bounds checks of indices and lengths from the caller.

use std::fmt::Display;

use crate::error::{Error, Result};

/// The error for an index or length that is not below `limit`.
pub(super) fn out_of_range(op: &'static str, what: &'static str, limit: usize, got: impl Display) -> Error {
    Error::Shape { op, what, expected: format!("0 <= {what} < {limit}"), got: got.to_string() }
}

/// `slice[at..at + len]`.
///
/// # Errors
/// [`Error::Shape`] if the range is not within the slice.
pub(super) fn part<'a, T>(op: &'static str, slice: &'a [T], at: usize, len: usize) -> Result<&'a [T]> {
    let end = at.checked_add(len);
    end.and_then(|end| slice.get(at..end)).ok_or_else(|| out_of_range(op, "end", slice.len() + 1, at + len))
}
