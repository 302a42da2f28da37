//! Crosstalk removal: the built-in conversation, whose words are known, on two channels with crosstalk from each other.

use diarist::channels::{Channel, Merged, merge};
use diarist::types::Segment;

use crate::common::call::{self, Turn, call, conversation, hiss, leak, only, turns};
use crate::common::seeded;

/// The two channels, each with crosstalk from the other, `decibels` quieter and `late` milliseconds later.
fn with_crosstalk(decibels: f64, late: usize) -> [Vec<f32>; 2] {
    let own = call();
    let mut mixed = own.clone();
    leak(&mut mixed[0], &own[1], decibels, late);
    leak(&mut mixed[1], &own[0], decibels, late);
    mixed.iter_mut().zip(["first", "second"]).for_each(|(samples, name)| hiss(samples, name, 85.0));
    mixed
}

/// The segments of all turns: those of the speakers in `own`, and the copies of the others' `late` seconds later, with
/// other words if `changed`.
fn segments(turns: &[Turn], own: &str, late: f64, changed: bool) -> Vec<Segment> {
    let segment = |turn: &Turn| {
        if own.contains(&turn.speaker) {
            return turn.segment(0.0);
        }
        let mut segment = turn.segment(late);
        if changed {
            segment.words.iter_mut().flatten().for_each(|word| word.word.push_str("ing"));
            segment.text = segment.words.iter().flatten().map(|word| format!(" {}", word.word)).collect();
        }
        segment
    };
    turns.iter().map(segment).collect()
}

fn merged(samples: &[Vec<f32>; 2], segments: [Vec<Segment>; 2]) -> Merged {
    let channels = samples.iter().zip(segments).zip(["A", "BC"]);
    let channel = |((samples, segments), label): ((&Vec<f32>, _), &str)| (samples.clone(), segments, label.to_string());
    let channels: Vec<_> = channels.map(channel).collect();
    let channels = channels.iter().map(|(samples, segments, label): &(Vec<f32>, Vec<Segment>, String)| Channel {
        samples,
        segments: segments.clone(),
        label: label.clone(),
    });
    merge(channels.collect()).unwrap()
}

/// The words and their speakers, in order of time.
fn words(merged: &Merged) -> Vec<(String, String)> {
    let word = |word: &diarist::types::Word| (word.speaker.clone().unwrap_or_default(), word.word.clone());
    merged.words.iter().map(word).collect()
}

/// The words of the script and their channels.
fn script(turns: &[Turn]) -> Vec<(String, String)> {
    let channel = |turn: &Turn| if turn.speaker == "A" { "A" } else { "BC" }.to_string();
    turns.iter().flat_map(|turn| turn.words.iter().map(move |word| (channel(turn), word.0.clone()))).collect()
}

#[test]
fn copies_are_written_once_whatever_their_level_and_delay() {
    let turns = turns();
    for decibels in [12.0, 20.0, 30.0] {
        for late in [0, 20, 60] {
            for changed in [false, true] {
                let seconds = late as f64 / 1000.0;
                let all = ["A", "BC"].map(|own| segments(&turns, own, seconds, changed));
                let found = merged(&with_crosstalk(decibels, late), all);
                assert_eq!(words(&found), script(&turns), "{decibels} dB, {late} ms, other words: {changed}");
                assert_eq!(found.crosstalk.iter().sum::<usize>(), script(&turns).len());
            }
        }
    }
}

#[test]
fn copies_without_word_times_are_dropped_as_whole_segments() {
    let turns = turns();
    let without = |segments: Vec<Segment>| -> Vec<Segment> {
        segments.into_iter().map(|segment| Segment { words: None, ..segment }).collect()
    };
    let all = ["A", "BC"].map(|own| without(segments(&turns, own, 0.03, true)));
    let found = merged(&with_crosstalk(18.0, 30), all);
    let texts: Vec<String> = found.segments.iter().map(|segment| segment.text.clone()).collect();
    let want: Vec<String> = turns.iter().map(|turn| turn.segment(0.0).text).collect();
    assert_eq!(texts, want);
    assert!(found.words.is_empty() && found.segments.iter().all(|segment| segment.speaker.is_some()));
}

/// Two speakers who greet each other say the same words at the same time, one of them 12 dB quieter.
#[test]
fn the_same_words_said_by_two_speakers_are_both_kept() {
    let (samples, turns) = (conversation(), turns());
    let (a, b) = (&turns[0], &turns[1]);
    assert!(a.words[0].0 == "Good" && b.words[0].0 == "Good" && a.speaker != b.speaker);
    let earlier = b.words[0].1 - a.words[0].1;
    let first = only(&samples, &turns[..1], "A");
    let mut second = vec![0.0; first.len()];
    let late = only(&samples, &turns[1..2], "BC");
    let shift = (earlier * call::RATE as f64) as usize;
    leak(&mut second, &late[shift..], 12.0, 0);
    assert!([&first, &second].iter().all(|samples| samples.iter().any(|sample| *sample != 0.0)));
    let segment = |turn: &Turn, late: f64| {
        let mut segment = turn.segment(late);
        segment.words.as_mut().unwrap().truncate(2);
        segment.text = " Good morning,".into();
        segment.words.iter_mut().flatten().nth(1).unwrap().word = "morning,".into();
        segment
    };
    let found = merged(&[first, second], [vec![segment(a, 0.0)], vec![segment(b, -earlier)]]);
    assert_eq!(found.crosstalk, [0, 0]);
    assert_eq!(found.words.len(), 4);
}

