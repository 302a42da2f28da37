//! The classes of a CTC network and the characters they stand for: `vocab.json`, in lower case.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// What stands between words in a network's classes: a bar, or, in a few of them, a space.
const DELIMITERS: [char; 2] = ['|', ' '];

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

    /// The class of a character in either case; none for one that the network cannot write, and for the delimiter, which
    /// is no character of a word.
    pub fn class(&self, character: char) -> Option<i32> {
        let lower = single(character.to_lowercase()).filter(|lower| !DELIMITERS.contains(lower))?;
        self.classes.get(&lower).copied()
    }

    /// The class said between two words, where the network has one.
    pub fn delimiter(&self) -> Option<i32> {
        DELIMITERS.iter().find_map(|delimiter| self.classes.get(delimiter).copied())
    }

    /// The class of what the network cannot write.
    pub fn wildcard(&self) -> i32 {
        self.num_classes as i32
    }
}

/// The only item there is.
fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}
