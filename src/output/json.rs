//! JSON output: WhisperX's keys, and additional ones.
//!
//! | where | WhisperX's keys | additional keys |
//! |---|---|---|
//! | top | `segments`, `word_segments`, `language`, `speaker_embeddings` | `language_probability`, `duration`, `turns`, `diarization`, `warnings` |
//! | segment | `start`, `end`, `text`, `speaker`, `words`, `chars`, `avg_logprob` | `unaligned`, `tokens`, `no_speech_prob`, `compression_ratio`, `temperature` |
//! | word | `word`, `start`, `end`, `score`, `speaker` | `source`, `also` |
//!
//! A key whose value is unknown is omitted, as WhisperX does. The output is one line, UTF-8, with Python's separators.
//! [`Transcript`] deserialises from it, and from WhisperX's own JSON.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::error::{Error, Result};
use crate::types::{Transcript, Turn, Word};
use crate::units::Seconds;

/// The transcript as JSON, its numbers [`rounded`].
///
/// # Errors
/// [`Error::Io`] if it cannot be serialised, which does not happen: all maps have text as keys.
pub fn json(transcript: &Transcript) -> Result<String> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, PythonStyle);
    let written = rounded(transcript).serialize(&mut serializer).map_err(io::Error::from);
    let text = written.and_then(|()| String::from_utf8(out).map_err(io::Error::other));
    text.map_err(|source| Error::io("json", source))
}

/// The transcript with times rounded to milliseconds, scores to three decimals and other numbers to six. JSON has no
/// infinity and no NaN: a time that is not finite becomes 0, any other such number is omitted.
pub fn rounded(transcript: &Transcript) -> Transcript {
    let mut out = transcript.clone();
    out.duration = time(out.duration);
    out.language_probability = round_number(out.language_probability, 1e6);
    out.word_segments.iter_mut().for_each(round_word);
    for Turn { span, .. } in &mut out.turns {
        (span.start, span.end) = (time(span.start), time(span.end));
    }
    for segment in &mut out.segments {
        (segment.start, segment.end) = (time(segment.start), time(segment.end));
        segment.words.iter_mut().flatten().for_each(round_word);
        for char in segment.chars.iter_mut().flatten() {
            (char.start, char.end) = (char.start.map(time), char.end.map(time));
            char.score = round_number(char.score, 1e3);
        }
        segment.avg_logprob = round_number(segment.avg_logprob, 1e6);
        segment.no_speech_prob = round_number(segment.no_speech_prob, 1e6);
        segment.compression_ratio = round_number(segment.compression_ratio, 1e6);
        segment.temperature = round_number(segment.temperature, 1e6);
    }
    out
}

fn round_word(word: &mut Word) {
    word.start = word.start.map(time);
    word.end = word.end.map(time);
    word.score = round_number(word.score, 1e3);
}

fn time(time: Seconds) -> Seconds {
    if time.round_ms().0.is_finite() { time.round_ms() } else { Seconds(0.0) }
}

/// Rounded to `1 / scale`; `None` if not finite. Adding zero turns -0.0 into 0.0.
fn round_number(value: Option<f64>, scale: f64) -> Option<f64> {
    value.map(|v| (v * scale).round() / scale + 0.0).filter(|v| v.is_finite())
}

/// Separators `", "` and `": "`, as in Python's `json.dump`.
struct PythonStyle;

impl Formatter for PythonStyle {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