#[test]
fn a_speaker_who_talks_over_crosstalk_keeps_the_words() {
    let (samples, turns) = (conversation(), turns());
    let first = only(&samples, &turns, "A");
    // The second speaker interrupts: the next turn is moved into the first one.
    let (a, b) = (&turns[0], &turns[1]);
    let earlier = b.words[0].1 - a.words[1].1;
    let own = only(&samples, &turns[1..2], "BC");
    let mut second = vec![0.0; first.len()];
    leak(&mut second, &own[(earlier * call::RATE as f64) as usize..], 3.0, 0);
    leak(&mut second, &first, 30.0, 20);
    hiss(&mut second, "second", 85.0);
    let found = merged(&[first, second], [vec![a.segment(0.0)], vec![b.segment(-earlier)]]);
    let of = |speaker: &str| words(&found).iter().filter(|word| word.0 == speaker).count();
    assert_eq!((of("A"), of("BC"), found.crosstalk.clone()), (a.words.len(), b.words.len(), vec![0, 0]));
}

/// Codecs and noise reduction may change the waveform completely. Noise with the envelope of the speech simulates that.
#[test]
fn equal_words_in_a_row_are_copies_without_any_correlation() {
    let turns = turns();
    let own = call();
    let mut second = seeded::uniform(3, "carrier", own[0].len(), 0.0, 0.02);
    let mut low = 0.0;
    for (sample, own) in second.iter_mut().zip(&own[0]) {
        low = 0.95 * low + *sample;
        *sample = low * own.abs();
    }
    let long = turns.iter().find(|turn| turn.speaker == "A" && turn.words.len() >= 4).unwrap();
    let channels = [own[0].clone(), second];
    let found = merged(&channels, [vec![long.segment(0.0)], vec![long.segment(0.1)]]);
    assert_eq!(found.crosstalk, [0, long.words.len()]);
    // Two equal words may be chance.
    let mut short = long.segment(0.1);
    short.words.as_mut().unwrap().truncate(2);
    let found = merged(&channels, [vec![long.segment(0.0)], vec![short]]);
    assert_eq!(found.crosstalk, [0, 0]);
}

#[test]
fn crosstalk_is_kept_where_the_source_has_no_words() {
    let turns = turns();
    let all = [Vec::new(), segments(&turns, "BC", 0.02, false)];
    let found = merged(&with_crosstalk(20.0, 20), all);
    assert_eq!(found.words.len(), script(&turns).len());
    assert_eq!(found.crosstalk, [0, 0]);
}

/// Three microphones in a room, each with crosstalk from both others.
#[test]
fn the_loudest_of_several_channels_is_the_source() {
    let (samples, turns) = (conversation(), turns());
    let own: Vec<Vec<f32>> = ["A", "B", "C"].iter().map(|speaker| only(&samples, &turns, speaker)).collect();
    let mut mixed = own.clone();
    for (at, samples) in mixed.iter_mut().enumerate() {
        for (other, source) in own.iter().enumerate().filter(|(other, _)| *other != at) {
            leak(samples, source, 14.0 + 3.0 * (at + other) as f64, 5 * (at + other));
        }
        hiss(samples, ["a", "b", "c"][at], 85.0);
    }
    let channels = mixed.iter().enumerate().map(|(at, samples)| Channel {
        samples,
        segments: segments(&turns, ["A", "B", "C"][at], 0.01, at == 2),
        label: ["A", "B", "C"][at].into(),
    });
    let found = merge(channels.collect()).unwrap();
    let want = turns.iter().flat_map(|turn| turn.words.iter().map(|word| (turn.speaker.clone(), word.0.clone())));
    assert_eq!(words(&found), want.collect::<Vec<_>>());
}

/// The gate before recognition: crosstalk is muted, and the channel's own speaker is left as it is.
#[test]
fn copies_are_muted_and_own_speech_is_not() {
    let own = call();
    let mut gated = with_crosstalk(18.0, 25);
    let before = gated.clone();
    let muted = diarist::channels::gate_crosstalk(&mut gated, &|| false).unwrap();
    assert!(muted.iter().all(|share| (0.2..0.8).contains(share)), "{muted:?}");
    let energy = |samples: &[f32]| samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
    for (channel, (own, other)) in own.iter().zip([&own[1], &own[0]]).enumerate() {
        let [mut kept, mut said, mut left, mut leaked] = [0.0; 4];
        for start in (0..own.len()).step_by(1600) {
            let span = start..own.len().min(start + 1600);
            // The copy is 25 ms late.
            let is_own = energy(&own[start.saturating_sub(1600)..own.len().min(start + 3200)]) > 0.0;
            let is_copy = energy(&other[start.saturating_sub(1600)..span.end]) > 0.0;
            let (after, before) = (energy(&gated[channel][span.clone()]), energy(&before[channel][span]));
            if is_own {
                (kept, said) = (kept + after, said + before);
            } else if is_copy {
                (left, leaked) = (left + after, leaked + before);
            }
        }
        assert!(kept > 0.999 * said, "channel {channel}: {kept} of {said} is there");
        assert!(left < 0.05 * leaked, "channel {channel}: {left} of {leaked} is left");
    }
    let stopped = diarist::channels::gate_crosstalk(&mut gated, &|| true);
    assert!(matches!(stopped, Err(diarist::Error::Cancelled)));
}
