//! Majority speaker of a sentence: for overlapped words only, or for all words of the sentence.

use crate::types::{Segment, Word};

/// Maximum number of words of a sentence without end punctuation.
const LONGEST: usize = 50;
const ENDS: [char; 7] = ['.', '?', '!', '。', '？', '！', '…'];
const CLOSING: [char; 6] = ['"', '\'', ')', '”', '’', '»'];

/// Gives an overlapped word the speaker of most words of its sentence without overlap, if that speaker is active during
/// the word. Overlap alone does not tell which of the active speakers said the word, and speakers seldom change within
/// a sentence.
pub(super) fn settle_overlapped(segments: &mut [Segment]) {
    for_each_sentence(segments, |sentence| {
        let alone = sentence.iter().filter(|word| word.also.is_empty());
        let Some(most) = most_words(alone.filter_map(|word| word.speaker.as_deref())).map(str::to_owned) else {
            return;
        };
        for word in sentence {
            if let Some(other) = word.also.iter_mut().find(|other| **other == most)
                && let Some(speaker) = &mut word.speaker
            {
                std::mem::swap(speaker, other);
            }
        }
    });
}

/// Gives all words of a sentence the speaker of more than half of them.
pub(super) fn smooth(segments: &mut [Segment]) {
    for_each_sentence(segments, |sentence| {
        let speakers = || sentence.iter().filter_map(|word| word.speaker.as_deref());
        let most =
            most_words(speakers()).filter(|most| 2 * speakers().filter(|one| one == most).count() > sentence.len());
        let Some(most) = most.map(str::to_owned) else { return };
        for word in sentence {
            word.also.retain(|other| *other != most);
            word.speaker = Some(most.clone());
        }
    });
}

/// Calls `work` for each sentence, in order. A sentence may continue in the next segment.
fn for_each_sentence(segments: &mut [Segment], mut work: impl FnMut(&mut [&mut Word])) {
    let mut sentence: Vec<&mut Word> = Vec::new();
    for word in segments.iter_mut().flat_map(|segment| segment.words.iter_mut().flatten()) {
        let ends = ends_sentence(word);
        sentence.push(word);
        if ends || sentence.len() == LONGEST {
            work(&mut sentence);
            sentence.clear();
        }
    }
    work(&mut sentence);
}

/// The speaker of most words. Ties: the speaker of the earliest word.
fn most_words<'a>(speakers: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for speaker in speakers {
        match counts.iter_mut().find(|(other, _)| *other == speaker) {
            Some((_, count)) => *count += 1,
            None => counts.push((speaker, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(speaker, _)| speaker)
}

fn ends_sentence(word: &Word) -> bool {
    word.word.trim_end_matches(CLOSING).ends_with(ENDS)
}
