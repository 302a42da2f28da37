//! The CUDA engine: every op against the CPU's, searches step by step, whole transcripts.
//!
//! On a machine with a GPU and `DIARIST_TEST_GPU=1` this runs on the card. Otherwise on the emulated driver, which executes the
//! same kernels on the processor, in three different orders of threads and blocks, and punishes what a GPU punishes
//! (`tests/cuda-emulator`). Without a C++ compiler every test says that it was skipped.

#![allow(unsafe_code)] // loading the emulated driver

#[path = "cuda/cases.rs"]
mod cases;
#[path = "cuda/cluster.rs"]
mod cluster;
mod common;
#[path = "cuda/ctc.rs"]
mod ctc;
#[path = "cuda/cublaslt.rs"]
mod cublaslt;
#[path = "cuda/driver.rs"]
mod driver;
#[path = "cuda/faults.rs"]
mod faults;
#[cfg(unix)]
#[path = "cuda/gpu_script.rs"]
mod gpu_script;
#[path = "cuda/host.rs"]
mod host;
#[path = "cuda/networks.rs"]
mod networks;
#[path = "cuda/profiler.rs"]
mod profiler;
#[path = "cuda/program.rs"]
mod program;
#[path = "cuda/recurrent.rs"]
mod recurrent;
#[path = "cuda/residual.rs"]
mod residual;
#[path = "cuda/search.rs"]
mod search;
#[path = "cuda/steps.rs"]
mod steps;
#[path = "cuda/time_warp.rs"]
mod time_warp;
#[path = "cuda/transcripts.rs"]
mod transcripts;
#[path = "cuda/waveform.rs"]
mod waveform;
