//! Times of words from the rows of their letters.

use std::ops::Range;

use super::follow::LabelSpan;
use crate::units::Seconds;

/// The time of an utterance's rows: they divide it evenly, as WhisperX has it. (A row is 320 samples and the last ones may
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
        Seconds(row as f64 * (self.duration.0 / rows) + self.start.0).round_ms()
    }
}

/// A word with its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedWord {
    /// When its first letter begins.
    pub start: Seconds,
    /// When its last letter ends.
    pub end: Seconds,
    /// Mean of its letters' scores, to three decimals.
    pub score: f64,
}

/// The times of words; each has a run of the utterance's labels. `None` for a word without any.
pub fn words(labels: &[LabelSpan], words: &[Range<usize>], clock: Clock) -> Vec<Option<TimedWord>> {
    let time = |word: &Range<usize>| {
        let letters = labels.get(word.clone())?;
        let (first, last) = (letters.first()?, letters.last()?);
        let mean = letters.iter().map(|letter| f64::from(letter.score)).sum::<f64>() / letters.len() as f64;
        let score = (mean * 1000.0).round() / 1000.0;
        Some(TimedWord { start: clock.time(first.rows.start), end: clock.time(last.rows.end), score })
    };
    words.iter().map(time).collect()
}
