//! Parses ffmpeg's standard error: properties of the recording, and errors, of which only the last ones are kept.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Number of error lines that are kept.
const MAX_FAULTS: usize = 3;
/// Number of bytes of a line that are kept.
const MAX_LINE: usize = 300;
/// How long to wait for the end of the standard error after ffmpeg has exited: a child process might hold it open.
const EOF_TIMEOUT: Duration = Duration::from_secs(2);

/// Information parsed so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Report {
    /// ffmpeg's name of the demuxer.
    pub(super) container: String,
    /// ffmpeg's name of the codec.
    pub(super) codec: String,
    /// Length according to the container, in seconds.
    pub(super) length: Option<f64>,
    /// Whether ffmpeg estimated the length from the bit rate.
    estimated: bool,
    /// Number of tracks of any kind.
    tracks: usize,
    /// Packets that could not be decoded.
    pub(super) lost: u64,
    /// Whether the file ends within a packet.
    pub(super) cut_off: bool,
    pub(super) no_audio: bool,
    /// The last error lines.
    faults: VecDeque<String>,
    /// Whether ffmpeg has begun to describe its output instead of its input.
    output: bool,
}

impl Report {
    /// The errors, formatted to be appended to a sentence; empty if there are none.
    pub(super) fn reasons(&self) -> String {
        if self.faults.is_empty() {
            return String::new();
        }
        let faults: Vec<&str> = self.faults.iter().map(String::as_str).collect();
        format!(": {}", faults.join("; "))
    }

    /// The length of the audio track, if the file states it. `None` with several tracks, because it is that of the
    /// longest.
    pub(super) fn stated_length(&self) -> Option<f64> {
        self.length.filter(|_| self.tracks == 1 && !self.estimated)
    }

    /// The length of the longest track, if the file states it.
    pub(super) fn guessed_length(&self) -> Option<f64> {
        self.length.filter(|_| !self.estimated)
    }

    /// Parses one line: `[mov,mp4 @ 0x55] [error] text` or `[info] text`.
    fn line(&mut self, line: &str) {
        let Some((level, text)) = level(line) else { return };
        match level {
            "info" => self.fact(text.trim_start()),
            "error" | "fatal" | "panic" => self.fault(text),
            _ => {
                self.estimated |= text.contains("Estimating duration from bitrate");
                // The last packet of a truncated file, or a packet of a damaged one.
                self.lost += u64::from(text.contains("corrupt input packet"));
            }
        }
    }

    fn fact(&mut self, text: &str) {
        if self.output || text.starts_with("Output #") || text.starts_with("Stream mapping:") {
            self.output = true;
        } else if let Some(rest) = text.strip_prefix("Input #0, ") {
            self.container = rest.split(", from ").next().unwrap_or_default().into();
        } else if let Some(rest) = text.strip_prefix("Duration: ") {
            self.length = seconds(rest);
        } else if text.starts_with("Stream #0:") {
            self.tracks += 1;
            if let (true, Some((_, rest))) = (self.codec.is_empty(), text.split_once(": Audio: ")) {
                self.codec = rest.split([' ', ',']).next().unwrap_or_default().into();
            }
        }
    }

    fn fault(&mut self, text: &str) {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        self.no_audio |= has(&["does not contain any stream", "matches no streams"]);
        self.cut_off |= has(&["partial file", "ended prematurely"]);
        self.lost += u64::from(has(&["Error while decoding stream", "Error submitting packet to decoder"]));
        // Remove control characters, which could manipulate the terminal.
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        // Remove the file's name, which the error message contains already.
        let text = match text.strip_prefix("file:").and_then(|rest| rest.rsplit_once(": ")) {
            Some((_, what)) => what.to_string(),
            None => text,
        };
        if self.faults.back() == Some(&text) {
            return;
        }
        if self.faults.len() == MAX_FAULTS {
            self.faults.pop_front();
        }
        self.faults.push_back(text);
    }
}

/// Splits a line into its log level and its text.
fn level(line: &str) -> Option<(&str, &str)> {
    const LEVELS: [&str; 5] = ["info", "warning", "error", "fatal", "panic"];
    let mut rest = line;
    // Names of one or more components precede the level.
    for _ in 0..3 {
        let (tag, text) = rest.strip_prefix('[')?.split_once("] ")?;
        if let Some(level) = LEVELS.into_iter().find(|level| *level == tag) {
            return Some((level, text));
        }
        rest = text;
    }
    None
}

