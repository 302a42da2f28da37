//! Progress observers: progress bars, printed segments, and warnings of one recording.

use std::path::Path;

use diarist::Error;
use diarist::pipeline::{Observer, WordTimeFallback};
use diarist::types::{Segment, Transcript};
use diarist::units::Seconds;

use super::console::{self, Bar};
use super::{interrupt, log, wording};

/// How segments are printed as they are transcribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Not at all.
    Silent,
    /// As WhisperX does: `Transcript: [0.33 --> 4.02] text`.
    WhisperX,
}

/// Shows the progress and the segments of one recording.
pub struct Watch {
    bar: Bar,
    lines: Lines,
    /// Whether to print per cents to stdout.
    percent: bool,
    /// File name without folders, for the progress bar.
    short: String,
    /// Path, for messages.
    name: String,
    /// Whether diarization failed, so that the transcript has no speakers.
    pub without_speakers: bool,
}

impl Watch {
    /// An observer for this recording.
    pub fn new(file: &Path, lines: Lines, print_progress: bool) -> Self {
        let name = file.display().to_string();
        Watch {
            bar: Bar::recording(),
            lines,
            percent: print_progress,
            short: short(file),
            name,
            without_speakers: false,
        }
    }
}

impl Observer for Watch {
    fn progress(&mut self, stage: &'static str, done: Seconds, total: Option<Seconds>) {
        let doing = match stage {
            "audio" => "reading",
            "segmentation" | "vad" => "finding speech",
            "align" => "aligning",
            "diarize" => "telling speakers apart in",
            "channels" => "merging channels of",
            _ => "transcribing",
        };
        self.bar.set(&format!("{doing} {}", self.short), tenths(done), total.map_or(0, tenths));
        if let (true, "asr" | "align" | "diarize", Some(total)) = (self.percent, stage, total) {
            console::line(&format!("Progress: {:.2}%...", 100.0 * done.0 / total.0.max(f64::MIN_POSITIVE)));
        }
    }

    fn segments(&mut self, segments: &[Segment]) {
        if self.lines == Lines::WhisperX {
            print(segments);
        }
    }

    fn unaligned(&mut self, language: &str, reason: &str, instead: WordTimeFallback) {
        let told = wording::dashed(&no_alignment(language, instead));
        let cure = "give a model with --align-model, or say --no-align";
        console::error_once(&told, &format!("{}: {told}; {cure}.\n  {}", self.name, wording::dashed(reason)));
    }

    fn without_speakers(&mut self, reason: &Error) {
        if !self.without_speakers {
            console::error(&format!("{}: its transcript has no speakers: {}", self.name, wording::error(reason)));
        }
        self.without_speakers = true;
    }

    fn is_cancelled(&self) -> bool {
        interrupt::asked()
    }
}

/// The message that words of a language cannot be aligned, and what replaces the alignment.
fn no_alignment(language: &str, instead: WordTimeFallback) -> String {
    let what = match instead {
        WordTimeFallback::Dtw => "word times are taken from the recogniser instead (`align_method` dtw)",
        WordTimeFallback::Nothing => "there are no word times",
    };
    format!("no alignment of `{language}`, so that {what}")
}

/// Observer for a recording whose result is JSON: collects the warnings, which become part of the result.
pub struct Notes<S: Fn() -> bool> {
    /// Whether to cancel the work.
    stop: S,
    /// What is missing from the result, and why.
    pub warnings: Vec<String>,
    /// Whether diarization failed, so that the transcript has no speakers.
    pub without_speakers: bool,
}

impl<S: Fn() -> bool> Notes<S> {
    /// An observer without warnings; the work is cancelled once `stop` returns true.
    pub fn new(stop: S) -> Self {
        Notes { stop, warnings: Vec::new(), without_speakers: false }
    }

    /// Collects and logs the warnings in the result of this recording.
    pub fn of_result(&mut self, file: &Path, transcript: &Transcript) {
        log::warnings(&transcript.warnings);
        self.warnings.extend(transcript.warnings.iter().map(|text| format!("{}: {text}", file.display())));
    }
}

impl<S: Fn() -> bool> Observer for Notes<S> {
    fn unaligned(&mut self, language: &str, reason: &str, instead: WordTimeFallback) {
        self.warnings.push(format!("{}: {reason}", no_alignment(language, instead)));
    }

    fn without_speakers(&mut self, reason: &Error) {
        if !self.without_speakers {
            self.warnings.push(format!("speakers cannot be told apart: {reason}"));
        }
        self.without_speakers = true;
    }

    fn is_cancelled(&self) -> bool {
        (self.stop)()
    }
}

/// Shows the progress of a single stage of a recording.
pub struct ProgressBarWatch {
    bar: Bar,
    doing: &'static str,
    name: String,
    /// Whether to print per cents to stdout.
    percent: bool,
}

impl ProgressBarWatch {
    /// A progress bar for the recording `name`; `doing` is its label.
    pub fn new(doing: &'static str, name: String, percent: bool) -> Self {
        ProgressBarWatch { bar: Bar::recording(), doing, name, percent }
    }

    /// Shows the progress of an earlier step, with its own label.
    pub fn show(&self, doing: &str, done: Seconds, total: Seconds) {
        self.bar.set(&format!("{doing} {}", self.name), tenths(done), tenths(total));
    }
}

impl diarist::watch::Watch for ProgressBarWatch {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        self.show(self.doing, done, total);
        if self.percent {
            console::line(&format!("Progress: {:.2}%...", 100.0 * done.0 / total.0.max(f64::MIN_POSITIVE)));
        }
    }

    fn is_cancelled(&self) -> bool {
        interrupt::asked()
    }
}

/// Seconds to tenths of a second: the progress bar counts integers.
fn tenths(time: Seconds) -> u64 {
    (time.0 * 10.0) as u64
}

/// Prints segments as WhisperX does.
pub fn print(segments: &[Segment]) {
    for segment in segments {
        console::line(&format!("Transcript: {}", line(segment)));
    }
}

/// The file name without folders, which keeps the progress bar short.
pub fn short(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.display().to_string())
}

/// A segment on one line: times in seconds, the speaker if known, and the text.
pub fn line(segment: &Segment) -> String {
    // Each segment takes one line.
    let text = segment.text.trim().replace(['\n', '\r'], " ");
    let speaker = segment.speaker.as_ref().map_or_else(String::new, |speaker| format!("[{speaker}]: "));
    format!("[{:.2} --> {:.2}] {speaker}{text}", segment.start.0, segment.end.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_line() {
        let segment =
            Segment { start: Seconds(0.334), end: Seconds(61.0), text: " Good\nmorning.".into(), ..Segment::default() };
        assert_eq!(line(&segment), "[0.33 --> 61.00] Good morning.");
        let segment = Segment { speaker: Some("Anna".into()), ..segment };
        assert_eq!(line(&segment), "[0.33 --> 61.00] [Anna]: Good morning.");
    }
}
