//! Properties of subtitle cues for any transcript and any options, read back from SRT.

use diarist::output::{OutputFormat, SubtitleOptions, render};
use diarist::types::{Segment, Transcript, Word};
use diarist::units::Seconds;
use proptest::prelude::*;

/// A parsed cue, with times in milliseconds.
#[derive(Debug, PartialEq)]
struct Cue {
    start: u64,
    end: u64,
    lines: Vec<String>,
}

fn stamp(text: &str) -> u64 {
    let numbers: Vec<u64> = text.split([':', ',']).map(|number| number.parse().unwrap()).collect();
    ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
}

fn cues(transcript: &Transcript, options: &SubtitleOptions) -> Vec<Cue> {
    let srt = render(OutputFormat::Srt, transcript, options).unwrap();
    let cue = |text: &str| {
        let mut lines = text.lines().skip(1);
        let (start, end) = lines.next().unwrap().split_once(" --> ").unwrap();
        Cue { start: stamp(start), end: stamp(end), lines: lines.map(String::from).collect() }
    };
    srt.split_terminator("\n\n").map(cue).collect()
}

/// The text of all cues, with one space between words.
fn shown(cues: &[Cue]) -> String {
    let lines = cues.iter().flat_map(|cue| &cue.lines).map(String::as_str);
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ").replace("<u>", "").replace("</u>", "")
}

/// Transcripts of consecutive words, with times in multiples of 10 ms, some of them without times.
fn regular() -> impl Strategy<Value = Transcript> {
    let word = ("[a-z]{1,11}[,.?]?", 0..60u64, 1..90u64, prop::bool::weighted(0.1));
    prop::collection::vec(prop::collection::vec(word, 1..25), 1..5).prop_map(|segments| {
        let mut clock = 0;
        let time = |at: u64| Seconds(at as f64 / 100.0);
        let segment = |words: Vec<(String, u64, u64, bool)>| {
            let first = clock;
            let word = |(word, pause, length, untimed): (String, u64, u64, bool)| {
                let start = clock + pause;
                clock = start + length;
                let times = (!untimed).then_some((time(start), time(clock)));
                Word { word, start: times.map(|t| t.0), end: times.map(|t| t.1), ..Word::default() }
            };
            let words: Vec<Word> = words.into_iter().map(word).collect();
            let text = words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
            Segment { start: time(first), end: time(clock), text, words: Some(words), ..Segment::default() }
        };
        Transcript { segments: segments.into_iter().map(segment).collect(), ..Transcript::default() }
    })
}

/// Transcripts whose words and segments have arbitrary times, in any order, also NaN and negative ones.
fn chaotic() -> impl Strategy<Value = Transcript> {
    let time = || prop_oneof![0.0..30.0f64, Just(5.0), Just(f64::NAN), Just(-1.0), 0.0..1e6f64];
    let timed = prop::option::of((time(), time()));
    let word = ("[a-z]{1,9}", timed).prop_map(|(word, times)| Word {
        word,
        start: times.map(|t| Seconds(t.0)),
        end: times.map(|t| Seconds(t.1)),
        ..Word::default()
    });
    let words = prop::option::of(prop::collection::vec(word, 1..8));
    let segment = (words, time(), time()).prop_map(|(words, start, end)| Segment {
        start: Seconds(start),
        end: Seconds(end),
        text: words.as_ref().map_or("wordless".into(), |words| {
            words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ")
        }),
        words,
        ..Segment::default()
    });
    prop::collection::vec(segment, 1..6).prop_map(|segments| Transcript { segments, ..Transcript::default() })
}

fn any_options() -> impl Strategy<Value = SubtitleOptions> {
    let seconds = |from: f64, to: f64| prop::option::of((from..to).prop_map(|t| Seconds((t * 100.0).round() / 100.0)));
    let lines = (prop::option::of(1..50usize), prop::option::of(1..4usize), any::<bool>());
    let pace = (prop::option::of(4.0..30.0f64), seconds(0.0, 2.0), seconds(2.0, 8.0), seconds(0.0, 0.3));
    (lines, pace).prop_map(|((width, count, balance_lines), (cps, shortest, longest, gap))| SubtitleOptions {
        max_line_width: width,
        max_line_count: count,
        highlight_words: false,
        balance_lines,
        max_cps: cps,
        min_cue_duration: shortest,
        max_cue_duration: longest,
        min_cue_gap: gap,
    })
}

