//! DER: missed speech, false alarms and speaker confusion, with collars and scored regions.

use crate::assignment::best_pairs;
use crate::diarize::Turn;
use crate::types::Span;

/// Diarization errors, in seconds of speech. Overlapping speech counts once for each speaker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeErrors {
    /// Speech in the reference.
    pub total: f64,
    /// Missed speech: the hypothesis has fewer speakers than the reference.
    pub missed: f64,
    /// False alarms: the hypothesis has more speakers than the reference.
    pub false_alarm: f64,
    /// Speaker confusion: speech assigned to another speaker.
    pub confused: f64,
}

impl TimeErrors {
    /// DER: errors per second of speech in the reference. If the reference has no speech: 0 without errors, else
    /// infinite.
    pub fn rate(self) -> f64 {
        let errors = self.missed + self.false_alarm + self.confused;
        if errors == 0.0 { 0.0 } else { errors / self.total }
    }
}

impl std::ops::Add for TimeErrors {
    type Output = TimeErrors;
    fn add(self, other: TimeErrors) -> TimeErrors {
        TimeErrors {
            total: self.total + other.total,
            missed: self.missed + other.missed,
            false_alarm: self.false_alarm + other.false_alarm,
            confused: self.confused + other.confused,
        }
    }
}

/// A stretch of time in which the set of speakers does not change.
struct Stretch {
    /// In seconds.
    length: f64,
    /// Indices of the speakers of the reference.
    reference: Vec<usize>,
    /// Indices of the speakers of the hypothesis.
    hypothesis: Vec<usize>,
}

/// What an event starts or ends.
#[derive(Clone, Copy)]
enum What {
    /// A turn of the reference, by the index of its speaker.
    Reference(usize),
    /// A turn of the hypothesis, by the index of its speaker.
    Hypothesis(usize),
    /// A collar.
    Collar,
    /// A scored region.
    Scored,
}

/// The start (+1) or end (-1) of something, at a time in seconds.
type Event = (f64, i32, What);

/// Diarization errors over the whole recording, overlapping speech included, with the best assignment of the
/// hypothesis' speakers to those of the reference. Time within `collar` seconds before or after the start or end of a
/// turn of the reference is not scored. The collar of 0.25 of NIST and dscore is 0.25 here as well; pyannote.metrics
/// adds both sides and calls it 0.5. Turns of one speaker that overlap or touch are joined first.
pub fn time_errors(reference: &[Turn], hypothesis: &[Turn], collar: f64) -> TimeErrors {
    time_errors_within(reference, hypothesis, collar, None)
}

/// [`time_errors`] over the regions `scored` only, which are those that the reference annotates; `None` is the whole
/// recording.
pub fn time_errors_within(reference: &[Turn], hypothesis: &[Turn], collar: f64, scored: Option<&[Span]>) -> TimeErrors {
    let (reference, hypothesis) = (&joined(reference)[..], &joined(hypothesis)[..]);
    let (reference_names, hypothesis_names) = (names(reference), names(hypothesis));
    let mut events = events(reference, &reference_names, What::Reference);
    events.extend(self::events(hypothesis, &hypothesis_names, What::Hypothesis));
    if collar > 0.0 {
        for edge in reference.iter().flat_map(|turn| [turn.span.start.0, turn.span.end.0]) {
            events.extend([(edge - collar, 1, What::Collar), (edge + collar, -1, What::Collar)]);
        }
    }
    let everywhere = [Span::new(f64::NEG_INFINITY, f64::INFINITY)];
    for span in scored.unwrap_or(&everywhere) {
        events.extend([(span.start.0, 1, What::Scored), (span.end.0, -1, What::Scored)]);
    }
    let stretches = stretches(events, reference_names.len(), hypothesis_names.len());
    let (rows, columns) = (reference_names.len(), hypothesis_names.len());
    let mut common = vec![0.0; rows * columns];
    for stretch in &stretches {
        for row in &stretch.reference {
            for column in &stretch.hypothesis {
                common[row * columns + column] += stretch.length;
            }
        }
    }
    let pairs = best_pairs(&common, rows, columns);
    let mut errors = TimeErrors::default();
    for Stretch { length, reference, hypothesis } in &stretches {
        let right = reference.iter().filter(|&&row| pairs[row].is_some_and(|column| hypothesis.contains(&column)));
        let (expected, found, right) = (reference.len(), hypothesis.len(), right.count());
        errors.total += length * expected as f64;
        errors.missed += length * expected.saturating_sub(found) as f64;
        errors.false_alarm += length * found.saturating_sub(expected) as f64;
        errors.confused += length * (expected.min(found) - right) as f64;
    }
    errors
}

/// The turns sorted by speaker and time, with turns of one speaker that overlap or touch joined.
fn joined(turns: &[Turn]) -> Vec<Turn> {
    let mut turns = turns.to_vec();
    turns.sort_by(|a, b| a.speaker.cmp(&b.speaker).then(a.span.start.0.total_cmp(&b.span.start.0)));
    turns.dedup_by(|next, last| {
        let one = next.speaker == last.speaker && next.span.start <= last.span.end;
        if one && next.span.end > last.span.end {
            last.span.end = next.span.end;
        }
        one
    });
    turns
}

