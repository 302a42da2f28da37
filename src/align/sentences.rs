//! Sentence splitting: ranges of words that form a sentence.

use std::ops::Range;

use super::labels::Word;
use crate::guard::guard;

/// Splits a text into sentences, as ranges of its words. Every word is in exactly one range; the ranges are in order.
///
/// Sentence boundaries come from Wikimedia's crate sentencex, which knows abbreviations of some thirty languages and
/// has general rules for the others.
pub fn sentences(text: &str, language: &str, words: &[Word]) -> Vec<Range<usize>> {
    // If the library panics, the whole text is one sentence.
    let ends: Vec<usize> = guard(|| {
        let found = sentencex::get_sentence_boundaries(language, text);
        found.iter().map(|sentence| sentence.end_byte).collect()
    })
    .unwrap_or_default();
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut first = 0;
    for end in ends {
        // A word that spans a boundary belongs to the sentence in which it begins.
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

/// Whether a word is a capital letter with a full stop: an initial of a name, or French "M.", not the end of a
/// sentence.
fn is_initial(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(char::is_uppercase) && characters.as_str() == "."
}
