//! Merges the segments of several channels into one transcript, ordered by time.

use super::units::{self, Unit};
use super::{Merged, pieces};
use crate::types::{Segment, Span, Turn, Word};

/// Words of a channel with a pause shorter than this between them belong to one turn, in seconds.
const PAUSE: f64 = 0.5;
/// Minimum share of a word during which another channel must speak to be listed in [`also`](Word::also): the same share
/// as where diarization assigns speakers to words.
const OVERLAP: f64 = 0.5;

/// Merges channels, given as label of the speaker and segments. A segment is split where another channel speaks in one
/// of its pauses. Segments are ordered by their start; words that overlap with another speaker list that speaker in
/// [`also`](Word::also).
pub(super) fn by_time(channels: Vec<(String, Vec<Segment>)>) -> Merged {
    let units: Vec<Vec<Unit>> = channels.iter().map(|(_, segments)| units::of(segments)).collect();
    let mut turns: Vec<Turn> = Vec::new();
    // The middle of each unit, and its channel.
    let mut middles: Vec<(f64, usize)> = Vec::new();
    for (channel, ((label, _), units)) in channels.iter().zip(&units).enumerate() {
        turns.extend(turns_of(label, units));
        middles.extend(units.iter().map(|unit| ((unit.span.start.0 + unit.span.end.0) / 2.0, channel)));
    }
    turns.sort_by(|a, b| a.span.start.0.total_cmp(&b.span.start.0));
    middles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut segments = Vec::new();
    for (channel, (label, own)) in channels.into_iter().enumerate() {
        let others: Vec<&Turn> = turns.iter().filter(|turn| turn.speaker != label).collect();
        for mut segment in own {
            let cuts = cuts_at_pauses(&segment, &middles, channel);
            segment.speaker = Some(label.clone());
            for word in segment.words.iter_mut().flatten() {
                word.speaker = Some(label.clone());
                word.also = overlapping_speakers(word, &others);
            }
            segments.extend(pieces::cut(segment, &cuts));
        }
    }
    segments.sort_by(|a, b| a.start.0.total_cmp(&b.start.0));
    Merged { words: words_by_time(&segments), segments, turns, crosstalk: Vec::new() }
}

/// The turns of a channel: its units, joined across short pauses.
fn turns_of(label: &str, units: &[Unit]) -> Vec<Turn> {
    let mut spans: Vec<Span> = units.iter().map(|unit| unit.span).collect();
    spans.sort_by(|a, b| a.start.0.total_cmp(&b.start.0));
    let mut turns: Vec<Turn> = Vec::new();
    for span in spans {
        match turns.last_mut() {
            Some(turn) if span.start.0 - turn.span.end.0 < PAUSE => {
                turn.span.end.0 = turn.span.end.0.max(span.end.0);
            }
            _ => turns.push(Turn { span, speaker: label.to_string() }),
        }
    }
    turns
}

/// The indices of the words of a segment that follow a pause in which another channel speaks. `middles` are the middle
/// of each unit of all channels and its channel, in order of time.
fn cuts_at_pauses(segment: &Segment, middles: &[(f64, usize)], channel: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut end: Option<f64> = None;
    for (at, word) in segment.words.iter().flatten().enumerate() {
        let Some(start) = word.start else { continue };
        if let Some(end) = end {
            let first = middles.partition_point(|(middle, _)| *middle < end);
            let mut between = middles[first..].iter().take_while(|(middle, _)| *middle < start.0);
            cuts.extend(between.any(|(_, other)| *other != channel).then_some(at));
        }
        let until = word.end.unwrap_or(start).0;
        end = Some(end.map_or(until, |end| end.max(until)));
    }
    cuts
}

/// The other speakers that speak during at least [`OVERLAP`] of a word. `turns` are those of other speakers, in order
/// of time.
fn overlapping_speakers(word: &Word, turns: &[&Turn]) -> Vec<String> {
    let (Some(start), Some(end)) = (word.start, word.end) else { return Vec::new() };
    let after = turns.partition_point(|turn| turn.span.start < end);
    let mut shares: Vec<(&str, f64)> = Vec::new();
    for turn in turns[..after].iter().filter(|turn| turn.span.end > start) {
        let common = turn.span.end.0.min(end.0) - turn.span.start.0.max(start.0);
        match shares.iter_mut().find(|(speaker, _)| *speaker == turn.speaker) {
            Some((_, share)) => *share += common,
            None => shares.push((&turn.speaker, common)),
        }
    }
    let least = OVERLAP * (end.0 - start.0);
    let overlapping = shares.into_iter().filter(|(_, share)| *share > 0.0 && *share >= least);
    overlapping.map(|(speaker, _)| speaker.to_string()).collect()
}

/// All words in order of time. A word without a time stays behind the word before it in its segment.
fn words_by_time(segments: &[Segment]) -> Vec<Word> {
    let mut words: Vec<(f64, &Word)> = Vec::new();
    for segment in segments {
        let mut last = segment.start.0;
        for word in segment.words.iter().flatten() {
            last = word.start.map_or(last, |start| start.0);
            words.push((last, word));
        }
    }
    words.sort_by(|a, b| a.0.total_cmp(&b.0));
    words.into_iter().map(|(_, word)| word.clone()).collect()
}
