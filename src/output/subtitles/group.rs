//! Grouping words into cues and lines, as WhisperX does.

use super::placed::Placed;
use super::{Spaces, SubtitleOptions, milliseconds, spaces};
use crate::types::{Segment, Transcript};
use crate::units::Seconds;

/// Width of a line in characters if `max_line_width` is not given.
pub(super) const WIDTH: usize = 1000;

/// If both width and count are given, a new cue starts at a word that starts this much later than the word before, in
/// seconds.
const LONG_PAUSE: f64 = 3.0;

/// The words of one cue.
pub(super) struct Group<'a> {
    pub words: Vec<Placed<'a>>,
    /// The segment of the first word. The cue names its speaker, and has its times if no word has a time.
    pub segment: &'a Segment,
}

/// The width of the first word together with the following words that must stay on its line, in characters.
pub(super) fn unit(words: &[Placed], spaces: Spaces) -> usize {
    let glued = words.iter().skip(1).take_while(|word| word.glued);
    words.first().map_or(0, Placed::length) + glued.map(|word| word.gap(spaces) + word.length()).sum::<usize>()
}

impl<'a> Group<'a> {
    /// A segment without words, as one group.
    pub fn whole(segment: &'a Segment) -> Self {
        Group { words: vec![Placed::new(segment.text.trim())], segment }
    }

    /// The first start and the last end of the words, in milliseconds; `None` if no word has a time.
    pub fn times(&self) -> Option<(u64, u64)> {
        let times = |time: fn(&Placed) -> Option<Seconds>| self.words.iter().filter_map(time).map(milliseconds);
        times(|w| w.start).min().zip(times(|w| w.end).max())
    }

    /// Characters of the text, spaces between words included.
    pub fn characters(&self, spaces: Spaces) -> usize {
        let letters: usize = self.words.iter().map(Placed::length).sum();
        letters + self.words.iter().skip(1).map(|word| word.gap(spaces)).sum::<usize>()
    }
}

/// Start and end of each group, in milliseconds. Groups whose words have no times divide the free time between the
/// adjacent groups and within their segment equally.
pub(super) fn bounds(groups: &[Group]) -> Vec<(u64, u64)> {
    // For each group: the start of the next group with times, and how many groups share the time until then: this one,
    // and the following ones of the same segment without times.
    let mut after: Vec<(u64, u64)> = vec![(u64::MAX, 1); groups.len()];
    for index in (1..groups.len()).rev() {
        let (group, before) = (&groups[index], &groups[index - 1]);
        after[index - 1] = match group.times() {
            Some((start, _)) => (start, 1),
            None if std::ptr::eq(group.segment, before.segment) => (after[index].0, after[index].1 + 1),
            None => (after[index].0, 1),
        };
    }
    let mut before = 0;
    let bound = |(group, (next, sharing)): (&Group, (u64, u64))| {
        let segment = (milliseconds(group.segment.start), milliseconds(group.segment.end));
        let start = segment.0.max(before).min(next);
        let found = group.times().unwrap_or((start, start + (segment.1.clamp(start, next) - start) / sharing));
        before = found.1;
        found
    };
    groups.iter().zip(after).map(bound).collect()
}

/// The words of a segment. The text of a segment without words becomes one long word.
fn words<'a>(segment: &'a Segment, language: Option<&str>) -> Vec<Placed<'a>> {
    let mut words: Vec<Placed> = match &segment.words {
        Some(words) if !words.is_empty() => words.iter().map(Placed::from).collect(),
        _ if segment.text.trim().is_empty() => Vec::new(),
        _ => {
            let (start, end) = (Some(segment.start), Some(segment.end));
            vec![Placed { start, end, ..Placed::new(segment.text.trim()) }]
        }
    };
    spaces::mark(&mut words, &segment.text, language);
    words
}

/// Groups all words into cues and marks line breaks, in the order of the segments.
pub(super) fn group<'a>(transcript: &'a Transcript, options: &SubtitleOptions, spaces: Spaces) -> Vec<Group<'a>> {
    let width = options.max_line_width.unwrap_or(WIDTH);
    let follow_segments = options.max_line_width.is_none() || options.max_line_count.is_none();
    let mut groups: Vec<Group> = Vec::new();
    let (mut line_width, mut line_count) = (0, 1);
    let mut last_start = transcript.segments.first().map_or(0.0, |segment| segment.start.0);
    for segment in &transcript.segments {
        let words = words(segment, transcript.language.as_deref());
        for (index, mut word) in words.iter().copied().enumerate() {
            let (length, unit, gap) = (word.length(), unit(&words[index..], spaces), word.gap(spaces));
            let pause = word.start.map_or(0.0, |start| start.0 - last_start);
            let long_pause = !follow_segments && pause > LONG_PAUSE;
            // A cue has the words of one speaker only.
            let other_speaker = groups.last().is_some_and(|group| group.segment.speaker != segment.speaker);
            let new_segment = index == 0 && (follow_segments || other_speaker);
            let full = options.max_line_count.is_some_and(|most| long_pause || line_count >= most);
            last_start = word.start.map_or(last_start, |start| start.0);
            let fits = word.glued || line_width + gap + unit <= width;
            let fits = line_width > 0 && fits && !long_pause && !new_segment;
            match groups.last_mut() {
                Some(group) if fits => {
                    line_width += gap + length;
                    group.words.push(word);
                }
                Some(group) if !new_segment && !full => {
                    if line_width > 0 {
                        line_count += 1;
                        word.breaks_line = true;
                    }
                    line_width = length;
                    group.words.push(word);
                }
                _ => {
                    (line_width, line_count) = (length, 1);
                    groups.push(Group { words: vec![word], segment });
                }
            }
        }
    }
    groups
}
