//! Where each letter and word of a known text is in the sound: forced alignment.
//!
//! | step | module | from -> to |
//! |---|---|---|
//! | hear | [`models::wav2vec2`](crate::models::wav2vec2) | samples -> log-probabilities of letters, a row for 20 ms |
//! | spell | [`dictionary`] | text -> labels, and which of them are a word |
//! | follow | [`mod@follow`] | rows and labels -> the rows of each label |
//! | words | [`mod@words`] | the rows of labels -> times of words |
//!
//! The stage's foundations: `transcribe` does not call it yet.

pub mod aligner;
pub mod dictionary;
pub mod follow;
pub mod options;
pub mod words;

pub use aligner::Aligner;
pub use dictionary::{Dictionary, Labels, Word, Writing};
pub use follow::{LabelSpan, Refusal, Utterance, follow};
pub use options::{AlignOptions, Interpolate, Watch};
pub use words::{Clock, TimedWord, words};
