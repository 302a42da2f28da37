//! What is known of a container besides its packets: length, track properties, and the errors of opening it.

use std::io::ErrorKind;
use std::path::Path;

use super::mkv;
use super::mp4::Movie;
use crate::error::Error;

/// Advice that ends the error messages about unreadable recordings.
pub(super) const CONVERT: &str =
    "if another program plays it, convert it first, for example with `ffmpeg -i IN -ac 1 OUT.wav`";

/// The formats of the built-in reader, for error messages.
pub(super) const KNOWN: &str = "wav, flac, mp3, m4a/mp4, aac, ogg, opus, webm/mkv, aiff, caf";

/// Why a recording is rejected, in words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OpenError {
    /// The built-in reader does not support its container or codec; ffmpeg may. The caller appends the cure.
    Unsupported(String),
    /// It cannot be opened, is damaged, or contains no audio; ffmpeg would not help.
    Damaged(String),
}

impl OpenError {
    /// Converts to [`Error::Audio`]; `name` is the recording's name.
    pub(super) fn into_error(self, name: &Path) -> Error {
        let (OpenError::Unsupported(reason) | OpenError::Damaged(reason)) = self;
        Error::audio(name, reason)
    }
}

/// Length of the track according to the container, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Length {
    /// Stated in the file: if less is decoded, the file is truncated.
    Stated(f64),
    /// Estimated from the file's size or its last page, for progress reports only.
    Estimated(f64),
    Unknown,
}

impl Length {
    pub(super) fn seconds(self) -> Option<f64> {
        match self {
            Length::Stated(seconds) | Length::Estimated(seconds) => Some(seconds),
            Length::Unknown => None,
        }
    }
}

/// Properties of the container that symphonia does not provide.
#[derive(Debug, Default)]
pub(super) struct ContainerInfo {
    /// MP4: tracks and edit lists.
    pub(super) movie: Movie,
    /// Matroska: default flags and content encodings.
    pub(super) matroska: mkv::Tracks,
    /// Elementary stream: its length.
    pub(super) frames: Option<Length>,
    /// WAV: the stated length divided by the actual length, if the header states one.
    pub(super) wav: Option<Option<f64>>,
}

pub(super) fn io_refusal(error: &std::io::Error) -> OpenError {
    OpenError::Damaged(io_reason(error))
}

/// Describes an I/O error of opening or reading a file.
pub(super) fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file; check the path".into(),
        ErrorKind::PermissionDenied => "may not be read (permission denied); change its permissions or copy it".into(),
        _ => format!("cannot be read: {error}"),
    }
}
