//! Turns and words to words with speakers.

use std::collections::HashMap;

use super::turns::Turn;
use crate::types::{Segment, Span, Word};

mod sentences;
mod split;

/// Settings of [`assign`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordOptions {
    /// A word in which nobody speaks gets the speaker of the nearest turn.
    pub fill_nearest: bool,
    /// Segments are cut where the speaker changes.
    pub split: bool,
    /// All words of a sentence get the speaker of most of them.
    pub smooth: bool,
    /// Share of a word during which another must speak to be named beside the word's speaker.
    pub overlap: f64,
}

impl Default for WordOptions {
    fn default() -> Self {
        WordOptions { fill_nearest: false, split: true, smooth: false, overlap: 0.5 }
    }
}

/// Gives every word the speaker of the exclusive turn it overlaps most, and names in [`also`](Word::also) who speaks at
/// the same time according to all turns. An overlapped word gets the speaker of most of its sentence's other words, if that speaker
/// speaks during the word. A word without a time gets the speaker of the word before it in its segment, else of the one after. A segment has
/// the speaker of most of its time in words, or, without words, of most of its own.
pub fn assign(segments: Vec<Segment>, exclusive: &[Turn], all: &[Turn], options: &WordOptions) -> Vec<Segment> {
    let mut segments = segments;
    let (own, others) = (Votes::new(exclusive), Votes::new(all));
    for segment in &mut segments {
        for word in segment.words.iter_mut().flatten() {
            let Some(span) = word_span(word) else { continue };
            word.speaker = own.speaker(span, options.fill_nearest).map(str::to_owned);
            let least = options.overlap * span.duration();
            let beside = others.shares(span).into_iter().filter(|(_, share)| *share > 0.0 && *share >= least);
            word.also = beside.map(|(speaker, _)| speaker.to_owned()).collect();
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
            .or_else(|| own.speaker(Span { start: segment.start, end: segment.end }, options.fill_nearest))
            .map(str::to_owned);
    }
    segments
}

/// What WhisperX does: every word with a start, and every segment for itself, gets the speaker of the turns it overlaps
/// most; overlapping turns count for each of their speakers; nothing is cut.
///
/// Source: whisperX 3.8 `diarize.py`, `assign_word_speakers`.
pub fn assign_as_whisperx(segments: &mut [Segment], all: &[Turn], fill_nearest: bool) {
    let votes = Votes::new(all);
    for segment in segments {
        let span = Span { start: segment.start, end: segment.end };
        if let Some(speaker) = votes.speaker(span, fill_nearest) {
            segment.speaker = Some(speaker.to_owned());
        }
        for word in segment.words.iter_mut().flatten() {
            let Some(start) = word.start else { continue };
            let span = Span { start, end: word.end.unwrap_or(start) };
            if let Some(speaker) = votes.speaker(span, fill_nearest) {
                word.speaker = Some(speaker.to_owned());
            }
        }
    }
}

/// Turns in order of their start, to look up who speaks in a span.
struct Votes<'a> {
    turns: Vec<&'a Turn>,
    /// The latest end of each turn and those before it: where it is past, a look-up can stop going back.
    ends: Vec<f64>,
}

impl<'a> Votes<'a> {
    fn new(turns: &'a [Turn]) -> Self {
        let mut turns: Vec<&Turn> = turns.iter().collect();
        turns.sort_by(|a, b| a.span.start.0.total_cmp(&b.span.start.0));
        let latest = |end: &mut f64, turn: &&Turn| {
            *end = end.max(turn.span.end.0);
            Some(*end)
        };
        let ends = turns.iter().scan(f64::NEG_INFINITY, latest).collect();
        Votes { turns, ends }
    }

    /// Seconds of each speaker in a span, in order of their start.
    fn shares(&self, span: Span) -> Vec<(&'a str, f64)> {
        let after = self.turns.partition_point(|turn| turn.span.start < span.end);
        let first = self.ends[..after].partition_point(|end| *end <= span.start.0);
        let mut shares: Vec<(&str, f64)> = Vec::new();
        for turn in self.turns[first..after].iter().filter(|turn| turn.span.end > span.start) {
            let common = turn.span.end.0.min(span.end.0) - turn.span.start.0.max(span.start.0);
            match shares.iter_mut().find(|(speaker, _)| *speaker == turn.speaker) {
                Some((_, share)) => *share += common,
                None => shares.push((&turn.speaker, common)),
            }
        }
        shares
    }

    /// The speaker with most time in a span. Ties: the earliest start.
    fn speaker(&self, span: Span, fill_nearest: bool) -> Option<&'a str> {
        let most = |best: Option<(&'a str, f64)>, one: (&'a str, f64)| match best {
            Some(best) if best.1 >= one.1 => Some(best),
            _ => Some(one),
        };
        let speaker = self.shares(span).into_iter().fold(None, most).map(|(speaker, _)| speaker);
        if speaker.is_none() && fill_nearest { self.nearest(span) } else { speaker }
    }

    /// The speaker of the turn whose middle is nearest to that of the span.
    fn nearest(&self, span: Span) -> Option<&'a str> {
        let middle = |span: Span| (span.start.0 + span.end.0) / 2.0;
        let away = |turn: &&&Turn| (middle(turn.span) - middle(span)).abs();
        self.turns.iter().min_by(|a, b| away(a).total_cmp(&away(b))).map(|turn| turn.speaker.as_str())
    }
}

fn word_span(word: &Word) -> Option<Span> {
    let start = word.start?;
    Some(Span { start, end: word.end.unwrap_or(start) })
}

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

/// The speaker with most time in words. Ties: the first to speak.
fn most_time(segment: &Segment) -> Option<&str> {
    let mut time: HashMap<&str, f64> = HashMap::new();
    let mut best: Option<&str> = None;
    let spoken = segment.words.iter().flatten().filter_map(|word| Some((word.speaker.as_deref()?, word)));
    for (speaker, word) in spoken.clone() {
        *time.entry(speaker).or_default() += word_span(word).map_or(0.0, Span::duration);
    }
    for (speaker, _) in spoken {
        if best.is_none_or(|best| time[speaker] > time[best]) {
            best = Some(speaker);
        }
    }
    best
}
