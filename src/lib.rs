//! Speech recognition with word times and speaker labels: Whisper transcription, wav2vec2 forced alignment and speaker
//! diarization in one crate, without Python, ffmpeg or cuDNN.
//!
//! [`Engine`] (module [`api`]) is the entry point. A recording passes through the stages in the order of this table.
//! Each stage is a module that can be used on its own; [`pipeline`] runs all of them.
//!
//! | stage | module | input -> output |
//! |---|---|---|
//! | audio decoding | [`audio`] | file -> 16 kHz mono samples |
//! | voice activity detection | [`vad`] | samples -> speech spans -> chunks of at most one window |
//! | encoding | [`features`], [`models`] | samples `[B, S]` -> log-mel `[B, F, M]` -> encoder output `[B, T, C]` |
//! | decoding | [`asr`] | chunks -> tokens -> text |
//! | forced alignment | [`align`] | text and audio -> times of characters, words and sentences |
//! | diarization | [`diarize`] | speaker activity and embeddings -> turns -> speakers of words |
//! | or: channel merge | [`channels`] | the words of each channel -> one transcript, with the channel as the speaker |
//! | output | [`output`] | transcript -> srt, vtt, txt, tsv, json, aud, rttm |
//!
//! Shared by the stages: [`engine`] (tensors, the [`Backend`](engine::Backend) trait, CPU and CUDA), [`hub`] (resolves
//! a model's name to its files), [`assets`] (models and a sample embedded in the binary), [`score`] (scores against a
//! reference), and the common types: [`types`], [`units`], [`config`], [`watch`], [`error`].
//!
//! # Example
//!
//! Transcribes the embedded sample with the embedded model:
//!
//! ```
//! use diarist::{Engine, config::Options, pipeline::Input};
//!
//! let engine = Engine::builder().model("builtin").build()?;
//! let recording = Input::Bytes(diarist::assets::SAMPLE, "conversation.flac");
//! let transcript = engine.transcribe(recording, &Options::default())?;
//! assert_eq!(transcript.language.as_deref(), Some("en"));
//! for segment in &transcript.segments {
//!     println!("[{:.2} --> {:.2}]{}", segment.start.0, segment.end.0, segment.text);
//! }
//! # Ok::<(), diarist::Error>(())
//! ```
//!
//! # Conventions
//!
//! Tensors are contiguous and row-major; shapes are written `[B, T, C]`, with the letters defined in
//! [`engine::backend`]. Stages exchange times in [`Seconds`](units::Seconds) only. The library never prints, exits or
//! panics on bad input. Every [`Error`] states what failed, what was expected, what was found and, where known, the
//! cure.

#![warn(missing_docs)]

pub mod align;
pub mod api;
pub mod asr;
pub mod assets;
mod assignment;
pub mod audio;
pub mod channels;
pub mod config;
pub mod diarize;
pub mod engine;
pub mod error;
pub mod features;
mod guard;
pub mod hub;
pub mod models;
pub mod output;
pub mod pipeline;
pub mod score;
pub mod types;
pub mod units;
pub mod vad;
pub mod watch;

pub use api::{Engine, EngineBuilder};
pub use error::{Error, Result};
