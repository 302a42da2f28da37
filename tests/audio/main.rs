//! Audio decoding: containers, codecs, sample formats, resampling, and files that must be rejected with a reason.

#[path = "../common/mod.rs"]
mod common;

mod combination_words;
mod combinations;
mod decoders;
mod faults;
mod files;
mod formats;
mod found;
mod goldens;
mod hostile;
mod matroska;
mod refusals;
mod resampling;
mod watching;

use std::f64::consts::TAU;
use std::path::Path;

use diarist::audio::{self, Audio, DecodeOptions};

/// The signal in every file of tests/data/audio: a chirp that begins at 200 Hz and rises by 4800 Hz/s
/// (tests/reference/audio_files.sh).
fn chirp(seconds: f64) -> f64 {
    0.5 * (TAU * (200.0 * seconds + 2400.0 * seconds * seconds)).sin()
}

/// The second channel of the stereo files.
fn tone(seconds: f64) -> f64 {
    0.25 * (TAU * 440.0 * seconds).sin()
}

/// `count` samples of a signal at `rate` Hz.
fn sampled(signal: impl Fn(f64) -> f64, rate: u32, count: usize) -> Vec<f32> {
    (0..count).map(|i| signal(i as f64 / f64::from(rate)) as f32).collect()
}

/// Decodes with the default options.
#[track_caller]
fn decoded(path: &Path) -> Audio {
    match audio::decode(path, &DecodeOptions::default(), audio::ignore_progress) {
        Ok(audio) => audio,
        Err(error) => panic!("{error}"),
    }
}

/// The error message of a file that must be rejected.
#[track_caller]
fn refused(path: &Path, options: &DecodeOptions) -> String {
    match audio::decode(path, options, audio::ignore_progress) {
        Ok(audio) => panic!("{} was accepted: {} samples", path.display(), audio.samples.len()),
        Err(error) => error.to_string(),
    }
}

/// Signal-to-noise ratio in dB of `got` against `want` over their common length; NaN if `got` contains NaN.
fn snr(got: &[f32], want: &[f32]) -> f64 {
    let power = |x: f32| f64::from(x) * f64::from(x);
    let signal: f64 = want.iter().map(|&w| power(w)).sum();
    let noise: f64 = got.iter().zip(want).map(|(&g, &w)| power(g - w)).sum();
    10.0 * (signal / noise.max(1e-30)).log10()
}

/// Delay of `got` relative to `want` in samples: the shift within `-reach..=reach` with the greatest cross-correlation.
fn delay(got: &[f32], want: &[f32], reach: usize) -> i64 {
    let reach = reach as i64;
    let correlation = |shift: i64| -> f64 {
        let (skip_got, skip_want) = (shift.max(0) as usize, (-shift).max(0) as usize);
        let pairs = got.iter().skip(skip_got).zip(want.iter().skip(skip_want));
        pairs.map(|(&g, &w)| f64::from(g) * f64::from(w)).sum()
    };
    let best = (-reach..=reach).map(|shift| (shift, correlation(shift))).fold((0, f64::MIN), |best, this| {
        assert!(!this.1.is_nan(), "the decoded signal holds NaN");
        if this.1 > best.1 { this } else { best }
    });
    best.0
}
