//! The pipeline `open` with its published networks on recordings of people.

#![allow(clippy::unwrap_used)] // a missing file fails the test

mod common;

#[path = "real_speakers/needs_real_needs_shared.rs"]
mod needs_real_needs_shared;
