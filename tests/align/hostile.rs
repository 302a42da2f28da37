//! Invalid and unusual input: the result has the reason for what is not aligned, and everything else is aligned.

use diarist::align::{AlignOptions, Interpolate};
use diarist::engine::cpu::Cpu;
use diarist::engine::ctc::CtcTopology;
use diarist::types::{Segment, TimeSource};
use proptest::prelude::*;

use super::common::seeded;
use super::{aligner, segment, small_aligner, small_config, small_vocab, texts};

const SECONDS: f64 = 20.0;

fn sound() -> Vec<f32> {
    seeded::audio_f32(710, SECONDS as usize * 16_000)
}

/// Aligns `bad` between two good segments. Asserts that the good ones are aligned, and returns the result of the bad
/// one.
fn between(bad: Segment) -> Vec<Segment> {
    let cpu = Cpu::new(Some(2)).unwrap();
    let (before, after) = (segment(0.5, 2.0, "before"), segment(10.0, 12.0, "and after"));
    let given = vec![before, bad, after];
    let found = small_aligner(&cpu).segments(&cpu, &sound(), given, "en", &AlignOptions::default(), &mut ()).unwrap();
    let mut bad = Vec::new();
    let mut good = 0;
    for segment in found {
        if ["before", "and after"].contains(&segment.text.as_str()) {
            let words = segment.words.unwrap();
            assert!(words.iter().all(|word| word.source == Some(TimeSource::Aligned)), "{words:?}");
            assert_eq!(segment.unaligned, None);
            good += 1;
        } else {
            bad.push(segment);
        }
    }
    assert_eq!(good, 2);
    bad
}

/// Asserts that all `words` words are interpolated over `times`, and that every segment has the `reason`.
fn assert_interpolated(found: &[Segment], words: usize, times: (f64, f64), reason: &str) {
    let mut all = Vec::new();
    for segment in found {
        let unaligned = segment.unaligned.as_deref().unwrap_or_default();
        assert!(unaligned.contains(reason), "{segment:?}");
        all.extend(segment.words.iter().flatten());
    }
    assert_eq!(all.len(), words, "{found:?}");
    assert!(all.iter().all(|word| word.source == Some(TimeSource::Interpolated) && word.score.is_none()));
    if let (Some(first), Some(last)) = (all.first(), all.last()) {
        assert_eq!((first.start.unwrap().0, last.end.unwrap().0), times, "{found:?}");
    }
}

#[test]
fn text_too_long_for_the_audio_is_interpolated() {
    let found = between(segment(3.0, 3.5, "this is far more than anyone could say in half a second, believe me"));
    assert_interpolated(&found, 14, (3.0, 3.5), "frames at least");
    let words = found[0].words.as_ref().unwrap();
    let duration = |i: usize| words[i].end.unwrap().0 - words[i].start.unwrap().0;
    assert!(duration(5) > 2.0 * duration(10), "not in proportion to the letters: {words:?}");
}

#[test]
fn text_without_labels_is_interpolated() {
    for (text, words) in [("", 0), ("   ", 0), ("... !?", 2), ("😀 🎉🎉", 2)] {
        let found = between(segment(3.0, 5.0, text));
        assert_interpolated(&found, words, (3.0, 5.0), "no character that could be heard");
        assert!(!found.is_empty());
    }
}

#[test]
fn digits_are_aligned_and_unknown_scripts_are_wildcards() {
    for (text, sources) in [
        ("42 007", [TimeSource::Aligned, TimeSource::Aligned]),
        ("дом home", [TimeSource::Wildcard, TimeSource::Aligned]),
        ("नमस्ते 你好", [TimeSource::Wildcard, TimeSource::Wildcard]),
        ("a😀b ٤٢", [TimeSource::Aligned, TimeSource::Wildcard]),
    ] {
        let found = between(segment(3.0, 8.0, text));
        let found: Vec<_> = found.iter().flat_map(|segment| segment.words.as_ref().unwrap()).collect();
        assert_eq!(found.iter().map(|word| word.source.unwrap()).collect::<Vec<_>>(), sources, "{text}");
        assert!(found.iter().all(|word| word.start < word.end));
    }
}

#[test]
fn invalid_segment_times_have_a_reason() {
    let text = "some words";
    assert_interpolated(&between(segment(30.0, 31.0, text)), 2, (30.0, 31.0), "the audio ends at 20.000 s");
    assert_interpolated(&between(segment(4.0, 4.0, text)), 2, (4.0, 4.0), "no length");
    assert_interpolated(&between(segment(5.0, 4.0, text)), 2, (5.0, 5.0), "ends before it begins");
    assert_interpolated(&between(segment(f64::NAN, f64::NAN, text)), 2, (2.0, 10.0), "not numbers");
    assert_interpolated(&between(segment(3.0, f64::INFINITY, text)), 2, (3.0, 10.0), "not numbers");
    assert_interpolated(&between(segment(f64::NEG_INFINITY, 5.0, text)), 2, (2.0, 5.0), "not numbers");
    // Shorter than the receptive field of one row.
    assert_interpolated(&between(segment(4.0, 4.01, text)), 2, (4.0, 4.01), "frames at least");
    // The part before the end of the audio is aligned.
    let found = between(segment(18.0, 99.0, text));
    assert!(found[0].unaligned.is_none() && found[0].end.0 <= SECONDS, "{found:?}");
}

