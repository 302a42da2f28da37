//! Output formats: comparison with WhisperX's files, and properties that hold for any transcript.

mod common;

use std::path::{Path, PathBuf};

use common::{data, json};
use diarist::output::json::rounded;
use diarist::output::{OutputFormat, SubtitleOptions, plan, render, write_all};
use diarist::types::{Segment, TimeSource, Transcript, Word};
use diarist::units::Seconds;
use proptest::prelude::*;

const EVERY: [OutputFormat; 6] =
    [OutputFormat::Txt, OutputFormat::Vtt, OutputFormat::Srt, OutputFormat::Tsv, OutputFormat::Json, OutputFormat::Aud];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A transcript as WhisperX's JSON writer wrote it.
fn whisperx(name: &str) -> Transcript {
    serde_json::from_str(&read(&data(&format!("writers/{name}")))).expect("WhisperX's JSON")
}

/// Rounds the times of Audacity labels to milliseconds, as `diarist::output` does.
fn round_labels(text: &str) -> String {
    let line = |line: &str| {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        let time = |i: usize| (fields[i].parse::<f64>().unwrap() * 1000.0).round_ties_even() / 1000.0;
        format!("{:?}\t{:?}\t{}\n", time(0), time(1), fields[2])
    };
    text.lines().map(line).collect()
}

/// Corrects WhisperX's subtitles without a line width. With these transcripts only two of its bugs occur: an arrow in
/// the text, and spaces in highlighted Japanese.
fn repair_cues(text: &str, language: Option<&str>) -> String {
    let line = |line: &str| match (line.contains(" --> ") && line.starts_with(|c: char| c.is_ascii_digit()), language) {
        (true, _) => format!("{line}\n"),
        (false, Some("ja")) => format!("{}\n", line.replace(' ', "")),
        (false, _) => format!("{}\n", line.replace("-->", "->")),
    };
    text.lines().map(line).collect()
}

/// Escapes `&` and `<` in WebVTT, which WhisperX does not. The markup `<u>` is kept; the arrows of cues have no `<`.
fn escape(vtt: &str) -> String {
    let escaped = vtt.replace('&', "&amp;").replace('<', "&lt;");
    escaped.replace("&lt;u>", "<u>").replace("&lt;/u>", "</u>")
}

#[test]
fn files_match_whisperx() {
    let mut compared = 0;
    for case in json("writers/cases.json")["writers"].as_array().unwrap() {
        let given = &case["options"];
        let size = |name: &str| given[name].as_u64().map(|v| v as usize);
        let options = SubtitleOptions {
            max_line_width: size("max_line_width"),
            max_line_count: size("max_line_count"),
            highlight_words: given["highlight_words"] == true,
            ..SubtitleOptions::default()
        };
        if options.max_line_width.is_some() {
            // Compared in `output::subtitles`, where spaces can be ignored in the width as in WhisperX.
            continue;
        }
        let transcript = whisperx(case["transcript"].as_str().unwrap());
        let format = OutputFormat::parse_list(case["format"].as_str().unwrap()).unwrap()[0];
        let file = case["file"].as_str().unwrap();
        let golden = read(&data(&format!("writers/{file}")));
        let want = match format {
            OutputFormat::Aud => round_labels(&golden),
            OutputFormat::Srt => repair_cues(&golden, transcript.language.as_deref()),
            OutputFormat::Vtt => escape(&repair_cues(&golden, transcript.language.as_deref())),
            _ => golden,
        };
        assert_eq!(render(format, &transcript, &options).unwrap(), want, "{file}");
        compared += 1;
    }
    assert!(compared >= 35, "only {compared} files compared");
}

