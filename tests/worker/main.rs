//! `diarist worker`: what a client of it can rely on.

#![allow(clippy::unwrap_used)] // a failure of the harness fails the test

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)] // of the harness of the command line, a part
#[path = "../cli/dsl.rs"]
mod dsl;
#[allow(dead_code)]
#[path = "../cli/sample.rs"]
mod sample;

mod answers; // what is asked for is what the command line gives
mod client; // a client for the tests
mod faults; // requests that cannot be honoured
mod stopping; // how it ends
