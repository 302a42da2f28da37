//! Reading references and hypotheses from JSON, SegLST, STM, CTM, RTTM, UEM and text files.
//!
//! | file | holds |
//! |---|---|
//! | `.json` | a transcript of this crate or of WhisperX; or SegLST: `[{"session_id", "speaker", "words", "start_time", "end_time"}, ...]` |
//! | `.stm` | recordings, speakers, times of utterances, words |
//! | `.ctm` | recordings, words with times, optional speakers |
//! | `.rttm` | recordings, turns |
//! | `.txt` | words, and speakers where a line begins with `[SPEAKER]: ` |
//! | `.uem` | the regions of recordings that are scored |

use std::collections::BTreeMap;
use std::path::Path;

use super::lines;
use super::text::normalised;
use crate::diarize::Turn;
use crate::error::{Error, Result};
use crate::types::{Segment, Span, Transcript};

/// The words and turns of one recording, as far as a file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// The words in order, normalised, with their times.
    pub words: Vec<(String, Option<Span>)>,
    /// The words of each speaker; words without a speaker are under an empty name.
    pub speakers: BTreeMap<String, Vec<String>>,
    /// The turns of the speakers. In a transcript, each segment with a speaker is a turn.
    pub turns: Vec<Turn>,
    /// Whether the format of the file contains words; `words` may be empty nevertheless.
    pub has_words: bool,
    /// Whether the format of the file contains turns; `turns` may be empty nevertheless.
    pub has_turns: bool,
}

/// The recordings of a file, by name.
pub type Scripts = BTreeMap<String, Script>;

impl Script {
    /// Reads a transcript (`.json`), or turns (`.rttm`, of all recordings in the file together).
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Model`] if it is not valid.
    pub fn open(path: &Path) -> Result<Self> {
        let text = read(path)?;
        if extension(path) == "rttm" {
            let turns = parse_rttm(&text).map_err(|reason| Error::model(path, reason))?;
            return Ok(Script { turns, has_turns: true, ..Script::default() });
        }
        let transcript: Transcript =
            serde_json::from_str(&text).map_err(|e| Error::model(path, format!("not a transcript: {e}")))?;
        Ok(Script::from(&transcript))
    }
}

/// Reads all recordings of a `.json`, `.stm`, `.ctm`, `.rttm` or `.txt` file. If the format does not name the
/// recording, the name is that of the file without its extension.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Model`] if its extension is unknown, or its contents are not
/// valid.
pub fn open_all(path: &Path) -> Result<Scripts> {
    let text = read(path)?;
    let refuse = |reason: String| Error::model(path, reason);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut scripts = match extension(path).as_str() {
        "json" => json(&text, &stem).map_err(refuse)?,
        "stm" => of_segments(lines::stm(&text).map_err(refuse)?),
        "ctm" => of_segments(lines::ctm(&text).map_err(refuse)?),
        "rttm" => {
            let turns = lines::rttm(&text).map_err(refuse)?.into_iter();
            turns.map(|(name, turns)| (name, Script { turns, has_turns: true, ..Script::default() })).collect()
        }
        "txt" => {
            let segments = BTreeMap::from([(stem.clone(), lines::txt(&text))]);
            let mut scripts = of_segments(segments);
            scripts.values_mut().for_each(|script| (script.turns, script.has_turns) = (Vec::new(), false));
            scripts
        }
        _ => return Err(refuse("is of no known kind; expected .json, .stm, .ctm, .rttm or .txt".into())),
    };
    if scripts.is_empty() {
        // An empty file is a recording without speech, named after the file.
        let words = extension(path) != "rttm";
        scripts.insert(stem, Script { has_words: words, has_turns: extension(path) != "ctm", ..Script::default() });
    }
    Ok(scripts)
}