#[test]
fn nan_samples_and_empty_audio() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let aligner = small_aligner(&cpu);
    let given = || vec![segment(0.0, 2.0, "one"), segment(3.0, 5.0, "two")];
    let mut audio = sound();
    audio[3_000] = f32::NAN;
    let found = aligner.segments(&cpu, &audio, given(), "en", &AlignOptions::default(), &mut ()).unwrap();
    assert_interpolated(&found[..1], 1, (0.0, 2.0), "cannot have been said");
    assert_eq!(found[1].unaligned, None);
    let found = aligner.segments(&cpu, &[], given(), "en", &AlignOptions::default(), &mut ()).unwrap();
    assert_interpolated(&found, 2, (0.0, 5.0), "the audio ends at 0.000 s");
    assert!(aligner.segments(&cpu, &audio, Vec::new(), "en", &AlignOptions::default(), &mut ()).unwrap().is_empty());
}

#[test]
fn a_network_without_a_delimiter_aligns_words() {
    let cpu = Cpu::new(Some(2)).unwrap();
    let aligner = aligner(&cpu, &small_config(), 7, &small_vocab(false));
    for topology in [CtcTopology::Ctc, CtcTopology::Trellis] {
        let options = AlignOptions { topology, ..AlignOptions::default() };
        let given = vec![segment(1.0, 6.0, "words simply follow each other")];
        let found = aligner.segments(&cpu, &sound(), given, "en", &options, &mut ()).unwrap();
        assert_eq!(texts(&found), ["words", "simply", "follow", "each", "other"]);
        let words = found[0].words.as_ref().unwrap();
        assert!(words.iter().all(|word| word.source == Some(TimeSource::Aligned) && word.start < word.end));
    }
}

fn any_time() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..SECONDS,
        1 => -5.0..40.0f64,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e18), Just(-0.0)],
    ]
}

fn any_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => "[a-zA-Z']{1,8}[.,?!]?",
        2 => "[$£€]?[0-9]{1,5}([.,][0-9]{1,3})?(%|st|€)?",
        1 => "[а-яé你好😀।。؟İß|-]{1,3}",
        1 => "\\PC{0,6}",
        1 => Just(" \t\n…".to_string()),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_are_complete_ordered_and_do_not_overlap(
        given in prop::collection::vec((any_time(), any_time(), any_text()), 0..6),
        language in prop::sample::select(vec!["en", "fr", "uk", "de", "ja", "xx", ""]),
        trellis in any::<bool>(),
        interpolate in prop::sample::select(vec![Interpolate::Nearest, Interpolate::Linear, Interpolate::Ignore]),
    ) {
        let cpu = Cpu::new(Some(1)).unwrap();
        let topology = if trellis { CtcTopology::Trellis } else { CtcTopology::Ctc };
        let options = AlignOptions { topology, interpolate, characters: true, ..AlignOptions::default() };
        // `avg_logprob`, which alignment copies, identifies the segment of a sentence.
        let tagged = given.iter().enumerate().map(|(i, (start, end, text))| Segment {
            avg_logprob: Some(i as f64),
            ..segment(*start, *end, text)
        });
        let segments: Vec<Segment> = tagged.collect();
        let found = small_aligner(&cpu).segments(&cpu, &sound(), segments, language, &options, &mut ()).unwrap();
        prop_assert!(found.len() >= given.len());
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let mut remaining: Vec<String> = given.iter().map(|given| letters(&given.2)).collect();
        let mut before = 0.0;
        let mut end_before = 0.0;
        for segment in &found {
            prop_assert!(end_before <= segment.start.0 && segment.start <= segment.end, "{segment:?}");
            end_before = segment.end.0;
            let written = letters(&segment.text);
            let words = segment.words.as_ref().unwrap();
            prop_assert_eq!(&written, &words.iter().map(|word| word.word.as_str()).collect::<String>());
            // The sentence is the next part of its segment's text.
            let text = &mut remaining[segment.avg_logprob.unwrap() as usize];
            prop_assert!(text.starts_with(&written), "{written:?} of {text:?}");
            *text = text.split_off(written.len());
            for word in words {
                let (Some(start), Some(end)) = (word.start, word.end) else {
                    prop_assert!(interpolate == Interpolate::Ignore && word.source.is_none(), "{word:?}");
                    continue;
                };
                prop_assert!(before <= start.0 && start <= end && end.0.is_finite(), "{word:?} after {before}");
                prop_assert!(segment.start <= start && end <= segment.end, "{word:?} in {segment:?}");
                before = end.0;
            }
        }
        prop_assert!(remaining.iter().all(String::is_empty), "missing: {remaining:?}");
    }
}
