//! References and results from files.

use std::collections::BTreeMap;
use std::path::Path;

use super::text::normalised;
use crate::diarize::Turn;
use crate::error::{Error, Result};
use crate::types::{Span, Transcript};

/// Words and turns, as far as a file has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// The words in order, normalised, with their times.
    pub words: Vec<(String, Option<Span>)>,
    /// The words of each speaker; those of nobody under an empty name.
    pub speakers: BTreeMap<String, Vec<String>>,
    /// Who speaks when. From a transcript: its segments.
    pub turns: Vec<Turn>,
}

impl Script {
    /// Reads a transcript (`.json`) or turns (`.rttm`, whatever recording they name).
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("rttm")) {
            let turns = parse_rttm(&text).map_err(|reason| Error::model(path, reason))?;
            return Ok(Script { turns, ..Script::default() });
        }
        let transcript: Transcript =
            serde_json::from_str(&text).map_err(|e| Error::model(path, format!("not a transcript: {e}")))?;
        Ok(Script::from(&transcript))
    }
}

impl From<&Transcript> for Script {
    fn from(transcript: &Transcript) -> Self {
        let mut script = Script::default();
        for segment in &transcript.segments {
            if let Some(speaker) = &segment.speaker {
                let span = Span { start: segment.start, end: segment.end };
                script.turns.push(Turn { span, speaker: speaker.clone() });
            }
            let mut add = |word: &str, span: Option<Span>, speaker: Option<&String>| {
                let own = script.speakers.entry(speaker.cloned().unwrap_or_default()).or_default();
                let words = normalised(word);
                own.extend(words.iter().cloned());
                // One written word may be several: the time is that of all of them.
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

/// The SPEAKER lines of an RTTM file.
pub fn parse_rttm(text: &str) -> Result<Vec<Turn>, String> {
    let mut turns = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.first() != Some(&"SPEAKER") {
            continue;
        }
        let time = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).filter(|t| t.is_finite());
        let (Some(start), Some(length), Some(speaker)) = (time(3), time(4).filter(|t| *t >= 0.0), fields.get(7)) else {
            return Err(format!("line {}: expected SPEAKER FILE CHANNEL START LENGTH <NA> <NA> NAME", number + 1));
        };
        turns.push(Turn { span: Span::new(start, start + length), speaker: (*speaker).to_owned() });
    }
    Ok(turns)
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
