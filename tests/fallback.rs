//! Temperature fallback, splitting at timestamps, windows and prompts, against faster-whisper's code on scripted
//! results of searches (`tests/reference/sequential.py`).

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use diarist::asr::AsrOptions;
use diarist::asr::Task;
use diarist::asr::Tokenizer;
use diarist::asr::attempt::Setup;
use diarist::asr::fallback::{Attempt, Fallback, Verdict, compression_ratio, mean_log_probability};
use diarist::asr::prompt::{Prompt, PromptParts};
use diarist::asr::segments::split;
use diarist::asr::sequential::Sequential;
use diarist::asr::slots::Decoded;
use diarist::asr::source::Source;
use diarist::units::MelFrame;
use serde_json::Value;

const VOCAB: usize = 51865;
const POSITIONS: usize = 448;

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn assert_near(what: &str, got: f64, want: f64) {
    let difference = (got - want).abs();
    // Scores are rounded to f32. The comparison fails for NaN.
    assert!(difference <= 1e-6 * want.abs().max(1.0), "{what}: got {got}, want {want}");
}

/// The default options of the golden, with the changes of a case.
fn options(changes: &Value) -> AsrOptions {
    let mut options =
        AsrOptions { without_timestamps: false, condition_on_previous_text: true, ..AsrOptions::default() };
    for (key, value) in changes.as_object().expect("options") {
        let text = || value.as_str().map(str::to_owned);
        match key.as_str() {
            "temperatures" => options.temperatures = floats(value),
            "compression_ratio_threshold" => options.compression_ratio_threshold = value.as_f64(),
            "log_prob_threshold" => options.log_prob_threshold = value.as_f64(),
            "no_speech_threshold" => options.no_speech_threshold = value.as_f64(),
            "length_penalty" => options.length_penalty = value.as_f64().expect("a number"),
            "best_of" => options.best_of = value.as_u64().expect("a count") as usize,
            "condition_on_previous_text" => options.condition_on_previous_text = value.as_bool().expect("a flag"),
            "without_timestamps" => options.without_timestamps = value.as_bool().expect("a flag"),
            "initial_prompt" => options.initial_prompt = text(),
            "hotwords" => options.hotwords = text(),
            "prefix" => options.prefix = text(),
            "clip_timestamps" => options.clip_timestamps = floats(value),
            other => panic!("the test does not know the option {other}"),
        }
    }
    options
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

#[test]
fn compression_ratio_matches_zlib() {
    for case in common::json("sequential/compression.json")["cases"].as_array().expect("cases") {
        let text = case["text"].as_str().expect("text");
        assert_near(text, compression_ratio(text), case["ratio"].as_f64().expect("a ratio"));
    }
}

#[test]
fn fallback_matches_faster_whisper() {
    let golden = common::json("sequential/fallback.json");
    let cases = golden["cases"].as_array().expect("cases");
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let options = options(&case["options"]);
        let attempts: Vec<Attempt> =
            case["attempts"].as_array().expect("attempts").iter().map(|a| attempt(a, &options)).collect();
        let mut fallback = Fallback::default();
        let mut made = 0;
        let accepted = loop {
            let attempt = attempts[made].clone();
            made += 1;
            match fallback.judge(attempt, &options) {
                Verdict::Accept(attempt) => break attempt,
                Verdict::Retry(temperature) => {
                    assert_near(name, temperature, attempts[made].temperature);
                }
            }
        };
        assert_eq!(made, case["calls"].as_array().expect("calls").len(), "{name}: number of attempts");
        let chosen = &attempts[case["chosen"].as_u64().expect("chosen") as usize];
        assert_eq!(accepted.tokens, chosen.tokens, "{name}");
        assert_near(name, accepted.temperature, case["temperature"].as_f64().expect("a temperature"));
        assert_near(name, accepted.compression_ratio, case["compression_ratio"].as_f64().expect("a ratio"));
        // faster-whisper's mean of an empty transcript is NaN.
        if let Some(mean) = case["avg_logprob"].as_f64() {
            assert_near(name, accepted.avg_logprob, mean);
        }
    }
    assert_eq!(cases.len(), 19);
}

fn attempt(case: &Value, options: &AsrOptions) -> Attempt {
    let tokens = ids(&case["tokens"]);
    let text = case["text"].as_str().expect("text").to_owned();
    let sum = sum_of(case, tokens.len(), options);
    Attempt {
        avg_logprob: mean_log_probability(sum, tokens.len()),
        no_speech_prob: case["no_speech_prob"].as_f64(),
        compression_ratio: compression_ratio(text.trim()),
        temperature: case["temperature"].as_f64().expect("a temperature"),
        tokens,
        text,
    }
}

