//! Time units: seconds, mel frames and encoder frames as distinct types, so that mixing two of them is a compile error.
//! Stages exchange times in [`Seconds`] only.
//!
//! [`FrameGrid`] converts between seconds and the frames of segmentation networks (VAD and diarization scores).

use serde::{Deserialize, Serialize};

/// Sample rate of decoded audio, in Hz.
pub const SAMPLE_RATE: usize = 16_000;

/// A point in time, measured from the start of the recording, or a duration; in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl Seconds {
    /// Index of the sample at or before this time; 0 for negative times.
    pub fn to_samples_floor(self) -> usize {
        (self.0 * SAMPLE_RATE as f64).max(0.0) as usize
    }

    /// The time of the sample with this index.
    pub fn from_samples(samples: usize) -> Self {
        Seconds(samples as f64 / SAMPLE_RATE as f64)
    }

    /// Rounded to whole milliseconds, the precision of every output format.
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

/// Index of a column of the log-mel spectrogram: one frame is 160 samples = 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MelFrame(pub usize);

impl MelFrame {
    /// Samples per frame (the hop length).
    pub const SAMPLES: usize = 160;
    /// Frames per second.
    pub const PER_SECOND: usize = SAMPLE_RATE / Self::SAMPLES;

    /// Start time of the frame's hop.
    pub fn to_seconds(self) -> Seconds {
        Seconds(self.0 as f64 / Self::PER_SECOND as f64)
    }
}

/// Index of a row of Whisper's encoder output; also the unit of its timestamp tokens: two mel frames = 20 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EncoderFrame(pub usize);

impl EncoderFrame {
    /// Mel frames per encoder frame (the stride of the second convolution).
    pub const MEL_FRAMES: usize = 2;
    /// Samples per encoder frame.
    pub const SAMPLES: usize = Self::MEL_FRAMES * MelFrame::SAMPLES;
    /// Encoder frames per second.
    pub const PER_SECOND: usize = SAMPLE_RATE / Self::SAMPLES;

    /// Start time of the frame.
    pub fn to_seconds(self) -> Seconds {
        Seconds(self.0 as f64 / Self::PER_SECOND as f64)
    }

    /// The first mel frame of this encoder frame.
    pub fn to_mel(self) -> MelFrame {
        MelFrame(self.0 * Self::MEL_FRAMES)
    }
}

/// The times of a score sequence's frames. The time of a frame is that of its middle.
///
/// Reproduces `pyannote.core.SlidingWindow` bit for bit: the same operations in the same order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameGrid {
    /// Start of frame 0, in seconds.
    pub start: f64,
    /// Distance between the starts of consecutive frames, in seconds.
    pub step: f64,
    /// Length of a frame, in seconds.
    pub duration: f64,
}

impl FrameGrid {
    /// Middle of frame `index`, in seconds.
    pub fn middle(&self, index: usize) -> f64 {
        let start = self.start + index as f64 * self.step;
        0.5 * (start + (start + self.duration))
    }

    /// Index of the frame whose middle is closest to `time + duration / 2` (seconds). Ties: the even index, as with
    /// NumPy's `rint`.
    pub fn closest(&self, time: f64) -> usize {
        let middle = time + 0.5 * self.duration;
        ((middle - self.start - 0.5 * self.duration) / self.step).round_ties_even().max(0.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_agree_on_one_second() {
        assert_eq!(MelFrame(100).to_seconds(), Seconds(1.0));
        assert_eq!(EncoderFrame(50).to_seconds(), Seconds(1.0));
        assert_eq!(EncoderFrame(50).to_mel(), MelFrame(100));
        assert_eq!(Seconds(1.0).to_samples_floor(), SAMPLE_RATE);
        assert_eq!(Seconds(-1.0).to_samples_floor(), 0);
        assert_eq!(Seconds(1.23456).round_ms(), Seconds(1.235));
    }
}
