//! Mel filterbank of Whisper's log-mel spectrogram.

use crate::units::SAMPLE_RATE;

/// Length of the Fourier transform of the log-mel front end, in samples (25 ms).
pub const N_FFT: usize = 400;

/// Bins of its one-sided spectrum, `0 Hz ..= 8000 Hz` in steps of 40 Hz.
pub const N_BINS: usize = N_FFT / 2 + 1;

/// Hz per mel below [`BREAK_HZ`], where the scale is linear. Slaney 1998, Auditory Toolbox.
const HZ_PER_MEL: f64 = 200.0 / 3.0;

/// Above this frequency the scale is logarithmic, in Hz.
const BREAK_HZ: f64 = 1000.0;

/// [`BREAK_HZ`] in mel.
const BREAK_MEL: f64 = BREAK_HZ / HZ_PER_MEL;

/// Triangular filters that turn a power spectrum into mel bands: `[n_mels, 201]`, row-major, for 16 kHz and
/// [`N_FFT`] = 400.
///
/// Slaney's mel scale from 0 Hz to 8 kHz, each triangle divided by half its width in Hz, so that a flat spectrum
/// gives every band the same value. Whisper uses 80 or 128 bands; for those the values equal its `mel_filters.npz`
/// bit for bit. Any number is valid; with many bands the lowest ones are narrower than a bin and some rows may be all
/// zeros, as in librosa.
///
/// Source: librosa `filters.mel(sr=16000, n_fft=400, n_mels=n_mels, htk=False, norm="slaney")`, from which
/// openai/whisper's `assets/mel_filters.npz` was made.
pub fn mel_filterbank(n_mels: usize) -> Vec<f32> {
    let nyquist = SAMPLE_RATE as f64 / 2.0;
    let top = hz_to_mel(nyquist);
    // Corners of the triangles: band `m` rises from `corners[m]` to `corners[m + 1]` and falls to `corners[m + 2]`.
    let corners: Vec<f64> = (0..n_mels + 2).map(|i| mel_to_hz(top * i as f64 / (n_mels + 1) as f64)).collect();
    let mut filters = Vec::with_capacity(n_mels * N_BINS);
    for band in corners.windows(3) {
        let (low, peak, high) = (band[0], band[1], band[2]);
        for bin in 0..N_BINS {
            let hz = nyquist * bin as f64 / (N_BINS - 1) as f64;
            let rise = (hz - low) / (peak - low);
            let fall = (high - hz) / (high - peak);
            // librosa rounds the triangle to f32 before it scales it; doing the same gives the same last bit.
            let height = rise.min(fall).max(0.0) as f32;
            filters.push((f64::from(height) * 2.0 / (high - low)) as f32);
        }
    }
    filters
}

fn hz_to_mel(hz: f64) -> f64 {
    if hz < BREAK_HZ { hz / HZ_PER_MEL } else { BREAK_MEL + (hz / BREAK_HZ).ln() / log_step() }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < BREAK_MEL { mel * HZ_PER_MEL } else { BREAK_HZ * (log_step() * (mel - BREAK_MEL)).exp() }
}

/// Natural logarithm of the frequency ratio of one mel above the break: 27 mels from 1 kHz to 6.4 kHz.
fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}
