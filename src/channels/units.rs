//! The units that are compared between channels: words with times, or whole segments if there are no words.

use crate::types::{Segment, Span};

/// A word, or a segment without words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    /// Index of the segment.
    pub segment: usize,
    /// Index of the word in the segment; `None` for a segment without words.
    pub word: Option<usize>,
    /// Start and end.
    pub span: Span,
    /// Letters and digits of the text, in lower case.
    pub text: String,
}

/// Assumed duration of a word without an end, in seconds.
const NO_END: f64 = 0.2;

/// The units of a channel, in the order of its segments. Words without a start are skipped.
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

/// The letters and digits of a text, in lower case.
fn letters(text: &str) -> String {
    text.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