fn names(turns: &[Turn]) -> Vec<&str> {
    let mut names: Vec<&str> = turns.iter().map(|turn| turn.speaker.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The starts and ends of turns; the index of a speaker is its position in `names`, which is sorted.
fn events(turns: &[Turn], names: &[&str], what: fn(usize) -> What) -> Vec<Event> {
    let mut events = Vec::with_capacity(2 * turns.len());
    for Turn { span: Span { start, end }, speaker } in turns {
        if let Ok(index) = names.binary_search(&speaker.as_str()) {
            events.extend([(start.0, 1, what(index)), (end.0, -1, what(index))]);
        }
    }
    events
}

/// All scored stretches in which somebody speaks, given the numbers of speakers of the reference and of the hypothesis.
fn stretches(mut events: Vec<Event>, reference: usize, hypothesis: usize) -> Vec<Stretch> {
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    // The number of open turns of each speaker.
    let (mut reference, mut hypothesis) = (vec![0i32; reference], vec![0i32; hypothesis]);
    let (mut collars, mut scored, mut last) = (0, 0, f64::NEG_INFINITY);
    let mut out = Vec::new();
    let speaking = |open: &[i32]| -> Vec<usize> { (0..open.len()).filter(|&index| open[index] > 0).collect() };
    for (time, change, what) in events {
        if time > last && collars == 0 && scored > 0 && reference.iter().chain(&hypothesis).any(|open| *open > 0) {
            let (reference, hypothesis) = (speaking(&reference), speaking(&hypothesis));
            out.push(Stretch { length: time - last, reference, hypothesis });
        }
        last = time;
        match what {
            What::Reference(index) => reference[index] += change,
            What::Hypothesis(index) => hypothesis[index] += change,
            What::Collar => collars += change,
            What::Scored => scored += change,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(turns: &[(f64, f64, &str)]) -> Vec<Turn> {
        turns.iter().map(|&(start, end, name)| Turn { span: Span::new(start, end), speaker: name.into() }).collect()
    }

    #[track_caller]
    fn check(got: TimeErrors, total: f64, missed: f64, false_alarm: f64, confused: f64) {
        for (got, want) in
            [(got.total, total), (got.missed, missed), (got.false_alarm, false_alarm), (got.confused, confused)]
        {
            assert!((got - want).abs() < 1e-9, "{got} instead of {want}");
        }
    }

    #[test]
    fn errors_computed_by_hand() {
        let reference = turns(&[(0.0, 10.0, "a"), (10.0, 15.0, "b"), (14.0, 16.0, "a")]);
        // Names do not matter; 9-10 is speaker confusion; in 14-15 one of two speakers is missed; 20-21 is a false
        // alarm.
        let hypothesis = turns(&[(0.0, 9.0, "x"), (9.0, 15.0, "y"), (15.0, 16.0, "x"), (20.0, 21.0, "x")]);
        let got = time_errors(&reference, &hypothesis, 0.0);
        check(got, 17.0, 1.0, 1.0, 1.0);
        assert!((got.rate() - 3.0 / 17.0).abs() < 1e-12);
        // Collars around 0, 10, 14, 15 and 16 remove 0.25 + 0.5 + (0.25 + 0.5) + (0.5 + 0.25) + 0.25 of 17 s.
        check(time_errors(&reference, &hypothesis, 0.25), 14.5, 0.5, 1.0, 0.75);
    }

    #[test]
    fn only_the_scored_stretches_count() {
        let reference = turns(&[(0.0, 10.0, "a"), (20.0, 30.0, "b")]);
        let hypothesis = turns(&[(2.0, 12.0, "x"), (20.0, 30.0, "x")]);
        // Over the whole recording x is paired with b, and all of a is missed or confused; before 15 s x is paired with
        // a.
        check(time_errors(&reference, &hypothesis, 0.0), 20.0, 2.0, 2.0, 8.0);
        let scored = [Span::new(1.0, 8.0), Span::new(5.0, 11.0)];
        check(time_errors_within(&reference, &hypothesis, 0.0, Some(&scored)), 9.0, 1.0, 1.0, 0.0);
        check(time_errors_within(&reference, &hypothesis, 0.25, Some(&scored)), 8.75, 1.0, 0.75, 0.0);
        check(time_errors_within(&reference, &hypothesis, 0.0, Some(&[])), 0.0, 0.0, 0.0, 0.0);
    }

    #[test]
    fn empty_reference_or_hypothesis() {
        assert_eq!(time_errors(&[], &[], 0.25).rate(), 0.0);
        let some = turns(&[(1.0, 2.0, "a")]);
        check(time_errors(&some, &[], 0.0), 1.0, 1.0, 0.0, 0.0);
        assert_eq!(time_errors(&[], &some, 0.0).rate(), f64::INFINITY);
        assert_eq!(time_errors(&some, &some, 0.25).rate(), 0.0);
    }

    #[test]
    fn overlapping_turns_of_one_speaker_count_once() {
        let twice = turns(&[(0.0, 2.0, "a"), (1.0, 3.0, "a")]);
        check(time_errors(&twice, &turns(&[(0.0, 3.0, "x")]), 0.0), 3.0, 0.0, 0.0, 0.0);
        // There is no boundary, and thus no collar, where turns of one speaker overlap or touch.
        check(time_errors(&twice, &turns(&[(0.0, 3.0, "x")]), 0.25), 2.5, 0.0, 0.0, 0.0);
        let on = turns(&[(2.0, 3.0, "a"), (0.0, 2.0, "a"), (1.0, 1.5, "a")]);
        check(time_errors(&on, &turns(&[(0.0, 3.0, "x")]), 0.25), 2.5, 0.0, 0.0, 0.0);
    }
}
