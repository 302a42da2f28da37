//! What `assets/MODEL_CARD.md` quotes of the built-in diarization, errors of time and of speakers' words, is what this engine
//! measures on the committed conversations of voices that training never met, and on the sample.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use diarist::audio::{self, DecodeOptions};
use diarist::config::Options;
use diarist::diarize::diarizer::OnDevice;
use diarist::diarize::{Diarization, Diarizer, Turn};
use diarist::engine::cpu::Cpu;
use diarist::hub::BUILTIN;
use diarist::pipeline::{Input, Pipeline, SpeakerOptions, Speakers, WordTimes};
use diarist::score::files::{Script, parse_rttm};
use diarist::score::{Errors, TimeErrors, cp_errors, errors, normalised, time_errors};
use diarist::vad::Detector;
use serde_json::Value;

/// Seconds on both sides of a boundary that do not count.
const COLLAR: f64 = 0.25;

/// One conversation and what was measured.
struct Conversation {
    people: usize,
    noisy: bool,
    found: usize,
    time: TimeErrors,
    time_without_collar: TimeErrors,
    words: Errors,
    words_of_speakers: Errors,
}

/// A row of the card.
#[derive(Debug)]
struct Row {
    part: String,
    conversations: usize,
    /// Percent.
    rates: [f64; 2],
    right: usize,
    words: usize,
    errors: usize,
    errors_of_speakers: usize,
}

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn builtin() -> OnDevice<Cpu> {
    let be = Cpu::new(None).unwrap();
    let diarizer = Diarizer::builtin(&be).unwrap();
    OnDevice { be, diarizer }
}

fn hear(path: &Path) -> (Vec<f32>, Diarization) {
    let audio = audio::decode(path, &DecodeOptions::default(), |_| ControlFlow::Continue(())).unwrap();
    let OnDevice { be, diarizer } = builtin();
    let found = diarizer.diarize(&be, &audio.samples, &Default::default(), &mut ()).unwrap();
    (audio.samples, found)
}

/// The words of each speaker of the truth, and all of them in order.
fn said(turns: &Value) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let mut of_speakers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for turn in turns.as_array().unwrap() {
        let words = normalised(turn["text"].as_str().unwrap());
        all.extend(words.iter().cloned());
        of_speakers.entry(turn["speaker"].as_str().unwrap().into()).or_default().extend(words);
    }
    (of_speakers, all)
}

fn truth() -> Value {
    serde_json::from_str(&std::fs::read_to_string(root("assets/heldout-conversations/conversations.json")).unwrap())
        .unwrap()
}

/// The turns of each conversation of the truth.
fn turns_of(name: &str) -> Vec<Turn> {
    let text = std::fs::read_to_string(root("assets/heldout-conversations/conversations.rttm")).unwrap();
    let own: Vec<&str> = text.lines().filter(|line| line.split(' ').nth(1) == Some(name)).collect();
    parse_rttm(&own.join("\n")).unwrap()
}

/// Everything with the built-in models, as `diarist transcribe --diarize` does it.
fn measured() -> Vec<Conversation> {
    let mut pipeline = Pipeline::builtin(&Cpu::new(None).unwrap(), Detector::Diarizer).unwrap();
    pipeline.speakers = Some(Speakers { finder: Box::new(builtin()), gallery: None });
    let options = Options {
        words: WordTimes::Aligned(Default::default()),
        speakers: Some(SpeakerOptions::default()),
        ..Options::of_model(BUILTIN)
    };
    let measure = |entry: &Value| {
        let audio = entry["audio"].as_str().unwrap();
        let (samples, found) = hear(&root("assets/heldout-conversations").join(audio));
        let reference = turns_of(audio.trim_end_matches(".flac"));
        let transcript = pipeline.transcribe(Input::Samples(&samples), &options, &mut ()).unwrap();
        let got = Script::from(&transcript);
        let got_words: Vec<String> = got.words.iter().map(|(word, _)| word.clone()).collect();
        let (of_speakers, all) = said(&entry["turns"]);
        Conversation {
            people: entry["speakers"].as_object().unwrap().len(),
            noisy: entry["noisy"].as_bool().unwrap(),
            found: found.speakers(),
            time: time_errors(&reference, &found.turns, COLLAR),
            time_without_collar: time_errors(&reference, &found.turns, 0.0),
            words: errors(&all, &got_words),
            words_of_speakers: cp_errors(&of_speakers, &got.speakers),
        }
    };
    truth()["conversations"].as_array().unwrap().iter().map(measure).collect()
}

/// Errors of several recordings as one.
fn rate(times: impl Iterator<Item = TimeErrors>) -> f64 {
    let (wrong, total) = times.fold((0.0, 0.0), |(wrong, total), one| {
        (wrong + one.missed + one.false_alarm + one.confused, total + one.total)
    });
    wrong / total
}

