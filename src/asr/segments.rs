//! Splitting a transcript at its timestamp tokens, and the start of the next window.

use super::tokenizer::Tokenizer;
use crate::units::{EncoderFrame, MelFrame};

/// A piece of a transcript between two timestamps. Times are relative to the start of the window. They are in mel
/// frames, because a piece may end with the audio, which need not be a multiple of 20 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its start.
    pub start: MelFrame,
    /// Its end.
    pub end: MelFrame,
    /// Its tokens, both timestamps included.
    pub tokens: Vec<u32>,
}

/// A transcript, split into pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The pieces in order.
    pub pieces: Vec<Piece>,
    /// The part after the last cut, if it has no timestamp at its end. The next window decodes it again. Without a next
    /// window it ends with the audio.
    pub unfinished: Option<Piece>,
    /// Start of the next window, relative to the start of this one.
    pub advance: MelFrame,
}

/// Whether the transcript ends with a single timestamp (the token before it is text), which means that no speech
/// follows.
pub(super) fn ends_in_single(tokenizer: &Tokenizer, tokens: &[u32]) -> bool {
    matches!(*tokens, [.., text, last] if !tokenizer.is_timestamp(text) && tokenizer.is_timestamp(last))
}

/// Splits `tokens` between two consecutive timestamps. `window` is the length of the audio in the window.
///
/// * A transcript that ends with a single timestamp has no speech after it: the window is complete.
/// * Otherwise the part after the last cut is unfinished, and the next window begins at the timestamp before it.
/// * Without any cut the transcript is one piece up to its last timestamp, and the window is complete.
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
