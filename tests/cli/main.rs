//! The program as its users meet it: command lines in, exit status, text and files out.

#![allow(clippy::unwrap_used)] // a failure of the harness fails the test

#[path = "../common/mod.rs"]
mod common;

mod bench; // the benchmark program
mod damaged_models; // model folders that are incomplete or do not fit together
mod dsl;
mod hub; // fetching models, from good and bad servers
mod sample; // recordings and models for the tests
mod score; // results judged against references
mod server; // a model hub in miniature
mod speakers; // who speaks
mod transcripts; // recordings in, files out
mod usage; // help, and command lines that cannot be honoured
mod words; // word times, subtitles and known texts
