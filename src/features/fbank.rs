//! Parameters of Kaldi's log-mel filterbank features (fbank), the input of speaker embedding networks: window function,
//! mel filters, frame counts. The backends compute the features.
//!
//! Steps for each frame: 400 samples times a gain, mean subtraction, preemphasis, window function, zero padding to 512,
//! power spectrum, triangular mel filters, natural logarithm. Frames begin every 160 samples and lie completely in the
//! recording.
//!
//! Source: Kaldi `feat/feature-fbank.cc` and `mel-computations.cc`, as in torchaudio `compliance/kaldi.py` with its defaults.

use crate::error::{Error, Result};
use crate::units::{MelFrame, SAMPLE_RATE};

/// Samples of a frame, 25 ms.
pub const FRAME: usize = 400;
/// Hop from frame to frame in samples, 10 ms.
pub const SHIFT: usize = MelFrame::SAMPLES;
/// Length of the Fourier transform.
pub const FFT: usize = 512;
/// Bins of its one-sided spectrum, `0 Hz ..= 8000 Hz` in steps of 31.25 Hz.
pub const SPECTRUM: usize = FFT / 2 + 1;
/// Preemphasis coefficient: `x[i] - 0.97 x[i - 1]`, and `x[0] - 0.97 x[0]` for the first sample of a frame.
pub const PREEMPHASIS: f32 = 0.97;
/// Floor of the power of a band before the logarithm: f32 epsilon.
pub const FLOOR: f32 = f32::EPSILON;
/// Most mel bands: one for each bin below the Nyquist frequency.
pub const MOST_BANDS: usize = 256;

/// Lower edge of the lowest band, in Hz.
const LOWEST_HZ: f64 = 20.0;

/// Window function of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taper {
    /// `0.54 - 0.46 cos`: WeSpeaker's.
    Hamming,
    /// `(0.5 - 0.5 cos)^0.85`: Kaldi's default.
    Povey,
}

/// Settings of the features that differ between embedding networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fbank {
    /// `M`: mel bands, 4 to [`MOST_BANDS`].
    pub bands: usize,
    /// The window function.
    pub taper: Taper,
    /// Factor of the samples. Kaldi expects 16-bit integers, so the factor of samples in `[-1, 1]` is 32768.
    pub gain: f32,
}

impl Fbank {
    /// WeSpeaker's settings, for samples in `[-1, 1]`.
    pub fn wespeaker(bands: usize) -> Self {
        Fbank { bands, taper: Taper::Hamming, gain: 32768.0 }
    }

    /// 3D-Speaker's settings, for samples in `[-1, 1]`: `speakerlab/process/processor.py::FBank`.
    pub fn three_d_speaker(bands: usize) -> Self {
        Fbank { bands, taper: Taper::Povey, gain: 1.0 }
    }

    /// Returns `self` if the settings are valid.
    ///
    /// # Errors
    /// [`Error::Config`] for too few or too many bands, or a gain that is not finite and positive.
    pub fn checked(self) -> Result<Self> {
        if !(4..=MOST_BANDS).contains(&self.bands) {
            return Err(Error::config("bands", self.bands, format!("expected 4 to {MOST_BANDS} mel bands")));
        }
        if !(self.gain.is_finite() && self.gain > 0.0) {
            return Err(Error::config("gain", self.gain, "expected a number above 0"));
        }
        Ok(self)
    }

    /// The values of the window function, `[FRAME]`.
    pub fn taper(&self) -> Vec<f32> {
        let cosine = |i: usize| (std::f64::consts::TAU * i as f64 / (FRAME - 1) as f64).cos();
        let value = |i: usize| match self.taper {
            Taper::Hamming => 0.54 - 0.46 * cosine(i),
            Taper::Povey => (0.5 - 0.5 * cosine(i)).powf(0.85),
        };
        (0..FRAME).map(|i| value(i) as f32).collect()
    }

    /// The mel filters: `[M, SPECTRUM]`, row-major. They are triangular on the mel scale (not in Hz), with a peak of 1.
    /// The weight of the topmost bin is 0. Filters of bands narrower than a bin may be all zeros.
    pub fn filters(&self) -> Vec<f32> {
        let nyquist = SAMPLE_RATE as f64 / 2.0;
        let (lowest, highest) = (mel(LOWEST_HZ), mel(nyquist));
        let step = (highest - lowest) / (self.bands + 1) as f64;
        let mut filters = Vec::with_capacity(self.bands * SPECTRUM);
        for band in 0..self.bands {
            let (left, right) = (lowest + band as f64 * step, lowest + (band + 2) as f64 * step);
            for bin in 0..SPECTRUM {
                let at = mel(nyquist * bin as f64 / (SPECTRUM - 1) as f64);
                let height = ((at - left) / step).min((right - at) / step).max(0.0);
                filters.push(if bin + 1 == SPECTRUM { 0.0 } else { height as f32 });
            }
        }
        filters
    }
}

/// Number of frames in `samples` samples.
pub fn frames(samples: usize) -> usize {
    samples.checked_sub(FRAME).map_or(0, |rest| rest / SHIFT + 1)
}

/// Number of samples that `frames` frames cover.
pub fn samples(frames: usize) -> usize {
    frames.checked_sub(1).map_or(0, |steps| steps * SHIFT + FRAME)
}

fn mel(hz: f64) -> f64 {
    1127.0 * (1.0 + hz / 700.0).ln()
}
