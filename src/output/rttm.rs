//! rttm: a line per turn, as `pyannote.core` writes them; what scoring programs read.

use crate::diarize::turns;
use crate::error::Result;
use crate::types::{Span, Turn};
use crate::units::Seconds;

/// The turns of a recording. Spaces in its name and in those of speakers become `_`, since the fields are separated by them.
/// Every turn lasts a millisecond at least, the last digit there is.
///
/// # Errors
/// None but for an empty name.
pub fn rttm(recording: &str, turns: &[Turn]) -> Result<String> {
    let field = |name: &str| name.split_whitespace().collect::<Vec<_>>().join("_");
    let span = |span: Span| Span { end: Seconds(span.end.0.max(span.start.0 + 0.001)), ..span };
    let turn = |turn: &Turn| Turn { speaker: field(&turn.speaker), span: span(turn.span) };
    let turns: Vec<Turn> = turns.iter().map(turn).collect();
    turns::rttm(&field(recording), &turns)
}
