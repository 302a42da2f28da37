//! Diarization error rates (collar 0.25 s, overlaps counted) and numbers of speakers, without a number given.

use std::collections::BTreeSet;
use std::path::Path;

use diarist::diarize::diarizer::DynDiarizer;
use diarist::diarize::{Options, Turn};
use diarist::score::files::{open_all, open_uem};
use diarist::score::{TimeErrors, time_errors, time_errors_within};
use diarist::types::Span;
use diarist::units::Seconds;
use serde_json::Value;

use super::{open, samples};
use crate::common::{json, shared};

/// Seconds on both sides of a boundary that do not count.
const COLLAR: f64 = 0.25;

fn turns(diarizer: &dyn DynDiarizer, samples: &[f32]) -> Vec<Turn> {
    diarizer.diarize(samples, &Options::default(), &mut ()).unwrap().turns
}

fn speakers(turns: &[Turn]) -> usize {
    turns.iter().map(|turn| &turn.speaker).collect::<BTreeSet<_>>().len()
}

fn percent(errors: TimeErrors) -> String {
    let TimeErrors { total, missed, false_alarm, confused } = errors;
    let share = |seconds: f64| 100.0 * seconds / total;
    let [missed, false_alarm, confused] = [missed, false_alarm, confused].map(share);
    format!("{:.2} % ({missed:.1} missed, {false_alarm:.1} false, {confused:.1} confused)", 100.0 * errors.rate())
}

/// The numbers of a cell of the README's table on speakers: `cell` of the row that begins with `row`.
fn quoted(row: &str, cell: usize) -> Vec<f64> {
    let readme = include_str!("../../README.md");
    let line = readme.lines().find(|line| line.starts_with(&format!("| {row}"))).expect("a row of README.md");
    let text = line.trim_matches('|').split('|').nth(cell).expect("a cell");
    text.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|number| number.parse().ok()).collect()
}

/// The error rate is the quoted one, in per cent. Sums in another order, on another processor, may move a boundary by a frame.
#[track_caller]
fn assert_quoted(rate: f64, quoted: f64) {
    assert!((100.0 * rate - quoted).abs() <= 0.3, "README.md says {quoted} %, measured {:.2} %", 100.0 * rate);
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn dialogues() {
    let (open, dialogue) = (open(), shared("audio/dialogue"));
    let rates = quoted("the samples of Falcon", 1);
    for ((name, people), rate) in [("falcon", 3), ("sample", 2)].into_iter().zip(rates) {
        let reference = open_all(&dialogue.join(format!("{name}.rttm"))).unwrap().into_values().next().unwrap();
        let found = turns(open.diarizer.as_ref(), &samples(&dialogue.join(format!("{name}.wav"))));
        let errors = time_errors(&reference.turns, &found, COLLAR);
        eprintln!("{name}: DER {}, {} speakers", percent(errors), speakers(&found));
        assert!(errors.rate() <= 0.01 && speakers(&found) == people, "{name}: {}", percent(errors));
        assert_quoted(errors.rate(), rate);
    }
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn meetings() {
    let (open, ami) = (open(), shared("audio/ami"));
    let references = open_all(&ami.join("ami.rttm")).unwrap();
    let scored = open_uem(&ami.join("ami.uem")).unwrap();
    assert_eq!(references.len(), 6);
    let (mut sum, mut right) = (TimeErrors::default(), 0);
    for (name, reference) in references {
        let found = turns(open.diarizer.as_ref(), &samples(&ami.join(format!("{name}.wav"))));
        let errors = time_errors_within(&reference.turns, &found, COLLAR, scored.get(&name).map(Vec::as_slice));
        eprintln!("{name}: DER {}, {} of {}", percent(errors), speakers(&found), speakers(&reference.turns));
        sum = sum + errors;
        right += usize::from(speakers(&found) == speakers(&reference.turns));
    }
    eprintln!("AMI: DER {}, right number in {right}", percent(sum));
    assert!(sum.rate() <= 0.27, "{}", percent(sum));
    assert_quoted(sum.rate(), quoted("six AMI meeting excerpts", 1)[0]);
    assert_eq!(right as f64, quoted("six AMI meeting excerpts", 2)[0]);
}

/// The sum of the parts that a mixture lists: `tuning/mixtures.py`.
fn mixed(mixture: &Value, voices: &Path) -> Vec<f32> {
    let mut sum = vec![0.0; (mixture["seconds"].as_f64().unwrap() * 16_000.0).round() as usize];
    for part in mixture["parts"].as_array().unwrap() {
        let number = |name: &str| part[name].as_u64().unwrap() as usize;
        let file = samples(&voices.join(part["file"].as_str().unwrap()));
        let gain = part["gain"].as_f64().unwrap() as f32;
        let said = &file[number("first")..number("last")];
        sum[number("at")..].iter_mut().zip(said).for_each(|(sum, sample)| *sum += gain * sample);
    }
    sum
}

fn reference(mixture: &Value) -> Vec<Turn> {
    let turn = |turn: &Value| Turn {
        span: Span { start: Seconds(turn[0].as_f64().unwrap()), end: Seconds(turn[1].as_f64().unwrap()) },
        speaker: turn[2].as_str().unwrap().into(),
    };
    mixture["turns"].as_array().unwrap().iter().map(turn).collect()
}

/// Conversations made of LibriSpeech utterances: every `step`th.
fn mixtures(step: usize) {
    let (open, voices) = (open(), shared("audio/voices"));
    let (mut sum, mut right, mut count) = (TimeErrors::default(), 0, 0);
    for mixture in json("real/mixtures.json").as_array().unwrap().iter().step_by(step) {
        let (name, people) = (mixture["name"].as_str().unwrap(), mixture["speakers"].as_u64().unwrap() as usize);
        let found = turns(open.diarizer.as_ref(), &mixed(mixture, &voices));
        let errors = time_errors(&reference(mixture), &found, COLLAR);
        eprintln!("{name}: DER {}, {} of {people}", percent(errors), speakers(&found));
        sum = sum + errors;
        right += usize::from(speakers(&found) == people);
        count += 1;
    }
    eprintln!("mixtures: DER {}, right number in {right} of {count}", percent(sum));
    assert!(count * step >= 24, "only {count} mixtures");
    if step == 1 {
        assert_quoted(sum.rate(), quoted("24 conversations", 1)[0]);
        assert_eq!([right as f64, count as f64], quoted("24 conversations", 2)[..]);
    }
    assert!(sum.rate() <= 0.06 && right * 100 >= count * 85, "{}, {right} of {count}", percent(sum));
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn some_mixtures() {
    mixtures(4);
}

#[test]
#[ignore = "takes long (.ci/long); needs real weights (tests/real/fetch.sh) and ../shared"]
fn takes_long_all_mixtures() {
    mixtures(1);
}
