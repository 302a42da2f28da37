//! JSON lines output: one object per line, with ordered keys, for `--jsonl` and the worker's answers.

use diarist::types::Transcript;
use diarist::{Error, Result, output};
use serde::{Deserialize, Serialize};

/// The id that a client gives a recording: an integer or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// An integer that fits 64 bits with a sign.
    Signed(i64),
    /// A larger integer that fits 64 bits without a sign.
    Unsigned(u64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_json(self))
    }
}

/// An error in place of a result.
#[derive(Debug)]
pub struct Refusal {
    /// [`Error::kind`], or a kind of the worker's protocol.
    pub kind: &'static str,
    /// What failed, and how to fix it.
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

/// A JSON object under construction; keys keep the order of the calls.
pub struct Line(String);

impl Line {
    /// An object without keys.
    pub fn new() -> Self {
        Line("{".into())
    }

    /// Adds a value.
    pub fn put(self, key: &str, value: &impl Serialize) -> Self {
        self.put_json(key, &to_json(value))
    }

    /// Adds a transcript in the format of `-f json`.
    ///
    /// # Errors
    /// As [`output::json::json`].
    pub fn put_transcript(self, key: &str, transcript: &Transcript) -> Result<Self> {
        Ok(self.put_json(key, &output::json::json(transcript)?))
    }

    /// Adds an error as an object with `kind` and `message`.
    pub fn put_refusal(self, key: &str, refusal: &Refusal) -> Self {
        let refusal = Line::new().put("kind", &refusal.kind).put("message", &refusal.message);
        self.put_json(key, &refusal.end())
    }

    /// Adds the warnings, if there are any.
    pub fn put_warnings(self, warnings: &[String]) -> Self {
        if warnings.is_empty() { self } else { self.put("warnings", &warnings) }
    }

    fn put_json(mut self, key: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push_str(", ");
        }
        self.0.push_str(&to_json(&key));
        self.0.push_str(": ");
        self.0.push_str(json.trim_end());
        self
    }

    /// The object as a line, with its newline.
    pub fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// Serialises a value. This fails only for maps with keys that are not strings, which are never passed.
fn to_json(value: &impl Serialize) -> String {
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
