//! Five clocks, five types. A recording is counted in samples, mel frames, encoder frames, CTC frames and
//! segmentation frames; mixing two of them is a type error. Only [`Seconds`] crosses from one stage to the next.
//!
//! The clocks of alignment and diarization arrive with those stages.

use serde::{Deserialize, Serialize};

/// Samples per second of every recording after `audio/` has decoded it.
pub const SAMPLE_RATE: usize = 16_000;

/// A point in time, or a length of time, in seconds from the start of the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// The sample at or before this time. Negative times give sample 0.
    pub fn to_samples_floor(self) -> usize {
        (self.0 * SAMPLE_RATE as f64).max(0.0) as usize
    }

    /// The time of a sample.
    pub fn from_samples(samples: usize) -> Self {
        Seconds(samples as f64 / SAMPLE_RATE as f64)
    }

    /// Rounded to whole milliseconds, as every written format does.
    pub fn round_ms(self) -> Self {
        Seconds((self.0 * 1000.0).round() / 1000.0)
    }
}

impl std::ops::Add for Seconds {
    type Output = Seconds;
    fn add(self, other: Seconds) -> Seconds {
        Seconds(self.0 + other.0)
    }
}

impl std::ops::Sub for Seconds {
    type Output = Seconds;
    fn sub(self, other: Seconds) -> Seconds {
        Seconds(self.0 - other.0)
    }
}

/// A column of the log-mel spectrogram: one tick is 160 samples = 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MelFrame(pub usize);

impl MelFrame {
    /// Samples per tick.
    pub const SAMPLES: usize = 160;
    /// Ticks per second.
    pub const PER_SECOND: usize = SAMPLE_RATE / Self::SAMPLES;

    /// The time at which the frame's hop begins.
    pub fn to_seconds(self) -> Seconds {
        Seconds(self.0 as f64 / Self::PER_SECOND as f64)
    }
}

/// A row of Whisper's encoder output, and the step of its timestamp tokens: two mel frames = 20 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EncoderFrame(pub usize);

impl EncoderFrame {
    /// Mel frames per tick (the stride of the second convolution).
    pub const MEL_FRAMES: usize = 2;
    /// Samples per tick.
    pub const SAMPLES: usize = Self::MEL_FRAMES * MelFrame::SAMPLES;
    /// Ticks per second.
    pub const PER_SECOND: usize = SAMPLE_RATE / Self::SAMPLES;

    /// The time at which the frame begins.
    pub fn to_seconds(self) -> Seconds {
        Seconds(self.0 as f64 / Self::PER_SECOND as f64)
    }

    /// The first mel frame of this encoder frame.
    pub fn to_mel(self) -> MelFrame {
        MelFrame(self.0 * Self::MEL_FRAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_on_one_second() {
        assert_eq!(MelFrame(100).to_seconds(), Seconds(1.0));
        assert_eq!(EncoderFrame(50).to_seconds(), Seconds(1.0));
        assert_eq!(EncoderFrame(50).to_mel(), MelFrame(100));
        assert_eq!(Seconds(1.0).to_samples_floor(), SAMPLE_RATE);
        assert_eq!(Seconds(-1.0).to_samples_floor(), 0);
        assert_eq!(Seconds(1.23456).round_ms(), Seconds(1.235));
    }
}
