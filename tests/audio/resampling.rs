//! The resampler, compared with analytic signals: level, delay, length, and no aliasing.

use std::f64::consts::TAU;

use diarist::audio::{Channel, from_samples};

use crate::common::assert_close;
use crate::{delay, sampled};

/// A sweep of two seconds from 100 Hz to 3.3 kHz, below the band edge of every rate tested. It is faded in and out over
/// 0.2 s, because a hard edge would have energy beyond the band edge.
fn sweep(seconds: f64) -> f64 {
    let fade = |t: f64| 0.5 - 0.5 * (TAU * 0.5 * (t / 0.2).clamp(0.0, 1.0)).cos();
    0.5 * fade(seconds) * fade(2.0 - seconds) * (TAU * (100.0 * seconds + 800.0 * seconds * seconds)).sin()
}

#[test]
fn a_sweep_is_preserved() {
    for rate in [8_000, 11_025, 12_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000, 44_101] {
        let input = sampled(sweep, rate, 2 * rate as usize);
        let want = sampled(sweep, 16_000, 32_000);
        let got = from_samples(&input, 1, rate, Channel::Mix).expect("a plain rate").samples;
        let worst = assert_close(&format!("{rate} Hz"), &got, &want, 2e-5, 0.0);
        assert_eq!(delay(&got[12_000..18_000], &want[12_000..18_000], 8), 0, "{rate} Hz");
        println!("{rate} Hz: largest error {worst:.1e}");
    }
}

#[test]
fn input_at_16_khz_is_unchanged() {
    let input = sampled(|t| 1.7 * sweep(t) + 1e-9, 16_000, 31_999);
    let got = from_samples(&input, 1, 16_000, Channel::Mix).expect("16 kHz").samples;
    assert!(got.iter().zip(&input).all(|(g, w)| g.to_bits() == w.to_bits()));
    assert_eq!(got.len(), input.len());
}

#[test]
fn the_number_of_samples_is_exact() {
    for rate in [1_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 768_000] {
        for count in [1usize, 2, 3, 47, 48, 1000, 4097, 30_000] {
            let want = (count as f64 * 16_000.0 / f64::from(rate)).round() as usize;
            match from_samples(&vec![0.1; count], 1, rate, Channel::Mix) {
                Ok(audio) => assert_eq!(audio.samples.len(), want, "{count} samples at {rate} Hz"),
                Err(error) => assert!(want == 0, "{count} samples at {rate} Hz: {error}"),
            }
        }
    }
}

#[test]
fn a_constant_keeps_its_level() {
    for rate in [8_000, 44_100, 48_000] {
        let got = from_samples(&vec![0.25; rate as usize], 1, rate, Channel::Mix).expect("a plain rate").samples;
        assert_close("level", &got[4_000..12_000], &[0.25; 8_000], 1e-5, 0.0);
    }
}

#[test]
fn frequencies_above_8_khz_do_not_alias() {
    for (rate, hertz) in [(44_100, 9_000.0), (48_000, 8_200.0), (48_000, 15_000.0), (96_000, 30_000.0)] {
        let input = sampled(|t| 0.5 * (TAU * hertz * t).sin(), rate, rate as usize);
        let got = from_samples(&input, 1, rate, Channel::Mix).expect("a plain rate").samples;
        // Only the middle: the hard edge of the tone contains all frequencies.
        let loudest = got[4_000..12_000].iter().fold(0.0f32, |max, s| max.max(s.abs()));
        assert!(loudest < 1e-4, "{hertz} Hz at {rate} Hz leaves {loudest}");
    }
}

#[test]
fn implausible_rates_are_rejected() {
    for rate in [0, 1, 999, 768_001, u32::MAX] {
        let error = from_samples(&[0.0; 64], 1, rate, Channel::Mix).expect_err("no such rate").to_string();
        assert!(error.contains(&rate.to_string()) && error.contains("768000"), "{error}");
    }
}
