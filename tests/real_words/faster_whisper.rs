//! Segments, tokens, times and probabilities against faster-whisper, for many combinations of options.

use diarist::asr::AsrOptions;
use diarist::pipeline::WordTimes;
use diarist::types::{Segment, Word};
use diarist::vad::VadMethod;
use serde_json::Value;

use super::{engine, list, number, tiny_en, transcribe};
use crate::common::json;

/// Tolerance of log-probabilities and probabilities; both sides compute in f32.
const NEAR: f64 = 2e-3;
/// The same for recordings that are resampled, because the filters differ.
const RESAMPLED: f64 = 0.03;
/// Tolerance of word times in seconds: a frame of the encoder.
const FRAME: f64 = 0.02;

/// The options of a case. Options that are not given have the defaults of faster-whisper's `WhisperModel.transcribe`.
pub fn options(given: &Value) -> (AsrOptions, WordTimes) {
    let mut options = AsrOptions {
        language: Some("en".into()),
        without_timestamps: false,
        condition_on_previous_text: true,
        ..AsrOptions::default()
    };
    let mut words = WordTimes::None;
    for (key, value) in given.as_object().unwrap() {
        let text = || value.as_str().map(str::to_owned);
        let flag = || value.as_bool().unwrap();
        match key.as_str() {
            "beam_size" => options.beam_size = value.as_u64().unwrap() as usize,
            "best_of" => options.best_of = value.as_u64().unwrap() as usize,
            "temperature" => options.temperatures = list(value).iter().map(number).collect(),
            "condition_on_previous_text" => options.condition_on_previous_text = flag(),
            "without_timestamps" => options.without_timestamps = flag(),
            "word_timestamps" => words = if flag() { WordTimes::Dtw } else { WordTimes::None },
            "log_prob_threshold" => options.log_prob_threshold = value.as_f64(),
            "no_speech_threshold" => options.no_speech_threshold = value.as_f64(),
            "compression_ratio_threshold" => options.compression_ratio_threshold = value.as_f64(),
            "initial_prompt" => options.initial_prompt = text(),
            "hotwords" => options.hotwords = text(),
            "prefix" => options.prefix = text(),
            other => panic!("the test does not know the option {other}"),
        }
    }
    (options, words)
}

/// The first difference between a segment and faster-whisper's, without word times.
fn difference(got: &Segment, want: &Value, near: f64) -> Option<String> {
    let tokens: Vec<u64> = list(&want[3]).iter().map(|token| token.as_u64().unwrap()).collect();
    if !got.tokens.iter().map(|token| u64::from(*token)).eq(tokens) || got.text != want[2].as_str().unwrap() {
        return Some(format!("{:?}, want {}", got.text, want[2]));
    }
    let numbers = [
        ("start", Some(got.start.0), 0, 0.0011),
        ("end", Some(got.end.0), 1, 0.0011),
        ("avg_logprob", got.avg_logprob, 4, near),
        ("no_speech_prob", got.no_speech_prob, 5, near),
        ("compression_ratio", got.compression_ratio, 6, 1e-5),
        ("temperature", got.temperature, 7, 1e-9),
    ];
    let far = |&(_, got, at, most): &(&str, Option<f64>, usize, f64)| {
        // The comparison fails for NaN.
        !got.is_some_and(|got| (got - number(&want[at])).abs() <= most)
    };
    numbers.iter().find(|number| far(number)).map(|(key, got, at, _)| format!("{key} {got:?}, want {}", want[*at]))
}

/// Numbers of compared items over all recordings of a case.
#[derive(Default)]
struct Counts {
    segments: usize,
    words: usize,
    /// Words whose start and end differ by at most a frame from faster-whisper's.
    near: usize,
    /// Words whose start and end are equal to faster-whisper's.
    same: usize,
}

