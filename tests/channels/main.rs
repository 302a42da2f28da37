//! One speaker per channel: crosstalk removal and merging of channels.

#[path = "../common/mod.rs"]
mod common;

mod crosstalk; // words that were said on another channel
mod engine; // recordings through the whole pipeline
mod merging; // segments of several channels -> one transcript
mod needs_real_needs_shared; // a telephone call through published weights