#[test]
fn json_has_the_values_of_whisperx() {
    for name in ["plain", "speakers", "words", "words-speakers", "japanese", "german", "empty"] {
        let theirs: serde_json::Value = serde_json::from_str(&read(&data(&format!("writers/{name}.json")))).unwrap();
        let text = render(OutputFormat::Json, &whisperx(&format!("{name}.json")), &SubtitleOptions::default()).unwrap();
        assert!(!text.contains('\n') && !text.contains("\\u"), "{text}");
        let ours: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(ours["language"], theirs["language"]);
        let (got, want) = (ours["segments"].as_array().unwrap(), theirs["segments"].as_array().unwrap());
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            for key in ["text", "speaker", "words"] {
                assert_eq!(got.get(key), want.get(key), "{name}: {key}");
            }
            for key in ["start", "end"] {
                assert!((got[key].as_f64().unwrap() - want[key].as_f64().unwrap()).abs() <= 0.0005001, "{name}: {key}");
            }
        }
        let words = |v: &serde_json::Value| v.get("word_segments").and_then(|w| w.as_array()).map_or(0, Vec::len);
        assert_eq!(words(&ours), words(&theirs));
    }
}

fn word(text: &str, start: f64, end: f64) -> Word {
    Word { word: text.into(), start: Some(Seconds(start)), end: Some(Seconds(end)), ..Word::default() }
}

fn segment(text: &str, start: f64, end: f64, words: Option<Vec<Word>>) -> Segment {
    Segment { start: Seconds(start), end: Seconds(end), text: text.into(), words, ..Segment::default() }
}

#[test]
fn json_text_is_exact() {
    let transcript = Transcript {
        segments: vec![Segment {
            tokens: vec![50364, 220],
            avg_logprob: Some(-0.123456789),
            no_speech_prob: Some(f64::NAN),
            compression_ratio: Some(f64::INFINITY),
            temperature: Some(0.2 + 0.4),
            ..segment(" Grüße \"hier\"", 0.1 + 0.2, 12.340000000000002, Some(vec![word("Grüße", 0.3, 1.23456)]))
        }],
        language: Some("de".into()),
        language_probability: Some(f64::NEG_INFINITY),
        duration: Seconds(12.5),
        ..Transcript::default()
    };
    let want = concat!(
        r#"{"segments": [{"start": 0.3, "end": 12.34, "text": " Grüße \"hier\"", "#,
        r#""words": [{"word": "Grüße", "start": 0.3, "end": 1.235}], "tokens": [50364, 220], "#,
        r#""avg_logprob": -0.123457, "temperature": 0.6}], "language": "de", "duration": 12.5}"#
    );
    assert_eq!(render(OutputFormat::Json, &transcript, &SubtitleOptions::default()).unwrap(), want);
}

#[test]
fn no_line_is_wider_than_max_line_width() {
    let transcript = whisperx("words.json");
    for width in 1..60 {
        for count in [None, Some(1), Some(2)] {
            let options =
                SubtitleOptions { max_line_width: Some(width), max_line_count: count, ..SubtitleOptions::default() };
            let srt = render(OutputFormat::Srt, &transcript, &options).unwrap();
            for cue in srt.split_terminator("\n\n") {
                let lines: Vec<&str> = cue.lines().skip(2).collect();
                assert!(count.is_none_or(|most| lines.len() <= most), "{lines:?}");
                for line in lines {
                    assert!(line.chars().count() <= width || !line.contains(' '), "{width}: {line:?}");
                    assert_eq!(line.trim(), line);
                }
            }
        }
    }
}

/// WhisperX fails with a `KeyError` if only some segments were aligned.
#[test]
fn segments_without_words_are_separate_cues() {
    let transcript = Transcript {
        segments: vec![
            segment(" No words.", 0.0, 1.0, None),
            segment(" Some words.", 1.0, 2.0, Some(vec![word("Some", 1.1, 1.4), word("words.", 1.5, 1.9)])),
            segment(" Empty --> words", 2.0, 3.0, Some(vec![])),
        ],
        ..Transcript::default()
    };
    let got = render(OutputFormat::Vtt, &transcript, &SubtitleOptions::default()).unwrap();
    let want = "WEBVTT\n\n00:00.000 --> 00:01.000\nNo words.\n\n00:01.100 --> 00:01.900\nSome words.\n\n\
                00:02.000 --> 00:03.000\nEmpty -> words\n\n";
    assert_eq!(got, want);
}

