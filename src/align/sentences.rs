//! Which words make a sentence.

use std::ops::Range;

use super::labels::Word;
use crate::guard::guard;

/// The sentences of a text as runs of its words, all of them, in order. Where sentences end is said by the crate sentencex,
/// Wikimedia's: abbreviations of some thirty languages, and rules for the others.
pub fn sentences(text: &str, language: &str, words: &[Word]) -> Vec<Range<usize>> {
    // A failure of the library is one sentence.
    let ends: Vec<usize> = guard(|| {
        let found = sentencex::get_sentence_boundaries(language, text);
        found.iter().map(|sentence| sentence.end_byte).collect()
    })
    .unwrap_or_default();
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut first = 0;
    for end in ends {
        // A word belongs where it begins.
        let next = first + words[first..].partition_point(|word| word.text.start < end);
        if next > first && !is_initial(&text[words[next - 1].text.clone()]) {
            out.push(first..next);
            first = next;
        }
    }
    if first < words.len() {
        out.push(first..words.len());
    }
    out
}

/// Whether a word is a capital letter with a full stop: the beginning of a name, or French for Mister, and no end.
fn is_initial(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(char::is_uppercase) && characters.as_str() == "."
}
