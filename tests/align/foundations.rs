//! CTC paths, word times, labels and dictionaries. An utterance that is refused has a reason and does not affect the
//! others of its batch.

use std::path::Path;

use diarist::align::{
    Clock, Dictionary, LabelPolicy, LabelSpan, Labels, Refusal, Utterance, Writing, ctc_paths, words,
};
use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::ctc::CtcTopology;
use diarist::units::Seconds;

const BLANK: usize = 0;
const CLASSES: usize = 5;

/// Log-probabilities with one row per item of `classes`: 0.92 for that class, 0.02 for each of the others.
fn log_probs_of(cpu: &Cpu, classes: &[usize]) -> Tensor<Cpu, f32> {
    let row = |class: usize| (0..CLASSES).map(move |c| if c == class { 0.92f32.ln() } else { 0.02f32.ln() });
    let values: Vec<f32> = classes.iter().flat_map(|class| row(*class)).collect();
    Tensor::from_host(cpu, &[classes.len(), CLASSES], &values).unwrap()
}

fn span(start: usize, end: usize, score: f32) -> LabelSpan {
    LabelSpan { rows: start..end, score }
}

fn assert_spans(got: &[LabelSpan], want: &[LabelSpan]) {
    assert_eq!(got.len(), want.len(), "{got:?}");
    for (got, want) in got.iter().zip(want) {
        assert!(got.rows == want.rows && (got.score - want.score).abs() < 1e-6, "{got:?}, want {want:?}");
    }
}

#[test]
fn labels_span_the_rows_in_which_they_are_most_probable() {
    let cpu = Cpu::new(Some(1)).unwrap();
    // Labels a, b, b with blanks before, between and after.
    let log_probs = log_probs_of(&cpu, &[0, 1, 1, 2, 0, 0, 2, 2, 2, 0, 0]);
    let utterance = [Utterance { rows: 0..11, labels: &[1, 2, 2] }];
    let found = ctc_paths(&cpu, &log_probs, &utterance, BLANK, CtcTopology::Ctc).unwrap().remove(0).unwrap();
    assert_spans(&found, &[span(1, 3, 0.92), span(3, 4, 0.92), span(6, 9, 0.92)]);
    // WhisperX's topology adds blanks to the label before them, and ends with the first row of the last label.
    let log_probs = log_probs_of(&cpu, &[0, 1, 0, 0, 2, 0]);
    let utterance = [Utterance { rows: 0..6, labels: &[1, 2] }];
    let found = ctc_paths(&cpu, &log_probs, &utterance, BLANK, CtcTopology::Trellis).unwrap().remove(0).unwrap();
    assert_spans(&found, &[span(1, 4, 0.92), span(4, 5, 0.92)]);
}

#[test]
fn a_refused_utterance_does_not_affect_its_batch() {
    let cpu = Cpu::new(Some(1)).unwrap();
    let log_probs = log_probs_of(&cpu, &[1, 2, 3, 0, 4, 4]);
    let utterance = |rows: std::ops::Range<usize>, labels| Utterance { rows, labels };
    let batch = [
        utterance(0..6, &[][..]),
        utterance(3..5, &[4]),
        utterance(0..3, &[1, 1, 1]),
        utterance(0..3, &[1, 2, 3]),
        utterance(2..2, &[1]),
    ];
    let found = ctc_paths(&cpu, &log_probs, &batch, BLANK, CtcTopology::Ctc).unwrap();
    assert_eq!(found[0], Err(Refusal::NoLabels));
    assert_spans(found[1].as_ref().unwrap(), &[span(1, 2, 0.92)]);
    assert_eq!(found[2], Err(Refusal::TooLong { needed: 5, rows: 3 }));
    assert_spans(found[3].as_ref().unwrap(), &[span(0, 1, 0.92), span(1, 2, 0.92), span(2, 3, 0.92)]);
    assert_eq!(found[4], Err(Refusal::TooLong { needed: 1, rows: 0 }));
    assert!(found[2].as_ref().unwrap_err().to_string().contains("needs 5 frames"));
    // The trellis needs no blank between equal labels, so three rows are enough.
    let found = ctc_paths(&cpu, &log_probs, &batch[2..3], BLANK, CtcTopology::Trellis).unwrap();
    assert!(found[0].is_ok());
    let silent = Tensor::from_host(&cpu, &[2, CLASSES], &[f32::NEG_INFINITY; 2 * CLASSES]).unwrap();
    let found = ctc_paths(&cpu, &silent, &[utterance(0..2, &[1])], BLANK, CtcTopology::Ctc).unwrap();
    assert_eq!(found, [Err(Refusal::Impossible)]);
}

