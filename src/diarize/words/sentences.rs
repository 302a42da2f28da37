//! One speaker for each sentence: a boundary between turns that is a little off cuts no sentence.

use std::collections::HashMap;

use crate::types::{Segment, Word};

/// Words after which a sentence ends even without a full stop.
const LONGEST: usize = 50;
const ENDS: [char; 7] = ['.', '?', '!', '。', '？', '！', '…'];
const CLOSING: [char; 6] = ['"', '\'', ')', '”', '’', '»'];

/// Gives all words of a sentence the speaker of more than half of them. Sentences may go on over the end of a segment.
pub(super) fn smooth(segments: &mut [Segment]) {
    let words = segments.iter_mut().flat_map(|segment| segment.words.iter_mut().flatten());
    let mut sentence: Vec<&mut Word> = Vec::new();
    for word in words {
        let ends = word.word.trim_end_matches(CLOSING).ends_with(ENDS);
        sentence.push(word);
        if ends || sentence.len() == LONGEST {
            unify(&mut sentence);
        }
    }
    unify(&mut sentence);
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