#[test]
fn a_text_cannot_end_its_field_or_cue() {
    let transcript = Transcript {
        segments: vec![segment(" one\n\n\n2\r\n00:00 ---> 00:09\ttwo ", 0.0, 1.0, None)],
        ..Transcript::default()
    };
    let get = |format| render(format, &transcript, &SubtitleOptions::default()).unwrap();
    assert_eq!(get(OutputFormat::Srt).matches("-->").count(), 1);
    assert_eq!(get(OutputFormat::Srt).matches("\n\n").count(), 1);
    assert_eq!(get(OutputFormat::Tsv).lines().count(), 2);
    assert_eq!(get(OutputFormat::Aud).lines().count(), 1);
    assert_eq!(get(OutputFormat::Aud).matches('\t').count(), 2);
}

#[test]
fn invalid_options_are_refused() {
    assert_eq!(OutputFormat::parse_list("all").unwrap(), OutputFormat::ALL);
    assert_eq!(OutputFormat::parse_list("aud, srt,aud").unwrap(), [OutputFormat::Aud, OutputFormat::Srt]);
    assert_eq!(OutputFormat::parse_list("all,aud").unwrap().len(), 6);
    for names in ["", "srt,", "docx", "SRT"] {
        assert!(OutputFormat::parse_list(names).unwrap_err().to_string().contains("output_format"), "{names}");
    }
    for options in [
        SubtitleOptions { max_line_width: Some(0), ..SubtitleOptions::default() },
        SubtitleOptions { max_line_count: Some(0), ..SubtitleOptions::default() },
    ] {
        assert!(render(OutputFormat::Txt, &Transcript::default(), &options).is_err());
    }
}

#[test]
fn output_names_do_not_collide() {
    let plan_of = |names: &[&str]| plan(&names.iter().map(PathBuf::from).collect::<Vec<_>>(), Path::new("out"));
    let got = plan_of(&["a/talk.wav", "b/chapter 1.5.flac", ".hidden", "noext"]).unwrap();
    assert_eq!(got, ["out/talk", "out/chapter 1.5", "out/.hidden", "out/noext"].map(PathBuf::from));
    for names in [["a/talk.wav", "b/talk.wav"], ["talk.wav", "talk.mp3"], ["talk.wav", "talk.wav"]] {
        let error = plan_of(&names).unwrap_err().to_string();
        assert!(error.contains(names[0]) && error.contains(names[1]), "{error}");
    }
    assert!(plan_of(&[".."]).is_err());
}

