//! What is compared between channels: words with times, or whole segments where there are no words.

use crate::types::{Segment, Span};

/// A word, or a segment without words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    /// The segment's number.
    pub segment: usize,
    /// The word's number in it.
    pub word: Option<usize>,
    /// When it is said.
    pub span: Span,
    /// Its letters and digits, in lower case.
    pub text: String,
}

/// How long a word without an end is taken to last, in seconds.
const NO_END: f64 = 0.2;

/// The units of a channel, in the order of its segments. Words without a start are none.
pub(super) fn of(segments: &[Segment]) -> Vec<Unit> {
    let mut units = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let Some(words) = &segment.words else {
            let span = Span { start: segment.start, end: segment.end };
            units.push(Unit { segment: at, word: None, span, text: letters(&segment.text) });
            continue;
        };
        for (number, word) in words.iter().enumerate() {
            let Some(start) = word.start else { continue };
            let end = word.end.map_or(start.0 + NO_END, |end| end.0);
            let (span, text) = (Span::new(start.0, end), letters(&word.word));
            units.push(Unit { segment: at, word: Some(number), span, text });
        }
    }
    units
}

/// What of a text does not depend on punctuation and case.
fn letters(text: &str) -> String {
    text.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
