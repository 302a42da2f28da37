//! Interpolation of the times of unaligned words from the words around them.

use std::ops::Range;

use super::options::Interpolate;
use crate::types::Span;

/// Fills in the times of words that have none, unless `method` is [`Interpolate::Ignore`].
///
/// `letters`: the number of letters of each word. `whole`: the span of the segment, which all words share if none of
/// them has a time.
pub fn interpolate(times: &mut [Option<Span>], letters: &[usize], whole: Span, method: Interpolate) {
    if method == Interpolate::Ignore {
        return;
    }
    for run in gaps(times) {
        let before = run.start.checked_sub(1).and_then(|i| times[i]).map(|word| word.end);
        let after = times.get(run.end).copied().flatten().map(|word| word.start);
        let (start, end) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            // Words before the first or after the last aligned word have an aligned word on one side only.
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

/// Divides a span among words, in proportion to their letters (at least one each). Times are rounded to milliseconds.
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
