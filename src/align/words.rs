//! Times of words from the rows of their letters.

use std::ops::Range;

use super::ctc_paths::LabelSpan;
use crate::units::Seconds;

/// The time of an utterance's rows: they divide it evenly, as WhisperX has it. (A row is the network's hop and the last samples may
/// be missing, so that this is up to a row later than the middle of what the network heard.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Where the utterance begins.
    pub start: Seconds,
    /// How long it is.
    pub duration: Seconds,
    /// Its rows.
    pub rows: usize,
}

impl Clock {
    /// The time at which a row begins, in whole milliseconds.
    pub fn time(&self, row: usize) -> Seconds {
        let rows = self.rows.max(1) as f64;
        Seconds(thousandths(row as f64 * (self.duration.0 / rows) + self.start.0))
    }
}

/// A number to three decimals, of the two nearest the one that is nearer to its exact value, as Python's `round` has it:
/// multiplying by a thousand first would round once more.
pub fn thousandths(value: f64) -> f64 {
    format!("{value:.3}").parse().unwrap_or(value)
}

/// A word or letter with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedWord {
    /// When its first letter begins.
    pub start: Seconds,
    /// When its last letter ends.
    pub end: Seconds,
    /// Mean of its letters' scores, to three decimals.
    pub score: f64,
}

/// The time of one letter.
pub fn letter(label: &LabelSpan, clock: Clock) -> TimedWord {
    let score = thousandths(f64::from(label.score));
    TimedWord { start: clock.time(label.rows.start), end: clock.time(label.rows.end), score }
}

/// The times of words; each has a run of the utterance's labels. `None` for a word without any.
pub fn words(labels: &[LabelSpan], words: &[Range<usize>], clock: Clock) -> Vec<Option<TimedWord>> {
    let time = |word: &Range<usize>| {
        let letters = labels.get(word.clone())?;
        let (first, last) = (letter(letters.first()?, clock), letter(letters.last()?, clock));
        let mean = letters.iter().map(|label| letter(label, clock).score).sum::<f64>() / letters.len() as f64;
        Some(TimedWord { start: first.start, end: last.end, score: thousandths(mean) })
    };
    words.iter().map(time).collect()
}
