//! The shared recordings, compared with ffmpeg's samples (tests/reference/audio_goldens.py).

use diarist::audio::{self, DecodeOptions};

use crate::common::{json, shared};
use crate::refused;

/// Tolerance of single samples. The resamplers differ just below 8 kHz, so that recordings with much energy there
/// differ more. A shift by one sample would give a difference of about 0.1.
const TOLERANCE: f64 = 4e-3;

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_recordings_match_ffmpeg() {
    let table = json("audio_shared.json");
    let mut compared = 0;
    for (name, want) in table.as_object().expect("a table") {
        let path = shared(&format!("audio/{name}"));
        let audio = match audio::decode(&path, &DecodeOptions::default(), audio::ignore_progress) {
            Ok(audio) => audio,
            Err(error) => panic!("{error}"),
        };
        let samples = &audio.samples;
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        // ffmpeg's resampler rounds the length up or down, depending on its filter state.
        let more = samples.len() as f64 - number(&want["samples"]);
        assert!(more.abs() <= 1.0, "{name}: {} samples, ffmpeg has {}", samples.len(), want["samples"]);
        let rms = (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt();
        let (got, golden) = (rms, number(&want["rms"]));
        assert!((got / golden - 1.0).abs() <= 2e-3, "{name}: RMS {got}, ffmpeg has {golden}");
        let places = want["at"].as_array().expect("places").iter().zip(want["values"].as_array().expect("values"));
        let mut worst = 0.0f64;
        for (place, value) in places {
            let (at, value) = (number(place) as usize, number(value));
            let difference = (f64::from(samples[at]) - value).abs();
            // NaN fails this comparison, too.
            assert!(difference <= TOLERANCE, "{name}[{at}]: {}, ffmpeg has {value}", samples[at]);
            worst = worst.max(difference);
        }
        println!("{name}: RMS off by {:.1e}, samples by {worst:.1e}", got / golden - 1.0);
        compared += 1;
    }
    println!("{compared} shared recordings compared");
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_broken_files_are_rejected_with_a_reason() {
    let cases = [
        ("awful.wav", "1092676 samples per second"),
        ("bad.wav", "`fmt ` chunk claims 1717986918 bytes"),
        ("header-only.wav", "no audio"),
        ("null.wav", "no audio"),
    ];
    for (name, words) in cases {
        let path = shared(&format!("audio/broken/{name}"));
        let text = refused(&path, &DecodeOptions::default());
        assert!(text.contains(words) && text.contains(name), "{text}");
    }
}
