//! Cue timing: minimum gap, maximum and minimum duration, and reading speed in characters per second.
//!
//! If the rules conflict, they have this priority, highest first:
//!
//! 1. every word is shown, and cues do not overlap;
//! 2. minimum gap;
//! 3. maximum duration;
//! 4. minimum duration;
//! 5. characters per second.
//!
//! A cue that is too short is extended into the pause after it, then into the pause before it. If there is no pause, it
//! stays too short.

use super::group::Group;
use super::lines;
use super::{Spaces, SubtitleOptions};
use crate::units::Seconds;

/// Start and end of a cue in milliseconds, and the characters to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub start: u64,
    pub end: u64,
    pub characters: usize,
}

/// Splits groups that last longer than `max_cue_duration` between words, until none is longer or it has a single word.
pub(super) fn cut<'a>(groups: Vec<Group<'a>>, options: &SubtitleOptions, spaces: Spaces) -> Vec<Group<'a>> {
    let Some(longest) = options.max_cue_duration else { return groups };
    let shortest = options.min_cue_duration.unwrap_or_default();
    let width = options.max_line_width.unwrap_or(super::group::WIDTH);
    let mut out = Vec::with_capacity(groups.len());
    // A stack; the earliest part is on top.
    let mut stack: Vec<Group> = groups.into_iter().rev().collect();
    while let Some(mut group) = stack.pop() {
        let too_long = group.times().is_some_and(|(start, end)| end.saturating_sub(start) > ms(longest));
        let cut = too_long.then(|| best_cut(&group, shortest)).flatten();
        let Some(at) = cut else {
            out.push(group);
            continue;
        };
        let mut rest = Group { words: group.words.split_off(at), segment: group.segment };
        lines::fill(&mut group.words, width, spaces);
        lines::fill(&mut rest.words, width, spaces);
        stack.extend([rest, group]);
    }
    out
}

/// The index of the word before which a group is split. The cost of a split grows with the distance from the middle of
/// the group in time; it is lower after a sentence or a clause and in a pause, and higher if a part is shorter than
/// `shortest`. Ties: the split nearest to the middle word wins. `None` if no split has times on both sides.
fn best_cut(group: &Group, shortest: Seconds) -> Option<usize> {
    let words = &group.words;
    let start = words.iter().filter_map(|word| word.start).map(|s| s.0).fold(f64::MAX, f64::min);
    let end = words.iter().filter_map(|word| word.end).map(|s| s.0).fold(f64::MIN, f64::max);
    let length = (end - start).max(f64::MIN_POSITIVE);
    let mut best: Option<(f64, usize, usize)> = None;
    // The last end of the words so far.
    let mut last_end: Option<f64> = None;
    for (at, word) in words.iter().enumerate() {
        let (before, from) = (at.checked_sub(1).map(|i| &words[i]), word.start.map(|s| s.0));
        if let (Some(before), Some(last_end), Some(from), false) = (before, last_end, from, word.glued) {
            let after = match before.text.trim_end_matches(['"', '\'', ')', '”', '’', '»']).chars().next_back() {
                Some('.' | '?' | '!' | '…' | '。' | '？' | '！') => 0.25,
                Some(',' | ';' | ':' | '、' | '，') => 0.12,
                _ => 0.0,
            };
            let pause = (from - last_end).clamp(0.0, 1.0) * 0.2;
            let too_short = if last_end - start < shortest.0 || end - from < shortest.0 { 1.0 } else { 0.0 };
            let cost = (from - start - length / 2.0).abs() / length - after - pause + too_short;
            let off_centre = at.abs_diff(words.len() / 2);
            if best.is_none_or(|(least, off, _)| cost < least || cost == least && off_centre < off) {
                best = Some((cost, off_centre, at));
            }
        }
        last_end = word.end.map_or(last_end, |end| Some(last_end.map_or(end.0, |last| last.max(end.0))));
    }
    best.map(|(_, _, at)| at)
}

/// Moves the times of cues so that the rules hold, by their priority. The cues must be sorted by start; each has the
/// index of its group.
pub(super) fn place(cues: &mut [(usize, Timing)], options: &SubtitleOptions) {
    let gap = options.min_cue_gap.map_or(0, ms);
    let longest = options.max_cue_duration.map_or(u64::MAX, ms).max(1);
    let mut earliest = 0;
    for (_, cue) in cues.iter_mut() {
        cue.start = cue.start.max(earliest);
        cue.end = cue.end.max(cue.start.saturating_add(1));
        earliest = cue.start.saturating_add(1).saturating_add(gap);
    }
    let mut free_from = 0;
    for index in 0..cues.len() {
        let next = cues.get(index + 1).map_or(u64::MAX, |(_, next)| next.start.saturating_sub(gap));
        let cue = &mut cues[index].1;
        let wanted = duration_to_read(cue.characters, options).min(longest);
        let latest = next.min(cue.start.saturating_add(longest)).max(cue.start.saturating_add(1));
        cue.end = cue.end.max(cue.start.saturating_add(wanted)).min(latest);
        if cue.end - cue.start < wanted {
            cue.start = cue.end.saturating_sub(wanted).max(free_from).min(cue.start);
        }
        free_from = cue.end.saturating_add(gap);
    }
}

