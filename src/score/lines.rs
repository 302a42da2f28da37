//! Parsers of RTTM, UEM, STM and CTM, whose lines are fields separated by white space, and of plain text.
//!
//! Sources: NIST RT-09 evaluation plan, appendices A and B (RTTM, UEM); NIST SCTK `doc/infmts.htm` (STM, CTM).

use std::collections::BTreeMap;

use crate::diarize::Turn;
use crate::types::{Segment, Span, Word};
use crate::units::Seconds;

/// A segment without words or a speaker.
pub(super) fn segment(span: Span) -> Segment {
    Segment { start: span.start, end: span.end, ..Segment::default() }
}

/// The number and the fields of every line that is neither empty nor a comment (`;;`).
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let numbered = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let real = numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with(";;"));
    real.map(|(number, line)| (number, line.split_whitespace().collect()))
}

/// A time in seconds.
fn time(field: Option<&&str>) -> Option<f64> {
    field?.parse().ok().filter(|time: &f64| time.is_finite())
}

/// A span; `None` if a time is missing, or if the span ends before it starts.
fn span(start: Option<f64>, end: Option<f64>) -> Option<Span> {
    let span = Span::new(start?, end?);
    (span.end >= span.start).then_some(span)
}

fn expected(number: usize, what: &str) -> String {
    format!("line {number}: expected {what}")
}

/// Fields of a line of RTTM. A line with more fields has spaces in a name, and it is unknown in which one.
const RTTM_FIELDS: usize = 10;

/// The SPEAKER lines of an RTTM file, with the recordings they name.
pub(super) fn turns(text: &str) -> Result<Vec<(String, Turn)>, String> {
    let mut turns = Vec::new();
    for (number, fields) in lines(text).filter(|(_, fields)| fields[0] == "SPEAKER") {
        if fields.len() > RTTM_FIELDS {
            return Err(format!(
                "line {number}: it has {} fields, and RTTM has {RTTM_FIELDS}; write `_` for the spaces in names",
                fields.len()
            ));
        }
        let (start, length) = (time(fields.get(3)), time(fields.get(4)));
        let end = start.zip(length).map(|(start, length)| start + length);
        let (Some(span), Some(speaker)) = (span(start, end), fields.get(7)) else {
            return Err(expected(number, "SPEAKER FILE CHANNEL START LENGTH <NA> <NA> NAME"));
        };
        turns.push((fields[1].to_owned(), Turn { span, speaker: (*speaker).to_owned() }));
    }
    Ok(turns)
}

/// The types of RTTM lines: their first field.
const RTTM_TYPES: [&str; 14] = [
    "SEGMENT",
    "NOSCORE",
    "NO_RT_METADATA",
    "LEXEME",
    "NON-LEX",
    "NON-SPEECH",
    "FILLER",
    "EDIT",
    "IP",
    "SU",
    "CB",
    "A/P",
    "SPEAKER",
    "SPKR-INFO",
];

/// The turns of each recording.
pub(super) fn rttm(text: &str) -> Result<BTreeMap<String, Vec<Turn>>, String> {
    let known = |word: &&str| RTTM_TYPES.contains(word);
    if let Some((number, _)) = lines(text).find(|(_, fields)| !known(&fields[0])) {
        return Err(expected(number, "a line of RTTM, such as SPEAKER FILE CHANNEL START LENGTH <NA> <NA> NAME"));
    }
    let mut recordings: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
    for (recording, turn) in turns(text)? {
        recordings.entry(recording).or_default().push(turn);
    }
    Ok(recordings)
}

/// The scored regions of each recording.
pub(super) fn uem(text: &str) -> Result<BTreeMap<String, Vec<Span>>, String> {
    let mut recordings: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for (number, fields) in lines(text) {
        let span = span(time(fields.get(2)), time(fields.get(3))).filter(|_| fields.len() == 4);
        let span = span.ok_or_else(|| expected(number, "FILE CHANNEL START END"))?;
        recordings.entry(fields[0].to_owned()).or_default().push(span);
    }
    Ok(recordings)
}

/// The utterances of each recording: FILE CHANNEL SPEAKER START END [<LABELS>] WORDS.
pub(super) fn stm(text: &str) -> Result<BTreeMap<String, Vec<Segment>>, String> {
    let mut recordings: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
    for (number, fields) in lines(text) {
        let span = span(time(fields.get(3)), time(fields.get(4)));
        let span = span.ok_or_else(|| expected(number, "FILE CHANNEL SPEAKER START END [<LABELS>] WORDS"))?;
        let labels = fields.get(5).is_some_and(|field| field.starts_with('<') && field.ends_with('>'));
        let words = &fields[(5 + usize::from(labels)).min(fields.len())..];
        if words.iter().any(|word| word.eq_ignore_ascii_case("IGNORE_TIME_SEGMENT_IN_SCORING")) {
            return Err(format!(
                "line {number}: stretches that do not count are not known in STM; leave them out of both files"
            ));
        }
        let speaker = Some(fields[2].to_owned());
        let one = Segment { text: words.join(" "), speaker, ..segment(span) };
        recordings.entry(fields[0].to_owned()).or_default().push(one);
    }
    Ok(recordings)
}