fn ms(time: Option<Seconds>) -> u64 {
    time.map_or(0, |time| (time.0 * 1000.0).round() as u64)
}

/// Whether the cues are in order, do not overlap, and last at least one millisecond each.
fn are_in_order(cues: &[Cue]) -> bool {
    cues.iter().all(|cue| cue.start < cue.end) && cues.windows(2).all(|pair| pair[0].end <= pair[1].start)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    /// The rules by their priority: no word lost, no overlap, gap, maximum and minimum duration, reading speed. Each
    /// holds as far as those before it allow.
    #[test]
    fn rules_hold_by_priority(transcript in regular(), options in any_options()) {
        let cues = cues(&transcript, &options);
        let said: Vec<&str> = transcript.segments.iter().map(|s| s.text.as_str()).collect();
        prop_assert_eq!(shown(&cues), said.join(" "));
        // If no option moves cues, a cue whose words have no times may have no time left.
        let moved = options.max_cps.is_some() || options.min_cue_gap.is_some();
        let moved = moved || options.min_cue_duration.is_some() || options.max_cue_duration.is_some();
        let in_order = cues.windows(2).all(|pair| pair[0].end <= pair[1].start);
        prop_assert!(if moved { are_in_order(&cues) } else { in_order }, "{:?}", cues);
        for cue in &cues {
            let too_wide = |line: &String| line.len() > options.max_line_width.unwrap_or(1000) && line.contains(' ');
            prop_assert!(!cue.lines.iter().any(too_wide), "{:?}", cue);
            if let (Some(_), Some(count)) = (options.max_line_width, options.max_line_count) {
                prop_assert!(cue.lines.len() <= count, "{:?}", cue);
            }
        }
        let (gap, longest) = (ms(options.min_cue_gap), options.max_cue_duration.map_or(u64::MAX, |t| ms(Some(t))));
        for (index, cue) in cues.iter().enumerate() {
            let free_from = index.checked_sub(1).map_or(0, |before| cues[before].end + gap);
            let free_until = cues.get(index + 1).map_or(u64::MAX, |next| next.start - gap);
            let duration = cue.end - cue.start;
            prop_assert!(cue.start >= free_from, "gap before {:?} in {:?}", cue, cues);
            prop_assert!(duration <= longest, "{:?} is too long", cue);
            let letters = cue.lines.join(" ").len();
            let reading = options.max_cps.map_or(0, |cps| (letters as f64 * 1000.0 / cps).ceil() as u64);
            let wanted = ms(options.min_cue_duration).max(reading).min(longest);
            let boxed_in = cue.start == free_from && cue.end == free_until;
            prop_assert!(duration >= wanted || boxed_in, "{:?} of {:?} is too short for {} ms", cue, cues, wanted);
        }
    }

    /// With arbitrary times, cues are in order and have the gap, and no word is lost.
    #[test]
    fn cues_are_in_order_for_arbitrary_times(transcript in chaotic(), options in any_options(), gap in 0..300u32) {
        let options = SubtitleOptions { min_cue_gap: Some(Seconds(f64::from(gap) / 1000.0)), ..options };
        let cues = cues(&transcript, &options);
        prop_assert!(are_in_order(&cues), "{:?}", cues);
        prop_assert!(cues.windows(2).all(|pair| pair[1].start - pair[0].end >= u64::from(gap)), "{:?}", cues);
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(String::from).collect();
            words.sort();
            words
        };
        let said: Vec<&str> = transcript.segments.iter().map(|s| s.text.as_str()).collect();
        prop_assert_eq!(sorted(&shown(&cues)), sorted(&said.join(" ")));
    }

    /// If no option moves cues, words in order give cues in order, also with highlighted words.
    #[test]
    fn words_in_order_make_cues_in_order(
        transcript in regular(),
        width in prop::option::of(1..50usize),
        count in prop::option::of(1..4usize),
        highlight_words in any::<bool>(),
        longest in prop::option::of(1..5u32),
    ) {
        let options = SubtitleOptions {
            max_line_width: width,
            max_line_count: count,
            highlight_words,
            max_cue_duration: longest.map(|s| Seconds(f64::from(s))),
            ..SubtitleOptions::default()
        };
        let mut transcript = transcript;
        transcript.segments.retain(|segment| segment.words.iter().flatten().all(|word| word.start.is_some()));
        let cues = cues(&transcript, &options);
        prop_assert!(are_in_order(&cues), "{:?}", cues);
        if let Some(longest) = longest {
            prop_assert!(cues.iter().all(|cue| cue.end - cue.start <= u64::from(longest) * 1000), "{:?}", cues);
        }
    }
}

