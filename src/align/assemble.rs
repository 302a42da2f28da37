//! Assembly of the alignment result: label spans to sentences, words and characters with times.

use std::ops::Range;

use super::ctc_paths::LabelSpan;
use super::interpolate::interpolate;
use super::options::AlignOptions;
use super::prepare::Plan;
use super::sentences::sentences;
use super::words::{Clock, TimedWord, letter, words};
use crate::types::{Char, Segment, Span, TimeSource, Word};
use crate::units::Seconds;

/// The CTC path of a segment: label spans and the number of emission rows, or the reason why there is none.
pub type CtcResult = std::result::Result<(Vec<LabelSpan>, usize), String>;

/// The sentences of a segment, with the times of their words.
pub fn assemble(plan: &Plan, path: CtcResult, language: &str, options: &AlignOptions) -> Vec<Segment> {
    let (labels, rows, unaligned) = match path {
        Ok((labels, rows)) => (labels, rows, None),
        Err(reason) => (Vec::new(), 1, Some(reason)),
    };
    let clock = Clock { start: plan.span.start, duration: Seconds(plan.span.duration()), rows };
    let aligned = AlignedSegment { plan, labels, clock, unaligned };
    let timed = aligned.words(options);
    let sentences = sentences(&plan.segment.text, language, &plan.labels.words);
    if sentences.is_empty() {
        return vec![aligned.empty(options)];
    }
    (0..sentences.len()).map(|i| aligned.sentence(&sentences, i, &timed, options)).collect()
}

struct AlignedSegment<'a> {
    plan: &'a Plan,
    labels: Vec<LabelSpan>,
    clock: Clock,
    unaligned: Option<String>,
}

impl AlignedSegment<'_> {
    /// All words of the segment: aligned times, or interpolated ones for words without labels.
    fn words(&self, options: &AlignOptions) -> Vec<Word> {
        let (text, labels) = (&self.plan.segment.text, &self.plan.labels);
        let ranges: Vec<Range<usize>> = labels.words.iter().map(|word| word.labels.clone()).collect();
        let aligned = words(&self.labels, &ranges, self.clock);
        let mut times: Vec<Option<Span>> =
            aligned.iter().map(|word| word.map(|w| Span { start: w.start, end: w.end })).collect();
        let letters: Vec<usize> = labels.words.iter().map(|word| word.characters.len()).collect();
        interpolate(&mut times, &letters, self.plan.span, options.interpolate);
        let word = |((word, aligned), time): ((&super::labels::Word, &Option<TimedWord>), &Option<Span>)| Word {
            word: text[word.text.clone()].to_string(),
            start: time.map(|time| time.start),
            end: time.map(|time| time.end),
            score: aligned.map(|aligned| aligned.score),
            source: match aligned {
                Some(_) if word.wildcard => Some(TimeSource::Wildcard),
                Some(_) => Some(TimeSource::Aligned),
                None => time.map(|_| TimeSource::Interpolated),
            },
            speaker: self.plan.segment.speaker.clone(),
            also: Vec::new(),
        };
        labels.words.iter().zip(&aligned).zip(&times).map(word).collect()
    }

    /// Sentence `i`, with the recogniser's fields of the segment.
    fn sentence(&self, sentences: &[Range<usize>], i: usize, words: &[Word], options: &AlignOptions) -> Segment {
        let (text, spelled) = (&self.plan.segment.text, &self.plan.labels.words);
        let range = sentences[i].clone();
        let (first, last) = (&spelled[range.start], &spelled[range.end - 1]);
        let words = &words[range];
        let start = words.iter().find_map(|word| word.start).unwrap_or(self.plan.span.start);
        let end = words.iter().rev().find_map(|word| word.end).unwrap_or(self.plan.span.end);
        // A space belongs to the character before it.
        let next = sentences.get(i + 1).map_or(last.characters.end, |next| spelled[next.start].characters.start);
        let chars =
            options.characters.then(|| self.characters(first.characters.start..next, words, spelled, &sentences[i]));
        Segment {
            start,
            end,
            text: text[first.text.start..last.text.end].to_string(),
            words: Some(words.to_vec()),
            chars,
            unaligned: self.unaligned.clone(),
            ..self.plan.segment.clone()
        }
    }

    /// A segment without words.
    fn empty(&self, options: &AlignOptions) -> Segment {
        Segment {
            start: self.plan.span.start,
            end: self.plan.span.end,
            words: Some(Vec::new()),
            chars: options.characters.then(Vec::new),
            unaligned: self.unaligned.clone(),
            ..self.plan.segment.clone()
        }
    }

    /// Characters with the times of their labels. A number that is aligned in spoken form has no label per digit: its
    /// characters divide the time of the word evenly. Punctuation has no time.
    fn characters(
        &self,
        range: Range<usize>,
        words: &[Word],
        spelled: &[super::labels::Word],
        sentence: &Range<usize>,
    ) -> Vec<Char> {
        let characters = &self.plan.labels.characters;
        let one = |i: usize| {
            let time = characters[i].label.and_then(|label| self.labels.get(label)).map(|l| letter(l, self.clock));
            Char {
                char: characters[i].character.to_string(),
                start: time.map(|time| time.start),
                end: time.map(|time| time.end),
                score: time.map(|time| time.score),
            }
        };
        let mut out: Vec<Char> = range.clone().map(one).collect();
        for (word, spelled) in words.iter().zip(&spelled[sentence.clone()]) {
            let has_label = |i: usize| characters[i].label.is_some();
            let any_label = spelled.characters.clone().any(has_label);
            let (Some(start), Some(end), false) = (word.start, word.end, any_label) else {
                continue;
            };
            if word.source == Some(TimeSource::Interpolated) {
                continue;
            }
            let mut times = vec![None; spelled.characters.len()];
            let letters = vec![1; times.len()];
            interpolate(&mut times, &letters, Span { start, end }, super::options::Interpolate::Linear);
            for (i, time) in spelled.characters.clone().zip(times) {
                let char = &mut out[i - range.start];
                (char.start, char.end) = (time.map(|time| time.start), time.map(|time| time.end));
            }
        }
        out
    }
}
