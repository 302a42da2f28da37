//! txt, tsv and aud: a line per segment.
//!
//! Source: WhisperX 3.8 `utils.py::{WriteTXT, WriteTSV, WriteAudacity}`.

use super::subtitles::milliseconds;
use crate::types::Transcript;
use crate::units::Seconds;

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
        let (start, end) = (milliseconds(segment.start), milliseconds(segment.end));
        out.push_str(&format!("{start}\t{end}\t{}\n", one_line(&segment.text)));
    }
    out
}

/// `start<tab>end<tab>[[SPEAKER]]text`, times in seconds: what Audacity imports as labels.
pub fn aud(transcript: &Transcript) -> String {
    let mut out = String::new();
    for segment in &transcript.segments {
        let speaker = segment.speaker.as_ref().map_or(String::new(), |speaker| format!("[[{speaker}]]"));
        let (start, end) = (seconds(segment.start), seconds(segment.end));
        out.push_str(&format!("{start}\t{end}\t{speaker}{}\n", one_line(&segment.text)));
    }
    out
}

/// As Python prints a float: the shortest digits, always with a point.
fn seconds(time: Seconds) -> String {
    format!("{:?}", milliseconds(time) as f64 / 1000.0)
}

/// Without what would end the field or the line.
fn one_line(text: &str) -> String {
    text.trim().replace(['\t', '\n', '\r'], " ")
}
