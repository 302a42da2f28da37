//! The word error rates that `assets/MODEL_CARD.md` quotes are what this engine measures on the committed test set: sentences
//! and voices that training never met.

use std::path::Path;

use diarist::asr::{AsrOptions, Chunks, transcribe};
use diarist::audio::{self, DecodeOptions};
use diarist::engine::cpu::Cpu;
use diarist::pipeline::Pipeline;
use diarist::types::{Chunk, Span};
use diarist::vad::Detector;
use serde_json::Value;
use std::ops::ControlFlow;

/// Beams of the two searches whose errors are quoted: greedy, and what `diarist transcribe` does unless told otherwise.
const BEAMS: [usize; 2] = [1, 5];

/// Windows, words and errors (of each of `BEAMS`) of a part of the test set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    windows: usize,
    words: usize,
    errors: [usize; 2],
}

/// One window of the test set: which rows of the table it counts in, and what it counts.
struct Window {
    limit: f64,
    engine: String,
    noisy: bool,
    /// Whether somebody speaks with espeak-ng's plain voice, which training had met (`espeak-ng` has no variant "serious").
    plain: bool,
    words: usize,
    errors: [usize; 2],
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

/// Transcripts of every window, each by itself, compared with the truth.
fn measured() -> Vec<Window> {
    let text = std::fs::read_to_string(root("assets/heldout/transcripts.json")).unwrap();
    let truth: Value = serde_json::from_str(&text).unwrap();
    let pipeline = Pipeline::builtin(&Cpu::new(None).unwrap(), Detector::Energy).unwrap();
    assert_eq!(AsrOptions::default().beam_size, BEAMS[1]);
    let hear = |entry: &Value| {
        let path = root("assets/heldout").join(entry["audio"].as_str().unwrap());
        let audio = audio::decode(&path, &DecodeOptions::default(), |_| ControlFlow::Continue(())).unwrap();
        let span = Span { start: diarist::units::Seconds(0.0), end: audio.duration() };
        let chunks = [Chunk { span, segments: vec![span] }];
        let want = words_of(entry["text"].as_str().unwrap());
        let errors = BEAMS.map(|beam_size| {
            let options = AsrOptions {
                language: Some("en".into()),
                beam_size,
                temperatures: vec![0.0],
                no_speech_threshold: None,
                ..AsrOptions::default()
            };
            let (model, samples) = (&pipeline.whisper, &audio.samples);
            let result =
                transcribe(model, &pipeline.tokenizer, samples, Chunks::Speech(&chunks), &options, &mut ()).unwrap();
            let got: String = result.segments.iter().map(|segment| segment.text.as_str()).collect();
            edits(&want, &words_of(&got))
        });
        let utterances = entry["utterances"].as_array().unwrap();
        Window {
            limit: entry["limit"].as_f64().unwrap(),
            engine: entry["engine"].as_str().unwrap().into(),
            noisy: entry["noisy"].as_bool().unwrap(),
            plain: utterances.iter().any(|said| said["speaker"].as_str().unwrap().contains("+serious@")),
            words: want.len(),
            errors,
        }
    };
    truth["windows"].as_array().unwrap().iter().map(hear).collect()
}

fn count<'a>(windows: impl Iterator<Item = &'a Window>) -> Count {
    windows.fold(Count::default(), |sum, window| Count {
        windows: sum.windows + 1,
        words: sum.words + window.words,
        errors: [0, 1].map(|beam| sum.errors[beam] + window.errors[beam]),
    })
}

fn rate(errors: usize, words: usize) -> String {
    format!("{:.1} %", 100.0 * errors as f64 / words as f64)
}

/// `| up to 5 s, clean (28) | 228 | 65 | 28.5 % | 40 | 17.5 % |`, bold or not.
fn row(line: &str) -> Option<(String, Count)> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*')).collect();
    let (name, windows) = cells.first()?.strip_prefix("up to ")?.trim_end_matches(')').split_once(" (")?;
    let [windows, words, greedy, beam] =
        [windows, cells[1], cells[2], cells[4]].map(|cell| cell.parse::<usize>().unwrap());
    let found = Count { windows, words, errors: [greedy, beam] };
    assert_eq!([cells[3], cells[5]], found.errors.map(|errors| rate(errors, words)), "{line}");
    Some((name.into(), found))
}

/// What a row of the card is about, counted anew.
fn counted(windows: &[Window], name: &str) -> Count {
    let (limit, part) = name.split_once(" s, ").unwrap();
    let limit: f64 = limit.parse().unwrap();
    let belongs = |window: &&Window| match part {
        "clean" => !window.noisy,
        "noisy" => window.noisy,
        "without the plain voice" => !window.plain,
        "all" => true,
        engine => engine.split(' ').next() == Some(window.engine.as_str()),
    };
    count(windows.iter().filter(|window| window.limit == limit).filter(belongs))
}

/// `cargo test --test model_card -- --nocapture` prints the table.
#[test]
fn the_quoted_word_error_rates_are_what_the_engine_measures() {
    let card = std::fs::read_to_string(root("assets/MODEL_CARD.md")).unwrap();
    let windows = measured();
    let rows: Vec<(String, Count)> = card.lines().filter_map(row).collect();
    assert_eq!(rows.len(), 9, "{rows:?}");
    let found: Vec<Count> = rows.iter().map(|(name, _)| counted(&windows, name)).collect();
    for ((name, _), Count { windows, words, errors: [greedy, beam] }) in rows.iter().zip(&found) {
        let rates = [greedy, beam].map(|errors| rate(*errors, *words));
        println!("| up to {name} ({windows}) | {words} | {greedy} | {} | {beam} | {} |", rates[0], rates[1]);
    }
    for ((name, quoted), found) in rows.iter().zip(found) {
        assert_eq!((found.windows, found.words), (quoted.windows, quoted.words), "{name}");
        // Some of a long search's words may differ where another processor adds in another order.
        for (beam, (found, quoted)) in BEAMS.iter().zip(found.errors.into_iter().zip(quoted.errors)) {
            assert!(found.abs_diff(quoted) <= 2, "{name}, beam {beam}: {found} errors, the card says {quoted}");
        }
    }
}