/// Reads the scored regions of each recording (`.uem`).
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Model`] if it is no UEM.
pub fn open_uem(path: &Path) -> Result<BTreeMap<String, Vec<Span>>> {
    lines::uem(&read(path)?).map_err(|reason| Error::model(path, reason))
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Error::model(path, "is not UTF-8; save it as such, or convert it with iconv"))?;
    // A byte order mark is not part of the first field.
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// One utterance of SegLST.
#[derive(serde::Deserialize)]
struct Utterance {
    session_id: String,
    #[serde(default)]
    speaker: Option<String>,
    words: String,
    start_time: f64,
    end_time: f64,
}

fn json(text: &str, stem: &str) -> Result<Scripts, String> {
    if text.trim_start().starts_with('[') {
        let list: Vec<Utterance> = serde_json::from_str(text).map_err(|e| format!("not a list of utterances: {e}"))?;
        let mut segments: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
        for one in list {
            let span = Span::new(one.start_time, one.end_time);
            let segment = Segment { text: one.words, speaker: one.speaker, ..lines::segment(span) };
            segments.entry(one.session_id).or_default().push(segment);
        }
        return Ok(of_segments(segments));
    }
    let transcript: Transcript = serde_json::from_str(text).map_err(|e| format!("not a transcript: {e}"))?;
    Ok(BTreeMap::from([(stem.to_owned(), Script::from(&transcript))]))
}

/// The scripts of recordings, from their segments, which are sorted by time.
fn of_segments(recordings: BTreeMap<String, Vec<Segment>>) -> Scripts {
    let script = |(name, mut segments): (String, Vec<Segment>)| {
        segments.sort_by(|a, b| a.start.0.total_cmp(&b.start.0));
        (name, Script::from(&Transcript { segments, ..Transcript::default() }))
    };
    recordings.into_iter().map(script).collect()
}

impl From<&Transcript> for Script {
    fn from(transcript: &Transcript) -> Self {
        let speakers = transcript.segments.iter().any(|segment| segment.speaker.is_some());
        let has_turns = speakers || transcript.segments.is_empty();
        let mut script = Script { has_words: true, has_turns, ..Script::default() };
        for segment in &transcript.segments {
            if let Some(speaker) = &segment.speaker {
                let span = Span { start: segment.start, end: segment.end };
                script.turns.push(Turn { span, speaker: speaker.clone() });
            }
            let mut add = |word: &str, span: Option<Span>, speaker: Option<&String>| {
                let own = script.speakers.entry(speaker.cloned().unwrap_or_default()).or_default();
                let words = normalised(word);
                own.extend(words.iter().cloned());
                // A written word may be normalised to several words; each has the time of the written word.
                script.words.extend(words.into_iter().map(|word| (word, span)));
            };
            match &segment.words {
                Some(words) => words.iter().for_each(|word| {
                    let span = word.start.zip(word.end).map(|(start, end)| Span { start, end });
                    add(&word.word, span, word.speaker.as_ref().or(segment.speaker.as_ref()));
                }),
                None => add(&segment.text, None, segment.speaker.as_ref()),
            }
        }
        script
    }
}

/// The turns of all SPEAKER lines of an RTTM file, of whatever recording.
///
/// # Errors
/// A message with the number of the first line that is not valid.
pub fn parse_rttm(text: &str) -> Result<Vec<Turn>, String> {
    Ok(lines::turns(text)?.into_iter().map(|(_, turn)| turn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rttm_is_read() {
        let text = "SPEAKER a 1 0.500 1.250 <NA> <NA> Ann <NA> <NA>\n;; a comment\nSPKR-INFO a 1 <NA>\n\n";
        let turns = parse_rttm(text).unwrap();
        assert_eq!(turns, [Turn { span: Span::new(0.5, 1.75), speaker: "Ann".into() }]);
        for line in ["SPEAKER a 1 0.5", "SPEAKER a 1 nan 1 <NA> <NA> A", "SPEAKER a 1 0 -1 <NA> <NA> A"] {
            assert!(parse_rttm(line).unwrap_err().starts_with("line 1"), "{line}");
        }
    }

    #[test]
    fn a_transcript_has_words_speakers_and_turns() {
        let json = r#"{"segments": [
            {"start": 0.0, "end": 1.0, "text": " Hi there.", "speaker": "A", "words": [
                {"word": "Hi", "start": 0.0, "end": 0.25, "speaker": "A"}, {"word": "there.", "speaker": "B"}]},
            {"start": 2.0, "end": 3.0, "text": " Well, yes"}]}"#;
        let script = Script::from(&serde_json::from_str::<Transcript>(json).unwrap());
        assert_eq!(script.words[0], ("hi".to_owned(), Some(Span::new(0.0, 0.25))));
        assert_eq!(
            script.words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>(),
            ["hi", "there", "well", "yes"]
        );
        assert_eq!(script.speakers["B"], ["there"]);
        assert_eq!(script.speakers[""], ["well", "yes"]);
        assert_eq!(script.turns.len(), 1);
    }
}
