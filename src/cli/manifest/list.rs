//! The list of recordings: a path a line, or an object of JSON a line.

use std::collections::HashMap;
use std::path::Path;

use diarist::{Error, Result};
use serde::Deserialize;

use super::super::results::Id;

/// A recording of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the list has it.
    pub path: String,
    /// What its line in OUT is called; unless the list says otherwise, its path.
    pub id: Id,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    path: String,
    id: Option<Id>,
}

/// Reads a list. Blank lines are passed over.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Config`] naming the line that cannot be understood, or the two that have one id.
pub fn read(file: &Path) -> Result<Vec<Entry>> {
    let text = std::fs::read(file).map_err(|error| Error::io(file, error))?;
    let refuse = |rule: String| Error::config("manifest", file.display(), rule);
    let text = String::from_utf8(text).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        refuse(format!("line {line} is not UTF-8, as OUT must be; name that recording otherwise"))
    })?;
    let mut entries = Vec::new();
    let mut lines: HashMap<Id, usize> = HashMap::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate().map(|(i, line)| (i + 1, line)) {
        if line.trim().is_empty() {
            continue;
        }
        let entry = parse(line).map_err(|reason| {
            refuse(format!("line {number} is neither a path nor {{\"path\": .., \"id\": ..}}: {reason}"))
        })?;
        if let Some(other) = lines.insert(entry.id.clone(), number) {
            let cure = "leave one out, or give each an \"id\" of its own";
            return Err(refuse(format!("lines {other} and {number} have one id, {}; {cure}", entry.id)));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(refuse("names no recordings".into()));
    }
    Ok(entries)
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
        let file =
            std::env::temp_dir().join(format!("diarist-list-{}-{:x}", std::process::id(), text.as_ptr() as usize));
        std::fs::write(&file, text).unwrap();
        let read = read(&file);
        std::fs::remove_file(&file).unwrap();
        let entries = read.map_err(|error| error.to_string())?;
        Ok(entries.into_iter().map(|entry| (entry.path, entry.id.to_string())).collect())
    }

    #[test]
    fn paths_and_objects_may_be_mixed() {
        let text = "\u{feff}a b.wav\r\n\n{\"path\": \"{c}.wav\"}\n{\"id\": 7, \"path\": \"a b.wav\"}\n \nlast.wav";
        let pair = |path: &str, id: &str| (path.to_string(), id.to_string());
        let expected = [
            pair("a b.wav", "\"a b.wav\""),
            pair("{c}.wav", "\"{c}.wav\""),
            pair("a b.wav", "7"),
            pair("last.wav", "\"last.wav\""),
        ];
        assert_eq!(list(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, parts) in [
            (&b"a.wav\n\nb.wav\na.wav\n"[..], ["lines 1 and 4", "\"a.wav\""]),
            (b"{\"path\": \"a\", \"id\": 1}\n{\"path\": \"b\", \"id\": 1}", ["lines 1 and 2", "id of its own"]),
            (b"a.wav\n{\"file\": \"b.wav\"}", ["line 2", "file"]),
            (b"{\"path\": \"a.wav\", \"id\": 1.5}", ["line 1", "id"]),
            (b"a.wav\nb\xff.wav", ["line 2", "UTF-8"]),
            (b" \n\n", ["names no", "recordings"]),
        ] {
            let error = list(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
