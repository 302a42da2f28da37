//! Where each letter and word of a known text is in the sound: forced alignment.
//!
//! | step | module | from -> to |
//! |---|---|---|
//! | plan | [`mod@prepare`], [`labels`], [`dictionary`], [`numerals`] | segments -> samples and labels of each |
//! | hear | [`windows`], [`models::wav2vec2`](crate::models::wav2vec2) | samples, in batches -> log-probabilities of letters, a row for 20 ms (10 in the built-in network) |
//! | follow | [`mod@ctc_paths`], [`long`] | rows and labels -> the rows of each label |
//! | place | [`mod@assemble`], [`sentences`](mod@sentences), [`mod@words`], [`mod@interpolate`] | the rows of labels -> sentences, words, characters with times |
//! | order | [`monotonic`] | nothing overlaps |
//!
//! [`Aligner`] goes through them.

pub mod aligner;
pub mod assemble;
pub mod ctc_paths;
pub mod dictionary;
pub mod interpolate;
pub mod labels;
pub mod long;
pub mod monotonic;
pub mod numerals;
pub mod options;
pub mod prepare;
pub mod sentences;
pub mod windows;
pub mod words;

pub use crate::watch::Watch;
pub use aligner::Aligner;
pub use ctc_paths::{LabelSpan, Refusal, Utterance, follow};
pub use dictionary::{Dictionary, Writing};
pub use labels::{LabelPolicy, Labels};
pub use options::{AlignOptions, Interpolate};
pub use words::{Clock, TimedWord, words};
