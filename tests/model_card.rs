//! The word error rates that `assets/MODEL_CARD.md` and the README quote are what this engine measures on the committed
//! test set: sentences and voices that training never met.

use std::path::Path;

use diarist::asr::{AsrOptions, Chunks, transcribe};
use diarist::audio::{self, DecodeOptions};
use diarist::engine::cpu::Cpu;
use diarist::pipeline::Pipeline;
use diarist::types::{Chunk, Span};
use diarist::vad::Detector;
use serde_json::Value;
use std::ops::ControlFlow;

/// Windows, words and errors of a part of the test set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    windows: usize,
    words: usize,
    errors: usize,
}

/// One window of the test set: which rows of the table it counts in, and what it counts.
struct Window {
    limit: f64,
    engine: String,
    noisy: bool,
    words: usize,
    errors: usize,
}

fn root(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Lower-case words without punctuation, as `training/sentences.py::words_of` counts them.
fn words_of(text: &str) -> Vec<String> {
    let kept = |c: char| if c.is_ascii_lowercase() || c == '\'' { c } else { ' ' };
    text.to_lowercase().chars().map(kept).collect::<String>().split_whitespace().map(str::to_owned).collect()
}

/// Levenshtein distance.
fn edits(want: &[String], got: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=got.len()).collect();
    for (i, wanted) in want.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, found) in got.iter().enumerate() {
            let replaced = diagonal + usize::from(wanted != found);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[got.len()]
}

/// Greedy transcripts of every window, each by itself, compared with the truth.
fn measured() -> Vec<Window> {
    let text = std::fs::read_to_string(root("assets/heldout/transcripts.json")).unwrap();
    let truth: Value = serde_json::from_str(&text).unwrap();
    let pipeline = Pipeline::builtin(&Cpu::new(None).unwrap(), Detector::Energy).unwrap();
    let options = AsrOptions {
        language: Some("en".into()),
        beam_size: 1,
        temperatures: vec![0.0],
        no_speech_threshold: None,
        ..AsrOptions::default()
    };
    let hear = |entry: &Value| {
        let path = root("assets/heldout").join(entry["audio"].as_str().unwrap());
        let audio = audio::decode(&path, &DecodeOptions::default(), |_| ControlFlow::Continue(())).unwrap();
        let span = Span { start: diarist::units::Seconds(0.0), end: audio.duration() };
        let chunks = [Chunk { span, segments: vec![span] }];
        let (model, samples) = (&pipeline.whisper, &audio.samples);
        let result =
            transcribe(model, &pipeline.tokenizer, samples, Chunks::Speech(&chunks), &options, &mut ()).unwrap();
        let got: String = result.segments.iter().map(|segment| segment.text.as_str()).collect();
        let want = words_of(entry["text"].as_str().unwrap());
        Window {
            limit: entry["limit"].as_f64().unwrap(),
            engine: entry["engine"].as_str().unwrap().into(),
            noisy: entry["noisy"].as_bool().unwrap(),
            words: want.len(),
            errors: edits(&want, &words_of(&got)),
        }
    };
    truth["windows"].as_array().unwrap().iter().map(hear).collect()
}

fn count<'a>(windows: impl Iterator<Item = &'a Window>) -> Count {
    windows.fold(Count::default(), |sum, window| Count {
        windows: sum.windows + 1,
        words: sum.words + window.words,
        errors: sum.errors + window.errors,
    })
}

/// `| up to 5 s, clean (28) | 228 | 65 | 28.5 % |`, bold or not.
fn row(line: &str) -> Option<(String, Count)> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*')).collect();
    let (name, windows) = cells.first()?.strip_prefix("up to ")?.trim_end_matches(')').split_once(" (")?;
    let numbers = [windows, cells[1], cells[2]].map(|cell| cell.parse().unwrap());
    let found = Count { windows: numbers[0], words: numbers[1], errors: numbers[2] };
    assert_eq!(cells[3], format!("{:.1} %", 100.0 * found.errors as f64 / found.words as f64), "{line}");
    Some((name.into(), found))
}

#[test]
fn the_quoted_word_error_rates_are_what_the_engine_measures() {
    let card = std::fs::read_to_string(root("assets/MODEL_CARD.md")).unwrap();
    let windows = measured();
    let rows: Vec<(String, Count)> = card.lines().filter_map(row).collect();
    assert_eq!(rows.len(), 8, "{rows:?}");
    for (name, quoted) in &rows {
        let (limit, part) = name.split_once(" s, ").unwrap();
        let limit: f64 = limit.parse().unwrap();
        let found = count(windows.iter().filter(|window| {
            window.limit == limit
                && match part {
                    "clean" => !window.noisy,
                    "noisy" => window.noisy,
                    "all" => true,
                    engine => engine.split(' ').next() == Some(window.engine.as_str()),
                }
        }));
        assert_eq!((found.windows, found.words), (quoted.windows, quoted.words), "{name}");
        // Two of a long search's words may differ where another processor adds in another order.
        assert!(
            found.errors.abs_diff(quoted.errors) <= 2,
            "{name}: {} errors, the card says {}",
            found.errors,
            quoted.errors
        );
    }
    let (_, all) = rows.iter().find(|(name, _)| name == "5 s, all").unwrap();
    let readme = std::fs::read_to_string(root("README.md")).unwrap();
    let percent = format!("{:.0} % of the words", 100.0 * all.errors as f64 / all.words as f64);
    assert!(readme.replace('\n', " ").contains(&percent), "the README says something else than {percent}");
}
