//! Score reports: all metrics for every recording of a reference and a hypothesis file.

use std::collections::BTreeMap;

use super::boundaries::{Boundaries, boundaries};
use super::files::{Script, Scripts};
use super::speakers::cp_errors;
use super::text::{Errors, errors};
use super::time::{TimeErrors, time_errors_within};
use crate::types::Span;

/// The collars of DER, in seconds on either side of a boundary of the reference: none, and NIST's 0.25.
pub const COLLARS: [f64; 2] = [0.0, 0.25];

/// The errors of a hypothesis. A metric is `None` if one of the two files lacks what it compares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// WER.
    pub words: Option<Errors>,
    /// cpWER, if the reference names speakers.
    pub speakers: Option<Errors>,
    /// DER with each of [`COLLARS`].
    pub times: Option<[TimeErrors; 2]>,
    /// Word boundary errors, if both files have times of words.
    pub boundaries: Option<Boundaries>,
}

impl Report {
    /// Scores the hypothesis of one recording. `scored` are the regions over which DER is computed; `None` is the whole
    /// recording.
    pub fn of(reference: &Script, hypothesis: &Script, scored: Option<&[Span]>) -> Self {
        let words = reference.has_words && hypothesis.has_words;
        let named = words && reference.speakers.keys().any(|name| !name.is_empty());
        let turns = reference.has_turns && hypothesis.has_turns;
        let timed = |script: &Script| script.words.iter().any(|(_, span)| span.is_some());
        let plain = |script: &Script| -> Vec<String> { script.words.iter().map(|(word, _)| word.clone()).collect() };
        let time = |collar| time_errors_within(&reference.turns, &hypothesis.turns, collar, scored);
        Report {
            words: words.then(|| errors(&plain(reference), &plain(hypothesis))),
            speakers: named.then(|| cp_errors(&reference.speakers, &hypothesis.speakers)),
            times: turns.then(|| COLLARS.map(time)),
            boundaries: (timed(reference) && timed(hypothesis))
                .then(|| boundaries(&reference.words, &hypothesis.words)),
        }
    }

    /// Whether no metric could be computed.
    pub fn is_empty(&self) -> bool {
        *self == Report::default()
    }
}

/// The errors of two recordings together.
impl std::ops::Add for Report {
    type Output = Report;
    fn add(self, other: Report) -> Report {
        Report {
            words: sum(self.words, other.words, |a, b| a + b),
            speakers: sum(self.speakers, other.speakers, |a, b| a + b),
            times: sum(self.times, other.times, |a, b| [a[0] + b[0], a[1] + b[1]]),
            boundaries: sum(self.boundaries, other.boundaries, |a, b| a + b),
        }
    }
}

fn sum<T>(a: Option<T>, b: Option<T>, add: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (a, b) => a.or(b),
    }
}

/// Scores each recording of the reference against the hypothesis of the same name. If both files have a single
/// recording, the two are compared whatever their names. `scored` are the scored regions of each recording. A
/// hypothesis of turns only (RTTM) has no line for a recording in which it found no speech; there all speech of the
/// reference is missed.
///
/// # Errors
/// A message naming the recordings that have no counterpart, nothing to compare, or no scored regions although `scored`
/// is given.
pub fn reports(
    reference: &Scripts,
    hypothesis: &Scripts,
    scored: Option<&BTreeMap<String, Vec<Span>>>,
) -> Result<BTreeMap<String, Report>, String> {
    let single = reference.len() == 1 && hypothesis.len() == 1;
    let mut hypothesis = hypothesis.clone();
    if !single {
        if hypothesis.values().all(|script| script.has_turns && !script.has_words) {
            for name in reference.keys() {
                hypothesis.entry(name.clone()).or_insert_with(|| Script { has_turns: true, ..Script::default() });
            }
        }
        let without = |a: &Scripts, b: &Scripts| -> Vec<String> {
            a.keys().filter(|name| !b.contains_key(*name)).cloned().collect()
        };
        for (names, of) in
            [(without(reference, &hypothesis), "hypothesis"), (without(&hypothesis, reference), "reference")]
        {
            if !names.is_empty() {
                return Err(format!("the {of} says nothing of {}", names.join(", ")));
            }
        }
    }
    let mut reports = BTreeMap::new();
    for ((name, own), other) in reference.iter().zip(hypothesis.values()) {
        let spans = match scored {
            Some(all) => Some(all.get(name).ok_or_else(|| format!("the UEM says nothing of {name}"))?.as_slice()),
            None => None,
        };
        let report = Report::of(own, other, spans);
        if report.is_empty() {
            return Err(format!(
                "the two files have nothing of {name} that could be compared: words and words, or turns and turns"
            ));
        }
        reports.insert(name.clone(), report);
    }
    Ok(reports)
}
