//! `ctc_viterbi` against an exhaustive search over all paths in f64, and against torchaudio and WhisperX in random
//! cases.

use std::ops::Range;

use diarist::engine::cpu::Cpu;
use diarist::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use diarist::engine::{Tensor, ops};
use serde_json::Value;

use crate::common::{assert_same, cpus, random};
use crate::golden;

/// One segment: rows of log-probabilities, labels, blank.
pub struct Case {
    pub log_probs: Vec<f32>,
    pub classes: usize,
    pub labels: Vec<i32>,
    pub blank: usize,
}

impl Case {
    pub fn rows(&self) -> usize {
        self.log_probs.len() / self.classes
    }

    fn at(&self, t: usize, class: usize) -> f64 {
        f64::from(self.log_probs[t * self.classes + class])
    }
}

/// Case `c` of `tests/reference/ctc.py`, short or `long`.
pub fn seeded_case(c: u64, long: bool) -> Case {
    let name = format!("ctc{c}");
    let draw = |i: usize| golden::seeded::bits(9, &name, i as u64);
    let q: Vec<usize> = (0..4).map(|i| draw(i) as usize).collect();
    let (rows, classes) = if long { (700 + q[0] % 800, 32) } else { (1 + q[0] % 40, 2 + q[1] % 8) };
    let count = if long { 200 + q[2] % 200 } else { 1 + q[2] % (rows / 2 + 2) };
    let blank = q[3] % classes;
    let label = |i: usize| (draw(100 + i) % (classes as u64 - 1)) as usize;
    let labels = (0..count).map(label).map(|label| (label + usize::from(label >= blank)) as i32).collect();
    let unit = |i: usize| (draw(i) >> 40) as f32 / (1u32 << 24) as f32;
    let log_prob = |k: usize| -(unit(10000 + 2 * k) * unit(10001 + 2 * k) * 12.0);
    Case { log_probs: (0..rows * classes).map(log_prob).collect(), classes, labels, blank }
}

/// The result of an alignment: start, end and score of each label, and the log-probability of the path.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub spans: Vec<(usize, usize, f32)>,
    pub total: f32,
}

impl Answer {
    fn is_none(&self) -> bool {
        self.total == f32::NEG_INFINITY && self.spans.iter().all(|span| *span == (0, 0, 0.0))
    }

    /// The class of each row.
    fn path(&self, case: &Case) -> Vec<usize> {
        let mut path = vec![case.blank; case.rows()];
        for ((start, end, _), label) in self.spans.iter().zip(&case.labels) {
            path[*start..*end].fill(*label as usize);
        }
        path
    }
}

/// Aligns all cases in one call. They must have the same blank and number of classes.
fn align(cpu: &Cpu, cases: &[&Case], topology: CtcTopology) -> Vec<Answer> {
    let (classes, blank) = (cases[0].classes, cases[0].blank);
    assert!(cases.iter().all(|case| (case.classes, case.blank) == (classes, blank)));
    let log_probs: Vec<f32> = cases.iter().flat_map(|case| case.log_probs.iter().copied()).collect();
    let mut row = 0;
    let mut segments: Vec<(Range<usize>, &[i32])> = Vec::new();
    for case in cases {
        segments.push((row..row + case.rows(), &case.labels));
        row += case.rows();
    }
    let log_probs = Tensor::from_host(cpu, &[row, classes], &log_probs).unwrap();
    let segments = CtcSegments::new(cpu, &segments, classes, blank).unwrap();
    let mut out = CtcSpans::zeros(cpu, &segments).unwrap();
    ops::ctc_viterbi(cpu, &mut out, &log_probs, &segments, topology).unwrap();
    let (start, end) = (out.start.to_host(cpu).unwrap(), out.end.to_host(cpu).unwrap());
    let (score, total) = (out.score.to_host(cpu).unwrap(), out.total.to_host(cpu).unwrap());
    let mut at = 0;
    let mut answers = Vec::new();
    for (case, total) in cases.iter().zip(total) {
        let span = |i: usize| (start[i] as usize, end[i] as usize, score[i]);
        answers.push(Answer { spans: (at..at + case.labels.len()).map(span).collect(), total });
        at += case.labels.len();
    }
    answers
}

fn align_one(cpu: &Cpu, case: &Case, topology: CtcTopology) -> Answer {
    align(cpu, &[case], topology).remove(0)
}

