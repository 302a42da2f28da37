//! Five clocks, five types. A recording is counted in samples, mel frames, encoder frames, CTC frames and
//! segmentation frames; mixing two of them is a type error. Only [`Seconds`] crosses from one stage to the next.
//!
//! [`FrameGrid`] is the clock of scores whose frames are given in seconds: those of networks that find speakers.

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

/// When the frames of a score sequence happen. Times come from the middle of a frame.
///
/// The arithmetic is that of `pyannote.core.SlidingWindow`, in its order, to the last bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameGrid {
    /// Start of frame 0, in seconds.
    pub start: f64,
    /// From one frame to the next, in seconds.
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

    /// The frame whose middle is closest to half a frame after `time` (seconds): of two equally close ones the even one, as
    /// NumPy's `rint` has it.
    pub fn closest(&self, time: f64) -> usize {
        let middle = time + 0.5 * self.duration;
        ((middle - self.start - 0.5 * self.duration) / self.step).round_ties_even().max(0.0) as usize
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
