//! Text to CTC labels, and the words and characters that the labels belong to.

use std::ops::Range;

use super::dictionary::{Dictionary, Writing};
use super::numerals;

/// Which labels a text gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelPolicy {
    /// Spoken form: numbers as words, wildcards for letters and symbols without a class, no labels for punctuation.
    Spoken,
    /// One label per character, as in WhisperX: a wildcard for each character without a class, a delimiter for each
    /// space.
    Written,
}

/// A text as labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Classes in the order of the text, without blanks.
    pub labels: Vec<i32>,
    /// The words in order.
    pub words: Vec<Word>,
    /// All characters of the text, including spaces.
    pub characters: Vec<Character>,
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Its byte range in the text.
    pub text: Range<usize>,
    /// Its range in [`Labels::characters`].
    pub characters: Range<usize>,
    /// Its range in [`Labels::labels`]; empty if no character of the word has a label. A number that is spoken in
    /// several words contains delimiters.
    pub labels: Range<usize>,
    /// Whether all of its labels are wildcards.
    pub wildcard: bool,
}

/// A character of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Character {
    /// Byte offset in the text.
    pub at: usize,
    /// The character.
    pub character: char,
    /// Index of its label in [`Labels::labels`], if it has one.
    pub label: Option<usize>,
}

impl Labels {
    /// The labels of a text. White space at both ends gets none.
    pub fn new(text: &str, language: &str, dictionary: &Dictionary, policy: LabelPolicy) -> Self {
        let writing = Writing::of(language);
        let mut out = Labels::default();
        let characters = text.char_indices().map(|(at, character)| Character { at, character, label: None });
        out.characters = characters.collect();
        let mut labeller = Labeller { out, dictionary, policy, language };
        let mut after = 0;
        for characters in word_ranges(&labeller.out.characters, writing) {
            if writing == Writing::Spaced {
                labeller.delimit(after..characters.start);
            }
            after = characters.end;
            labeller.word(text, characters);
        }
        labeller.out
    }

    /// Whether there are no labels.
    pub fn is_silent(&self) -> bool {
        self.words.iter().all(|word| word.labels.is_empty())
    }
}

struct Labeller<'a> {
    out: Labels,
    dictionary: &'a Dictionary,
    policy: LabelPolicy,
    language: &'a str,
}

impl Labeller<'_> {
    /// Adds the delimiter for the spaces between two words.
    fn delimit(&mut self, spaces: Range<usize>) {
        let Some(delimiter) = self.dictionary.delimiter().filter(|_| !self.out.labels.is_empty()) else { return };
        let written = self.policy == LabelPolicy::Written;
        // A word without labels must not leave two delimiters in a row.
        if !written && self.out.labels.last() == Some(&delimiter) {
            return;
        }
        let mut count = 0;
        for space in &mut self.out.characters[spaces] {
            if count == 0 || (written && space.character == ' ') {
                space.label = Some(self.out.labels.len());
                self.out.labels.push(delimiter);
                count += 1;
            }
        }
    }

    /// Adds a word and its labels.
    fn word(&mut self, text: &str, characters: Range<usize>) {
        let start = self.out.characters[characters.start].at;
        let end = self.out.characters.get(characters.end).map_or(text.len(), |next| next.at);
        let first = self.out.labels.len();
        if self.policy == LabelPolicy::Written || !self.number(&text[start..end]) {
            for character in &mut self.out.characters[characters.clone()] {
                if let Some(class) = label(self.dictionary, self.policy, character.character) {
                    character.label = Some(self.out.labels.len());
                    self.out.labels.push(class);
                }
            }
        }
        let labels = first..self.out.labels.len();
        let wildcard = self.out.labels[labels.clone()].iter().all(|class| *class == self.dictionary.wildcard());
        self.out.words.push(Word { text: start..end, characters, labels, wildcard });
    }

    /// Adds the labels of a word with digits in spoken form. Returns false if there is no spoken form, or if the
    /// network has classes for the digits.
    fn number(&mut self, word: &str) -> bool {
        if !word.chars().any(|c| c.is_ascii_digit() && self.dictionary.class(c).is_none()) {
            return false;
        }
        let Some(spoken) = numerals::spoken(word, self.language) else { return false };
        let first = self.out.labels.len();
        for part in spoken.split(|c: char| c.is_whitespace() || c == '-').filter(|part| !part.is_empty()) {
            if self.out.labels.len() > first {
                self.out.labels.extend(self.dictionary.delimiter());
            }
            self.out.labels.extend(part.chars().filter_map(|c| label(self.dictionary, self.policy, c)));
        }
        self.out.labels.len() > first
    }
}

/// The label of a character of a word, if it gets one.
fn label(dictionary: &Dictionary, policy: LabelPolicy, character: char) -> Option<i32> {
    if policy == LabelPolicy::Written {
        return Some(dictionary.class(character).unwrap_or(dictionary.wildcard()));
    }
    // Vocabularies have the ASCII apostrophe only.
    let plain = if matches!(character, '\u{2019}' | '\u{2bc}' | '\u{2bb}') { '\'' } else { character };
    let class = dictionary.class(character).or_else(|| dictionary.class(plain));
    class.or_else(|| is_spoken(character).then_some(dictionary.wildcard()))
}

/// Whether a character is spoken: letters and digits of any script, and symbols that are read as words.
fn is_spoken(character: char) -> bool {
    character.is_alphanumeric() || "&%$€£¥₹₽₴@#+=°§".contains(character)
}

/// The words of a text, as ranges of its characters.
fn word_ranges(characters: &[Character], writing: Writing) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (i, character) in characters.iter().enumerate() {
        let is_space = character.character.is_whitespace();
        if let Some(from) = start.filter(|_| is_space || writing == Writing::Unspaced) {
            words.push(from..i);
            start = None;
        }
        if !is_space {
            start = start.or(Some(i));
        }
    }
    words.extend(start.map(|from| from..characters.len()));
    words
}