/// Collapses a CTC path to its labels: repeats are merged, then blanks are removed.
fn collapse(path: &[usize], blank: usize) -> Vec<i32> {
    let mut out = Vec::new();
    for (t, class) in path.iter().enumerate() {
        if *class != blank && (t == 0 || path[t - 1] != *class) {
            out.push(*class as i32);
        }
    }
    out
}

/// The log-probability of the best of all `V^T` paths that collapse to the labels.
fn best_of_all(case: &Case) -> f64 {
    let (rows, classes) = (case.rows(), case.classes);
    let mut best = f64::NEG_INFINITY;
    for number in 0..classes.pow(rows as u32) {
        let path: Vec<usize> = (0..rows as u32).map(|t| number / classes.pow(t) % classes).collect();
        if collapse(&path, case.blank) == case.labels {
            best = best.max(path.iter().enumerate().map(|(t, class)| case.at(t, *class)).sum());
        }
    }
    best
}

#[test]
fn no_path_is_better() {
    let [cpu, _] = cpus();
    let mut found = 0;
    for seed in 0..300 {
        let q: Vec<usize> = (0..12).map(|i| golden::seeded::bits(seed, "all paths", i) as usize).collect();
        let (rows, classes, count) = (1 + q[0] % 7, 2 + q[1] % 3, 1 + q[2] % 4);
        let blank = q[3] % classes;
        let label = |v: usize| v % (classes - 1) + usize::from(v % (classes - 1) >= blank);
        let labels: Vec<i32> = q[4..4 + count].iter().map(|v| label(*v) as i32).collect();
        let log_probs = random(seed, rows * classes).iter().map(|v| 4.0 * v - 4.0).collect();
        let case = Case { log_probs, classes, labels, blank };
        let (want, got) = (best_of_all(&case), align_one(&cpu, &case, CtcTopology::Ctc));
        if want == f64::NEG_INFINITY {
            assert!(got.is_none(), "{seed}: {got:?}");
            continue;
        }
        found += 1;
        assert!((f64::from(got.total) - want).abs() < 1e-4, "{seed}: {got:?}, want {want}");
        let path = got.path(&case);
        assert_eq!(collapse(&path, blank), case.labels, "{seed}: {path:?}");
        let sum: f64 = path.iter().enumerate().map(|(t, class)| case.at(t, *class)).sum();
        assert!((sum - want).abs() < 1e-4, "{seed}: the path {path:?} adds up to {sum}, want {want}");
        for (j, (start, end, score)) in got.spans.iter().enumerate() {
            let mean: f64 = (*start..*end).map(|t| case.at(t, case.labels[j] as usize).exp()).sum::<f64>();
            assert!((f64::from(*score) - mean / (end - start) as f64).abs() < 1e-6, "{seed}: label {j}");
        }
    }
    assert!(found > 150, "only {found} cases can be aligned");
}

#[test]
fn paths_are_those_of_torchaudio() {
    let goldens = golden::json("ctc/paths.json");
    let [cpu, _] = cpus();
    let short = goldens["meta"]["cases"].as_u64().unwrap();
    let mut refused = 0;
    for (c, want) in goldens["paths"].as_array().unwrap().iter().enumerate() {
        let case = seeded_case(c as u64, c as u64 >= short);
        check_path(&format!("case {c}"), &align_one(&cpu, &case, CtcTopology::Ctc), &case, want);
        refused += usize::from(want.is_null());
    }
    assert!(refused > 100, "torchaudio refused {refused} cases only");
}

#[test]
fn the_example_of_torchaudio() {
    let goldens = golden::json("ctc/paths.json");
    let [cpu, _] = cpus();
    let rows: Vec<Vec<f64>> = serde_json::from_value(goldens["table"].clone()).unwrap();
    let log_probs: Vec<f32> = rows.iter().flatten().map(|p| (*p as f32).ln()).collect();
    for want in goldens["tables"].as_array().unwrap() {
        let labels: Vec<i32> = serde_json::from_value(want["labels"].clone()).unwrap();
        let case = Case { log_probs: log_probs.clone(), classes: 6, labels, blank: 5 };
        let got = align_one(&cpu, &case, CtcTopology::Ctc);
        check_path(&want["labels"].to_string(), &got, &case, &want["path"]);
        if want["path"] == "abcba" {
            let scores: Vec<f32> = got.spans.iter().map(|span| span.2).collect();
            let table = [0.633766, 0.588392, 0.321418, 0.643849, 0.458235];
            assert!(scores.iter().zip(table).all(|(got, want)| (got - want).abs() < 1e-6), "{scores:?}");
        }
    }
}

