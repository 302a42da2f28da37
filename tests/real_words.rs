//! Real recordings with published weights: the words, tokens, times and probabilities of faster-whisper and whisperx.
//! Goldens: `tests/reference/faster_whisper_real.py`, `tests/reference/whisperx_real.py`.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

mod common;
#[path = "real_words/needs_real_needs_shared.rs"]
mod needs_real_needs_shared;
