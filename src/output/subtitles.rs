//! vtt and srt: words, or segments where there are no words, to cues.
//!
//! Source: WhisperX 3.8 `utils.py::SubtitlesWriter`; [`output`](super) lists where we differ on purpose.

use crate::error::{Error, Result};
use crate::types::{Segment, Transcript, Word};
use crate::units::Seconds;

/// Where no width is asked for.
const WIDTH: usize = 1000;

/// With width and count given, a cue ends where a word begins this long after the one before began, in seconds.
const LONG_PAUSE: f64 = 3.0;

/// How cues are made of words. Without words none of these has an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubtitleOptions {
    /// Longest line, in characters. Without it a line is as long as its segment, up to 1000.
    pub max_line_width: Option<usize>,
    /// Most lines in a cue. With it (and a width; alone it has no effect) cues no longer follow the segments.
    pub max_line_count: Option<usize>,
    /// A cue for each word, the whole text with that word underlined.
    pub highlight_words: bool,
}

impl SubtitleOptions {
    /// # Errors
    /// [`Error::Config`] naming the option that cannot be honoured.
    pub fn check(&self) -> Result<()> {
        for (option, value) in [("max_line_width", self.max_line_width), ("max_line_count", self.max_line_count)] {
            if value == Some(0) {
                return Err(Error::config(option, 0, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// WebVTT.
pub fn vtt(transcript: &Transcript, options: &SubtitleOptions) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for cue in cues(transcript, options, Spaces::Counted) {
        let (start, end) = (timestamp(cue.start, Hours::IfAny, '.'), timestamp(cue.end, Hours::IfAny, '.'));
        out.push_str(&format!("{start} --> {end}\n{}\n\n", cue.text));
    }
    out
}

/// SubRip.
pub fn srt(transcript: &Transcript, options: &SubtitleOptions) -> String {
    let mut out = String::new();
    for (index, cue) in cues(transcript, options, Spaces::Counted).iter().enumerate() {
        let (start, end) = (timestamp(cue.start, Hours::Always, ','), timestamp(cue.end, Hours::Always, ','));
        out.push_str(&format!("{}\n{start} --> {end}\n{}\n\n", index + 1, cue.text));
    }
    out
}

/// What is shown from `start` to `end`, in milliseconds.
struct Cue {
    start: u64,
    end: u64,
    text: String,
}

impl Cue {
    fn new(start: u64, end: u64, speaker: Option<&str>, text: &str) -> Self {
        let text = speaker.map_or_else(|| text.to_string(), |speaker| format!("[{speaker}]: {text}"));
        Cue { start, end, text: safe(&text) }
    }
}

/// Without what would end the cue or be taken for its times.
fn safe(text: &str) -> String {
    let mut out = text.replace('\r', "");
    while out.contains("\n\n") {
        out = out.replace("\n\n", "\n");
    }
    // `--->` would become `-->`.
    while out.contains("-->") {
        out = out.replace("-->", "->");
    }
    out
}

/// Whether a line's width includes the spaces between its words. WhisperX leaves them out; the tests do so to compare.
#[derive(Clone, Copy, PartialEq)]
enum Spaces {
    Counted,
    #[cfg(test)]
    Ignored,
}

fn cues(transcript: &Transcript, options: &SubtitleOptions, spaces: Spaces) -> Vec<Cue> {
    if transcript.segments.iter().all(|segment| segment.words.is_none()) {
        let cue =
            |s: &Segment| Cue::new(milliseconds(s.start), milliseconds(s.end), s.speaker.as_deref(), s.text.trim());
        return transcript.segments.iter().map(cue).collect();
    }
    // As WhisperX aligns: words of these are single characters.
    let joiner = if matches!(transcript.language.as_deref(), Some("ja" | "zh")) { "" } else { " " };
    let space = if spaces == Spaces::Counted { joiner.len() } else { 0 };
    let mut out = Vec::new();
    for group in group(transcript, options, space) {
        show(&mut out, &group, joiner, options);
    }
    out
}

/// The words of one cue.
struct Group<'a> {
    words: Vec<Placed<'a>>,
    /// Of the first word: its times serve where no word has any, its speaker is named.
    segment: &'a Segment,
}

/// A word, and whether a new line begins with it.
struct Placed<'a> {
    text: &'a str,
    start: Option<Seconds>,
    end: Option<Seconds>,
    breaks_line: bool,
}

impl<'a> From<&'a Word> for Placed<'a> {
    fn from(word: &'a Word) -> Self {
        Placed { text: word.word.trim(), start: word.start, end: word.end, breaks_line: false }
    }
}

/// The words of a segment; one without words is one long word.
fn words(segment: &Segment) -> Vec<Placed<'_>> {
    match &segment.words {
        Some(words) if !words.is_empty() => words.iter().map(Placed::from).collect(),
        _ if segment.text.trim().is_empty() => Vec::new(),
        _ => {
            let (start, end) = (Some(segment.start), Some(segment.end));
            vec![Placed { text: segment.text.trim(), start, end, breaks_line: false }]
        }
    }
}

/// Distributes all words over cues and lines. `space` is the width of what stands between two words of a line.
fn group<'a>(transcript: &'a Transcript, options: &SubtitleOptions, space: usize) -> Vec<Group<'a>> {
    let width = options.max_line_width.unwrap_or(WIDTH);
    let follow_segments = options.max_line_width.is_none() || options.max_line_count.is_none();
    let mut groups: Vec<Group> = Vec::new();
    let (mut line_width, mut line_count) = (0, 1);
    let mut last_start = transcript.segments.first().map_or(0.0, |segment| segment.start.0);
    for segment in &transcript.segments {
        for (index, mut word) in words(segment).into_iter().enumerate() {
            let length = word.text.chars().count();
            let pause = word.start.map_or(0.0, |start| start.0 - last_start);
            let long_pause = !follow_segments && pause > LONG_PAUSE;
            let new_segment = index == 0 && follow_segments;
            let full = options.max_line_count.is_some_and(|most| long_pause || line_count >= most);
            last_start = word.start.map_or(last_start, |start| start.0);
            let fits = line_width > 0 && line_width + space + length <= width && !long_pause && !new_segment;
            match groups.last_mut() {
                Some(group) if fits => {
                    line_width += space + length;
                    group.words.push(word);
                }
                Some(group) if !new_segment && !full => {
                    if line_width > 0 {
                        line_count += 1;
                        word.breaks_line = true;
                    }
                    line_width = length;
                    group.words.push(word);
                }
                _ => {
                    (line_width, line_count) = (length, 1);
                    groups.push(Group { words: vec![word], segment });
                }
            }
        }
    }
    groups
}

