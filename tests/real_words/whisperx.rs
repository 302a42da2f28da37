//! Text of every English recording against whisperx.

use diarist::asr::AsrOptions;
use diarist::pipeline::WordTimes;
use diarist::vad::VadMethod;

use super::{engine, equal_words, list, number, text, tiny_en, transcribe};
use crate::common::{json, shared};

/// Tolerance of times in seconds. Chunks are cut at frames of 17 ms, of which one may differ, and whisperx's last chunk
/// may end after the recording.
const NEAR: f64 = 0.05;

/// Options without temperature fallback: whisperx accepts the thresholds but ignores them.
fn options() -> AsrOptions {
    AsrOptions {
        language: Some("en".into()),
        temperatures: vec![0.0],
        compression_ratio_threshold: None,
        log_prob_threshold: None,
        no_speech_threshold: None,
        ..AsrOptions::default()
    }
}

/// Compares the recordings that `selects` by index in the golden and name. There must be `recordings` of them.
fn compare(selects: impl Fn(usize, &str) -> bool, recordings: usize) {
    let golden = json("real/whisperx.json");
    let network = shared("models/whisperx-vad/pytorch_model.bin");
    let engine = engine(tiny_en()).speech(VadMethod::Pyannote, network).build().unwrap();
    let (mut words, mut equal, mut compared, mut different) = (0, 0, 0, Vec::new());
    let all = golden["recordings"].as_object().unwrap();
    for (name, want) in all.iter().enumerate().filter(|(at, (name, _))| selects(*at, name)).map(|(_, pair)| pair) {
        let got = transcribe(&engine, name, &options(), WordTimes::None).segments;
        let texts: Vec<&str> = list(want).iter().map(|segment| segment[2].as_str().unwrap()).collect();
        let want_text = texts.join(" ");
        words += want_text.split_whitespace().count();
        equal += equal_words(&text(&got), &want_text);
        if !got.iter().map(|segment| segment.text.as_str()).eq(texts) {
            different.push(format!("{name}\n  got  {}\n  want {want_text}", text(&got)));
        } else if name.ends_with(".wav") || name.ends_with(".flac") {
            // Times are compared for lossless files only: decoders of lossy formats give different samples.
            for (got, want) in got.iter().zip(list(want)) {
                let near = |got: f64, want: &serde_json::Value, most: f64| (got - number(want)).abs() <= most;
                assert!(
                    near(got.start.0, &want[0], NEAR) && near(got.end.0, &want[1], NEAR),
                    "{name}: {got:?}, {want}"
                );
                assert!(near(got.avg_logprob.unwrap(), &want[3], 0.03), "{name}: {got:?}, {want}");
            }
        }
        compared += 1;
    }
    eprintln!("whisperx: {equal} of {words} words in {compared} recordings");
    assert!(different.is_empty(), "{} of {compared} recordings differ:\n{}", different.len(), different.join("\n"));
    assert_eq!((compared, equal), (recordings, words));
}

fn is_voice(name: &str) -> bool {
    name.contains("/voices/")
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn words_of_conversations_meetings_and_readings_are_whisperxs() {
    compare(|_, name| !is_voice(name), 27);
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn words_of_voices_are_whisperxs() {
    compare(|at, name| is_voice(name) && at % 8 == 0, 44);
}

#[test]
#[ignore = "takes long (.ci/long); needs real weights (tests/real/fetch.sh) and ../shared"]
fn takes_long_words_of_all_voices_are_whisperxs() {
    compare(|_, name| is_voice(name), 351);
}
