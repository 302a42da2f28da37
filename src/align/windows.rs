//! Overlapping windows of long segments, and batches of short ones.
//!
//! The network was trained on utterances of up to half a minute, and the cost of its attention is quadratic in the
//! length. A longer segment is split into windows that overlap. Rows near the edge of a window lack context on one
//! side; they are dropped, and the overlapping window supplies them. Windows begin at multiples of the network's hop,
//! so that the kept rows are on the same grid as those of a single pass.

use std::ops::Range;

use crate::models::wav2vec2::Config;
use crate::units::SAMPLE_RATE;

/// Longest segment for a single pass, and longest kept part of a window, in samples: the length of Whisper's window.
pub const WINDOW: usize = 30 * SAMPLE_RATE;
/// Context of a window before and after its kept rows, in samples.
const CONTEXT: usize = 3 * SAMPLE_RATE;

/// A window of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The network's input.
    pub samples: Range<usize>,
    /// The rows that are kept, relative to the window's first row.
    pub rows: Range<usize>,
}

/// The windows of a segment of `samples` samples. Their kept rows, concatenated, are the `config.frames(samples)` rows
/// of a single pass.
pub fn windows(config: &Config, samples: usize) -> Vec<Window> {
    let (rows, hop) = (config.frames(samples), config.hop());
    let count = samples.div_ceil(WINDOW).clamp(1, rows.max(1));
    let context = CONTEXT / hop;
    let window = |i: usize| {
        let kept = i * rows / count..(i + 1) * rows / count;
        let first = kept.start.saturating_sub(context);
        let last = kept.end + context;
        let end = if last >= rows { samples } else { (last - 1) * hop + config.field() };
        Window { samples: first * hop..end, rows: kept.start - first..kept.end - first }
    };
    (0..count).map(window).collect()
}

/// Groups clips into batches of similar length, to minimise padding. `lengths`: the clips' lengths in samples. A batch
/// has at most `limit` samples including padding, unless a single clip is longer. Returns the indices of each batch's
/// clips.
pub fn batches(lengths: &[usize], limit: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|clip| std::cmp::Reverse(lengths[*clip]));
    let mut out: Vec<Vec<usize>> = Vec::new();
    for clip in order {
        match out.last_mut() {
            // The first of a batch is its longest.
            Some(batch) if lengths[batch[0]].saturating_mul(batch.len() + 1) <= limit => batch.push(clip),
            _ => out.push(vec![clip]),
        }
    }
    out
}
