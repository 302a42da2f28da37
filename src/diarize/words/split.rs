//! Splits segments where the speaker changes.

use crate::types::{Segment, Word};

/// The parts of a segment, one for each run of words with the same speaker. Words without a speaker belong to the part
/// before them, or at the beginning of the segment to the first part. Each part has a copy of the segment's other
/// fields.
pub(super) fn at_changes(mut segment: Segment) -> Vec<Segment> {
    let words = segment.words.take().unwrap_or_default();
    let groups = groups(&words);
    if groups.len() < 2 {
        segment.words = if words.is_empty() { None } else { Some(words) };
        return vec![segment];
    }
    let texts = texts(&segment.text, &groups);
    let mut chars = segment.chars.take();
    // `chars` has one entry per character of the text, or of the text without leading and trailing white space.
    let edge = segment.text.chars().count() - segment.text.trim_start().chars().count();
    let missing = chars.as_ref().map_or(0, |chars| segment.text.chars().count().saturating_sub(chars.len()));
    let mut parts = Vec::with_capacity(groups.len());
    for (at, (words, text)) in groups.iter().zip(texts).enumerate() {
        let mut part = segment.clone();
        if at > 0 {
            part.start = words.iter().find_map(|word| word.start).unwrap_or(segment.start);
        }
        if at + 1 < groups.len() {
            part.end = words.iter().rev().find_map(|word| word.end).unwrap_or(part.start);
        }
        let length = text.chars().count() - if at == 0 && missing > 0 { edge.min(missing) } else { 0 };
        part.chars = chars.as_mut().map(|chars| {
            let length = if at + 1 == groups.len() { chars.len() } else { length.min(chars.len()) };
            chars.drain(..length).collect()
        });
        part.text = text;
        part.words = Some(words.to_vec());
        parts.push(part);
    }
    parts
}

/// The runs of words with the same speaker.
fn groups(words: &[Word]) -> Vec<&[Word]> {
    let mut cuts = vec![0];
    let mut speaker: Option<&str> = None;
    for (at, word) in words.iter().enumerate() {
        if let Some(own) = word.speaker.as_deref() {
            if speaker.is_some_and(|speaker| speaker != own) {
                cuts.push(at);
            }
            speaker = Some(own);
        }
    }
    cuts.push(words.len());
    cuts.windows(2).map(|cut| &words[cut[0]..cut[1]]).filter(|group| !group.is_empty()).collect()
}

/// The text of each group: `text` cut in front of the first word of each group and of the spaces before it. If a word
/// does not occur in the text, the words joined by spaces.
fn texts(text: &str, groups: &[&[Word]]) -> Vec<String> {
    let mut cuts = Vec::new();
    let mut at = 0;
    for group in groups {
        for (place, word) in group.iter().enumerate() {
            let Some(found) = text[at..].find(&word.word) else {
                let joined = |group: &&[Word]| group.iter().map(|word| format!(" {}", word.word)).collect();
                return groups.iter().map(joined).collect();
            };
            if place == 0 {
                cuts.push(text[..at + found].trim_end().len());
            }
            at += found + word.word.len();
        }
    }
    cuts[0] = 0;
    cuts.push(text.len());
    cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_owned()).collect()
}
