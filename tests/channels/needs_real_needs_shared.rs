//! A telephone conversation, one speaker per channel, through Whisper tiny.en: with crosstalk of any level and delay
//! the transcript has nearly the same words as without, each once.

use diarist::Engine;
use diarist::api::Device;
use diarist::audio::{DecodeOptions, decode, ignore_progress};
use diarist::channels::ChannelSpeakers;
use diarist::config::Options;
use diarist::pipeline::{Input, WordTimes};
use diarist::types::Transcript;

use crate::common::call::{RATE, hiss, leak, wav};
use crate::common::{real, shared};

/// The conversation, with the turns of each speaker on a separate channel.
fn conversation() -> [Vec<f32>; 2] {
    let samples =
        decode(&shared("audio/dialogue/sample.wav"), &DecodeOptions::default(), ignore_progress).unwrap().samples;
    let rttm = std::fs::read_to_string(shared("audio/dialogue/sample.rttm")).unwrap();
    ["speaker90", "speaker91"].map(|speaker| {
        let mut channel = vec![0.0; samples.len()];
        for line in rttm.lines().filter(|line| line.contains(speaker)) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [start, length] = [3, 4].map(|at| fields[at].parse::<f64>().unwrap());
            let at = |time: f64| ((time * RATE as f64) as usize).min(samples.len());
            let span = at(start)..at(start + length);
            channel[span.clone()].copy_from_slice(&samples[span]);
        }
        channel
    })
}

fn transcribed(engine: &Engine, channels: &[Vec<f32>], words: WordTimes) -> Transcript {
    let mut channels = channels.to_vec();
    channels.iter_mut().zip(["a", "b", "c"]).for_each(|(samples, name)| hiss(samples, name, 65.0));
    let file = wav(&channels.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let names = vec!["Diane".to_string(), "Sheila".to_string()];
    let speakers = ChannelSpeakers { names, ..ChannelSpeakers::default() };
    let options = Options { words, channel_speakers: Some(speakers), ..Options::default() };
    engine.transcribe(Input::Bytes(&file, "call.wav"), &options).unwrap()
}

/// The words of a speaker, without punctuation and case.
fn words(found: &Transcript, speaker: &str) -> Vec<String> {
    let own = found.segments.iter().filter(|segment| segment.speaker.as_deref() == Some(speaker));
    let text: String = own.map(|segment| segment.text.to_lowercase()).collect();
    text.split_whitespace().map(letters).filter(|word| !word.is_empty()).collect()
}

/// The words of both speakers in the reference.
fn said() -> [Vec<String>; 2] {
    let stm = std::fs::read_to_string(shared("audio/dialogue/sample.stm")).unwrap();
    ["Diane", "Sheila"].map(|speaker| {
        let own = stm.lines().filter(|line| line.split_whitespace().nth(2) == Some(speaker));
        let text: Vec<&str> = own.flat_map(|line| line.split_whitespace().skip(5)).collect();
        text.iter().map(|word| letters(&word.to_lowercase())).filter(|word| !word.is_empty()).collect()
    })
}

fn letters(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric() || *c == '\'').collect()
}

/// Word errors: insertions, deletions and substitutions.
fn errors(got: &[String], want: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=want.len()).collect();
    for (at, got) in got.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for (to, want) in want.iter().enumerate() {
            let replaced = before + usize::from(got != want);
            before = row[to + 1];
            row[to + 1] = replaced.min(row[to] + 1).min(before + 1);
        }
    }
    row[want.len()]
}

fn engine() -> Engine {
    Engine::builder().model(real("whisper-tiny.en-ct2").to_str().unwrap()).device(Device::Cpu).build().unwrap()
}

#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn crosstalk_changes_no_more_than_a_few_words() {
    let (engine, own, said) = (engine(), conversation(), said());
    let wrong = |found: &Transcript| -> usize {
        ["Diane", "Sheila"].iter().zip(&said).map(|(speaker, said)| errors(&words(found, speaker), said)).sum()
    };
    let clean = wrong(&transcribed(&engine, &own, WordTimes::Dtw));
    let total = said[0].len() + said[1].len();
    eprintln!("without crosstalk: {clean} of {total} words are wrong");
    assert!(clean * 5 <= total, "{clean} of {total}");
    for decibels in [12.0, 20.0, 30.0] {
        for late in [0, 20, 60] {
            let mut mixed = own.clone();
            leak(&mut mixed[0], &own[1], decibels, late);
            leak(&mut mixed[1], &own[0], decibels, late);
            for times in [WordTimes::Dtw, WordTimes::None] {
                let with_words = times != WordTimes::None;
                let found = transcribed(&engine, &mixed, times);
                let wrong = wrong(&found);
                eprintln!("{decibels} dB, {late} ms, word times {with_words}: {wrong} of {total} words are wrong");
                let more = if (decibels, late) == CUT { MORE_WHERE_CUT } else { MORE };
                assert!(wrong <= clean + more, "{decibels} dB, {late} ms: {}", diarist::output::text::txt(&found));
            }
        }
    }
}

/// Additional word errors allowed: where both speakers overlap, and at the edges of muted cells.
const MORE: usize = 4;
/// Decibels and milliseconds at which muting cuts a sentence, which is then recognised differently, and the additional
/// word errors allowed there.
const CUT: (f64, usize) = (20.0, 60);
const MORE_WHERE_CUT: usize = 10;

/// A third channel without a speaker, with crosstalk from both others. At most two of the 71 words are left.
#[test]
#[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
fn a_channel_with_only_crosstalk_has_at_most_two_words() {
    let (engine, own) = (engine(), conversation());
    let mut third = vec![0.0; own[0].len()];
    leak(&mut third, &own[0], 15.0, 25);
    leak(&mut third, &own[1], 18.0, 10);
    let [first, second] = own;
    let found = transcribed(&engine, &[first, second, third], WordTimes::Dtw);
    let third: Vec<String> = words(&found, "CHANNEL_02");
    eprintln!("left of the crosstalk: {third:?}");
    assert!(third.len() <= 2, "{third:?}");
}
