//! Speech missed, made up and given to the wrong speaker.

use crate::assignment::best_pairs;
use crate::diarize::Turn;
use crate::types::Span;

/// Seconds of speech, those of overlapping speakers each counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeErrors {
    /// Speech in the reference.
    pub total: f64,
    /// Speech of the reference during which too few speak in the hypothesis.
    pub missed: f64,
    /// Speech of the hypothesis during which fewer speak in the reference.
    pub false_alarm: f64,
    /// Speech given to another speaker.
    pub confused: f64,
}

impl TimeErrors {
    /// DER: errors per second of speech. Without any speech: zero without errors, else infinite.
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

/// A stretch in which nobody starts or stops.
struct Stretch {
    length: f64,
    /// The speakers in it, by their places.
    reference: Vec<usize>,
    hypothesis: Vec<usize>,
}

/// What starts or stops.
#[derive(Clone, Copy)]
enum What {
    /// A turn of the speaker at that place of the reference.
    Said(usize),
    /// The same of the hypothesis.
    Heard(usize),
    /// A collar.
    Collar,
    /// A stretch that counts.
    Scored,
}

/// When something starts (+1) or stops (-1).
type Moment = (f64, i32, What);

/// Compares turns over the whole of both, overlapping speech included, with the best naming of the speakers. What lies
/// within `collar` seconds before or after a start or an end of a turn of the reference does not count. NIST's and dscore's
/// collar of 0.25 is this 0.25; pyannote.metrics counts both sides and calls it 0.5.
/// Turns of one speaker that overlap or touch are one.
pub fn time_errors(reference: &[Turn], hypothesis: &[Turn], collar: f64) -> TimeErrors {
    time_errors_within(reference, hypothesis, collar, None)
}

/// The same over these stretches only: those that the reference was written for.
pub fn time_errors_within(reference: &[Turn], hypothesis: &[Turn], collar: f64, scored: Option<&[Span]>) -> TimeErrors {
    let (reference, hypothesis) = (&joined(reference)[..], &joined(hypothesis)[..]);
    let (reference_names, hypothesis_names) = (names(reference), names(hypothesis));
    let mut moments = moments(reference, &reference_names, What::Said);
    moments.extend(self::moments(hypothesis, &hypothesis_names, What::Heard));
    if collar > 0.0 {
        for edge in reference.iter().flat_map(|turn| [turn.span.start.0, turn.span.end.0]) {
            moments.extend([(edge - collar, 1, What::Collar), (edge + collar, -1, What::Collar)]);
        }
    }
    let everywhere = [Span::new(f64::NEG_INFINITY, f64::INFINITY)];
    for span in scored.unwrap_or(&everywhere) {
        moments.extend([(span.start.0, 1, What::Scored), (span.end.0, -1, What::Scored)]);
    }
    let stretches = stretches(moments, reference_names.len(), hypothesis_names.len());
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
        let (said, heard, right) = (reference.len(), hypothesis.len(), right.count());
        errors.total += length * said as f64;
        errors.missed += length * said.saturating_sub(heard) as f64;
        errors.false_alarm += length * heard.saturating_sub(said) as f64;
        errors.confused += length * (said.min(heard) - right) as f64;
    }
    errors
}

/// The turns, each speaker's in order of time and those without a gap between them as one.
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

/// Starts and stops of turns, whose speakers have their places in `names`.
fn moments(turns: &[Turn], names: &[&str], what: fn(usize) -> What) -> Vec<Moment> {
    let mut moments = Vec::with_capacity(2 * turns.len());
    for Turn { span: Span { start, end }, speaker } in turns {
        if let Ok(place) = names.binary_search(&speaker.as_str()) {
            moments.extend([(start.0, 1, what(place)), (end.0, -1, what(place))]);
        }
    }
    moments
}

/// All stretches that count and in which somebody speaks, of so many speakers of the reference and of the hypothesis.
fn stretches(mut moments: Vec<Moment>, said: usize, heard: usize) -> Vec<Stretch> {
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut said, mut heard) = (vec![0i32; said], vec![0i32; heard]);
    let (mut collars, mut scored, mut last) = (0, 0, f64::NEG_INFINITY);
    let mut out = Vec::new();
    let speaking = |open: &[i32]| -> Vec<usize> { (0..open.len()).filter(|&place| open[place] > 0).collect() };
    for (time, change, what) in moments {
        if time > last && collars == 0 && scored > 0 && said.iter().chain(&heard).any(|open| *open > 0) {
            out.push(Stretch { length: time - last, reference: speaking(&said), hypothesis: speaking(&heard) });
        }
        last = time;
        match what {
            What::Said(place) => said[place] += change,
            What::Heard(place) => heard[place] += change,
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
        // Names do not matter; 9-10 is given to the other; 14-15 has one instead of two; 20-21 is nobody's.
        let hypothesis = turns(&[(0.0, 9.0, "x"), (9.0, 15.0, "y"), (15.0, 16.0, "x"), (20.0, 21.0, "x")]);
        let got = time_errors(&reference, &hypothesis, 0.0);
        check(got, 17.0, 1.0, 1.0, 1.0);
        assert!((got.rate() - 3.0 / 17.0).abs() < 1e-12);
        // Collars around 0, 10, 14, 15 and 16: of 17 s they take 0.25 + 0.5 + (0.25 + 0.5) + (0.5 + 0.25) + 0.25.
        check(time_errors(&reference, &hypothesis, 0.25), 14.5, 0.5, 1.0, 0.75);
    }

    #[test]
    fn only_the_scored_stretches_count() {
        let reference = turns(&[(0.0, 10.0, "a"), (20.0, 30.0, "b")]);
        let hypothesis = turns(&[(2.0, 12.0, "x"), (20.0, 30.0, "x")]);
        // Everywhere, x is b, and all of a is missed or confused; before 15 s x is a.
        check(time_errors(&reference, &hypothesis, 0.0), 20.0, 2.0, 2.0, 8.0);
        let scored = [Span::new(1.0, 8.0), Span::new(5.0, 11.0)];
        check(time_errors_within(&reference, &hypothesis, 0.0, Some(&scored)), 9.0, 1.0, 1.0, 0.0);
        check(time_errors_within(&reference, &hypothesis, 0.25, Some(&scored)), 8.75, 1.0, 0.75, 0.0);
        check(time_errors_within(&reference, &hypothesis, 0.0, Some(&[])), 0.0, 0.0, 0.0, 0.0);
    }

    #[test]
    fn nothing_against_nothing() {
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
        // Nor is there a boundary between them, or where one goes on.
        check(time_errors(&twice, &turns(&[(0.0, 3.0, "x")]), 0.25), 2.5, 0.0, 0.0, 0.0);
        let on = turns(&[(2.0, 3.0, "a"), (0.0, 2.0, "a"), (1.0, 1.5, "a")]);
        check(time_errors(&on, &turns(&[(0.0, 3.0, "x")]), 0.25), 2.5, 0.0, 0.0, 0.0);
    }
}
