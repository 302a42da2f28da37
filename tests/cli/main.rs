//! The program as its users meet it: command lines in, exit status, text and files out.

#![allow(clippy::unwrap_used)] // a failure of the harness fails the test

#[path = "../common/mod.rs"]
mod common;

mod bench; // the benchmark program
mod channels; // each channel a speaker
mod damaged_models; // model folders that are incomplete or do not fit together
mod dsl;
mod files; // inputs that are kept, results that are told
mod hub; // fetching models, from good and bad servers
mod hub_damage; // damaged files in caches
mod hub_sharing; // processes that need the same model
mod messages; // what is said on stderr
mod model_search; // where models are looked for, and the list of them
mod open; // the pipeline that needs no account
#[cfg(unix)]
mod pipes; // stdin, named pipes, ffmpeg
mod sample; // recordings and models for the tests
mod score; // results judged against references
mod scripts; // subtitles and texts for `align`
mod server; // a model hub in miniature
mod speakers; // who speaks
mod transcripts; // recordings in, files out
mod usage; // help, and command lines that cannot be honoured
mod words; // word times, subtitles and known texts