/// Parses a duration such as `00:00:11.01, start: ...` to seconds.
fn seconds(text: &str) -> Option<f64> {
    let mut parts = text.split(',').next()?.splitn(3, ':').map(|part| part.trim().parse::<f64>().ok());
    let total = parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??;
    Some(total).filter(|total| total.is_finite() && *total > 0.0)
}

/// Reads and parses a standard error on a new thread.
pub(super) struct Reporter {
    report: Arc<Mutex<Report>>,
    /// Closed when the standard error has ended.
    end: Receiver<()>,
}

impl Reporter {
    pub(super) fn start(stderr: impl Read + Send + 'static) -> io::Result<Self> {
        let report = Arc::new(Mutex::new(Report::default()));
        let (sender, end) = channel::<()>();
        let shared = report.clone();
        let work = move || {
            let take = |line: &[u8]| lock(&shared).line(&String::from_utf8_lossy(line));
            // A read error is treated as the end.
            let _ = lines(stderr, take);
            drop(sender);
        };
        thread::Builder::new().name("ffmpeg stderr".into()).spawn(work)?;
        Ok(Reporter { report, end })
    }

    pub(super) fn so_far(&self) -> Report {
        lock(&self.report).clone()
    }

    /// The complete report, after ffmpeg has exited.
    pub(super) fn finish(&self) -> Report {
        // End of the standard error or timeout: continue in both cases.
        let _ = self.end.recv_timeout(EOF_TIMEOUT);
        self.so_far()
    }
}

/// Ignores poisoning: the report is consistent between two lines, even if a thread panicked.
fn lock(report: &Mutex<Report>) -> std::sync::MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `take` with every line, cut to [`MAX_LINE`] bytes.
fn lines(mut source: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut line, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        for &byte in &buffer[..count] {
            match byte {
                b'\n' | b'\r' => {
                    take(&line);
                    line.clear();
                }
                _ if line.len() < MAX_LINE => line.push(byte),
                _ => {}
            }
        }
    }
    take(&line);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        Reporter::start(io::Cursor::new(text.as_bytes().to_vec())).unwrap().finish()
    }

    #[test]
    fn properties_and_errors_are_parsed() {
        let text = "[info] Input #0, mpegts, from 'file:a.ts':\n[info]   Metadata:\n[info]     title           : Stream #0:9: Audio: no\n\
            [info]   Duration: 00:01:11.50, start: 1.400000, bitrate: 233 kb/s\n\
            [info]   Stream #0:0[0x100]: Audio: ac3 (AC-3 / 0x332D4341), 44100 Hz, stereo, fltp, 192 kb/s\n\
            [info] Stream mapping:\n[info]   Stream #0:0 -> #0:0 (ac3 (native) -> pcm_f32be (native))\n\
            [ac3 @ 0x558] [error] expacc 127 is out-of-range\n[error] Error while decoding stream #0:0: Error number\n";
        let report = report(text);
        assert_eq!((report.container.as_str(), report.codec.as_str()), ("mpegts", "ac3"));
        assert_eq!((report.stated_length(), report.lost, report.cut_off), (Some(71.5), 1, false));
        assert_eq!(report.reasons(), ": expacc 127 is out-of-range; Error while decoding stream #0:0: Error number");
    }

    #[test]
    fn an_unreliable_length_is_not_stated() {
        let head = "[info]   Duration: 00:00:10.00, start: 0\n[info]   Stream #0:0: Audio: ac3, 1\n";
        assert_eq!(report(head).stated_length(), Some(10.0));
        assert_eq!(report(&format!("{head}[info]   Stream #0:1: Video: h264\n")).stated_length(), None);
        let estimated =
            format!("[ac3 @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate\n{head}");
        assert_eq!(report(&estimated).stated_length(), None);
        assert_eq!(report("[info]   Duration: N/A, start: 0\n").length, None);
    }

    #[test]
    fn a_flood_keeps_the_last_lines() {
        let mut text: String = (0..100_000).map(|i| format!("[error] {i} {}\n", "x".repeat(1000))).collect();
        text.push_str("[error] the\u{1b}[31m last");
        let reasons = report(&text).reasons();
        assert!(reasons.starts_with(": 99998 xx") && reasons.ends_with("; the[31m last"), "{reasons}");
        assert!(reasons.len() < 1000, "{}", reasons.len());
    }
}
