//! Times and scores of words from the spans of their labels.

use std::ops::Range;

use super::ctc_paths::LabelSpan;
use crate::units::Seconds;

/// Emission rows to times: the rows of an utterance divide its duration evenly, as in WhisperX.
///
/// This differs from the network's hop, because the last samples may not fill a row: times are up to one row later than
/// the middle of the row's receptive field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Start of the utterance.
    pub start: Seconds,
    /// Its duration.
    pub duration: Seconds,
    /// Its number of emission rows.
    pub rows: usize,
}

impl Clock {
    /// The time at which a row begins, in whole milliseconds.
    pub fn time(&self, row: usize) -> Seconds {
        let rows = self.rows.max(1) as f64;
        Seconds(thousandths(row as f64 * (self.duration.0 / rows) + self.start.0))
    }
}

/// Rounds to three decimals like Python's `round(value, 3)`: correctly rounded from the exact binary value. Multiplying
/// by 1000 first would round twice.
pub fn thousandths(value: f64) -> f64 {
    format!("{value:.3}").parse().unwrap_or(value)
}

/// A word or letter with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedWord {
    /// Start of its first letter.
    pub start: Seconds,
    /// End of its last letter.
    pub end: Seconds,
    /// Mean score of its letters, to three decimals.
    pub score: f64,
}

/// The time and score of one letter.
pub fn letter(label: &LabelSpan, clock: Clock) -> TimedWord {
    let score = thousandths(f64::from(label.score));
    TimedWord { start: clock.time(label.rows.start), end: clock.time(label.rows.end), score }
}

/// The times of words. `words`: the range of each word in `labels`. `None` for a word without labels.
pub fn words(labels: &[LabelSpan], words: &[Range<usize>], clock: Clock) -> Vec<Option<TimedWord>> {
    let time = |word: &Range<usize>| {
        let letters = labels.get(word.clone())?;
        let (first, last) = (letter(letters.first()?, clock), letter(letters.last()?, clock));
        let mean = letters.iter().map(|label| letter(label, clock).score).sum::<f64>() / letters.len() as f64;
        Some(TimedWord { start: first.start, end: last.end, score: thousandths(mean) })
    };
    words.iter().map(time).collect()
}
