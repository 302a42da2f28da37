//! Windows of a recording that is too long to be heard at once, and batches of those that are not.
//!
//! The network was trained on utterances of up to half a minute, and its attention grows with the square of what it hears. A
//! longer recording is heard in windows that overlap: rows near a window's edge know one side only and are dropped, where a
//! neighbour has better ones. Windows begin at multiples of the network's hop, so that what is kept stands on the grid that one
//! pass would have.

use std::ops::Range;

use crate::models::wav2vec2::Config;
use crate::units::SAMPLE_RATE;

/// Longest recording that is heard at once, and the most that is kept of a window: Whisper's chunks fit.
pub const WINDOW: usize = 30 * SAMPLE_RATE;
/// What a window hears before and after the rows that are kept of it.
const CONTEXT: usize = 3 * SAMPLE_RATE;

/// A window of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// What is heard.
    pub samples: Range<usize>,
    /// The rows that are kept, counted from the window's first.
    pub rows: Range<usize>,
}

/// The windows of a recording of `samples` samples. Their kept rows, one after another, are `config.frames(samples)`.
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

/// Groups of clips to be heard together: alike in length, so that little is filling, and `limit` samples at most with the
/// filling. `lengths` are those of the clips, the groups their numbers.
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
