//! Forced alignment: the times of the words and characters of a known text.
//!
//! | step | module | from -> to |
//! |---|---|---|
//! | prepare | [`mod@prepare`], [`labels`], [`dictionary`], [`numerals`] | segments -> samples and CTC labels of each |
//! | emissions | [`windows`], [`models::wav2vec2`](crate::models::wav2vec2) | samples, in batches -> log-probabilities of characters, one row per 20 ms (10 ms in the built-in network) |
//! | CTC paths | [`mod@ctc_paths`], [`long`] | emission rows and labels -> the rows of each label |
//! | assemble | [`mod@assemble`], [`sentences`](mod@sentences), [`mod@words`], [`mod@interpolate`] | the rows of each label -> sentences, words and characters with times |
//! | monotonic | [`monotonic`] | times -> ordered times without overlap |
//!
//! [`Aligner`] runs these steps.

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
pub use ctc_paths::{LabelSpan, Refusal, Utterance, ctc_paths};
pub use dictionary::{Dictionary, Writing};
pub use labels::{LabelPolicy, Labels};
pub use options::{AlignOptions, Interpolate};
pub use words::{Clock, TimedWord, words};
