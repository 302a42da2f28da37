//! End-to-end tests of `diarist worker`: its guarantees to clients.

#![allow(clippy::unwrap_used)] // a failure of the harness fails the test

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)] // only a part of the command line's harness is used
#[path = "../cli/dsl.rs"]
mod dsl;
#[allow(dead_code)]
#[path = "../cli/sample.rs"]
mod sample;

mod answers; // results, options, warnings and cancellation
mod client; // a client for the tests
mod faults; // invalid requests
mod stopping; // end of stdin, signals, and errors at startup
