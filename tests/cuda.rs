//! Tests of the CUDA backend: every op against the CPU backend, searches step by step, whole transcripts.
//!
//! With `DIARIST_TEST_GPU=1` the tests run on the machine's GPU. Otherwise they run on the emulated driver
//! (`tests/cuda-emulator`), which needs a C++ compiler: it executes the same kernels on the CPU, in three different
//! orders of threads and blocks, and detects memory errors and missing synchronisation: `cargo test --test cuda --
//! --include-ignored`.

#![allow(unsafe_code)] // loads the emulated driver

mod common;
#[path = "cuda/needs_cxx.rs"]
mod needs_cxx;

use needs_cxx::{cases, driver, transcripts};
