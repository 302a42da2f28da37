//! WebVTT and SubRip subtitles: cues from words, or from segments if there are no words.
//!
//! Source: WhisperX 3.8 `utils.py::SubtitlesWriter`; [`output`](super) lists the intended differences.

mod group;
mod lines;
mod pace;
mod placed;
mod spaces;

use std::borrow::Cow;

use self::group::{Group, bounds, group};
use self::pace::Timing;
use crate::error::{Error, Result};
use crate::types::Transcript;
use crate::units::Seconds;

/// Options for subtitle cues. The first four need words. The last four move the times of cues, so that no two cues
/// overlap; for their priority see `src/output/subtitles/pace.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SubtitleOptions {
    /// Maximum width of a line, in characters. Without it a line is as long as its segment, up to 1000.
    pub max_line_width: Option<usize>,
    /// Maximum number of lines in a cue. It has an effect only together with `max_line_width`; then a cue may span
    /// several segments.
    pub max_line_count: Option<usize>,
    /// One cue for each word: the whole text with that word underlined.
    pub highlight_words: bool,
    /// Lines of nearly equal length, instead of greedy line breaks.
    pub balance_lines: bool,
    /// Maximum reading speed in characters per second, with spaces, without the speaker's name.
    pub max_cps: Option<f64>,
    /// Minimum duration of a cue.
    pub min_cue_duration: Option<Seconds>,
    /// Maximum duration of a cue; a longer cue is split between words.
    pub max_cue_duration: Option<Seconds>,
    /// Minimum gap between the end of a cue and the start of the next one.
    pub min_cue_gap: Option<Seconds>,
}

/// Largest duration or gap that options may have, in seconds.
const MAX_TIME: f64 = 3600.0;

impl SubtitleOptions {
    /// Checks the values, and that they do not contradict each other.
    ///
    /// # Errors
    /// [`Error::Config`] naming the invalid option, and the option that it contradicts.
    pub fn check(&self) -> Result<()> {
        for (option, value) in [("max_line_width", self.max_line_width), ("max_line_count", self.max_line_count)] {
            if value == Some(0) {
                return Err(Error::config(option, 0, "must be at least 1"));
            }
        }
        if let Some(cps) = self.max_cps
            && !(cps > 0.0 && cps <= 1000.0)
        {
            return Err(Error::config("max_cps", cps, "expected characters a second, above 0 and up to 1000"));
        }
        let times = [
            ("min_cue_duration", self.min_cue_duration, 0.0),
            ("max_cue_duration", self.max_cue_duration, 0.001),
            ("min_cue_gap", self.min_cue_gap, 0.0),
        ];
        for (option, time, least) in times {
            if let Some(time) = time
                && !(least..=MAX_TIME).contains(&time.0)
            {
                return Err(Error::config(option, time.0, format!("expected seconds, from {least} to {MAX_TIME}")));
            }
        }
        if let (Some(shortest), Some(longest)) = (self.min_cue_duration, self.max_cue_duration)
            && shortest > longest
        {
            let rule = format!("is more than `max_cue_duration`, {}; no cue can be both", longest.0);
            return Err(Error::config("min_cue_duration", shortest.0, rule));
        }
        let single = [
            ("max_cps", self.max_cps.is_some()),
            ("min_cue_duration", self.min_cue_duration.is_some()),
            ("min_cue_gap", self.min_cue_gap.is_some()),
        ];
        match single.into_iter().find(|(_, given)| *given && self.highlight_words) {
            Some((option, _)) => {
                let rule = "highlighting makes a cue of every word, as long as it is said; leave one of the two out";
                Err(Error::config(option, "given", format!("with `highlight_words`: {rule}")))
            }
            None => Ok(()),
        }
    }

    /// Whether an option is set that moves the times of cues.
    fn moves_cues(&self) -> bool {
        let times = [self.min_cue_duration, self.max_cue_duration, self.min_cue_gap];
        self.max_cps.is_some() || times.iter().any(Option::is_some)
    }
}

