//! Words and characters with WhisperX's topology against `whisperx.align`. Deliberate differences have a test each.

use std::collections::HashMap;

use diarist::align::{AlignOptions, Aligner};
use diarist::audio;
use diarist::engine::cpu::Cpu;
use diarist::engine::ctc::CtcTopology;
use diarist::types::{Segment, TimeSource};
use diarist::units::Seconds;
use serde_json::Value;

use super::common::{json, seeded, shared};
use super::{aligner, segment};

/// A word or character: text, start, end, score.
type Item = (String, Option<f64>, Option<f64>, Option<f64>);

fn golden() -> Value {
    json("align/whisperx.json")
}

fn options() -> AlignOptions {
    AlignOptions { topology: CtcTopology::Trellis, characters: true, ..AlignOptions::default() }
}

fn sound(source: &Value) -> Vec<f32> {
    if let Some(path) = source.as_str() {
        let path = shared(&format!("audio/{path}"));
        return audio::decode(&path, &audio::DecodeOptions::default(), audio::ignore_progress).unwrap().samples;
    }
    let [seed, samples] = serde_json::from_value(source.clone()).unwrap();
    seeded::audio_f32(seed, samples as usize)
}

fn segments(given: &Value) -> Vec<Segment> {
    let given: Vec<(f64, f64, String)> = serde_json::from_value(given.clone()).unwrap();
    given.into_iter().map(|(start, end, text)| segment(start, end, &text)).collect()
}

fn items(found: &Value, key: &str) -> Vec<Item> {
    let of = |segment: &Value| serde_json::from_value::<Vec<Item>>(segment[key].clone()).unwrap_or_default();
    found.as_array().unwrap().iter().flat_map(of).collect()
}

fn seconds(time: Option<Seconds>) -> Option<f64> {
    time.map(|time| time.0)
}

fn words(segments: &[Segment]) -> Vec<Item> {
    let words = segments.iter().flat_map(|segment| segment.words.iter().flatten());
    words.map(|word| (word.word.clone(), seconds(word.start), seconds(word.end), word.score)).collect()
}

fn characters(segments: &[Segment]) -> Vec<Item> {
    let characters = segments.iter().flat_map(|segment| segment.chars.iter().flatten());
    characters.map(|char| (char.char.clone(), seconds(char.start), seconds(char.end), char.score)).collect()
}

/// Asserts equal text and times, and scores that differ by at most one in the last digit.
fn assert_items(what: &str, got: &[Item], want: &[Item]) {
    assert_eq!(got.len(), want.len(), "{what}: {got:?}, want {want:?}");
    for (got, want) in got.iter().zip(want) {
        let scores = match (got.3, want.3) {
            (Some(got), Some(want)) => (got - want).abs() < 0.0011,
            (got, want) => got.is_none() && want.is_none(),
        };
        assert!((&got.0, got.1, got.2) == (&want.0, want.1, want.2) && scores, "{what}: {got:?}, want {want:?}");
    }
}

fn networks(cpu: &Cpu, golden: &Value) -> HashMap<String, Aligner<Cpu>> {
    let networks = golden["meta"]["networks"].as_object().unwrap();
    let open = |(name, case): (&String, &Value)| {
        let aligner = aligner(cpu, &case["config"], case["seed"].as_u64().unwrap(), &case["vocab"].to_string());
        (name.clone(), aligner)
    };
    networks.iter().map(open).collect()
}

