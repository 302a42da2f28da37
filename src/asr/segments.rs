//! Splitting a transcript at its timestamp tokens, and the start of the next window.

use super::tokenizer::Tokenizer;
use crate::units::{EncoderFrame, MelFrame};

/// A piece of a transcript between two timestamps. Times count from the start of the window; in mel frames, because a
/// piece may end with the audio, between two timestamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its start.
    pub start: MelFrame,
    /// Its end.
    pub end: MelFrame,
    /// Its tokens, both timestamps included.
    pub tokens: Vec<u32>,
}

/// A transcript cut into pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The pieces in order.
    pub pieces: Vec<Piece>,
    /// What follows the last cut without a timestamp at its end. The next window decodes it again; if there is
    /// none, it ends with the audio.
    pub unfinished: Option<Piece>,
    /// How far the transcript is complete, from the start of the window: the next window begins here.
    pub advance: MelFrame,
}

/// Whether the last token is a timestamp, and the one before it is not: no speech follows.
pub(super) fn ends_in_single(tokenizer: &Tokenizer, tokens: &[u32]) -> bool {
    matches!(*tokens, [.., text, last] if !tokenizer.is_timestamp(text) && tokenizer.is_timestamp(last))
}

/// Cuts `tokens` where one timestamp follows another. `window` is the length of the audio in the window.
///
/// A transcript that ends in a single timestamp has no speech after it, so the window is done; one that ends otherwise
/// has an unfinished piece: the next window begins at the last timestamp before it. Without any cut, the whole is one
/// piece up to its last timestamp, and the window is done.
///
/// Source: faster-whisper `transcribe.py::_split_segments_by_timestamps`.
pub fn split(tokenizer: &Tokenizer, tokens: &[u32], window: MelFrame) -> Split {
    let is_timestamp = |i: usize| tokenizer.is_timestamp(tokens[i]);
    let frame = |token: u32| EncoderFrame(token.saturating_sub(tokenizer.special.timestamp_begin) as usize).to_mel();
    let ends_in_single = ends_in_single(tokenizer, tokens);
    let mut cuts: Vec<usize> = (1..tokens.len()).filter(|&i| is_timestamp(i) && is_timestamp(i - 1)).collect();
    if cuts.is_empty() {
        let last = tokens.iter().rev().find(|&&token| tokenizer.is_timestamp(token)).copied();
        let end = match last.map(frame) {
            Some(end) if end > MelFrame(0) => end,
            _ => window,
        };
        let piece = Piece { start: MelFrame(0), end, tokens: tokens.to_vec() };
        return Split { pieces: vec![piece], unfinished: None, advance: window };
    }
    if ends_in_single {
        cuts.push(tokens.len());
    }
    let mut pieces = Vec::with_capacity(cuts.len());
    let mut from = 0;
    for &to in &cuts {
        let piece = &tokens[from..to];
        pieces.push(Piece { start: frame(piece[0]), end: frame(piece[piece.len() - 1]), tokens: piece.to_vec() });
        from = to;
    }
    let advance = if ends_in_single { window } else { frame(tokens[from - 1]) };
    let unfinished =
        tokens.get(from).map(|&first| Piece { start: frame(first), end: window, tokens: tokens[from..].to_vec() });
    Split { pieces, unfinished, advance }
}
