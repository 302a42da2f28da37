//! Who said what, when: speech to text in one crate, without Python, ffmpeg or cuDNN.
//!
//! [`Engine`] ([`api`]) is the front door. A recording passes through the stages in the order of this list. Each is a module that can be used alone;
//! [`pipeline`] is the line through all of them.
//!
//! | stage | module | from -> to |
//! |---|---|---|
//! | decode | [`audio`] | any file -> 16 kHz mono samples |
//! | find speech | [`vad`] | samples -> spans -> chunks of at most one window |
//! | hear | [`features`], [`models`] | samples `[B, S]` -> log-mel `[B, F, M]` -> encoder output `[B, T, C]` |
//! | write | [`asr`] | chunks -> tokens -> text |
//! | place | [`align`] | text and audio -> times of letters, words and sentences |
//! | tell apart | [`diarize`] | who speaks in each window, and voices -> turns -> speakers of words |
//! | or: merge | [`channels`] | the words of each channel -> one transcript, the channel as the speaker |
//! | show | [`output`] | a transcript -> srt, vtt, txt, tsv, json, aud, rttm |
//!
//! Below them: [`engine`] (tensors, the [`Backend`](engine::Backend) trait, the CPU,
//! CUDA), [`hub`] (a model's name to its
//! files), [`assets`] (the model and the sample in the program), [`score`] (a result against a reference), and the nouns they share: [`types`], [`units`],
//! [`config`], [`watch`], [`error`].
//!
//! # Example
//!
//! The model that is compiled into the program, on the sample that is too:
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
//! Tensors are contiguous and row-major; shapes are written `[B, T, C]` with one vocabulary (see
//! [`engine::backend`]). Only [`Seconds`](units::Seconds) crosses from stage to stage. The library never prints, exits
//! or panics on input: every [`Error`] says what failed, what was expected, what was found and, where known, the cure.

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