fn check_path(name: &str, got: &Answer, case: &Case, want: &Value) {
    let Some(want) = want.as_str() else {
        assert!(got.is_none(), "{name}: torchaudio refuses it, got {got:?}");
        return;
    };
    let letter = |class: usize| if class == case.blank { '.' } else { (b'a' + class as u8) as char };
    let path: String = got.path(case).into_iter().map(letter).collect();
    assert_eq!(path, want, "{name}");
}

#[test]
fn the_trellis_is_that_of_whisperx() {
    let goldens = golden::json("ctc/trellis.json");
    let short = golden::json("ctc/paths.json")["meta"]["cases"].as_u64().unwrap();
    let [cpu, _] = cpus();
    for want in goldens["cases"].as_array().unwrap() {
        let c = want["case"].as_u64().unwrap();
        let case = seeded_case(c, c >= short);
        let got = align_one(&cpu, &case, CtcTopology::Trellis);
        let want = &want["spans"];
        if want.is_null() {
            assert!(got.is_none(), "case {c}: WhisperX fails, got {got:?}");
            continue;
        }
        let starts: Vec<usize> = serde_json::from_value(want["starts"].clone()).unwrap();
        let scores: Vec<f64> = serde_json::from_value(want["scores"].clone()).unwrap();
        let ends = starts[1..].iter().copied().chain([want["end"].as_u64().unwrap() as usize]);
        for (j, ((start, end), score)) in starts.iter().zip(ends).zip(scores).enumerate() {
            let (got_start, got_end, got_score) = got.spans[j];
            assert_eq!((got_start, got_end), (*start, end), "case {c}, label {j}");
            assert!((f64::from(got_score) - score).abs() < 2e-6, "case {c}, label {j}: {got_score}, want {score}");
        }
    }
}

/// The result of a segment is bit-identical whatever the other segments of the call and the number of threads.
#[test]
fn segments_are_independent() {
    let [one, two] = cpus();
    let cases: Vec<Case> = (3000..3008).map(|c| seeded_case(c, true)).collect();
    for topology in [CtcTopology::Ctc, CtcTopology::Trellis] {
        for blank in 0..32 {
            let cases: Vec<&Case> = cases.iter().filter(|case| case.blank == blank).collect();
            let Some(case) = cases.first() else { continue };
            let empty = Case { log_probs: vec![-1.0; 3 * 32], classes: 32, labels: vec![], blank };
            let long = Case { log_probs: vec![-1.0; 32], classes: 32, labels: case.labels.clone(), blank };
            let batch: Vec<&Case> = [&empty, &long].into_iter().chain(cases.iter().copied()).chain([&empty]).collect();
            let together = align(&two, &batch, topology);
            assert!(together[1].is_none() && together[0].total.is_finite());
            for (case, got) in cases.iter().zip(&together[2..]) {
                let alone = align_one(&one, case, topology);
                assert_eq!(alone.spans.len(), got.spans.len());
                assert_same("total", &[got.total], &[alone.total]);
                assert_eq!(*got, alone);
            }
        }
    }
}

#[test]
fn zero_probabilities_and_wrong_labels_are_refused() {
    let [cpu, _] = cpus();
    for bad in [f32::NEG_INFINITY, f32::NAN] {
        let case = Case { log_probs: vec![bad; 12], classes: 3, labels: vec![1, 2], blank: 0 };
        assert!(align_one(&cpu, &case, CtcTopology::Ctc).is_none());
        assert!(align_one(&cpu, &case, CtcTopology::Trellis).is_none());
    }
    for (labels, blank) in [(&[1, 3][..], 0), (&[1, -1], 0), (&[0], 0), (&[1], 3)] {
        let error = CtcSegments::new(&cpu, &[(0..4, labels)], 3, blank).err().expect("an error").to_string();
        assert!(error.contains("a class below 3"), "{error}");
    }
    let segments = CtcSegments::new(&cpu, &[(0..5, &[1][..])], 3, 0).unwrap();
    let log_probs = Tensor::zeros(&cpu, &[4, 3]).unwrap();
    let mut out = CtcSpans::zeros(&cpu, &segments).unwrap();
    let error = ops::ctc_viterbi(&cpu, &mut out, &log_probs, &segments, CtcTopology::Ctc).unwrap_err().to_string();
    assert!(error.contains("at least 5 rows"), "{error}");
}