/// The transcript as WebVTT.
pub fn vtt(transcript: &Transcript, options: &SubtitleOptions) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for cue in cues(transcript, options, Spaces::Counted, Markup::Vtt) {
        let (start, end) = (timestamp(cue.start, Hours::IfAny, '.'), timestamp(cue.end, Hours::IfAny, '.'));
        out.push_str(&format!("{start} --> {end}\n{}\n\n", cue.text));
    }
    out
}

/// The transcript as SubRip.
pub fn srt(transcript: &Transcript, options: &SubtitleOptions) -> String {
    let mut out = String::new();
    for (index, cue) in cues(transcript, options, Spaces::Counted, Markup::Srt).iter().enumerate() {
        let (start, end) = (timestamp(cue.start, Hours::Always, ','), timestamp(cue.end, Hours::Always, ','));
        out.push_str(&format!("{}\n{start} --> {end}\n{}\n\n", index + 1, cue.text));
    }
    out
}

/// A cue: text and times in milliseconds.
struct Cue {
    start: u64,
    end: u64,
    text: String,
}

impl Cue {
    fn new(start: u64, end: u64, speaker: Option<&str>, text: &str) -> Self {
        let text = speaker.map_or_else(|| text.to_string(), |speaker| format!("[{speaker}]: {text}"));
        Cue { start, end, text: sanitised(&text) }
    }
}

/// The markup rules of a format: whether `<` and `&` in a text are escaped.
#[derive(Clone, Copy, PartialEq)]
enum Markup {
    /// Not escaped: players show unknown tags as text.
    Srt,
    /// Escaped: they start a tag or an entity. A `>` alone is text.
    Vtt,
}

impl Markup {
    fn escaped(self, text: &str) -> Cow<'_, str> {
        match self {
            Markup::Vtt if text.contains(['&', '<']) => text.replace('&', "&amp;").replace('<', "&lt;").into(),
            _ => text.into(),
        }
    }
}

/// Extends every cue to at least one millisecond: players do not show an empty cue, and WebVTT does not allow it. A cue
/// that started at the same time as an extended one starts a millisecond later.
fn lengthen(cues: &mut [Cue]) {
    let mut earliest = 0;
    for cue in cues {
        if cue.start.saturating_add(1) == earliest {
            cue.start = earliest;
        }
        earliest = if cue.end > cue.start { 0 } else { cue.start.saturating_add(1) };
        cue.end = cue.end.max(cue.start.saturating_add(1));
    }
}

/// Removes blank lines, which would end the cue, and arrows, which would be read as its times.
fn sanitised(text: &str) -> String {
    let mut out = text.replace('\r', "");
    while out.contains("\n\n") {
        out = out.replace("\n\n", "\n");
    }
    // Repeated, since `--->` becomes `-->`.
    while out.contains("-->") {
        out = out.replace("-->", "->");
    }
    out
}

/// Whether the width of a line includes the spaces between its words. WhisperX ignores them; the tests do so to
/// compare.
#[derive(Clone, Copy, PartialEq)]
enum Spaces {
    Counted,
    #[cfg(test)]
    Ignored,
}

fn cues(transcript: &Transcript, options: &SubtitleOptions, spaces: Spaces, markup: Markup) -> Vec<Cue> {
    let wordless = transcript.segments.iter().all(|segment| segment.words.is_none());
    let mut groups = if wordless {
        transcript.segments.iter().map(Group::whole).collect()
    } else {
        pace::cut(group(transcript, options, spaces), options, spaces)
    };
    if let (Some(width), true) = (options.max_line_width, options.balance_lines) {
        groups.iter_mut().for_each(|group| lines::balance(&mut group.words, width, spaces));
    }
    // Segments without words keep their times, which may overlap if each channel is a speaker.
    let own = |group: &Group| (milliseconds(group.segment.start), milliseconds(group.segment.end));
    let bounds = if wordless { groups.iter().map(own).collect() } else { bounds(&groups) };
    let mut timings: Vec<(usize, Timing)> = bounds
        .into_iter()
        .enumerate()
        .map(|(index, (start, end))| (index, Timing { start, end, characters: groups[index].characters(spaces) }))
        .collect();
    if options.moves_cues() {
        timings.sort_by_key(|(_, timing)| timing.start);
        pace::place(&mut timings, options);
    }
    let mut out = Vec::new();
    for (index, timing) in timings {
        show(&mut out, &groups[index], (timing.start, timing.end), markup, options);
    }
    lengthen(&mut out);
    out
}

