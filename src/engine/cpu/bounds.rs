//! Indices and lengths from the caller.

use std::fmt::Display;

use crate::error::{Error, Result};

/// An index from the caller, or a length, outside of what it indexes.
pub(super) fn out_of_range(op: &'static str, what: &'static str, limit: usize, got: impl Display) -> Error {
    Error::Shape { op, what, expected: format!("0 <= {what} < {limit}"), got: got.to_string() }
}

/// `slice[at..at + len]`, or an error.
pub(super) fn part<'a, T>(op: &'static str, slice: &'a [T], at: usize, len: usize) -> Result<&'a [T]> {
    let end = at.checked_add(len);
    end.and_then(|end| slice.get(at..end)).ok_or_else(|| out_of_range(op, "end", slice.len() + 1, at + len))
}
