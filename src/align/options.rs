//! Options of forced alignment.

use crate::engine::ctc::CtcTopology;
use crate::error::{Error, Result};
use crate::units::Seconds;

/// The time of words that were not aligned. WhisperX's `--interpolate_method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolate {
    /// The end or start of the nearest aligned word.
    #[default]
    Nearest,
    /// The gap between the aligned words on both sides; several words divide it in proportion to their letters.
    Linear,
    /// None.
    Ignore,
}

/// Options of [`Aligner`](super::Aligner).
#[derive(Clone, Debug, PartialEq)]
pub struct AlignOptions {
    /// The paths that the search allows. [`CtcTopology::Trellis`] is WhisperX's, and selects WhisperX's labels too:
    /// every character without a class, including punctuation and digits, is a wildcard, and a word ends where the next
    /// one begins.
    pub topology: CtcTopology,
    /// The times of words that were not aligned.
    pub interpolate: Interpolate,
    /// Whether to fill [`Segment::chars`](crate::types::Segment::chars).
    pub characters: bool,
    /// Seconds of audio per batch, padding included. Results do not depend on it.
    pub batch_seconds: Seconds,
}

impl Default for AlignOptions {
    fn default() -> Self {
        AlignOptions {
            topology: CtcTopology::Ctc,
            interpolate: Interpolate::Nearest,
            characters: false,
            batch_seconds: Seconds(60.0),
        }
    }
}

impl AlignOptions {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::Config`] naming the option that is invalid.
    pub fn check(&self) -> Result<()> {
        if !(self.batch_seconds.0 > 0.0) {
            return Err(Error::config("batch_seconds", self.batch_seconds.0, "expected more than zero"));
        }
        Ok(())
    }
}
