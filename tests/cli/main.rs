//! End-to-end tests of the command line: arguments in; exit status, stdout, stderr and files out.

#![allow(clippy::unwrap_used)] // a failure of the harness fails the test

#[path = "../common/mod.rs"]
mod common;

mod bench; // the benchmark program
mod channels; // --channel-speakers
mod damaged_models; // model folders that are incomplete, damaged or mixed
mod dsl; // the test harness
mod files; // protection of inputs, reports of outputs
mod hub; // downloads from the hub, and their errors
mod hub_damage; // damaged files in caches
mod hub_sharing; // concurrent downloads of one model
mod messages; // messages on stderr
mod model_search; // search order of models, and `diarist models`
mod open; // the diarization pipeline `open`
#[cfg(unix)]
mod pipes; // stdin, named pipes, ffmpeg
mod sample; // recordings and models for the tests
mod score; // `diarist score`
mod scripts; // text files of `align`
mod server; // a local model hub
mod speakers; // diarization
mod transcripts; // `diarist transcribe` and its results
mod usage; // help and invalid command lines
mod words; // word times, subtitles and `align`
