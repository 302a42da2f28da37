//! Recognition of text files, which must never be passed to ffmpeg: it takes some of them for playlists and opens the
//! files listed there.

/// Number of bytes examined.
const EXAMINED: usize = 4096;

/// The kind of text, with an article; `None` if the bytes are not text.
pub(super) fn kind(head: &[u8]) -> Option<&'static str> {
    let head = &head[..head.len().min(EXAMINED)];
    let utf16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if utf16 && head.iter().filter(|byte| **byte == 0).count() * 3 > head.len() {
        return Some("a text");
    }
    if head.is_empty() || !is_text(head) {
        return None;
    }
    let lower = String::from_utf8_lossy(head).to_lowercase();
    let start = lower.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
    let begins = |words: &[&str]| words.iter().any(|word| start.starts_with(word));
    Some(match () {
        () if begins(&["<!doctype html", "<html", "<head", "<body", "<script"]) => "a web page",
        () if begins(&["<?xml", "<svg", "<smil", "<asx", "<mpd"]) => "an XML text",
        () if begins(&["#extm3u", "[playlist]", "ffconcat"]) => "a playlist, which names other files",
        () if begins(&["v=0\n", "v=0\r"]) => "a session description (SDP)",
        () if begins(&["webvtt", "[script info]", "1\n00:", "1\r\n00:"]) => "a text with subtitles",
        () if begins(&["{", "["]) => "a JSON text",
        () => "a text",
    })
}

/// Whether the bytes are UTF-8, or at least 90 % ASCII (another superset of ASCII), without control characters that do
/// not occur in text.
fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| (*byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b)) || *byte == 0x7f;
    if head.iter().any(control) {
        return false;
    }
    let utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // A character that is cut off at the end of the examined bytes.
        Err(error) => error.error_len().is_none() && error.valid_up_to() + 4 > head.len(),
    };
    utf8 || head.iter().filter(|byte| byte.is_ascii()).count() * 10 >= head.len() * 9
}