#[test]
fn word_times_are_those_of_their_labels() {
    let labels = [span(1, 3, 0.5), span(3, 4, 0.25), span(6, 9, 1.0), span(10, 12, 0.1234)];
    // 12 rows of 20 ms, plus 2 ms, because the receptive field is longer than the hop.
    let clock = Clock { start: Seconds(10.0), duration: Seconds(0.242), rows: 12 };
    let timed = words(&labels, &[0..2, 2..2, 3..4, 4..5], clock);
    let first = timed[0].unwrap();
    assert_eq!((first.start, first.end, first.score), (Seconds(10.02), Seconds(10.081), 0.375));
    assert_eq!((timed[1], timed[3]), (None, None));
    let last = timed[2].unwrap();
    assert_eq!((last.start, last.end, last.score), (Seconds(10.202), Seconds(10.242), 0.123));
}

fn dictionary(vocab: &str) -> Dictionary {
    Dictionary::parse(vocab, Path::new("vocab.json"), 0, 8).unwrap()
}

#[test]
fn a_text_becomes_labels_and_words() {
    let text = r#"{"-": 0, "|": 1, "A": 2, "b": 3, "É": 4, "'": 5, "<unk>": 6, "B": 7}"#;
    let dictionary = dictionary(text);
    let source = "  Ab 42\t\u{130}\u{e9}-a'|  ";
    let labels = Labels::new(source, "en", &dictionary, LabelPolicy::Written);
    // Class 8 (wildcard): unknown characters, including the dotted capital I, whose lower case has two characters; the
    // hyphen, whose class is the blank; and the bar, which is the delimiter. If both cases have a class, the later one
    // counts.
    assert_eq!(labels.labels, [2, 7, 1, 8, 8, 1, 8, 4, 8, 2, 5, 8]);
    let words: Vec<_> = labels.words.iter().map(|word| (word.labels.clone(), word.wildcard)).collect();
    assert_eq!(words, [(0..2, false), (3..5, true), (6..12, false)]);
    let written: Vec<&str> = labels.words.iter().map(|word| &source[word.text.clone()]).collect();
    assert_eq!(written, ["Ab", "42", "\u{130}\u{e9}-a'|"]);
    for empty in ["", " \n "] {
        let labels = Labels::new(empty, "en", &dictionary, LabelPolicy::Written);
        assert!(labels.labels.is_empty() && labels.words.is_empty() && labels.is_silent());
    }
}

#[test]
fn languages_without_spaces_have_a_word_per_character() {
    let dictionary = dictionary(r#"{"<pad>": 0, "|": 1, "\u4f60": 2, "\u597d": 3}"#);
    let labels = Labels::new("\u{4f60} \u{597d}\u{ff01}", "zh", &dictionary, LabelPolicy::Written);
    assert_eq!(labels.labels, [2, 3, 8]);
    let words: Vec<_> = labels.words.iter().map(|word| (word.text.clone(), word.wildcard)).collect();
    assert_eq!(words, [(0..3, false), (4..7, false), (7..10, true)]);
    assert_eq!((Writing::of("ja"), Writing::of("en")), (Writing::Unspaced, Writing::Spaced));
}

#[test]
fn invalid_dictionaries_are_refused() {
    for (text, reason) in [("[]", "not a table"), (r#"{"a": 8}"#, "class 8, of 8"), (r#"{"a": -1}"#, "class -1")] {
        let error = Dictionary::parse(text, Path::new("vocab.json"), 0, 8).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("vocab.json"), "{text}: {error}");
    }
}