#[test]
fn files_are_written_atomically_without_temporary_files_left() {
    let folder = tempfile::tempdir().unwrap();
    let stem = folder.path().join("new/folder/chapter 1.5");
    let transcript = whisperx("words.json");
    let options = SubtitleOptions::default();
    for _ in 0..2 {
        let written = write_all(&EVERY, &transcript, &stem, &options).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(stem.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["aud", "json", "srt", "tsv", "txt", "vtt"].map(|e| format!("chapter 1.5.{e}")));
        for (path, format) in written.iter().zip(EVERY) {
            assert_eq!(read(path), render(format, &transcript, &options).unwrap());
        }
    }
    // A folder has the name of the file: the rename fails, and the temporary file is removed.
    std::fs::create_dir_all(folder.path().join("blocked.txt/x")).unwrap();
    let error = write_all(&[OutputFormat::Txt], &transcript, &folder.path().join("blocked"), &options).unwrap_err();
    assert!(error.to_string().contains("blocked.txt"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

fn any_time() -> impl Strategy<Value = f64> {
    prop_oneof![-10.0..20000.0f64, Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(0.0)]
}

fn any_number() -> impl Strategy<Value = Option<f64>> {
    const ODD: [f64; 5] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -0.0];
    prop::option::of(prop_oneof![-20.0..20.0f64, prop::sample::select(&ODD[..])])
}

fn any_word() -> impl Strategy<Value = Word> {
    let times = (prop::option::of(any_time()), prop::option::of(any_time()));
    let source = prop::option::of(prop::sample::select(&[TimeSource::Aligned, TimeSource::Dtw][..]));
    ("\\PC{0,8}|[-> \n\t]{0,5}", times, any_number(), source).prop_map(|(word, (start, end), score, source)| Word {
        word,
        start: start.map(Seconds),
        end: end.map(Seconds),
        score,
        source,
        ..Word::default()
    })
}

fn any_transcript() -> impl Strategy<Value = Transcript> {
    let words = prop::option::of(prop::collection::vec(any_word(), 0..12));
    let speaker = prop::option::of("[A-Z_0-9]{0,10}");
    let numbers = [any_number(), any_number(), any_number(), any_number()];
    let segment = ("\\PC{0,30}|[-> \n\t]{0,8}", any_time(), any_time(), words, speaker, numbers).prop_map(
        |(text, start, end, words, speaker, [avg_logprob, no_speech_prob, compression_ratio, temperature])| Segment {
            speaker,
            avg_logprob,
            no_speech_prob,
            compression_ratio,
            temperature,
            ..segment(&text, start, end, words)
        },
    );
    let language = prop::option::of(prop_oneof![Just("en"), Just("ja"), Just("zh")]);
    let whole = (prop::collection::vec(segment, 0..6), language, any_number(), any_time());
    whole.prop_map(|(segments, language, language_probability, duration)| Transcript {
        segments,
        language: language.map(String::from),
        language_probability,
        duration: Seconds(duration),
        ..Transcript::default()
    })
}

/// Whether the JSON contains `null`, which `serde_json` writes for numbers that JSON cannot represent.
fn has_null(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().any(has_null),
        serde_json::Value::Object(fields) => fields.values().any(has_null),
        other => other.is_null(),
    }
}

proptest! {
    // A failure prints the smallest case; regressions are not saved to files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_transcript_can_be_written(
        transcript in any_transcript(),
        max_line_width in prop::option::of(1..50usize),
        max_line_count in prop::option::of(1..4usize),
        highlight_words in any::<bool>(),
    ) {
        let options =
            SubtitleOptions { max_line_width, max_line_count, highlight_words, ..SubtitleOptions::default() };
        for format in EVERY {
            let text = render(format, &transcript, &options).unwrap();
            if format == OutputFormat::Srt {
                // One arrow for each blank line that ends a cue.
                prop_assert_eq!(text.matches("-->").count(), text.matches("\n\n").count());
            }
        }
    }

    #[test]
    fn json_reads_back_as_written(transcript in any_transcript()) {
        let text = render(OutputFormat::Json, &transcript, &SubtitleOptions::default()).unwrap();
        let back: Transcript = serde_json::from_str(&text).unwrap();
        prop_assert!(!has_null(&serde_json::from_str(&text).unwrap()), "{}", text);
        // `serde_json` may lose the last bit of a number when reading; rounding corrects that.
        prop_assert_eq!(&rounded(&back), &rounded(&transcript));
    }

    #[test]
    fn every_word_is_shown_once(
        texts in prop::collection::vec(prop::collection::vec("[a-z]{1,12}", 1..15), 1..5),
        max_line_width in prop::option::of(1..50usize),
        max_line_count in prop::option::of(1..4usize),
    ) {
        let mut time = 0.0;
        let mut spoken = Vec::new();
        let segments = texts.iter().map(|words| {
            let start = time;
            let timed = words.iter().map(|text| {
                time += 0.4;
                spoken.push(text.clone());
                word(text, time - 0.4, time - 0.1)
            });
            let timed: Vec<Word> = timed.collect();
            segment(&words.join(" "), start, time, Some(timed))
        });
        let transcript = Transcript { segments: segments.collect(), ..Transcript::default() };
        let options = SubtitleOptions { max_line_width, max_line_count, ..SubtitleOptions::default() };
        let srt = render(OutputFormat::Srt, &transcript, &options).unwrap();
        let shown: Vec<String> = srt
            .split_terminator("\n\n")
            .flat_map(|cue| cue.lines().skip(2).flat_map(str::split_whitespace).map(String::from).collect::<Vec<_>>())
            .collect();
        prop_assert_eq!(shown, spoken);
    }
}
