//! VAD cut and merge: speech spans to chunks of bounded length.

use crate::types::{Chunk, Span};
use crate::units::Seconds;

/// Merges spans into chunks of at most `chunk_size`, greedily and in order. The silence between the spans of a chunk is
/// part of the chunk.
///
/// `spans` must be in order, without overlap, and none may be empty (every method of [`vad`](crate::vad) guarantees
/// this). A span that would make the current chunk longer than `chunk_size` begins a new chunk; exactly `chunk_size`
/// fits. A span longer than `chunk_size` is a chunk of its own; call [`split_long`] before to avoid this. A chunk
/// begins with its first span and ends with its last; there is no padding and no overlap.
///
/// Source: WhisperX `vads/vad.py::Vad.merge_chunks` (m-bain/whisperX 2cfd7b7), the "VAD cut & merge" of Bain et al.
/// 2023 (arXiv:2303.00747). The comparisons and the f64 arithmetic are the same, so the chunks are identical.
pub fn merge_chunks(spans: &[Span], chunk_size: Seconds) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for &span in spans {
        match chunks.last_mut() {
            Some(chunk) if span.end - chunk.span.start <= chunk_size || chunk.span.duration() <= 0.0 => {
                chunk.span.end = span.end;
                chunk.segments.push(span);
            }
            _ => chunks.push(Chunk { span, segments: vec![span] }),
        }
    }
    chunks
}

/// Cuts every span longer than `max`; other spans are not changed. `cut` chooses the time of a cut. Its argument is the
/// allowed range, the second half of the longest allowed piece, so that pieces have at least half of `max`, except the
/// last. The result is clamped to this range.
pub fn split_long(spans: &[Span], max: Seconds, mut cut: impl FnMut(Span) -> Seconds) -> Vec<Span> {
    let mut out = Vec::with_capacity(spans.len());
    if max.0.is_nan() || max.0 <= 0.0 {
        return spans.to_vec();
    }
    for &span in spans {
        let mut rest = span;
        while rest.duration() > max.0 {
            let window = Span::new(rest.start.0 + max.0 / 2.0, rest.start.0 + max.0);
            let chosen = cut(window).0;
            // A NaN would end the loop and make the rest of the recording NaN; cut at the latest allowed time instead.
            let at = if chosen.is_nan() { window.end.0 } else { chosen.clamp(window.start.0, window.end.0) };
            out.push(Span::new(rest.start.0, at));
            rest.start = Seconds(at);
        }
        out.push(rest);
    }
    out
}

/// The latest allowed time: a `cut` of [`split_long`] for callers without frame scores.
pub fn cut_late(window: Span) -> Seconds {
    window.end
}
