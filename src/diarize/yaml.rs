//! Parser for a safe subset of YAML, to JSON values. Refused: tags, which construct objects in Python, and aliases,
//! which can expand a short file to a huge one. Size and nesting are limited.

use serde_json::{Map, Value};
use yaml_rust2::parser::{Event, Parser, Tag};
use yaml_rust2::scanner::TScalarStyle;

/// Maximum size; pyannote's files have less than one kilobyte.
const MAX_BYTES: usize = 1 << 16;
/// Maximum nesting; pyannote's files have four levels.
const MAX_DEPTH: usize = 16;

/// The value of a YAML text of at most one document; null for an empty text.
///
/// # Errors
/// A message with what is wrong and the line number.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("is of {} bytes; {MAX_BYTES} at most are read", text.len()));
    }
    let mut reader = Reader { parser: Parser::new_from_str(text), line: 0 };
    let mut value = Value::Null;
    let mut documents = 0;
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(value),
            Event::DocumentStart if documents == 1 => return Err(reader.wrong("a second document")),
            Event::DocumentStart => {
                documents += 1;
                let first = reader.next()?;
                value = reader.value(first, 0)?;
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    parser: Parser<std::str::Chars<'a>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Event, String> {
        let (event, at) = self.parser.next_token().map_err(|e| format!("is no YAML: {e}"))?;
        self.line = at.line();
        Ok(event)
    }

    fn wrong(&self, what: &str) -> String {
        format!("has {what} in line {}", self.line)
    }

    /// The value that starts with `event`.
    fn value(&mut self, event: Event, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("too deep a nesting"));
        }
        match event {
            Event::Scalar(text, style, _, tag) => {
                self.untagged(tag)?;
                Ok(if style == TScalarStyle::Plain { plain(text) } else { Value::String(text) })
            }
            Event::SequenceStart(_, tag) => {
                self.untagged(tag)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Ok(Value::Array(items)),
                        item => items.push(self.value(item, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, tag) => {
                self.untagged(tag)?;
                self.mapping(depth)
            }
            Event::Alias(_) => Err(self.wrong("an alias (`*name`), which is not read")),
            _ => Err(self.wrong("nothing where a value should be")),
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, String> {
        let mut entries = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => return Ok(Value::Object(entries)),
                Event::Scalar(key, _, _, tag) => {
                    self.untagged(tag)?;
                    key
                }
                _ => return Err(self.wrong("a key that is no text")),
            };
            let first = self.next()?;
            let value = self.value(first, depth + 1)?;
            if entries.insert(key.clone(), value).is_some() {
                return Err(self.wrong(&format!("`{key}` for a second time")));
            }
        }
    }

    fn untagged(&self, tag: Option<Tag>) -> Result<(), String> {
        match tag {
            Some(tag) => {
                let what =
                    format!("the tag `{}{}`, which asks for something to be made; nothing is", tag.handle, tag.suffix);
                Err(self.wrong(&what))
            }
            None => Ok(()),
        }
    }
}

/// Resolves a scalar without quotes: null, boolean, number, else a string.
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::from(number),
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_of_the_text() {
        let text = "a: 1\nb: [x, '2', 0.5, -1e-3, true, ~]\nc:\n  d: \"e f\" # a remark\n  g: 4.0.0\n";
        let want = json!({"a": 1, "b": ["x", "2", 0.5, -1e-3, true, null], "c": {"d": "e f", "g": "4.0.0"}});
        assert_eq!(parse(text).unwrap(), want);
        assert_eq!(parse("").unwrap(), Value::Null);
        assert_eq!(parse("---\na: b\n").unwrap(), json!({"a": "b"}));
    }

    #[test]
    fn what_asks_for_more_is_refused() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        for (text, part) in [
            ("a: !!python/object/apply:os.system ['touch trapped']", "python/object/apply:os.system"),
            ("a: !thing {}", "!thing"),
            ("!!python/name:os.system x: 1", "python/name"),
            ("a: &x 1\nb: *x", "alias"),
            ("a: 1\na: 2", "second time"),
            ("a: 1\n---\nb: 2", "second document"),
            ("? [a]\n: 1", "no text"),
            ("a: [1", "no YAML"),
            (deep.as_str(), "nesting"),
            (&"x".repeat(70_000), "bytes"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
