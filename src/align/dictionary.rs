//! Text to the classes of a CTC network: `vocab.json`, lower case, and wildcards for what the network cannot write.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};

/// What stands between words in a network's classes.
const DELIMITER: char = '|';

/// How words are told apart in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// By spaces.
    Spaced,
    /// Not at all: every character is a word (Japanese, Chinese).
    Unspaced,
}

impl Writing {
    /// How a language writes.
    ///
    /// Source: WhisperX `alignment.py`, `LANGUAGES_WITHOUT_SPACES`.
    pub fn of(language: &str) -> Self {
        if matches!(language, "ja" | "zh") { Writing::Unspaced } else { Writing::Spaced }
    }
}

/// The characters a network has classes for.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    classes: HashMap<char, i32>,
    /// The class that stands for no character.
    pub blank: usize,
    /// Classes of the network. This number itself is the wildcard's, the column after the last.
    pub num_classes: usize,
}

/// A text as classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Classes in the order they are said.
    pub classes: Vec<i32>,
    /// The words in order, none of them blank.
    pub words: Vec<Word>,
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Bytes of the text.
    pub text: Range<usize>,
    /// Its part of [`Labels::classes`].
    pub labels: Range<usize>,
    /// Whether all of it is characters the network has no class for.
    pub wildcard: bool,
}

impl Dictionary {
    /// Reads `vocab.json` of a model folder. `blank` and `num_classes` are the network's, from its config.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is missing, is not a table of tokens and classes, or names classes there are not.
    pub fn read(folder: &Path, blank: usize, num_classes: usize) -> Result<Self> {
        let path = folder.join("vocab.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::model(&path, format!("cannot be read: {e}")))?;
        Self::parse(&text, &path, blank, num_classes)
    }

    /// Parses the text of a `vocab.json`; `path` names it in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path, blank: usize, num_classes: usize) -> Result<Self> {
        let tokens: HashMap<String, i64> = serde_json::from_str(text)
            .map_err(|e| Error::model(path, format!("is not a table of tokens and classes: {e}")))?;
        let mut sorted: Vec<(&String, &i64)> = tokens.iter().collect();
        // Where both cases of a letter have a class, the later one wins, as it does in Python's dict of lower-cased tokens.
        sorted.sort_by_key(|(token, class)| (**class, token.as_str()));
        let mut classes = HashMap::new();
        for (token, class) in sorted {
            if !usize::try_from(*class).is_ok_and(|class| class < num_classes) {
                return Err(Error::model(path, format!("`{token}` is class {class}, of {num_classes}")));
            }
            // Longer tokens, `<unk>` and the like, are no characters; and what has the blank's class is never said.
            if let Some(character) = single(token.chars().flat_map(char::to_lowercase))
                && *class as usize != blank
            {
                classes.insert(character, *class as i32);
            }
        }
        Ok(Dictionary { classes, blank, num_classes })
    }

    /// The classes and words of a text. White space before and after it is ignored; one between words is said as the
    /// delimiter, where the network has one.
    pub fn labels(&self, text: &str, writing: Writing) -> Labels {
        let mut out = Labels::default();
        for (word, at) in pieces(text, writing) {
            if writing == Writing::Spaced && !out.words.is_empty() {
                out.classes.extend(self.classes.get(&DELIMITER));
            }
            let first = out.classes.len();
            out.classes.extend(word.chars().map(|character| self.class(character)));
            let labels = first..out.classes.len();
            let wildcard = out.classes[labels.clone()].iter().all(|class| *class == self.num_classes as i32);
            out.words.push(Word { text: at..at + word.len(), labels, wildcard });
        }
        out
    }

    /// One label for each character, whatever becomes of it in lower case.
    fn class(&self, character: char) -> i32 {
        let known = match (single(character.to_lowercase()), character) {
            (_, DELIMITER) | (None, _) => None,
            (Some(lower), _) => self.classes.get(&lower),
        };
        known.copied().unwrap_or(self.num_classes as i32)
    }
}

/// The only item there is.
fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}

/// The words of a text and where they begin.
fn pieces(text: &str, writing: Writing) -> Vec<(&str, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        if let Some(from) = start.filter(|_| character.is_whitespace() || writing == Writing::Unspaced) {
            words.push((&text[from..at], from));
            start = None;
        }
        if !character.is_whitespace() {
            start = start.or(Some(at));
        }
    }
    words
}
