//! Segments cut where the speaker changes.

use crate::types::{Segment, Word};

/// The parts of a segment, one for each stretch of words of one speaker. Words without a speaker belong to the part
/// before them, at the beginning to the part after. What the recogniser said about the whole is copied to each part.
pub(super) fn at_changes(mut segment: Segment) -> Vec<Segment> {
    let words = segment.words.take().unwrap_or_default();
    let groups = groups(&words);
    if groups.len() < 2 {
        segment.words = if words.is_empty() { None } else { Some(words) };
        return vec![segment];
    }
    let texts = texts(&segment.text, &groups);
    let mut chars = segment.chars.take();
    // Characters stand for the text, or for the text without its edges; where they do neither they cannot be cut.
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

/// The text cut in front of the first word of each group, spaces with what follows them; where the words are not those
/// of the text, the words joined.
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
