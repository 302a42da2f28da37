//! Scoring: DER against pyannote.metrics, WER and cpWER against meeteval.

mod common;

use std::collections::BTreeMap;

use diarist::diarize::Turn;
use diarist::score::{cp_errors, errors, time_errors};
use diarist::types::Span;
use serde_json::Value;

fn turns(list: &Value) -> Vec<Turn> {
    let turn = |turn: &Value| {
        let (start, end) = (turn[0].as_f64().unwrap(), turn[1].as_f64().unwrap());
        Turn { span: Span::new(start, end), speaker: turn[2].as_str().unwrap().into() }
    };
    list.as_array().unwrap().iter().map(turn).collect()
}

#[test]
fn der_matches_pyannote_metrics() {
    let mut confused = 0.0;
    for case in common::json("diarize/der.json")["cases"].as_array().unwrap() {
        for want in case["errors"].as_array().unwrap() {
            let collar = want["collar"].as_f64().unwrap();
            let got = time_errors(&turns(&case["reference"]), &turns(&case["hypothesis"]), collar);
            for (part, got) in [
                ("total", got.total),
                ("missed", got.missed),
                ("false_alarm", got.false_alarm),
                ("confused", got.confused),
            ] {
                let want = want[part].as_f64().unwrap();
                assert!((got - want).abs() < 1e-6, "{part} with collar {collar}: got {got}, want {want}");
            }
            confused += got.confused;
        }
    }
    assert!(confused > 1.0, "no case has speaker confusion");
}

#[test]
fn wer_and_cpwer_match_meeteval() {
    let lists = |value: &Value| -> BTreeMap<String, Vec<String>> { serde_json::from_value(value.clone()).unwrap() };
    for case in common::json("diarize/cpwer.json")["cases"].as_array().unwrap() {
        let (reference, hypothesis) = (lists(&case["reference"]), lists(&case["hypothesis"]));
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let cp = cp_errors(&reference, &hypothesis);
        assert_eq!((cp.total(), cp.words), (number("cp_errors"), number("words")));
        let flat = |lists: &Value| -> Vec<String> {
            // In the order of the file, which is the order of the speakers in the script.
            let lists = lists.as_object().unwrap().values().flat_map(|list| list.as_array().unwrap());
            lists.map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(errors(&flat(&case["reference"]), &flat(&case["hypothesis"])).total(), number("errors"));
    }
}
