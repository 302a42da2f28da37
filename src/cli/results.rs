//! Results for programs: JSON objects, each on a line of its own.

use diarist::types::Transcript;
use diarist::{Error, Result, output};
use serde::{Deserialize, Serialize};

/// What a program calls a recording: an integer or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer.
    Signed(i64),
    /// One above those.
    Unsigned(u64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&written(self))
    }
}

/// Why there is no result.
#[derive(Debug)]
pub struct Refusal {
    /// [`Error::kind`], or a word of the protocol.
    pub kind: &'static str,
    /// What failed, and the cure.
    pub message: String,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Refusal { kind, message: message.into() }
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Refusal::new(error.kind(), error.to_string())
    }
}

/// An object on its way, its keys in the order in which they are put.
pub struct Line(String);

impl Line {
    /// An object without keys.
    pub fn new() -> Self {
        Line("{".into())
    }

    /// Puts a value.
    pub fn put(self, key: &str, value: &impl Serialize) -> Self {
        self.put_json(key, &written(value))
    }

    /// Puts a transcript as `-f json` writes it.
    ///
    /// # Errors
    /// As [`output::json::json`].
    pub fn put_transcript(self, key: &str, transcript: &Transcript) -> Result<Self> {
        Ok(self.put_json(key, &output::json::json(transcript)?))
    }

    /// Puts why there is no result.
    pub fn put_refusal(self, key: &str, refusal: &Refusal) -> Self {
        let refusal = Line::new().put("kind", &refusal.kind).put("message", &refusal.message);
        self.put_json(key, &refusal.end())
    }

    /// Puts the warnings, if there are any.
    pub fn put_warnings(self, warnings: &[String]) -> Self {
        if warnings.is_empty() { self } else { self.put("warnings", &warnings) }
    }

    fn put_json(mut self, key: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push_str(", ");
        }
        self.0.push_str(&written(&key));
        self.0.push_str(": ");
        self.0.push_str(json.trim_end());
        self
    }

    /// The object, and the end of its line.
    pub fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// A value without maps whose keys are no texts, which cannot fail.
fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_object_on_one_line() {
        let line = Line::new().put("id", &Id::Text("a\n\"b\"".into())).put("n", &Id::Signed(-7)).put_warnings(&[]);
        assert_eq!(line.end(), "{\"id\": \"a\\n\\\"b\\\"\", \"n\": -7}\n");
    }

    #[test]
    fn ids_are_integers_and_texts_and_nothing_else() {
        let id = |json: &str| serde_json::from_str::<Id>(json).ok();
        assert_eq!((id("1"), id("\"1\"")), (Some(Id::Signed(1)), Some(Id::Text("1".into()))));
        assert_eq!(id("18446744073709551615"), Some(Id::Unsigned(u64::MAX)));
        for bad in ["1.0", "null", "true", "[1]", "{}", "18446744073709551616"] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