/// Desired duration of a cue, in milliseconds: the time to read it, or the minimum duration if that is longer.
fn duration_to_read(characters: usize, options: &SubtitleOptions) -> u64 {
    let reading = options.max_cps.map_or(0.0, |cps| (characters as f64 * 1000.0 / cps).ceil());
    options.min_cue_duration.map_or(0, ms).max(reading as u64)
}

fn ms(time: Seconds) -> u64 {
    (time.0 * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Segment, Word};

    fn placed(cues: &[(u64, u64, usize)], options: &SubtitleOptions) -> Vec<(u64, u64)> {
        let timing = |&(start, end, characters): &_| (0, Timing { start, end, characters });
        let mut cues: Vec<(usize, Timing)> = cues.iter().map(timing).collect();
        place(&mut cues, options);
        cues.iter().map(|(_, cue)| (cue.start, cue.end)).collect()
    }

    #[test]
    fn a_cue_is_extended_after_its_end_first_and_before_its_start_second() {
        let options = SubtitleOptions { min_cue_duration: Some(Seconds(1.0)), ..SubtitleOptions::default() };
        assert_eq!(placed(&[(500, 700, 1)], &options), [(500, 1500)]);
        assert_eq!(placed(&[(500, 700, 1), (900, 3000, 1)], &options), [(0, 900), (900, 3000)]);
        assert_eq!(
            placed(&[(0, 700, 1), (700, 900, 1), (900, 3000, 1)], &options),
            [(0, 700), (700, 900), (900, 3000)]
        );
        let fast = SubtitleOptions { max_cps: Some(10.0), ..SubtitleOptions::default() };
        assert_eq!(placed(&[(500, 700, 15)], &fast), [(500, 2000)]);
        assert_eq!(placed(&[(500, 4000, 15)], &fast), [(500, 4000)]);
    }

    #[test]
    fn gap_and_maximum_duration_have_priority_over_reading_speed() {
        let options = SubtitleOptions {
            max_cps: Some(5.0),
            min_cue_gap: Some(Seconds(0.1)),
            max_cue_duration: Some(Seconds(2.0)),
            ..SubtitleOptions::default()
        };
        assert_eq!(placed(&[(0, 5000, 50), (5000, 5200, 50)], &options), [(0, 2000), (5000, 7000)]);
        assert_eq!(placed(&[(0, 1000, 50), (1000, 1200, 5)], &options), [(0, 900), (1000, 2000)]);
        // Cues that start at the same time, with ends out of order.
        assert_eq!(placed(&[(0, 1000, 1), (0, 10, 1), (0, 900, 1)], &options), [(0, 1), (101, 102), (202, 900)]);
    }

    #[test]
    fn long_groups_are_split_after_a_sentence_near_the_middle() {
        let texts = ["I", "know", "it.", "You", "know", "it,", "too."];
        let word = |(i, text): (usize, &&str)| Word {
            word: text.to_string(),
            start: Some(Seconds(i as f64)),
            end: Some(Seconds(i as f64 + 0.9)),
            ..Word::default()
        };
        let words: Vec<Word> = texts.iter().enumerate().map(word).collect();
        let segment = Segment { words: Some(words), end: Seconds(6.9), ..Segment::default() };
        let whole = || Group { words: segment.words.iter().flatten().map(Into::into).collect(), segment: &segment };
        let cut_at = |longest: f64, shortest: f64| -> Vec<usize> {
            let (max_cue_duration, min_cue_duration) = (Some(Seconds(longest)), Some(Seconds(shortest)));
            let options = SubtitleOptions { max_cue_duration, min_cue_duration, ..SubtitleOptions::default() };
            cut(vec![whole()], &options, Spaces::Counted).iter().map(|part| part.words.len()).collect()
        };
        assert_eq!(cut_at(7.0, 0.0), [7]);
        assert_eq!(cut_at(5.0, 0.0), [3, 4]);
        assert_eq!(cut_at(3.0, 0.0), [3, 2, 2]);
        assert_eq!(cut_at(3.0, 1.5), [3, 2, 2]);
        assert_eq!(cut_at(0.1, 0.0), [1; 7]);
    }
}
