//! Interpolation of the times of unaligned words from their neighbours.

use std::ops::Range;

use super::options::Interpolate;
use crate::types::Span;

/// Gives every word a time, unless `method` is to ignore them. `letters` says how long the words are, `whole` where all of them
/// lie; it is used where no word has a time.
pub fn interpolate(times: &mut [Option<Span>], letters: &[usize], whole: Span, method: Interpolate) {
    if method == Interpolate::Ignore {
        return;
    }
    for run in gaps(times) {
        let before = run.start.checked_sub(1).and_then(|i| times[i]).map(|word| word.end);
        let after = times.get(run.end).copied().flatten().map(|word| word.start);
        let (start, end) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            // Before the first and behind the last word there is nothing to spread between.
            (Some(edge), None) | (None, Some(edge)) => (edge, edge),
            (None, None) => {
                times.copy_from_slice(&spread(letters, whole));
                return;
            }
        };
        let found = match method {
            Interpolate::Linear => spread(&letters[run.clone()], Span { start, end }),
            _ => {
                let near = |i: usize| if 2 * i < run.len() { start } else { end };
                (0..run.len()).map(|i| Some(Span { start: near(i), end: near(i) })).collect()
            }
        };
        times[run].copy_from_slice(&found);
    }
}

/// Runs of words without a time.
fn gaps(times: &[Option<Span>]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for i in (0..times.len()).filter(|i| times[*i].is_none()) {
        match out.last_mut() {
            Some(run) if run.end == i => run.end = i + 1,
            _ => out.push(i..i + 1),
        }
    }
    out
}

/// Parts of a span, one for each word, as long as it has letters.
fn spread(letters: &[usize], span: Span) -> Vec<Option<Span>> {
    let total = letters.iter().map(|count| count.max(&1)).sum::<usize>() as f64;
    let mut before = 0;
    let at = |letters: usize| {
        let share = letters as f64 / total;
        super::words::thousandths(span.start.0 + share * span.duration()).clamp(span.start.0, span.end.0)
    };
    let part = |count: &usize| {
        let start = at(before);
        before += count.max(&1);
        Some(Span::new(start, at(before)))
    };
    letters.iter().map(part).collect()
}
