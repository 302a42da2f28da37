//! The CUDA engine: every op against the CPU's, searches step by step, whole transcripts.
//!
//! On a machine with a GPU and `DIARIST_TEST_GPU=1` this runs on the card. Otherwise on the emulated driver, which executes the
//! same kernels on the processor, in three different orders of threads and blocks, and punishes what a GPU punishes
//! (`tests/cuda-emulator`) and is built by a C++ compiler: `cargo test --test cuda -- --include-ignored`.

#![allow(unsafe_code)] // loading the emulated driver

mod common;
#[path = "cuda/needs_cxx.rs"]
mod needs_cxx;

use needs_cxx::{cases, driver, networks, transcripts};
