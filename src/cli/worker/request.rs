//! Parser of request lines: JSON to a [`Request`], or the reason why the line is refused.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::super::results::{Id, Refusal};

/// A parsed request.
pub enum Request {
    /// Transcribe a recording.
    Transcribe {
        /// The client's name for it.
        id: Id,
        /// The recording.
        sound: Sound,
        /// Options by their names on the command line, with underscores or hyphens.
        options: Map<String, Value>,
    },
    /// Cancel the request with this id.
    Cancel(Id),
}

/// The recording of a request.
pub enum Sound {
    /// The bytes of a file, in base64.
    Base64(String),
    /// The path of a file.
    File(PathBuf),
}

/// A refused line: its id if that could be read, and the reason.
pub type Refused = (Option<Id>, Refusal);

/// Parses a line; `None` if it is blank.
///
/// # Errors
/// A refusal of the kind `request`.
pub fn parse(line: &[u8]) -> Result<Option<Request>, Refused> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let refuse = |id: Option<Id>, message: String| (id, Refusal::new("request", message));
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(|reason| {
        refuse(None, format!("the line is no JSON object ({reason}); a request is {{\"id\": .., \"path\": ..}}"))
    })?;
    let id = object.remove("id").ok_or_else(|| refuse(None, "`id` is missing: an integer or a text".into()))?;
    let id: Id = serde_json::from_value(id).map_err(|_| refuse(None, "`id` is no integer and no text".into()))?;
    let refuse = |message: String| refuse(Some(id.clone()), message);
    let (sound, path) = (text(&mut object, "audio_file"), text(&mut object, "path"));
    let (sound, path) = (sound.map_err(refuse)?, path.map_err(refuse)?);
    let (options, cancel) = (object.remove("options"), object.remove("cancel"));
    if let Some((key, _)) = object.iter().next() {
        return Err(refuse(format!("`{key}` means nothing here; there are id, audio_file, path, options and cancel")));
    }
    let options = match options {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(options)) => options,
        Some(_) => return Err(refuse("`options` is no object".into())),
    };
    match (cancel, sound, path) {
        (Some(Value::Bool(true)), None, None) if options.is_empty() => Ok(Some(Request::Cancel(id))),
        (Some(_), ..) => Err(refuse("`cancel` must be true and stand alone with the id".into())),
        (None, Some(text), None) => Ok(Some(Request::Transcribe { id, sound: Sound::Base64(text), options })),
        (None, None, Some(path)) => Ok(Some(Request::Transcribe { id, sound: Sound::File(path.into()), options })),
        (None, Some(_), Some(_)) => {
            Err(refuse("there are both `audio_file` and `path`; leave one of the two out".into()))
        }
        (None, None, None) => Err(refuse("there is no recording: `audio_file` in base64, or a `path`".into())),
    }
}

/// Removes a string from the object; null counts as absent.
fn text(object: &mut Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{key}` is no text")),
    }
}
