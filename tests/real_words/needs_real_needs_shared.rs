//! Tests that need real weights and the shared recordings. The test runner selects them by the name of this module: see
//! `tests/README.md`.

#[path = "conversions.rs"]
mod conversions;
#[path = "faster_whisper.rs"]
mod faster_whisper;
#[path = "whisperx.rs"]
mod whisperx;

use std::path::PathBuf;

use diarist::Engine;
use diarist::api::{Device, EngineBuilder};
use diarist::asr::AsrOptions;
use diarist::audio::{self, DecodeOptions};
use diarist::config::Options;
use diarist::pipeline::{Input, WordTimes};
use diarist::types::{Segment, Transcript};
use serde_json::Value;

use crate::common;

/// Whisper tiny.en, float16.
fn tiny_en() -> PathBuf {
    common::real("whisper-tiny.en-ct2")
}

/// An engine on the CPU.
fn engine(model: PathBuf) -> EngineBuilder {
    Engine::builder().model(model.to_str().unwrap()).device(Device::Cpu)
}

/// Samples of a recording in the shared folder. `FOLDER/*`: all recordings of a folder, concatenated in order of their
/// names.
fn samples(name: &str) -> Vec<f32> {
    let decode = |path| audio::decode(path, &DecodeOptions::default(), audio::ignore_progress).unwrap().samples;
    let Some(folder) = name.strip_suffix("/*") else { return decode(&common::shared(name)) };
    let folder = std::fs::read_dir(common::shared(folder)).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "flac"));
    paths.sort();
    assert!(!paths.is_empty(), "{name}");
    paths.iter().flat_map(|path| decode(path)).collect()
}

fn transcribe(engine: &Engine, name: &str, asr: &AsrOptions, words: WordTimes) -> Transcript {
    let options = Options { asr: asr.clone(), words, ..Options::default() };
    engine.transcribe(Input::Samples(&samples(name)), &options).unwrap()
}

fn text(segments: &[Segment]) -> String {
    segments.iter().map(|segment| segment.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Number of equal words in the same order: the length of the longest common subsequence.
fn equal_words(got: &str, want: &str) -> usize {
    let (got, want): (Vec<&str>, Vec<&str>) = (got.split_whitespace().collect(), want.split_whitespace().collect());
    let mut row = vec![0; want.len() + 1];
    for word in &got {
        let mut diagonal = 0;
        for (at, other) in want.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[want.len()]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn equal_words_are_counted_in_order() {
    assert_eq!(equal_words("a b c d", "a x c d e"), 3);
    assert_eq!(equal_words("", "a"), 0);
    assert_eq!(equal_words("b a", "a b"), 1);
}
