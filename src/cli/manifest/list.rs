//! Parser for the `--manifest` list: one path per line, or JSON lines with `path` and `id`.

use std::collections::HashMap;
use std::path::Path;

use diarist::{Error, Result};
use serde::Deserialize;

use super::super::results::Id;

/// A recording of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, as written in the list.
    pub path: String,
    /// The id of its line in OUT; the path if the list gives none.
    pub id: Id,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    path: String,
    id: Option<Id>,
}

/// Reads a list. Blank lines are skipped.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Config`] naming the line that cannot be parsed, or the two lines with
/// the same id.
pub fn read(file: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(file).map_err(|error| Error::io(file, error))?;
    entries(bytes).map_err(|rule| Error::config("manifest", file.display(), rule))
}

/// Parses a list. The error is the rule that it breaks.
fn entries(bytes: Vec<u8>) -> std::result::Result<Vec<Entry>, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        format!("line {line} is not UTF-8, as OUT must be; name that recording otherwise")
    })?;
    let mut entries = Vec::new();
    let mut lines: HashMap<Id, usize> = HashMap::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate().map(|(i, line)| (i + 1, line)) {
        if line.trim().is_empty() {
            continue;
        }
        let entry = parse(line)
            .map_err(|reason| format!("line {number} is neither a path nor {{\"path\": .., \"id\": ..}}: {reason}"))?;
        if let Some(other) = lines.insert(entry.id.clone(), number) {
            let cure = "leave one out, or give each an \"id\" of its own";
            return Err(format!("lines {other} and {number} have one id, {}; {cure}", entry.id));
        }
        entries.push(entry);
    }
    if entries.is_empty() { Err("names no recordings".into()) } else { Ok(entries) }
}

fn parse(line: &str) -> std::result::Result<Entry, serde_json::Error> {
    if !line.trim_start().starts_with('{') {
        return Ok(Entry { path: line.to_string(), id: Id::Text(line.to_string()) });
    }
    let Object { path, id } = serde_json::from_str(line)?;
    Ok(Entry { id: id.unwrap_or_else(|| Id::Text(path.clone())), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &[u8]) -> std::result::Result<Vec<(String, String)>, String> {
        let pairs = entries(text.to_vec())?.into_iter().map(|entry| (entry.path, entry.id.to_string()));
        Ok(pairs.collect())
    }

    #[test]
    fn paths_and_objects_may_be_mixed() {
        let text = "\u{feff}a b.wav\r\n\n{\"path\": \"{c}.wav\"}\n{\"id\": 7, \"path\": \"a b.wav\"}\n \nlast.wav";
        let expected =
            [("a b.wav", "\"a b.wav\""), ("{c}.wav", "\"{c}.wav\""), ("a b.wav", "7"), ("last.wav", "\"last.wav\"")];
        assert_eq!(list(text.as_bytes()).unwrap(), expected.map(|(path, id)| (path.to_string(), id.to_string())));
    }

    #[test]
    fn a_list_that_is_no_text_is_refused_with_the_line() {
        let error = list(b"a.wav\nb\xff.wav").unwrap_err();
        assert!(error.contains("line 2") && error.contains("UTF-8"), "{error}");
    }
}