/// The summed log-probability from CTranslate2's score: undoes the length penalty.
fn sum_of(case: &Value, tokens: usize, options: &AsrOptions) -> f32 {
    let score = case["score"].as_f64().unwrap_or(0.0);
    (score * (tokens as f64).powf(options.length_penalty)) as f32
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_splitting_matches_faster_whisper() {
    let tokenizer = common::tokenizer::published(VOCAB);
    let golden = common::json("sequential/split.json");
    let cases = golden["cases"].as_array().expect("cases");
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        let number = |key: &str| case[key].as_u64().expect("a number") as usize;
        let (seek, size) = (number("seek"), number("segment_size"));
        let split = split(&tokenizer, &ids(&case["tokens"]), MelFrame(size));
        assert_eq!(seek + split.advance.0, number("seek_after"), "{name}: seek");
        let want = case["segments"].as_array().expect("segments");
        assert_eq!(split.pieces.len(), want.len(), "{name}: number of segments");
        for (piece, want) in split.pieces.iter().zip(want) {
            assert_eq!(piece.tokens, ids(&want["tokens"]), "{name}");
            // In faster-whisper, text before the first timestamp would begin before the recording; here it begins with
            // the window.
            let start = want["start"].as_f64().expect("start").max(seek as f64 / 100.0);
            assert_near(name, MelFrame(seek + piece.start.0).to_seconds().0, start);
            let end = want["end"].as_f64().expect("end").max(seek as f64 / 100.0);
            assert_near(name, MelFrame(seek + piece.end.0).to_seconds().0, end);
        }
        let kept: usize = split.pieces.iter().chain(&split.unfinished).map(|piece| piece.tokens.len()).sum();
        assert_eq!(kept, ids(&case["tokens"]).len(), "{name}: no token is lost");
    }
    assert_eq!(cases.len(), 30);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_prompts_match_faster_whisper() {
    let tokenizer = common::tokenizer::published(VOCAB);
    let golden = common::json("sequential/prompts.json");
    let mut checked = 0;
    for case in golden["cases"].as_array().expect("cases") {
        let previous = ids(&case["previous_tokens"]);
        let options = &case["options"];
        let parts = PromptParts {
            previous: &previous,
            hotwords: options["hotwords"].as_str(),
            language: tokenizer.language_token(case["language"].as_str().expect("a language")),
            task: if case["task"] == "translate" { Task::Translate } else { Task::Transcribe },
            without_timestamps: options["without_timestamps"].as_bool().unwrap_or(false),
            prefix: options["prefix"].as_str(),
        };
        let prompt = Prompt::new(&tokenizer, &parts, POSITIONS).expect("a prompt");
        let want = ids(&case["prompt"]);
        if want.len() >= POSITIONS || want.len() - prompt.len >= POSITIONS / 2 {
            // faster-whisper accepts these prompts, but they leave no position for the transcript. Here they are
            // truncated.
            assert!(prompt.tokens.len() < want.len() && prompt.limit(POSITIONS) > prompt.prefix().len());
            continue;
        }
        assert_eq!(prompt.tokens, want, "{options}");
        checked += 1;
    }
    assert_eq!(checked, 11);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_windows_match_faster_whisper() {
    let tokenizer = common::tokenizer::published(VOCAB);
    let golden = common::json("sequential/windows.json");
    let mut checked = 0;
    for case in golden["cases"].as_array().expect("cases") {
        if case["options"]["initial_prompt"].is_array() {
            continue; // initial prompts as token lists are not supported
        }
        decode_windows(case, &tokenizer);
        checked += 1;
    }
    assert_eq!(checked, 16);
}

/// Decodes one recording window by window, with scripted results of the searches.
fn decode_windows(case: &Value, tokenizer: &Tokenizer) {
    let name = case["name"].as_str().expect("a name");
    let options = options(&case["options"]);
    let setup = Setup { tokenizer, options: &options, positions: POSITIONS, language: tokenizer.language_token("en") };
    let frames = case["content_frames"].as_u64().expect("frames") as usize;
    let mut observer = ();
    let mut source = Sequential::new(setup, frames, 1500, &mut observer).expect("a source");
    let mut results = case["results"].as_array().expect("results").iter();
    let mut prompts = Vec::new();
    while let Some(clip) = source.next() {
        let mut search = source.begin(clip.id, None).expect("a search");
        while let Some(decode) = search {
            prompts.push(decode.prompt.tokens.clone());
            let result = results.next().unwrap_or_else(|| panic!("{name}: more searches than expected"));
            let tokens = ids(&result["tokens"]);
            let sum = sum_of(result, tokens.len(), &options);
            let decoded = Decoded { tokens, sum, no_speech_prob: result["no_speech_prob"].as_f64() };
            search = source.finish(clip.id, decoded).expect("a verdict");
        }
    }
    assert!(results.next().is_none(), "{name}: fewer searches than expected");
    assert_eq!(prompts, case["prompts"].as_array().expect("prompts").iter().map(ids).collect::<Vec<_>>(), "{name}");
    let want = case["segments"].as_array().expect("segments");
    let got = source.into_segments();
    assert_eq!(got.len(), want.len(), "{name}: number of segments");
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.text, want["text"].as_str().expect("text"), "{name}");
        assert_eq!(got.tokens, ids(&want["tokens"]), "{name}");
        let numbers = [
            ("start", Some(got.start.0)),
            ("end", Some(got.end.0)),
            ("temperature", got.temperature),
            ("avg_logprob", got.avg_logprob),
            ("compression_ratio", got.compression_ratio),
            ("no_speech_prob", got.no_speech_prob),
        ];
        for (key, value) in numbers {
            assert_near(&format!("{name}: {key}"), value.expect(key), want[key].as_f64().expect(key));
        }
    }
}
