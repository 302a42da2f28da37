//! RTTM output: one line per speaker turn, as `pyannote.core` writes them.

use crate::diarize::turns;
use crate::error::Result;
use crate::types::{Span, Turn};
use crate::units::Seconds;

/// The turns of a recording as RTTM. Spaces in the names of the recording and of speakers become `_`, since RTTM
/// separates its fields by spaces. Every turn lasts at least one millisecond, the last digit that is written.
///
/// # Errors
/// Only for an empty name.
pub fn rttm(recording: &str, turns: &[Turn]) -> Result<String> {
    let field = |name: &str| name.split_whitespace().collect::<Vec<_>>().join("_");
    let span = |span: Span| Span { end: Seconds(span.end.0.max(span.start.0 + 0.001)), ..span };
    let turn = |turn: &Turn| Turn { speaker: field(&turn.speaker), span: span(turn.span) };
    let turns: Vec<Turn> = turns.iter().map(turn).collect();
    turns::rttm(&field(recording), &turns)
}