/// `| 2 speakers (3) | 1.0 % | 4.0 % | 3 | 120 | 20 | 16.7 % | 22 | 18.3 % |`, bold or not.
fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*')).collect();
    let (part, conversations) =
        cells.first()?.strip_prefix("conversations: ")?.trim_end_matches(')').split_once(" (")?;
    let number = |at: usize| cells[at].parse::<usize>().unwrap();
    let percent = |at: usize| cells[at].trim_end_matches(" %").parse::<f64>().unwrap();
    for (errors, share) in [(5, 6), (7, 8)] {
        let share_of = 100.0 * number(errors) as f64 / number(4) as f64;
        assert_eq!(cells[share], format!("{share_of:.1} %"), "{line}");
    }
    Some(Row {
        part: part.into(),
        conversations: conversations.parse().unwrap(),
        rates: [percent(1), percent(2)],
        right: number(3),
        words: number(4),
        errors: number(5),
        errors_of_speakers: number(7),
    })
}

#[test]
fn the_quoted_error_rates_are_what_the_engine_measures() {
    let conversations = measured();
    let card = std::fs::read_to_string(root("assets/MODEL_CARD.md")).unwrap();
    let rows: Vec<Row> = card.lines().filter_map(row).collect();
    assert_eq!(rows.len(), 6, "{rows:?}");
    let mut wrong = Vec::new();
    for row in &rows {
        let part: Vec<&Conversation> = conversations
            .iter()
            .filter(|one| match row.part.as_str() {
                "clean" => !one.noisy,
                "noisy" => one.noisy,
                "all" => true,
                people => people.split(' ').next() == Some(one.people.to_string().as_str()),
            })
            .collect();
        let words = part.iter().fold(Errors::default(), |sum, one| sum + one.words);
        let of_speakers = part.iter().fold(Errors::default(), |sum, one| sum + one.words_of_speakers);
        let rates = [rate(part.iter().map(|one| one.time)), rate(part.iter().map(|one| one.time_without_collar))];
        let right = part.iter().filter(|one| one.found == one.people).count();
        let found = format!(
            "| conversations: {} ({}) | {:.1} % | {:.1} % | {right} | {} | {} | {:.1} % | {} | {:.1} % |",
            row.part,
            part.len(),
            100.0 * rates[0],
            100.0 * rates[1],
            words.words,
            words.total(),
            100.0 * words.rate(),
            of_speakers.total(),
            100.0 * of_speakers.rate(),
        );
        // Sums in another order, on another processor, may move a boundary by a frame and a long search by a word.
        let same = (part.len(), words.words) == (row.conversations, row.words)
            && rates.iter().zip(row.rates).all(|(rate, quoted)| (100.0 * rate - quoted).abs() <= 0.3)
            && right.abs_diff(row.right) == 0
            && words.total().abs_diff(row.errors) <= 4
            && of_speakers.total().abs_diff(row.errors_of_speakers) <= 4;
        if !same {
            wrong.push(found);
        }
    }
    assert!(wrong.is_empty(), "the card says something else than\n{}", wrong.join("\n"));
}

#[test]
fn the_quoted_error_of_the_sample_is_what_the_engine_measures() {
    let (_, found) = hear(&root("assets/sample/conversation.flac"));
    let script: Value =
        serde_json::from_str(&std::fs::read_to_string(root("assets/sample/conversation.json")).unwrap()).unwrap();
    let turn = |turn: &Value| {
        let time = |name: &str| turn[name].as_f64().unwrap();
        Turn {
            span: diarist::types::Span::new(time("start"), time("end")),
            speaker: turn["speaker"].as_str().unwrap().into(),
        }
    };
    let reference: Vec<Turn> = script["turns"].as_array().unwrap().iter().map(turn).collect();
    let rate = 100.0 * time_errors(&reference, &found.turns, COLLAR).rate();
    let measured = format!("{} speakers are found in it, and {rate:.1} % of the time", found.speakers());
    let card = std::fs::read_to_string(root("assets/MODEL_CARD.md")).unwrap();
    assert!(card.contains(&measured), "the card does not say: {measured}");
}

/// Both networks, and what belongs to them, stay below the eight megabytes that the program may grow by.
#[test]
fn the_networks_are_small() {
    let size = |name: &str| std::fs::metadata(root("assets/diarization").join(name)).unwrap().len();
    let networks = size("segmentation/model.safetensors") + size("embedding/model.safetensors");
    let bytes = networks + size("plda/xvec_transform.npz") + size("plda/plda.npz");
    assert!(bytes <= 8_000_000, "{bytes} bytes");
}
