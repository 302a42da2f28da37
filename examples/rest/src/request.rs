//! A request's body: JSON with the recording in base64, or a form with the recording as a file.

use std::borrow::Cow;
use std::ops::Range;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use futures_util::stream;
use multer::{Constraints, Multipart, SizeLimit};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::admission::Room;
use crate::base64_in_place;
use crate::errors::Fault;
use crate::fields::{Fields, MAX_LENGTH, Scalar};
use crate::upload::Upload;

/// What a client asks for.
#[derive(Debug)]
pub struct Asked {
    /// The recording: any file that the engine reads.
    pub audio: Vec<u8>,
    /// What it is called in messages.
    pub name: String,
    /// The options.
    pub fields: Fields,
}

/// Receives a body.
///
/// # Errors
/// Those of [`Upload::next`]; 400 for one that is not what its `Content-Type` says, 422 for options that cannot be.
pub async fn read(headers: &HeaderMap, mut upload: Upload, room: &mut Room) -> Result<Asked, Fault> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // Clients that post JSON do not always say so.
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return json(whole(&mut upload, room).await?);
    }
    let boundary = multer::parse_boundary(kind).map_err(|error| Fault::request(error.to_string()))?;
    form(boundary, &mut upload, room).await
}

/// All of a body.
async fn whole(upload: &mut Upload, room: &mut Room) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    // What is reserved and never arrives takes no memory.
    body.try_reserve_exact(upload.stated()?.unwrap_or(0) as usize).map_err(Fault::internal)?;
    while let Some(piece) = upload.next(room).await? {
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn json(mut body: Vec<u8>) -> Result<Asked, Fault> {
    let posted: Posted = serde_json::from_slice(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Fault::options(error.to_string()),
        _ => Fault::request(format!("the body is not JSON: {error}")),
    })?;
    let name = "audio_file".to_string();
    let missing = "there is no `audio_file`: a recording, in base64";
    let fields = posted.fields;
    let digits: Range<usize> = match posted.audio_file.ok_or_else(|| Fault::request(missing))? {
        Cow::Borrowed(text) => {
            let start = text.as_ptr().addr() - body.as_ptr().addr();
            start..start + text.len()
        }
        // It was written with escapes: some encoders write `/` as `\/`.
        Cow::Owned(text) => {
            body = text.into_bytes();
            0..body.len()
        }
    };
    base64_in_place::decode(&mut body, digits).map_err(Fault::request)?;
    Ok(Asked { audio: body, name, fields })
}

async fn form(boundary: String, upload: &mut Upload, room: &mut Room) -> Result<Asked, Fault> {
    upload.stated()?;
    let pieces = stream::unfold((upload, room), |(upload, room)| async move {
        let piece: Option<Result<Bytes, Fault>> = upload.next(room).await.transpose();
        piece.map(|piece| (piece, (upload, room)))
    });
    let sizes = SizeLimit::new().per_field(MAX_LENGTH as u64).for_field("file", u64::MAX);
    let mut parts = Multipart::with_constraints(pieces, boundary, Constraints::new().size_limit(sizes));
    let (mut recording, mut fields) = (None, Fields::default());
    while let Some(mut part) = parts.next_field().await.map_err(of_form)? {
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Fault::request("a part of the form has no name"));
        };
        if name != "file" {
            let value = part.text().await.map_err(of_form)?;
            fields.insert(&name, value.into())?;
            continue;
        }
        let called = part.file_name().filter(|name| !name.is_empty()).unwrap_or("file").to_owned();
        let mut audio = Vec::new();
        while let Some(piece) = part.chunk().await.map_err(of_form)? {
            audio.extend_from_slice(&piece);
        }
        if recording.replace((audio, called)).is_some() {
            return Err(Fault::request("the form has two files"));
        }
    }
    let (audio, name) = recording.ok_or_else(|| Fault::request("there is no `file` in the form: a recording"))?;
    Ok(Asked { audio, name, fields })
}

/// What went wrong with a form, or with receiving it.
fn of_form(error: multer::Error) -> Fault {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<Fault>() {
            Ok(fault) => *fault,
            Err(cause) => Fault::request(cause.to_string()),
        },
        multer::Error::FieldSizeExceeded { field_name, .. } => {
            let name = field_name.unwrap_or_default();
            Fault::options(format!("option `{name}` is longer than {MAX_LENGTH} bytes"))
        }
        error => Fault::request(format!("the form cannot be read: {error}")),
    }
}

/// The JSON, with the recording still where it was received.
#[derive(Default)]
struct Posted<'a> {
    audio_file: Option<Cow<'a, str>>,
    fields: Fields,
}

impl<'de> Deserialize<'de> for Posted<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Posted<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object with `audio_file`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Posted<'de>, A::Error> {
                let mut posted = Posted::default();
                while let Some(Text(key)) = map.next_key()? {
                    if key == "audio_file" {
                        let Text(text) = map.next_value()?;
                        if posted.audio_file.replace(text).is_some() {
                            return Err(A::Error::duplicate_field("audio_file"));
                        }
                    } else {
                        let Scalar(value) = map.next_value()?;
                        posted.fields.insert(&key, value).map_err(|fault| A::Error::custom(fault.message()))?;
                    }
                }
                Ok(posted)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A text, left where it is if it can be.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> String {
        json(body.into()).map_or_else(|fault| fault.to_string(), |asked| format!("{asked:?}"))
    }

    #[test]
    fn the_recording_is_decoded_and_the_rest_are_options() {
        for body in [
            r#"{"audio_file": "aGVsbG8/", "language": "en", "num-speakers": 2}"#,
            r#"{"language": "en", "num_speakers": 2, "audio_file": "aGVsbG8\/"}"#,
        ] {
            let mut asked = json(body.into()).unwrap();
            assert_eq!(asked.audio, b"hello?");
            assert_eq!(asked.fields.take::<usize>("num_speakers").unwrap(), Some(2));
            assert_eq!(asked.fields.take::<String>("language").unwrap().as_deref(), Some("en"));
            asked.fields.finish("").unwrap();
        }
    }

    #[test]
    fn every_other_body_is_refused_with_its_reason() {
        for (body, parts) in [
            ("", ["400", "JSON"]),
            ("hello", ["400", "JSON"]),
            (r#"{"audio_file": "aGVsbG8/""#, ["400", "JSON"]),
            (r#"{"language": "en"}"#, ["400", "audio_file"]),
            (r#"{"audio_file": "%%%"}"#, ["400", "base64"]),
            (r#"{"audio_file": 5}"#, ["422", "expected a text"]),
            (r#"{"audio_file": "", "audio_file": ""}"#, ["422", "duplicate"]),
            (r#"{"audio_file": "", "language": ["en"]}"#, ["422", "sequence"]),
            (r#"["audio_file"]"#, ["422", "object"]),
        ] {
            let told = told(body);
            assert!(parts.iter().all(|part| told.contains(part)), "{body}: {told}");
        }
        let latin = json(b"{\"audio_file\": \"\xe4\"}".to_vec()).unwrap_err().to_string();
        assert!(latin.starts_with("400"), "{latin}");
    }
}