#[test]
fn words_are_those_of_whisperx() {
    assert!(compare(|source| !source.is_string()) > 250);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_words_are_those_of_whisperx() {
    assert!(compare(|source| source.is_string()) > 250);
}

/// Compares the cases whose audio `selects`; returns the number of words compared.
fn compare(selects: impl Fn(&Value) -> bool) -> usize {
    let (cpu, golden) = (Cpu::new(Some(2)).unwrap(), golden());
    let networks = networks(&cpu, &golden);
    let (mut compared, mut sounds) = (0, HashMap::new());
    for case in golden["cases"].as_array().unwrap().iter().filter(|case| selects(&case["audio"])) {
        let source = case["audio"].to_string();
        let audio = sounds.entry(source.clone()).or_insert_with(|| sound(&case["audio"]));
        let (network, language) = (case["network"].as_str().unwrap(), case["language"].as_str().unwrap());
        let given = segments(&case["segments"]);
        let what = format!("{network}, {source}, {:?}", given[0].text);
        let got = networks[network].segments(&cpu, audio, given, language, &options(), &mut ()).unwrap();
        let want = items(&case["found"], "words");
        assert_items(&what, &words(&got), &want);
        compared += want.len();
        let want = items(&case["found"], "chars");
        if !want.is_empty() {
            // WhisperX repeats or omits spaces at both ends of the text and between sentences.
            let dense = |items: Vec<Item>| items.into_iter().filter(|item| item.0 != " ").collect::<Vec<_>>();
            assert_items(&what, &dense(characters(&got)), &dense(want));
        }
        for (got, want) in got.iter().flat_map(|segment| &segment.words).flatten().zip(items(&case["found"], "words")) {
            let has_letter = want.0.chars().any(|c| c.is_ascii_alphabetic());
            assert!(!has_letter || got.source == Some(TimeSource::Aligned), "{what}: {got:?}");
        }
    }
    compared
}

/// The segments found here, and WhisperX's words, for a case with a deliberate difference.
fn difference(name: &str) -> (Vec<Segment>, Vec<Item>) {
    let (cpu, golden) = (Cpu::new(Some(2)).unwrap(), golden());
    let case = golden["differences"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    let network = &golden["meta"]["networks"]["1b"];
    let mut vocab = network["vocab"].clone();
    for (token, class) in case["extra"].as_object().unwrap() {
        vocab[token] = class.clone();
    }
    let aligner = aligner(&cpu, &network["config"], network["seed"].as_u64().unwrap(), &vocab.to_string());
    let audio = sound(&case["audio"]);
    let language = case["language"].as_str().unwrap();
    let got = aligner.segments(&cpu, &audio, segments(&case["segments"]), language, &options(), &mut ()).unwrap();
    (got, items(&case["found"], "words"))
}

fn names(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.0.as_str()).collect()
}

#[test]
fn a_character_after_a_sentence_is_not_repeated() {
    let (got, theirs) = difference("no_space_after_sentence");
    let letters = |items: &[Item]| items.iter().map(|item| item.0.as_str()).collect::<String>();
    assert_eq!(letters(&words(&got)), "Isit?\"No.\"(Itis.)Yes");
    assert_eq!(letters(&theirs), "Isit?\"No.\"(Itis.))Yes");
}

#[test]
fn a_segment_is_cut_at_the_end_of_the_audio() {
    let (got, theirs) = difference("end_behind_audio");
    // The rows are the same. WhisperX divides the eight seconds of the segment by them, diarist the three seconds of
    // audio.
    let scale = |time: f64| 17.0 + (time - 17.0) * 3.0 / 8.0;
    for (got, theirs) in words(&got).iter().zip(&theirs) {
        assert!((got.1.unwrap() - scale(theirs.1.unwrap())).abs() < 0.002, "{got:?}, {theirs:?}");
    }
}

#[test]
fn an_unaligned_segment_keeps_its_words() {
    let (got, theirs) = difference("too_long");
    assert_eq!(names(&theirs), ["but", "not", "here"]);
    assert!(got[0].unaligned.as_ref().unwrap().contains("frames"), "{got:?}");
    let first = got[0].words.as_ref().unwrap();
    assert_eq!(first.len(), 8);
    assert!(first.iter().all(|word| word.source == Some(TimeSource::Interpolated) && word.start >= Some(Seconds(1.0))));
    assert_items("the segment after it", &words(&got[1..]), &theirs);
}

#[test]
fn any_white_space_separates_words() {
    let (got, theirs) = difference("tab");
    assert_eq!(names(&theirs), ["one\ttwo"]);
    assert_eq!(names(&words(&got)), ["one", "two"]);
}

#[test]
fn a_bar_in_the_text_is_not_the_delimiter() {
    let (got, theirs) = difference("bar");
    assert_eq!((names(&theirs), names(&words(&got))), (vec!["one", "|", "two"], vec!["one", "|", "two"]));
    assert!(words(&got)[1].3.is_some(), "a wildcard, not the delimiter: {got:?}");
    assert_eq!(got[0].words.as_ref().unwrap()[1].source, Some(TimeSource::Wildcard));
}

#[test]
fn a_hyphen_in_the_text_is_not_the_blank() {
    let (got, theirs) = difference("hyphen_is_blank");
    // WhisperX uses the blank as a label; here the hyphen is a wildcard.
    assert_eq!(names(&theirs), names(&words(&got)));
    assert!(got.iter().all(|segment| segment.unaligned.is_none()));
}

#[test]
fn a_letter_with_a_lower_case_of_two_characters_does_not_shift_the_others() {
    let (got, theirs) = difference("two_lower_case_characters");
    assert_eq!(names(&words(&got)), ["İa", "bc"]);
    assert_ne!(words(&got), theirs);
}