fn sentence() -> Transcript {
    let texts = ["We", "have", "ten", "minutes", "left.", "I", "agree", "with", "Victor."];
    let word = |(i, text): (usize, &&str)| Word {
        word: text.to_string(),
        start: Some(Seconds(1.0 + 0.3 * i as f64)),
        end: Some(Seconds(1.2 + 0.3 * i as f64)),
        ..Word::default()
    };
    let words: Vec<Word> = texts.iter().enumerate().map(word).collect();
    let segment = Segment {
        start: Seconds(1.0),
        end: Seconds(3.7),
        text: texts.join(" "),
        words: Some(words),
        ..Segment::default()
    };
    Transcript { segments: vec![segment], ..Transcript::default() }
}

#[test]
fn one_example_of_each_option() {
    let of = |options: SubtitleOptions| -> Vec<(u64, u64, String)> {
        cues(&sentence(), &options).into_iter().map(|cue| (cue.start, cue.end, cue.lines.join("/"))).collect()
    };
    let whole = "We have ten minutes left. I agree with Victor.";
    let none = SubtitleOptions::default();
    assert_eq!(of(none), [(1000, 3600, whole.into())]);
    let broken = SubtitleOptions { max_line_width: Some(32), ..none };
    assert_eq!(of(broken), [(1000, 3600, "We have ten minutes left. I/agree with Victor.".into())]);
    let balanced = SubtitleOptions { balance_lines: true, ..broken };
    assert_eq!(of(balanced), [(1000, 3600, "We have ten minutes left./I agree with Victor.".into())]);
    let slow = SubtitleOptions { max_cps: Some(10.0), ..none };
    assert_eq!(of(slow), [(1000, 5600, whole.into())]);
    let long = SubtitleOptions { min_cue_duration: Some(Seconds(5.0)), ..none };
    assert_eq!(of(long), [(1000, 6000, whole.into())]);
    let short = SubtitleOptions { max_cue_duration: Some(Seconds(2.0)), ..none };
    let parts = [(1000, 2400, "We have ten minutes left.".into()), (2500, 3600, "I agree with Victor.".into())];
    assert_eq!(of(short), parts);
    let apart = SubtitleOptions { min_cue_gap: Some(Seconds(0.25)), ..short };
    assert_eq!(of(apart)[0].1, 2250);
}

#[test]
fn invalid_and_contradictory_options_are_refused() {
    let none = SubtitleOptions::default();
    for (options, parts) in [
        (SubtitleOptions { max_cps: Some(0.0), ..none }, ["max_cps", "above 0"]),
        (SubtitleOptions { max_cps: Some(f64::NAN), ..none }, ["max_cps", "above 0"]),
        (SubtitleOptions { min_cue_duration: Some(Seconds(-1.0)), ..none }, ["min_cue_duration", "seconds"]),
        (SubtitleOptions { max_cue_duration: Some(Seconds(0.0)), ..none }, ["max_cue_duration", "0.001"]),
        (SubtitleOptions { min_cue_gap: Some(Seconds(f64::INFINITY)), ..none }, ["min_cue_gap", "3600"]),
        (
            SubtitleOptions { min_cue_duration: Some(Seconds(3.0)), max_cue_duration: Some(Seconds(2.0)), ..none },
            ["min_cue_duration", "more than `max_cue_duration`"],
        ),
        (SubtitleOptions { highlight_words: true, max_cps: Some(9.0), ..none }, ["max_cps", "highlight"]),
        (
            SubtitleOptions { highlight_words: true, min_cue_gap: Some(Seconds(0.1)), ..none },
            ["min_cue_gap", "highlight"],
        ),
    ] {
        let error = render(OutputFormat::Srt, &sentence(), &options).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let highlighted = SubtitleOptions { highlight_words: true, max_cue_duration: Some(Seconds(2.0)), ..none };
    assert!(render(OutputFormat::Srt, &sentence(), &highlighted).is_ok());
}
