//! Transcripts of real recordings with published weights against faster-whisper and whisperx: words, tokens, times,
//! probabilities. Goldens: `tests/reference/faster_whisper_real.py`, `tests/reference/whisperx_real.py`.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;
#[path = "real_words/needs_real_needs_shared.rs"]
mod needs_real_needs_shared;