/// The cue of a group, or with highlighting the cues.
fn show(out: &mut Vec<Cue>, group: &Group, joiner: &str, options: &SubtitleOptions) {
    let speaker = group.segment.speaker.as_deref();
    let times = |time: fn(&Placed) -> Option<Seconds>| group.words.iter().filter_map(time).map(milliseconds);
    let bounds = times(|w| w.start).min().zip(times(|w| w.end).max());
    let (start, end) = bounds.unwrap_or((milliseconds(group.segment.start), milliseconds(group.segment.end)));
    let plain = text(group, joiner, None);
    if !options.highlight_words || group.words.iter().all(|word| word.start.is_none()) {
        out.push(Cue::new(start, end, speaker, &plain));
        return;
    }
    let mut shown_until = start;
    for (index, word) in group.words.iter().enumerate() {
        let Some(from) = word.start.map(milliseconds) else { continue };
        let until = word.end.map_or(from, milliseconds);
        if shown_until < from {
            out.push(Cue::new(shown_until, from, speaker, &plain));
        }
        out.push(Cue::new(from, until, speaker, &text(group, joiner, Some(index))));
        shown_until = until;
    }
}

/// The text of a group, the word `underlined` in `<u>`.
fn text(group: &Group, joiner: &str, underlined: Option<usize>) -> String {
    let mut out = String::new();
    for (index, word) in group.words.iter().enumerate() {
        if word.breaks_line {
            out.push('\n');
        } else if index > 0 {
            out.push_str(joiner);
        }
        if underlined == Some(index) {
            out.push_str(&format!("<u>{}</u>", word.text));
        } else {
            out.push_str(word.text);
        }
    }
    out
}

/// To the nearest millisecond, of two equally near the even one, as Python rounds. What is before 0 or no number is 0.
pub(super) fn milliseconds(time: Seconds) -> u64 {
    (time.0 * 1000.0).round_ties_even().max(0.0) as u64
}

#[derive(Clone, Copy, PartialEq)]
enum Hours {
    Always,
    IfAny,
}

fn timestamp(milliseconds: u64, hours: Hours, point: char) -> String {
    let (seconds, ms) = (milliseconds / 1000, milliseconds % 1000);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == Hours::Always || h > 0 {
        format!("{h:02}:{m:02}:{s:02}{point}{ms:03}")
    } else {
        format!("{m:02}:{s:02}{point}{ms:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cues with a width against WhisperX, its spaces left out of the width as it does.
    #[test]
    fn lines_match_whisperx_where_spaces_have_no_width() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/writers");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let cases: serde_json::Value = serde_json::from_str(&read("cases.json")).unwrap();
        let mut compared = 0;
        for case in cases["writers"].as_array().unwrap() {
            let given = &case["options"];
            let (file, size) = (case["file"].as_str().unwrap(), |name: &str| given[name].as_u64().map(|v| v as usize));
            if size("max_line_width").is_none() || case["format"] != "srt" {
                continue;
            }
            let options = SubtitleOptions {
                max_line_width: size("max_line_width"),
                max_line_count: size("max_line_count"),
                highlight_words: given["highlight_words"] == true,
            };
            let transcript: Transcript = serde_json::from_str(&read(case["transcript"].as_str().unwrap())).unwrap();
            let golden = read(file).replace(" \n", "\n");
            let want: Vec<&str> = golden.split_terminator("\n\n").collect();
            let got = cues(&transcript, &options, Spaces::Ignored);
            assert_eq!(got.len(), want.len(), "{file}");
            for (index, (got, want)) in got.iter().zip(want).enumerate() {
                let (times, mut text) = want.split_once('\n').unwrap().1.split_once('\n').unwrap();
                let spaceless = text.replace(' ', "");
                if transcript.language.as_deref() == Some("ja") {
                    text = &spaceless;
                }
                let ours = format!("{} --> {}", stamp(got.start), stamp(got.end));
                assert_eq!(
                    (ours.as_str(), got.text.as_str()),
                    (times, text.replace("-->", "->").as_str()),
                    "{file} {index}"
                );
                compared += 1;
            }
        }
        assert!(compared > 100, "only {compared} cues compared");
    }

    fn stamp(milliseconds: u64) -> String {
        timestamp(milliseconds, Hours::Always, ',')
    }
}
