//! Speech spans to chunks: VAD cut and merge.

use crate::types::{Chunk, Span};
use crate::units::Seconds;

/// Joins spans into chunks of at most `chunk_size`, greedily and in order; the silence between the spans of a chunk
/// stays in it.
///
/// `spans` must be in order, must not overlap and must not be empty of time (every method of [`vad`](crate::vad) gives
/// them so). A new chunk begins with the span that would make the current one longer than `chunk_size`; exactly
/// `chunk_size` still fits. A span that is longer by itself becomes a chunk by itself: [`split_long`] goes before.
/// No spans give no chunks. There is no padding and no overlap: a chunk runs from its first span's start to its last
/// span's end.
///
/// Source: WhisperX `vads/vad.py::Vad.merge_chunks` (m-bain/whisperX 2cfd7b7), the "VAD cut & merge" of Bain et al.
/// 2023 (arXiv:2303.00747). Same comparisons in the same f64 arithmetic, so the same chunks.
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

/// Cuts every span longer than `max`, leaving the others alone. `cut` chooses the moment: it is given the stretch in
/// which the cut must lie (the second half of the longest piece allowed, so that pieces are neither too long nor
/// slivers) and what it returns is clamped to that stretch.
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
            // A cut that is not a number must not end the recording: take the latest moment instead.
            let at = if chosen.is_nan() { window.end.0 } else { chosen.clamp(window.start.0, window.end.0) };
            out.push(Span::new(rest.start.0, at));
            rest.start = Seconds(at);
        }
        out.push(rest);
    }
    out
}

/// The latest moment allowed: cuts for [`split_long`] where nothing is known about the sound.
pub fn cut_late(window: Span) -> Seconds {
    window.end
}
