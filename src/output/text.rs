//! Plain text, TSV and Audacity labels: one line per segment.
//!
//! Source: WhisperX 3.8 `utils.py::{WriteTXT, WriteTSV, WriteAudacity}`.

use super::subtitles::milliseconds;
use crate::types::{Segment, Transcript};

/// Plain text, one line per segment: `[SPEAKER]: text`, or only the text if the speaker is unknown.
pub fn txt(transcript: &Transcript) -> String {
    let mut out = String::new();
    for segment in &transcript.segments {
        if let Some(speaker) = &segment.speaker {
            out.push_str(&format!("[{speaker}]: "));
        }
        out.push_str(segment.text.trim());
        out.push('\n');
    }
    out
}

/// TSV: `start<tab>end<tab>text`, with a header line. Times are integer milliseconds, because spreadsheets may turn a
/// decimal point into a comma.
pub fn tsv(transcript: &Transcript) -> String {
    let mut out = String::from("start\tend\ttext\n");
    for segment in &transcript.segments {
        let (start, end) = span(segment);
        out.push_str(&format!("{start}\t{end}\t{}\n", one_line(&segment.text)));
    }
    out
}

/// Audacity labels: `start<tab>end<tab>[[SPEAKER]]text`, times in seconds.
pub fn aud(transcript: &Transcript) -> String {
    let mut out = String::new();
    for segment in &transcript.segments {
        let speaker = segment.speaker.as_ref().map_or(String::new(), |speaker| format!("[[{speaker}]]"));
        let (start, end) = span(segment);
        out.push_str(&format!("{}\t{}\t{speaker}{}\n", seconds(start), seconds(end), one_line(&segment.text)));
    }
    out
}

/// Start and end in milliseconds, at least one millisecond apart.
fn span(segment: &Segment) -> (u64, u64) {
    let start = milliseconds(segment.start);
    (start, milliseconds(segment.end).max(start.saturating_add(1)))
}

/// Milliseconds as seconds, in the format of a Python float: the shortest digits, always with a decimal point.
fn seconds(milliseconds: u64) -> String {
    format!("{:?}", milliseconds as f64 / 1000.0)
}

/// Text without tabs and line breaks, which would end the field or the line.
fn one_line(text: &str) -> String {
    text.trim().replace(['\t', '\n', '\r'], " ")
}
