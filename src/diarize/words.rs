//! Speaker assignment for words and segments, by overlap with diarization turns.

use std::collections::HashMap;

use super::turns::Turn;
use crate::types::{Segment, Span, Word};

mod sentences;
mod split;

/// Settings of [`assign`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordOptions {
    /// Whether a word that overlaps no turn gets the speaker of the nearest turn.
    pub fill_nearest: bool,
    /// Whether segments are split where the speaker changes.
    pub split: bool,
    /// Whether all words of a sentence get the speaker of more than half of them.
    pub smooth: bool,
    /// Share of a word's duration from which another active speaker is added to [`Word::also`].
    pub overlap: f64,
}

impl Default for WordOptions {
    fn default() -> Self {
        WordOptions { fill_nearest: false, split: true, smooth: false, overlap: 0.5 }
    }
}

/// Assigns speakers to words and segments.
///
/// | item | speaker |
/// |---|---|
/// | word | the speaker with the most time in it, by the exclusive turns; [`also`](Word::also) has others active at that time, by all turns |
/// | overlapped word | the speaker of most other words of its sentence, if that speaker is active during the word |
/// | word without a time | the speaker of the word before it in its segment, else of the word after it |
/// | segment | the speaker with the most time in its words; without words, in the exclusive turns |
pub fn assign(segments: Vec<Segment>, exclusive: &[Turn], all: &[Turn], options: &WordOptions) -> Vec<Segment> {
    let mut segments = segments;
    let (exclusive, all) = (TurnIndex::new(exclusive), TurnIndex::new(all));
    for segment in &mut segments {
        for word in segment.words.iter_mut().flatten() {
            let Some(span) = word_span(word) else { continue };
            word.speaker = exclusive.speaker(span, options.fill_nearest).map(str::to_owned);
            let least = options.overlap * span.duration();
            let active = all.responsibilities(span).into_iter().filter(|(_, share)| *share > 0.0 && *share >= least);
            word.also = active.map(|(speaker, _)| speaker.to_owned()).collect();
            word.also.retain(|speaker| Some(speaker) != word.speaker.as_ref());
        }
        fill_untimed(segment.words.as_deref_mut().unwrap_or_default());
    }
    sentences::settle_overlapped(&mut segments);
    if options.smooth {
        sentences::smooth(&mut segments);
    }
    if options.split {
        segments = segments.into_iter().flat_map(split::at_changes).collect();
    }
    for segment in &mut segments {
        segment.speaker = most_time(segment)
            .or_else(|| exclusive.speaker(Span { start: segment.start, end: segment.end }, options.fill_nearest))
            .map(str::to_owned);
    }
    segments
}

/// Assigns speakers as WhisperX does: every segment, and independently every word with a start, gets the speaker with
/// the most time in it. Overlapping turns count for each of their speakers. Segments are not split.
///
/// Source: whisperX 3.8 `diarize.py`, `assign_word_speakers`.
pub fn assign_as_whisperx(segments: &mut [Segment], all: &[Turn], fill_nearest: bool) {
    let turns = TurnIndex::new(all);
    for segment in segments {
        let span = Span { start: segment.start, end: segment.end };
        if let Some(speaker) = turns.speaker(span, fill_nearest) {
            segment.speaker = Some(speaker.to_owned());
        }
        for word in segment.words.iter_mut().flatten() {
            let Some(start) = word.start else { continue };
            let span = Span { start, end: word.end.unwrap_or(start) };
            if let Some(speaker) = turns.speaker(span, fill_nearest) {
                word.speaker = Some(speaker.to_owned());
            }
        }
    }
}

/// Index of turns by start time, to look up the speakers active in a span.
struct TurnIndex<'a> {
    turns: Vec<&'a Turn>,
    /// Running maximum of the ends: turns up to an entry at or before a span's start cannot overlap it.
    ends: Vec<f64>,
}

impl<'a> TurnIndex<'a> {
    fn new(turns: &'a [Turn]) -> Self {
        let mut turns: Vec<&Turn> = turns.iter().collect();
        turns.sort_by(|a, b| a.span.start.0.total_cmp(&b.span.start.0));
        let latest = |end: &mut f64, turn: &&Turn| {
            *end = end.max(turn.span.end.0);
            Some(*end)
        };
        let ends = turns.iter().scan(f64::NEG_INFINITY, latest).collect();
        TurnIndex { turns, ends }
    }

    /// Seconds of each speaker in a span, in the order of the speakers' first turns.
    fn responsibilities(&self, span: Span) -> Vec<(&'a str, f64)> {
        let after = self.turns.partition_point(|turn| turn.span.start < span.end);
        let first = self.ends[..after].partition_point(|end| *end <= span.start.0);
        let mut responsibilities: Vec<(&str, f64)> = Vec::new();
        for turn in self.turns[first..after].iter().filter(|turn| turn.span.end > span.start) {
            let common = turn.span.end.0.min(span.end.0) - turn.span.start.0.max(span.start.0);
            match responsibilities.iter_mut().find(|(speaker, _)| *speaker == turn.speaker) {
                Some((_, share)) => *share += common,
                None => responsibilities.push((&turn.speaker, common)),
            }
        }
        responsibilities
    }

    /// The speaker with the most time in a span. Ties: the earliest turn. Without any, the nearest speaker if
    /// `fill_nearest`.
    fn speaker(&self, span: Span, fill_nearest: bool) -> Option<&'a str> {
        let most = |best: Option<(&'a str, f64)>, one: (&'a str, f64)| match best {
            Some(best) if best.1 >= one.1 => Some(best),
            _ => Some(one),
        };
        let speaker = self.responsibilities(span).into_iter().fold(None, most).map(|(speaker, _)| speaker);
        if speaker.is_none() && fill_nearest { self.nearest(span) } else { speaker }
    }

    /// The speaker of the turn whose middle is nearest to the middle of the span.
    fn nearest(&self, span: Span) -> Option<&'a str> {
        let middle = |span: Span| (span.start.0 + span.end.0) / 2.0;
        let distance = |turn: &&&Turn| (middle(turn.span) - middle(span)).abs();
        self.turns.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).map(|turn| turn.speaker.as_str())
    }
}

fn word_span(word: &Word) -> Option<Span> {
    let start = word.start?;
    Some(Span { start, end: word.end.unwrap_or(start) })
}

/// Gives words without a time the speaker of the word before them, else of the word after them.
fn fill_untimed(words: &mut [Word]) {
    let mut last = None;
    for word in words.iter_mut() {
        if word.start.is_none() {
            word.speaker.clone_from(&last);
        } else {
            last.clone_from(&word.speaker);
        }
    }
    let mut next = None;
    for word in words.iter_mut().rev() {
        if word.start.is_none() && word.speaker.is_none() {
            word.speaker.clone_from(&next);
        } else {
            next.clone_from(&word.speaker);
        }
    }
}

/// The speaker with the most time in a segment's words. Ties: the speaker of the earliest word.
fn most_time(segment: &Segment) -> Option<&str> {
    let mut time: HashMap<&str, f64> = HashMap::new();
    let mut best: Option<&str> = None;
    let assigned = segment.words.iter().flatten().filter_map(|word| Some((word.speaker.as_deref()?, word)));
    for (speaker, word) in assigned.clone() {
        *time.entry(speaker).or_default() += word_span(word).map_or(0.0, Span::duration);
    }
    for (speaker, _) in assigned {
        if best.is_none_or(|best| time[speaker] > time[best]) {
            best = Some(speaker);
        }
    }
    best
}
