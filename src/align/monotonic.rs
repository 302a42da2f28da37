//! Monotonic times: words, characters and segments are ordered and do not overlap, for any input segments.

use crate::types::{Char, Segment, TimeSource, Word};
use crate::units::Seconds;

/// An item with an optional start and end.
trait Timed {
    fn times(&mut self) -> Option<(&mut Seconds, &mut Seconds)>;
    /// Called after the start was changed.
    fn moved(&mut self) {}
}

impl Timed for Word {
    fn times(&mut self) -> Option<(&mut Seconds, &mut Seconds)> {
        Some((self.start.as_mut()?, self.end.as_mut()?))
    }
    fn moved(&mut self) {
        self.source = Some(TimeSource::Interpolated);
    }
}

impl Timed for Char {
    fn times(&mut self) -> Option<(&mut Seconds, &mut Seconds)> {
        Some((self.start.as_mut()?, self.end.as_mut()?))
    }
}

/// Makes the times of words, characters and segments monotonic. Segments that do not overlap, and whose words lie
/// inside them, are not changed.
pub fn make_monotonic(segments: &mut [Segment]) {
    order(segments.iter_mut().flat_map(|segment| segment.words.iter_mut().flatten()).collect());
    order(segments.iter_mut().flat_map(|segment| segment.chars.iter_mut().flatten()).collect());
    // A segment begins with its first and ends with its last timed word. A segment without timed words is clamped
    // between the segments before and after it.
    let first = |segment: &Segment| segment.words.iter().flatten().find_map(|word| word.start);
    let last = |segment: &Segment| segment.words.iter().flatten().rev().find_map(|word| word.end);
    let mut next = Seconds(f64::INFINITY);
    let mut bounds = vec![next; segments.len()];
    for (bound, segment) in bounds.iter_mut().zip(segments.iter()).rev() {
        *bound = next;
        next = first(segment).unwrap_or(next);
    }
    let mut before = Seconds(0.0);
    for (segment, bound) in segments.iter_mut().zip(bounds) {
        let limit = Seconds(bound.0.max(before.0));
        let start = first(segment).unwrap_or(segment.start);
        let end = last(segment).unwrap_or(segment.end);
        segment.start = Seconds(start.0.clamp(before.0, limit.0));
        segment.end = Seconds(end.0.clamp(segment.start.0, limit.0));
        before = segment.end;
    }
}

/// Moves starts that lie before the previous start, and cuts ends that lie after the next start.
fn order(mut items: Vec<&mut impl Timed>) {
    items.retain_mut(|item| item.times().is_some());
    let mut before = Seconds(0.0);
    for item in &mut items {
        let mut moved = false;
        if let Some((start, end)) = item.times() {
            if start.0 < before.0 {
                *start = before;
                moved = true;
            }
            end.0 = end.0.max(start.0);
            before = *start;
        }
        if moved {
            item.moved();
        }
    }
    let mut next = Seconds(f64::INFINITY);
    for item in items.into_iter().rev() {
        if let Some((start, end)) = item.times() {
            end.0 = end.0.min(next.0);
            next = *start;
        }
    }
}