/// The words of each recording, each as one segment: FILE CHANNEL START LENGTH WORD [CONFIDENCE [KIND [SPEAKER]]].
pub(super) fn ctm(text: &str) -> Result<BTreeMap<String, Vec<Segment>>, String> {
    let mut recordings: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
    for (number, fields) in lines(text) {
        let (start, length) = (time(fields.get(2)), time(fields.get(3)));
        let span = span(start, start.zip(length).map(|(start, length)| start + length));
        let (Some(span), Some(text)) = (span, fields.get(4)) else {
            return Err(expected(number, "FILE CHANNEL START LENGTH WORD [CONFIDENCE [KIND [SPEAKER]]]"));
        };
        let speaker = fields.get(7).filter(|name| !matches!(**name, "<NA>" | "unknown")).map(|name| (*name).to_owned());
        let (start, end) = (Some(span.start), Some(span.end));
        let word = Word { word: (*text).to_owned(), start, end, ..Word::default() };
        let one = Segment { text: (*text).to_owned(), speaker, words: Some(vec![word]), ..segment(span) };
        recordings.entry(fields[0].to_owned()).or_default().push(one);
    }
    Ok(recordings)
}

/// Lines of text, as segments without times. A line may begin with the speaker as `[NAME]: `, as `transcribe` writes
/// it.
pub(super) fn txt(text: &str) -> Vec<Segment> {
    let line = |line: &str| {
        let named = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        let (speaker, text) = named.map_or((None, line), |(name, text)| (Some(name.to_owned()), text));
        let no_time = Span { start: Seconds(0.0), end: Seconds(0.0) };
        Segment { text: text.to_owned(), speaker, ..segment(no_time) }
    };
    text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty()).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scored_regions_are_read() {
        let found = uem(";; comment\na 1 0.5 2\nb NA 1 3\na 1 4 5\n").unwrap();
        assert_eq!(found["a"], [Span::new(0.5, 2.0), Span::new(4.0, 5.0)]);
        assert_eq!(found["b"], [Span::new(1.0, 3.0)]);
        for bad in ["a 1 2", "a 1 3 2", "a 1 x 2", "a 1 0 1 2"] {
            assert!(uem(bad).unwrap_err().starts_with("line 1: expected FILE"), "{bad}");
        }
    }

    #[test]
    fn utterances_and_words_are_read() {
        let found = stm("a 1 Ann 0.5 2 <o,f0> Hello there\na A Bob 3 4\nb 1 Ann 1 2 x\n").unwrap();
        let texts: Vec<_> = found["a"].iter().map(|s| (s.speaker.as_deref().unwrap(), s.text.as_str())).collect();
        assert_eq!(texts, [("Ann", "Hello there"), ("Bob", "")]);
        assert_eq!((found["a"][0].start.0, found["a"][0].end.0, found.len()), (0.5, 2.0, 2));
        assert!(stm("a 1 Ann 2 1 x").unwrap_err().contains("line 1"));
        assert!(stm("a 1 Ann 1 2 ignore_time_segment_in_scoring").unwrap_err().contains("leave them out"));
        let found = ctm("a 1 0.5 0.25 hello\na 1 1 0.5 you 0.9 lex Bob\na 1 2 0.5 x 0.9 lex <NA>").unwrap();
        assert_eq!(found["a"].iter().map(|s| s.speaker.as_deref()).collect::<Vec<_>>(), [None, Some("Bob"), None]);
        assert_eq!(found["a"][0].words.as_ref().unwrap()[0].end, Some(Seconds(0.75)));
        assert!(ctm("a 1 0.5 -1 hello").is_err() && ctm("a 1 0.5 1").is_err());
    }

    #[test]
    fn lines_of_text_may_name_a_speaker() {
        let found = txt("\u{feff}[Ann]: Hello\n\nno name\n[noise] x\n");
        let found: Vec<_> = found.iter().map(|s| (s.speaker.as_deref(), s.text.as_str())).collect();
        assert_eq!(found, [(Some("Ann"), "Hello"), (None, "no name"), (None, "[noise] x")]);
    }

    #[test]
    fn names_with_spaces_are_refused_in_rttm() {
        for line in [
            "SPEAKER sample 1 6.69 0.43 <NA> <NA> Dr. Smith <NA> <NA>",
            "SPEAKER my sample 1 6.69 0.43 <NA> <NA> speaker90 <NA> <NA>",
        ] {
            let error = rttm(&format!("SPEAKER a 1 0 1 <NA> <NA> A <NA> <NA>\n{line}\n")).unwrap_err();
            assert!(error.starts_with("line 2: it has 11 fields"), "{error}");
        }
    }

    #[test]
    fn unknown_line_types_are_refused_in_rttm() {
        assert!(rttm("1\n00:00:00,000 --> 00:00:01,000\nHello").unwrap_err().starts_with("line 1"));
        assert!(rttm("SPKR-INFO a 1 <NA>\n").unwrap().is_empty());
    }
}
