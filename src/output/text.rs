//! txt, tsv and aud: a line per segment.
//!
//! Source: WhisperX 3.8 `utils.py::{WriteTXT, WriteTSV, WriteAudacity}`.

use super::subtitles::milliseconds;
use crate::types::{Segment, Transcript};

/// `[SPEAKER]: text`, or the text alone where the speaker is not known.
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

/// `start<tab>end<tab>text` under a header of these words; times in integer milliseconds, so that no decimal point
/// becomes a comma on its way through a spreadsheet.
pub fn tsv(transcript: &Transcript) -> String {
    let mut out = String::from("start\tend\ttext\n");
    for segment in &transcript.segments {
        let (start, end) = span(segment);
        out.push_str(&format!("{start}\t{end}\t{}\n", one_line(&segment.text)));
    }
    out
}

/// `start<tab>end<tab>[[SPEAKER]]text`, times in seconds: what Audacity imports as labels.
pub fn aud(transcript: &Transcript) -> String {
    let mut out = String::new();
    for segment in &transcript.segments {
        let speaker = segment.speaker.as_ref().map_or(String::new(), |speaker| format!("[[{speaker}]]"));
        let (start, end) = span(segment);
        out.push_str(&format!("{}\t{}\t{speaker}{}\n", seconds(start), seconds(end), one_line(&segment.text)));
    }
    out
}

/// Start and end in milliseconds; a segment is never without a duration.
fn span(segment: &Segment) -> (u64, u64) {
    let start = milliseconds(segment.start);
    (start, milliseconds(segment.end).max(start.saturating_add(1)))
}

/// Milliseconds as seconds, as Python prints a float: the shortest digits, always with a point.
fn seconds(milliseconds: u64) -> String {
    format!("{:?}", milliseconds as f64 / 1000.0)
}

/// Without what would end the field or the line.
fn one_line(text: &str) -> String {
    text.trim().replace(['\t', '\n', '\r'], " ")
}
