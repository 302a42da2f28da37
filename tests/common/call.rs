//! Test recordings of calls with one speaker per channel, made from the built-in conversation; crosstalk, noise, and
//! multichannel WAV files.

use std::io::Cursor;

use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};
use diarist::types::{Segment, Word};
use diarist::units::Seconds;

use super::seeded;

/// Sample rate in Hz.
pub const RATE: usize = 16_000;

/// A turn of the conversation: its speaker, and its words with their times.
pub struct Turn {
    pub speaker: String,
    pub words: Vec<(String, f64, f64)>,
}

/// The built-in conversation, `[n]` f32 at 16 kHz.
pub fn conversation() -> Vec<f32> {
    let sample = diarist::assets::SAMPLE;
    decode_bytes(sample, "conversation.flac", &DecodeOptions::default(), ignore_progress).expect("the sample").samples
}

/// The turns of the built-in conversation, from its script.
pub fn turns() -> Vec<Turn> {
    let script: serde_json::Value = serde_json::from_str(diarist::assets::SAMPLE_SCRIPT).expect("the script");
    let word = |word: &serde_json::Value| {
        let time = |key: &str| word[key].as_f64().expect("a time");
        (word["word"].as_str().expect("a word").to_string(), time("start"), time("end"))
    };
    let turn = |turn: &serde_json::Value| Turn {
        speaker: turn["speaker"].as_str().expect("a speaker").into(),
        words: turn["words"].as_array().expect("words").iter().map(word).collect(),
    };
    script["turns"].as_array().expect("turns").iter().map(turn).collect()
}

impl Turn {
    /// The turn as an aligned segment, shifted by `late` seconds.
    pub fn segment(&self, late: f64) -> Segment {
        let word = |(text, start, end): &(String, f64, f64)| Word {
            word: text.clone(),
            start: Some(Seconds(start + late)),
            end: Some(Seconds(end + late)),
            ..Word::default()
        };
        let words: Vec<Word> = self.words.iter().map(word).collect();
        Segment {
            start: words[0].start.expect("a start"),
            end: words[words.len() - 1].end.expect("an end"),
            text: words.iter().map(|word| format!(" {}", word.word)).collect(),
            words: Some(words),
            ..Segment::default()
        }
    }
}

/// `samples` during the turns of `speakers`, and silence elsewhere.
pub fn only(samples: &[f32], turns: &[Turn], speakers: &str) -> Vec<f32> {
    let mut out = vec![0.0; samples.len()];
    for turn in turns.iter().filter(|turn| speakers.contains(&turn.speaker)) {
        let at = |time: f64| ((time * RATE as f64) as usize).min(samples.len());
        let span = at(turn.words[0].1 - 0.05)..at(turn.words[turn.words.len() - 1].2 + 0.1);
        out[span.clone()].copy_from_slice(&samples[span]);
    }
    out
}

/// The conversation as a two-channel call: speaker A on the first channel, B and C on the second.
pub fn call() -> [Vec<f32>; 2] {
    let (samples, turns) = (conversation(), turns());
    ["A", "BC"].map(|speakers| only(&samples, &turns, speakers))
}

/// Adds crosstalk: `source`, attenuated by `decibels` and delayed by `milliseconds`.
pub fn leak(samples: &mut [f32], source: &[f32], decibels: f64, milliseconds: usize) {
    let gain = 10f64.powf(-decibels / 20.0) as f32;
    let late = milliseconds * RATE / 1000;
    samples.iter_mut().skip(late).zip(source).for_each(|(sample, source)| *sample += gain * source);
}

/// Adds white noise, `decibels` below full scale. `name` seeds the generator.
pub fn hiss(samples: &mut [f32], name: &str, decibels: f64) {
    // The standard deviation of uniform numbers in [-1, 1) is 1 / sqrt(3).
    let scale = 3f64.sqrt() * 10f64.powf(-decibels / 20.0);
    let noise = seeded::uniform(7, name, samples.len(), 0.0, scale);
    samples.iter_mut().zip(noise).for_each(|(sample, noise)| *sample += noise);
}

/// A 16-bit WAV file with these channels, which must have the same length.
pub fn wav(channels: &[&[f32]]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: channels.len() as u16,
        sample_rate: RATE as u32,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut file = hound::WavWriter::new(&mut bytes, spec).expect("a header");
    for at in 0..channels[0].len() {
        for channel in channels {
            file.write_sample((channel[at].clamp(-1.0, 1.0) * 32_767.0) as i16).expect("a sample");
        }
    }
    file.finalize().expect("an end");
    bytes.into_inner()
}