impl Counts {
    fn words(&mut self, name: &str, got: &[Word], want: &Value) {
        let want: Vec<&Value> = list(want).iter().filter(|word| !word[0].as_str().unwrap().trim().is_empty()).collect();
        assert_eq!(got.len(), want.len(), "{name}: {got:?}, want {want:?}");
        for (got, want) in got.iter().zip(want) {
            assert_eq!(got.word, want[0].as_str().unwrap().trim(), "{name}");
            let off =
                [(got.start, &want[1]), (got.end, &want[2])].map(|(got, want)| (got.unwrap().0 - number(want)).abs());
            self.words += 1;
            self.near += usize::from(off.iter().all(|off| *off <= FRAME + 1e-6));
            self.same += usize::from(off.iter().all(|off| *off <= 1e-6));
            let score = (got.score.unwrap() - number(&want[3])).abs();
            assert!(score <= 0.02, "{name}: {got:?}, want {want}");
        }
    }
}

/// Compares a case of the golden.
fn compare(case: &str) -> Counts {
    let golden = json("real/faster_whisper.json");
    let case = &golden["cases"][case];
    let (options, words) = options(&case["options"]);
    let engine = engine(tiny_en()).speech(VadMethod::None, "").build().unwrap();
    let (mut counts, mut different) = (Counts::default(), Vec::new());
    let recordings = case["recordings"].as_object().unwrap();
    for (name, want) in recordings {
        let got = transcribe(&engine, name, &options, words.clone()).segments;
        let resampled = ["/codecs/", "/jfk/"].iter().any(|part| name.contains(part));
        let near = if resampled { RESAMPLED } else { NEAR };
        let reasons = got.iter().zip(list(want)).find_map(|(got, want)| difference(got, want, near));
        let count =
            (got.len() != list(want).len()).then(|| format!("{} segments, want {}", got.len(), list(want).len()));
        if let Some(reason) = reasons.or(count) {
            different.push(format!("{name}: {reason}"));
            continue;
        }
        counts.segments += got.len();
        for (got, want) in got.iter().zip(list(want)).filter(|(_, want)| !want[8].is_null()) {
            counts.words(name, got.words.as_deref().unwrap_or_default(), &want[8]);
        }
    }
    let Counts { segments, words, near, same } = counts;
    eprintln!(
        "{segments} segments in {} recordings equal; {words} words, {same} times equal, {near} near",
        recordings.len()
    );
    assert!(different.is_empty(), "{} of {} recordings:\n{}", different.len(), recordings.len(), different.join("\n"));
    counts
}

macro_rules! cases {
    ($($name:ident: $case:literal, $segments:literal;)*) => {$(
        #[test]
        #[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
        fn $name() {
            let counts = compare($case);
            assert!(counts.segments >= $segments, "only {} segments were compared", counts.segments);
        }
    )*};
}

cases! {
    greedy_search: "greedy", 100;
    greedy_search_without_timestamps: "greedy without timestamps", 15;
    windows_with_previous_text: "windows with previous text", 20;
    fallback_with_default_thresholds: "fallback, defaults", 60;
    fallback_by_log_probability: "fallback by log-probability", 20;
    fallback_by_compression: "fallback by compression", 20;
    windows_without_speech: "no speech", 20;
    an_initial_prompt: "initial prompt", 15;
    hotwords: "hotwords", 15;
    a_prefix: "prefix", 10;
    prompt_hotwords_and_previous_text: "prompt and hotwords and previous text", 20;
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn beam_search_and_word_times() {
    let counts = compare("beam and times of words");
    assert!(counts.words > 2000, "only {} words were compared", counts.words);
    assert!(counts.near * 100 >= counts.words * 98, "{} of {} words", counts.near, counts.words);
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn windows_with_previous_text_and_word_times() {
    let counts = compare("windows with previous text, greedy, times of words");
    assert!(counts.words > 500, "only {} words were compared", counts.words);
    assert!(counts.near * 100 >= counts.words * 98, "{} of {} words", counts.near, counts.words);
}
