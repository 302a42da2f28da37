//! Streaming, progress and cancellation.

use std::ops::ControlFlow;

use diarist::Error;
use diarist::audio::{self, DecodeOptions, Decoder, Progress};

use crate::common::data;
use crate::decoded;
use crate::files::Wav;

#[test]
fn streaming_gives_the_same_samples() {
    for name in ["stereo.flac", "lame.mp3", "mono.opus", "alac.m4a"] {
        let path = data("audio").join(name);
        let mut decoder = Decoder::open(&path, &DecodeOptions::default()).expect(name);
        let mut samples = Vec::new();
        let mut longest = 0;
        while let Some(block) = decoder.next_block().expect(name) {
            longest = longest.max(block.len());
            samples.extend_from_slice(block);
        }
        assert_eq!(samples, decoded(&path).samples, "{name}");
        assert!(longest < samples.len(), "{name} came in one block");
        assert!(decoder.next_block().expect("still the end").is_none());
        assert!((decoder.decoded().0 - 0.5).abs() < 1e-9, "{name}");
    }
}

#[test]
fn progress_rises_to_the_total() {
    let bytes = Wav::pcm16(44_100, 2, &vec![0.25; 2 * 3 * 44_100]).bytes();
    let mut seen: Vec<Progress> = Vec::new();
    let audio = audio::decode_bytes(&bytes, "a.wav", &DecodeOptions::default(), |progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    });
    assert_eq!(audio.expect("three seconds").samples.len(), 48_000);
    assert!(seen.len() > 50 && seen.windows(2).all(|pair| pair[0].decoded <= pair[1].decoded));
    assert!(seen.iter().all(|progress| progress.total.is_some_and(|total| total.0 == 3.0)));
    assert!((seen.last().expect("progress").decoded.0 - 3.0).abs() < 1e-9);
}

#[test]
fn the_callback_can_cancel() {
    let bytes = Wav::pcm16(44_100, 1, &vec![0.25; 3 * 44_100]).bytes();
    let mut calls = 0;
    let result = audio::decode_bytes(&bytes, "a.wav", &DecodeOptions::default(), |_| {
        calls += 1;
        if calls == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(calls, 5);
}

#[test]
fn the_source_is_described() {
    let source = decoded(&data("audio/stereo.flac")).source;
    assert_eq!((source.container.as_str(), source.codec.as_str()), ("flac", "flac"));
    assert_eq!((source.rate, source.channels, source.length.map(|l| l.0)), (16_000, 2, Some(0.5)));
    assert!(source.bytes > 1_000);
}
