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

/// A stretch in which nobody starts or stops.
struct Stretch {
    length: f64,
    /// The speakers in it, by their places.
    reference: Vec<usize>,
    hypothesis: Vec<usize>,
}

/// When something starts (+1) or stops (-1), and what: a speaker, as whether in the reference and at which place, or else a
/// collar.
type Moment = (f64, i32, Option<(bool, usize)>);

/// Compares turns over the whole of both, overlapping speech included, with the best naming of the speakers. What lies
/// within `collar` seconds before or after a start or an end of a turn of the reference does not count. NIST's and dscore's
/// collar of 0.25 is this 0.25; pyannote.metrics counts both sides and calls it 0.5.
/// Where turns of one speaker overlap, the speaker counts once.
pub fn time_errors(reference: &[Turn], hypothesis: &[Turn], collar: f64) -> TimeErrors {
    let (reference_names, hypothesis_names) = (names(reference), names(hypothesis));
    let stretches = stretches((reference, &reference_names), (hypothesis, &hypothesis_names), collar);
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

fn names(turns: &[Turn]) -> Vec<&str> {
    let mut names: Vec<&str> = turns.iter().map(|turn| turn.speaker.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// All stretches that count and in which somebody speaks.
fn stretches(reference: (&[Turn], &[&str]), hypothesis: (&[Turn], &[&str]), collar: f64) -> Vec<Stretch> {
    let mut moments: Vec<Moment> = Vec::new();
    for (is_reference, (turns, names)) in [(true, reference), (false, hypothesis)] {
        for Turn { span: Span { start, end }, speaker } in turns {
            if let Ok(place) = names.binary_search(&speaker.as_str()) {
                moments.push((start.0, 1, Some((is_reference, place))));
                moments.push((end.0, -1, Some((is_reference, place))));
            }
            if is_reference && collar > 0.0 {
                for edge in [start.0, end.0] {
                    moments.push((edge - collar, 1, None));
                    moments.push((edge + collar, -1, None));
                }
            }
        }
    }
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut open = [vec![0i32; reference.1.len()], vec![0; hypothesis.1.len()]];
    let (mut collars, mut last) = (0, f64::NEG_INFINITY);
    let mut out = Vec::new();
    let speaking = |open: &[i32]| -> Vec<usize> { (0..open.len()).filter(|&place| open[place] > 0).collect() };
    for (time, change, who) in moments {
        if time > last && collars == 0 && open.iter().flatten().any(|open| *open > 0) {
            let (reference, hypothesis) = (speaking(&open[0]), speaking(&open[1]));
            out.push(Stretch { length: time - last, reference, hypothesis });
        }
        last = time;
        match who {
            Some((is_reference, place)) => open[usize::from(!is_reference)][place] += change,
            None => collars += change,
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
    }
}
