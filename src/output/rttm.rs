//! rttm: a line per turn, as `pyannote.core` writes them; what scoring programs read.

use crate::diarize::turns;
use crate::error::Result;
use crate::types::Turn;

/// The turns of a recording. Spaces in its name and in those of speakers become `_`, since the fields are separated by them.
///
/// # Errors
/// None but for an empty name.
pub fn rttm(recording: &str, turns: &[Turn]) -> Result<String> {
    let field = |name: &str| name.split_whitespace().collect::<Vec<_>>().join("_");
    let turns: Vec<Turn> = turns.iter().map(|turn| Turn { speaker: field(&turn.speaker), ..turn.clone() }).collect();
    turns::rttm(&field(recording), &turns)
}
