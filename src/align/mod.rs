//! Where each letter and word of a known text is in the sound: forced alignment.
//!
//! | step | module | from -> to |
//! |---|---|---|
//! | plan | [`mod@plan`], [`spell`], [`dictionary`], [`numerals`] | segments -> samples and labels of each |
//! | hear | [`windows`], [`models::wav2vec2`](crate::models::wav2vec2) | samples, in batches -> log-probabilities of letters, a row for 20 ms (10 in the built-in network) |
//! | follow | [`mod@follow`], [`long`] | rows and labels -> the rows of each label |
//! | place | [`mod@place`], [`sentences`](mod@sentences), [`mod@words`], [`mod@interpolate`] | the rows of labels -> sentences, words, characters with times |
//! | order | [`order`] | nothing overlaps |
//!
//! [`Aligner`] goes through them.

pub mod aligner;
pub mod dictionary;
pub mod follow;
pub mod interpolate;
pub mod long;
pub mod numerals;
pub mod options;
pub mod order;
pub mod place;
pub mod plan;
pub mod sentences;
pub mod spell;
pub mod windows;
pub mod words;

pub use crate::watch::Watch;
pub use aligner::Aligner;
pub use dictionary::{Dictionary, Writing};
pub use follow::{LabelSpan, Refusal, Utterance, follow};
pub use options::{AlignOptions, Interpolate};
pub use spell::{Manner, Spelling};
pub use words::{Clock, TimedWord, words};
