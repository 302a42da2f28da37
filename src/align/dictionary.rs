//! The vocabulary of a CTC network (`vocab.json`): lower-case characters to classes.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Word delimiters in a vocabulary: `|` in most networks, a space in a few.
const DELIMITERS: [char; 2] = ['|', ' '];

/// How a language separates words in writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// With spaces.
    Spaced,
    /// Without spaces: every character is a word (Japanese, Chinese).
    Unspaced,
}

impl Writing {
    /// The writing of the language with this code.
    ///
    /// Source: WhisperX `alignment.py`, `LANGUAGES_WITHOUT_SPACES`.
    pub fn of(language: &str) -> Self {
        if matches!(language, "ja" | "zh") { Writing::Unspaced } else { Writing::Spaced }
    }
}

/// The characters that a network has classes for.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary {
    classes: HashMap<char, i32>,
    /// The CTC blank.
    pub blank: usize,
    /// Number of classes of the network, `V`. Class `V` is the wildcard: emissions have a column for it after the last
    /// class.
    pub num_classes: usize,
}

impl Dictionary {
    /// Reads `vocab.json` of a model folder. `blank` and `num_classes` are those of the network's config.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is missing, is not a table of tokens and classes, or has a class out of range.
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
        // If both cases of a letter have a class, the later class wins, as in WhisperX's dict of lower-cased tokens.
        sorted.sort_by_key(|(token, class)| (**class, token.as_str()));
        let mut classes = HashMap::new();
        for (token, class) in sorted {
            if !usize::try_from(*class).is_ok_and(|class| class < num_classes) {
                return Err(Error::model(path, format!("`{token}` is class {class}, of {num_classes}")));
            }
            // Skip special tokens such as `<unk>`, which are longer than a character, and the blank.
            if let Some(character) = single(token.chars().flat_map(char::to_lowercase))
                && *class as usize != blank
            {
                classes.insert(character, *class as i32);
            }
        }
        Ok(Dictionary { classes, blank, num_classes })
    }

    /// The class of a character, upper or lower case. `None` if the network has no class for it, and for the delimiter,
    /// which is not part of a word.
    pub fn class(&self, character: char) -> Option<i32> {
        let lower = single(character.to_lowercase()).filter(|lower| !DELIMITERS.contains(lower))?;
        self.classes.get(&lower).copied()
    }

    /// The class of the word delimiter, if the network has one.
    pub fn delimiter(&self) -> Option<i32> {
        DELIMITERS.iter().find_map(|delimiter| self.classes.get(delimiter).copied())
    }

    /// The wildcard class, for characters without a class of their own.
    pub fn wildcard(&self) -> i32 {
        self.num_classes as i32
    }
}

/// The only item of an iterator; `None` if it has none or several.
fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}
