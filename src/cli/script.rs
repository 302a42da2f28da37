//! Readers of the text file of `align`: plain text, subtitles (SubRip or WebVTT), or a transcript in JSON.
//!
//! Subtitles are recognised by their contents, since their files are often called `.txt`. Their times are not used: the
//! text is aligned with the whole recording, so subtitles of another cut of it work, too. There is no maintained crate
//! that reads both formats, and only the text is needed.
//!
//! Sources: W3C WebVTT (2019), sections 4.1 and 6.1. SubRip has no specification; the reader accepts what FFmpeg and
//! VLC accept.

use std::path::Path;

use diarist::asr::language_names;
use diarist::types::{Segment, Transcript};
use diarist::{Error, Result};

/// The text to align.
#[derive(Debug, PartialEq)]
pub enum KnownText {
    /// Text without times.
    Text(String),
    /// Segments; the words of each are aligned within its times.
    Segments(Vec<Segment>),
}

/// Reads the text file. Returns the text, and the language if the file is a transcript that names it.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Model`] if it is not text, is empty, or is JSON but not a transcript.
pub fn read(file: &Path) -> Result<(KnownText, Option<String>)> {
    let refuse = |reason: String| Error::model(file, reason);
    let bytes = std::fs::read(file).map_err(|e| match e.kind() {
        std::io::ErrorKind::IsADirectory => refuse("is a directory; name the file with the text".into()),
        _ => Error::io(file, e),
    })?;
    let text = decode(bytes).map_err(refuse)?;
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return transcript(&text, refuse);
    }
    let lines = if is_subtitles(&text) { subtitle_lines(&text) } else { text.lines().map(without_speaker).collect() };
    if lines.iter().all(|line| line.trim().is_empty()) {
        return Err(refuse("is empty: there is nothing to find".into()));
    }
    Ok((KnownText::Text(lines.join("\n")), None))
}

/// Parses a transcript: its segments and its language.
fn transcript(text: &str, refuse: impl Fn(String) -> Error) -> Result<(KnownText, Option<String>)> {
    let transcript: Transcript = serde_json::from_str(text)
        .map_err(|e| refuse(format!("is not a transcript of diarist or WhisperX ({e}); a plain text ends in .txt")))?;
    if transcript.segments.is_empty() {
        return Err(refuse("has no segments: there is nothing to find".into()));
    }
    let language = transcript.language.as_deref().map(language_names::code).transpose()?;
    Ok((KnownText::Segments(transcript.segments), language.map(str::to_string)))
}

