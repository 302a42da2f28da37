//! One speaker for each channel: every word once, with its channel, in order of time.

#[path = "../common/mod.rs"]
mod common;

mod crosstalk; // words that were said on another channel
mod engine; // recordings through the whole pipeline
mod merging; // segments of several channels to one transcript
mod needs_real_needs_shared; // a telephone call through published weights
