//! Speakers of sentences: overlapped words stay with the speaker of their sentence, and all words of a sentence can get one speaker.

use std::collections::HashMap;

use crate::types::{Segment, Word};

/// Words after which a sentence ends even without a full stop.
const LONGEST: usize = 50;
const ENDS: [char; 7] = ['.', '?', '!', '。', '？', '！', '…'];
const CLOSING: [char; 6] = ['"', '\'', ')', '”', '’', '»'];

/// Gives an overlapped word the speaker of the word before it in the sentence, if that speaker is one of those who speak during the word.
/// Which of two simultaneous speakers is louder in a single word is uncertain; a sentence seldom changes its speaker.
pub(super) fn continue_overlapped(segments: &mut [Segment]) {
    let mut previous: Option<String> = None;
    for word in segments.iter_mut().flat_map(|segment| segment.words.iter_mut().flatten()) {
        if let Some(at) = word.also.iter().position(|other| Some(other) == previous.as_ref())
            && let Some(speaker) = &mut word.speaker
        {
            std::mem::swap(speaker, &mut word.also[at]);
        }
        previous = if ends_sentence(word) { None } else { word.speaker.clone() };
    }
}

/// Gives all words of a sentence the speaker of more than half of them. A sentence may continue in the next segment.
pub(super) fn smooth(segments: &mut [Segment]) {
    let words = segments.iter_mut().flat_map(|segment| segment.words.iter_mut().flatten());
    let mut sentence: Vec<&mut Word> = Vec::new();
    for word in words {
        let ends = ends_sentence(word);
        sentence.push(word);
        if ends || sentence.len() == LONGEST {
            unify(&mut sentence);
        }
    }
    unify(&mut sentence);
}

fn ends_sentence(word: &Word) -> bool {
    word.word.trim_end_matches(CLOSING).ends_with(ENDS)
}

/// Takes the words of a sentence out of the list, and gives them one speaker if there is a majority.
fn unify(sentence: &mut Vec<&mut Word>) {
    let mut words: HashMap<&str, usize> = HashMap::new();
    for speaker in sentence.iter().filter_map(|word| word.speaker.as_deref()) {
        *words.entry(speaker).or_default() += 1;
    }
    let majority =
        words.into_iter().find(|(_, count)| 2 * count > sentence.len()).map(|(speaker, _)| speaker.to_owned());
    for word in sentence.drain(..) {
        if let Some(speaker) = &majority {
            word.speaker = Some(speaker.clone());
            word.also.retain(|other| other != speaker);
        }
    }
}