/// Decodes UTF-8 with or without a byte order mark, or UTF-16 with one.
fn decode(bytes: Vec<u8>) -> std::result::Result<String, String> {
    let units = |unit: fn([u8; 2]) -> u16| -> Vec<u16> {
        bytes[2..].chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect()
    };
    let wide = match bytes.get(..2) {
        Some([0xff, 0xfe]) => Some(units(u16::from_le_bytes)),
        Some([0xfe, 0xff]) => Some(units(u16::from_be_bytes)),
        _ => None,
    };
    if let Some(units) = wide {
        return String::from_utf16(&units).map_err(|_| "is not UTF-16, as its first bytes say".to_string());
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        format!("is not UTF-8 (byte {at}); save it as such, or convert it with iconv")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

/// Whether a text is WebVTT (by its header) or SubRip (the first line, or the second after a number, has cue times).
fn is_subtitles(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let header = first.strip_prefix("WEBVTT").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
    header || is_cue_times(first) || is_number(first) && lines.next().is_some_and(is_cue_times)
}

/// Whether a line has cue times: `00:00:05,000 --> 00:00:08,000`, optionally followed by settings.
fn is_cue_times(line: &str) -> bool {
    let Some((start, end)) = line.split_once("-->") else { return false };
    [Some(start.trim()), end.split_whitespace().next()].into_iter().all(|time| time.is_some_and(is_timestamp))
}

/// Whether a text is `[hours:]minutes:seconds`, optionally with a fraction after a comma or a point.
fn is_timestamp(time: &str) -> bool {
    let (whole, fraction) = time.split_once([',', '.']).unwrap_or((time, "0"));
    let parts: Vec<&str> = whole.split(':').collect();
    matches!(parts.len(), 2 | 3) && parts.iter().chain([&fraction]).all(|part| is_number(part.trim()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The text lines of all cues. Subtitles that underline one word after another (`--highlight-words`) repeat the same
/// text in successive cues; these repetitions are dropped.
fn subtitle_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut out: Vec<String> = Vec::new();
    let mut last: (String, bool) = Default::default();
    let mut at = 0;
    while let Some(times) = lines[at.min(lines.len())..].iter().position(|line| is_cue_times(line)) {
        // The lines before the cue times are headers, notes, styles and cue identifiers, not lines text.
        let from = at + times + 1;
        let to = end_of_cue(&lines, from);
        let raw = lines[from..to].join("\n");
        let cue = (strip_markup(&raw), raw.contains("<u>"));
        if !(cue.0 == last.0 && cue.1 && last.1) {
            out.extend(cue.0.lines().map(without_speaker));
        }
        last = cue;
        at = to;
    }
    out
}

/// The end (exclusive) of the text of a cue that begins at line `from`: an empty line, or without one the next cue's
/// number or times. An empty line within the text of a SubRip cue does not end it, unless the identifier of the next
/// cue or a WebVTT block follows.
fn end_of_cue(lines: &[&str], from: usize) -> usize {
    let is_block =
        |line: &str| ["NOTE", "STYLE", "REGION"].iter().any(|word| line.split_whitespace().next() == Some(word));
    for at in from..lines.len() {
        let next = lines.get(at + 1).copied().unwrap_or_default();
        if is_cue_times(lines[at]) || is_number(lines[at]) && is_cue_times(next) {
            return at;
        }
        if lines[at].is_empty() && (is_block(next) || lines.get(at + 2).is_some_and(|line| is_cue_times(line))) {
            return at;
        }
    }
    lines.len()
}

/// Removes tags (`<v Anna>`, `<i>`, `<00:01.000>`) and `{\an8}`, and decodes entities.
fn strip_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '{', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, stands_for) = markup(rest);
        out.push_str(stands_for);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out.replace(['\u{200e}', '\u{200f}'], "")
}

/// The length of the markup at the start of a text, and its replacement; other characters are replaced by themselves.
fn markup(text: &str) -> (usize, &str) {
    const ENTITIES: [(&str, &str); 8] = [
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&nbsp;", " "),
        ("&lrm;", ""),
    ];
    if let Some((entity, character)) = ENTITIES.iter().find(|(entity, _)| text.starts_with(entity)) {
        return (entity.len(), character);
    }
    let tag =
        |start: &str, end: char| text.strip_prefix(start).and_then(|rest| Some(start.len() + rest.find(end)? + 1));
    let is_tag = text[1..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/' || c == '.');
    let length = tag("{\\", '}').or_else(|| tag("<", '>').filter(|_| is_tag));
    length.map_or((1, &text[..1]), |length| (length, ""))
}

/// Removes the `[SPEAKER_00]: ` that `transcribe` writes before a line.
fn without_speaker(line: &str) -> String {
    let named = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    named.filter(|(name, _)| !name.contains('[')).map_or(line, |(_, text)| text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> std::result::Result<String, String> {
        let text = decode(bytes.to_vec())?;
        Ok(if is_subtitles(&text) { subtitle_lines(&text).join("/") } else { format!("no subtitles: {text}") })
    }

    #[test]
    fn the_words_of_subtitles_are_read() {
        for (subtitles, want) in [
            (
                "1\n00:00:00,000 --> 00:00:05,000\nAnd so,\nmy\n\n2\n00:00:05,000 --> 00:00:08,000\nask 2\n",
                "And so,/my/ask 2",
            ),
            (
                "\u{feff}1\r\n00:00:00,000 --> 00:00:05,000\r\nOne\r\n\r\n2\r\n00:00:05,0 --> 00:00:08,0\r\nTwo",
                "One/Two",
            ),
            ("00:01 --> 00:02\nNo numbers\n\n00:03 --> 00:04\nat all", "No numbers/at all"),
            (
                "1\n00:00:00,000 --> 00:00:05,000\nno empty line\n2\n00:00:05,000 --> 00:00:08,000\nbetween",
                "no empty line/between",
            ),
            ("1\n00:00:00,000 --> 00:00:05,000\n\n2\n00:00:05,000 --> 00:00:08,000\nafter nothing", "/after nothing"),
            (
                "WEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nNOTE a\nb\n\nintro\n00:01.000 --> 00:02.000 line:0\n<v Anna>Hi,</v> <i.x>you</i>\n\nNOTE c\nd\n\n00:02.000 --> 00:03.000\nA &amp; B &lt; C",
                "Hi, you/A & B < C",
            ),
            ("WEBVTT\n\n00:01.000 --> 00:02.000\n<00:01.500><c>late</c> 2 < 3 {\\an8}{top}", "late 2 < 3 {top}"),
            ("1\n00:00:00,000 --> 00:00:05,000\n[SPEAKER_00]: Hello [noise]: x", "Hello [noise]: x"),
            (
                "WEBVTT\n\n00:01.0 --> 00:02.0\n<u>one</u> two\n\n00:02.0 --> 00:03.0\none <u>two</u>\n\n00:03.0 --> 00:04.0\nNo.\n\n00:04.0 --> 00:05.0\nNo.",
                "one two/No./No.",
            ),
            ("1\n2\n3 --> 4", "no subtitles: 1\n2\n3 --> 4"),
            ("WEBVTTX\nwords", "no subtitles: WEBVTTX\nwords"),
            ("1984\nwas a year", "no subtitles: 1984\nwas a year"),
        ] {
            let got = text(subtitles.as_bytes()).unwrap();
            assert_eq!(got.trim_matches('/'), want.trim_matches('/'), "{subtitles}");
        }
    }

    #[test]
    fn utf16_is_recognised_by_its_byte_order_mark() {
        let srt = "1\n00:00:00,000 --> 00:00:05,000\nGrüße";
        for (mark, bytes) in [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)]
        {
            let wide: Vec<u8> = mark.into_iter().chain(srt.encode_utf16().flat_map(bytes)).collect();
            assert_eq!(text(&wide).unwrap(), "Grüße");
        }
        assert!(text(&[0xff, 0xfe, 0x00, 0xd8]).unwrap_err().contains("UTF-16"));
        assert!(text(b"a\xff").unwrap_err().contains("byte 1"));
    }
}
