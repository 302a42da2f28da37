//! What can be asked of alignment.

use crate::engine::ctc::CtcTopology;
use crate::error::{Error, Result};
use crate::units::Seconds;

/// Where a word goes that was not heard. WhisperX's `--interpolate_method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolate {
    /// To the edge of the nearest word that was.
    #[default]
    Nearest,
    /// Between its neighbours; several share the gap by their letters.
    Linear,
    /// Nowhere: it has no time.
    Ignore,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignOptions {
    /// The paths an alignment may take. [`CtcTopology::Trellis`] is WhisperX's, and then all that follows is WhisperX's too: a
    /// character that the network cannot write, punctuation and digits among them, is a wildcard, and a word ends where the
    /// next one begins.
    pub topology: CtcTopology,
    /// What becomes of words that were not heard.
    pub interpolate: Interpolate,
    /// Whether [`Segment::chars`](crate::types::Segment::chars) is wanted.
    pub characters: bool,
    /// Seconds of audio, fillings included, that the network hears at once. Results do not depend on it.
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
    /// # Errors
    /// [`Error::Config`] for an option that cannot be honoured.
    pub fn check(&self) -> Result<()> {
        if !(self.batch_seconds.0 > 0.0) {
            return Err(Error::config("batch_seconds", self.batch_seconds.0, "expected more than zero"));
        }
        Ok(())
    }
}