/// Appends the cue of a group, or with highlighting one cue for each word and each pause, within `bounds` in
/// milliseconds.
fn show(out: &mut Vec<Cue>, group: &Group, bounds: (u64, u64), markup: Markup, options: &SubtitleOptions) {
    let speaker = group.segment.speaker.as_deref().map(|speaker| markup.escaped(speaker));
    let (speaker, (start, end)) = (speaker.as_deref(), bounds);
    let plain = text(group, markup, None);
    if !options.highlight_words || group.words.iter().all(|word| word.start.is_none()) {
        out.push(Cue::new(start, end, speaker, &plain));
        return;
    }
    // If no option moves cues, the times of words are used unchanged, as in WhisperX.
    let (first, last) = if options.moves_cues() { bounds } else { (0, u64::MAX) };
    let mut shown_until = start;
    for (index, word) in group.words.iter().enumerate() {
        let Some(from) = word.start.map(milliseconds) else { continue };
        let (mut from, mut until) = (from, word.end.map_or(from, milliseconds));
        if options.moves_cues() {
            from = from.clamp(first.max(shown_until), last.max(shown_until));
            until = until.clamp(from, last.max(from));
        }
        if shown_until < from {
            out.push(Cue::new(shown_until, from, speaker, &plain));
        }
        out.push(Cue::new(from, until, speaker, &text(group, markup, Some(index))));
        shown_until = until;
    }
}

/// The text of a group with its line breaks; the word with the index `underlined` is in `<u>`.
fn text(group: &Group, markup: Markup, underlined: Option<usize>) -> String {
    let mut out = String::new();
    for (index, word) in group.words.iter().enumerate() {
        if word.breaks_line {
            out.push('\n');
        } else if index > 0 && word.space {
            out.push(' ');
        }
        let text = markup.escaped(word.text);
        if underlined == Some(index) {
            out.push_str(&format!("<u>{text}</u>"));
        } else {
            out.push_str(&text);
        }
    }
    out
}

/// Rounds to milliseconds; ties go to the even number, as in Python. Negative times and NaN become 0.
pub(in crate::output) fn milliseconds(time: Seconds) -> u64 {
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

    /// Cues with a maximum line width, against WhisperX's, with spaces ignored in the width as in WhisperX.
    #[test]
    fn lines_match_whisperx_if_spaces_have_no_width() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/writers");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let cases: serde_json::Value = serde_json::from_str(&read("cases.json")).unwrap();
        let mut compared = 0;
        for case in cases["writers"].as_array().unwrap() {
            let given = &case["options"];
            let (file, size) = (case["file"].as_str().unwrap(), |name: &str| given[name].as_u64().map(|v| v as usize));
            // With width and count WhisperX puts words of several speakers into one cue, under the name of the first
            // speaker.
            let mixes_speakers = file.contains("speakers") && size("max_line_count").is_some();
            if size("max_line_width").is_none() || case["format"] != "srt" || mixes_speakers {
                continue;
            }
            let options = SubtitleOptions {
                max_line_width: size("max_line_width"),
                max_line_count: size("max_line_count"),
                highlight_words: given["highlight_words"] == true,
                ..SubtitleOptions::default()
            };
            let transcript: Transcript = serde_json::from_str(&read(case["transcript"].as_str().unwrap())).unwrap();
            let golden = read(file).replace(" \n", "\n");
            let want: Vec<&str> = golden.split_terminator("\n\n").collect();
            let got = cues(&transcript, &options, Spaces::Ignored, Markup::Srt);
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
