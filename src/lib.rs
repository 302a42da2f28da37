//! Who said what, when.

#![warn(missing_docs)]

pub mod asr;
pub mod assets;
pub mod audio;
pub mod config;
pub mod engine;
pub mod error;
pub mod features;
pub mod hub;
pub mod models;
pub mod output;
pub mod pipeline;
pub mod types;
pub mod units;
pub mod vad;

pub use error::{Error, Result};
