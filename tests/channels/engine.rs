//! Multichannel recordings through the whole pipeline, with the built-in models.

use std::time::Duration;

use diarist::api::Device;
use diarist::audio::Channel;
use diarist::channels::ChannelSpeakers;
use diarist::config::Options;
use diarist::pipeline::{Input, Observer, SpeakerOptions, WordTimes};
use diarist::types::Transcript;
use diarist::units::Seconds;
use diarist::vad::VadOptions;
use diarist::{Engine, Error};

use crate::common::call::{call, leak, wav};

fn engine() -> Engine {
    Engine::builder().device(Device::Cpu).build().unwrap()
}

/// One speaker per channel, aligned words, and chunks of the length at which the built-in model has the fewest errors.
fn options(names: &[&str]) -> Options {
    let names = names.iter().map(|name| name.to_string()).collect();
    Options {
        vad: VadOptions { chunk_size: Seconds(5.0), ..VadOptions::default() },
        words: WordTimes::Aligned(Default::default()),
        channel_speakers: Some(ChannelSpeakers { names, ..ChannelSpeakers::default() }),
        ..Options::default()
    }
}

/// The transcript of one channel alone.
fn alone(engine: &Engine, file: &[u8], channel: usize) -> Transcript {
    let mut options = Options { channel_speakers: None, ..options(&[]) };
    options.audio.channel = Channel::Pick(channel);
    engine.transcribe(Input::Bytes(file, "call.wav"), &options).unwrap()
}

/// An observer that records all events, and cancels at a stage.
#[derive(Default)]
struct Recorder {
    stages: Vec<&'static str>,
    segments: usize,
    progress: Vec<(&'static str, f64)>,
    stop_at: Option<&'static str>,
    stopping: bool,
}

impl Observer for Recorder {
    fn progress(&mut self, stage: &'static str, done: Seconds, _: Option<Seconds>) {
        self.progress.push((stage, done.0));
        self.stopping |= self.stop_at == Some(stage);
    }

    fn segments(&mut self, segments: &[diarist::types::Segment]) {
        self.segments += segments.len();
    }

    fn finished(&mut self, stage: &'static str, _: Duration) {
        self.stages.push(stage);
    }

    fn is_cancelled(&self) -> bool {
        self.stopping
    }
}

fn spoken<'a>(transcript: &'a Transcript, speaker: &str) -> Vec<&'a str> {
    let own = |word: &&diarist::types::Word| word.speaker.as_deref() == Some(speaker);
    transcript.word_segments.iter().filter(own).map(|word| word.word.as_str()).collect()
}

#[test]
fn each_channel_has_the_words_that_it_has_alone() {
    let (engine, [first, second]) = (engine(), call());
    let file = wav(&[&first, &second]);
    let mut recorder = Recorder::default();
    let input = Input::Bytes(&file, "call.wav");
    let found = engine.transcribe_with_observer(input, &options(&["Agent"]), &mut recorder).unwrap();
    for (channel, label) in ["Agent", "CHANNEL_01"].iter().enumerate() {
        let alone = alone(&engine, &file, channel);
        let want: Vec<&str> = alone.word_segments.iter().map(|word| word.word.as_str()).collect();
        assert!(want.len() > 10, "{want:?}");
        assert_eq!(spoken(&found, label), want, "{label}");
        let turns = found.turns.iter().filter(|turn| turn.speaker == *label);
        assert!(turns.count() > 2);
    }
    assert_eq!(found.word_segments.len(), found.segments.iter().flat_map(|s| s.words.iter().flatten()).count());
    assert!(found.segments.is_sorted_by(|a, b| a.start <= b.start));
    assert!(found.word_segments.is_sorted_by(|a, b| a.start <= b.start));
    assert_eq!((found.language.as_deref(), found.duration), (Some("en"), Seconds::from_samples(first.len())));
    // Each stage is finished once, and its progress does not go back.
    let mut stages = recorder.stages.clone();
    stages.sort_unstable();
    assert_eq!(stages, ["align", "asr", "audio", "channels", "vad"]);
    assert_eq!((recorder.segments, found.warnings.len()), (found.segments.len(), 0));
    for stage in ["asr", "align"] {
        let done: Vec<f64> = recorder.progress.iter().filter(|at| at.0 == stage).map(|at| at.1).collect();
        assert!(!done.is_empty() && done.is_sorted(), "{stage}: {done:?}");
    }
    // The observer does not change the result.
    assert_eq!(engine.transcribe(input, &options(&["Agent"])).unwrap(), found);
}

#[test]
fn crosstalk_is_written_once() {
    let (engine, own) = (engine(), call());
    let clean = engine.transcribe(Input::Bytes(&wav(&[&own[0], &own[1]]), "call.wav"), &options(&[])).unwrap();
    // The crosstalk is so quiet that the recogniser writes the same words where the own speaker talks over it.
    let mut mixed = own.clone();
    leak(&mut mixed[0], &own[1], 30.0, 20);
    leak(&mut mixed[1], &own[0], 30.0, 20);
    let found = engine.transcribe(Input::Bytes(&wav(&[&mixed[0], &mixed[1]]), "call.wav"), &options(&[])).unwrap();
    for label in ["CHANNEL_00", "CHANNEL_01"] {
        assert_eq!(spoken(&found, label), spoken(&clean, label));
    }
}

#[test]
fn a_duplicate_channel_is_transcribed_once_with_a_warning() {
    let (engine, [first, _]) = (engine(), call());
    let file = wav(&[&first, &first]);
    let found = engine.transcribe(Input::Bytes(&file, "dual.wav"), &options(&[])).unwrap();
    let want = alone(&engine, &file, 0);
    let want: Vec<&str> = want.word_segments.iter().map(|word| word.word.as_str()).collect();
    assert_eq!(spoken(&found, "CHANNEL_00"), want);
    assert_eq!(found.word_segments.len(), want.len());
    let warning = found.warnings.concat();
    assert!(
        warning.contains("CHANNEL_01 holds the same sound as CHANNEL_00") && warning.contains("`diarize`"),
        "{warning}"
    );
}

#[test]
fn silent_and_duplicate_channels_have_no_words() {
    let (engine, [first, second]) = (engine(), call());
    let silent = vec![0.0; first.len()];
    let file = wav(&[&silent, &first, &silent, &second, &first, &silent]);
    let found = engine.transcribe(Input::Bytes(&file, "six.wav"), &options(&[])).unwrap();
    let mut speakers: Vec<&str> = found.word_segments.iter().filter_map(|word| word.speaker.as_deref()).collect();
    speakers.sort_unstable();
    speakers.dedup();
    assert_eq!(speakers, ["CHANNEL_01", "CHANNEL_03"]);
    assert!(found.warnings.len() == 1 && found.warnings[0].contains("CHANNEL_04"), "{:?}", found.warnings);
    let nothing = engine.transcribe(Input::Bytes(&wav(&[&silent, &silent]), "silent.wav"), &options(&[])).unwrap();
    assert!(nothing.segments.is_empty() && nothing.turns.is_empty());
    // The chunks of all channels.
    let chunks = engine.speech(Input::Bytes(&file, "six.wav"), &options(&[]), &mut ()).unwrap();
    assert!(chunks.is_sorted_by(|a, b| a.span.start <= b.span.start) && chunks.len() > 4, "{chunks:?}");
}

#[test]
fn without_word_times_segments_are_merged() {
    let (engine, [first, second]) = (engine(), call());
    let options = Options { words: WordTimes::None, ..options(&["A", "B"]) };
    let found = engine.transcribe(Input::Bytes(&wav(&[&first, &second]), "call.wav"), &options).unwrap();
    assert!(found.word_segments.is_empty() && found.segments.is_sorted_by(|a, b| a.start <= b.start));
    let speakers: Vec<&str> = found.segments.iter().filter_map(|segment| segment.speaker.as_deref()).collect();
    assert!(speakers.contains(&"A") && speakers.contains(&"B") && speakers.len() == found.segments.len());
}

#[test]
fn impossible_options_are_refused_with_advice() {
    let (engine, [first, second]) = (engine(), call());
    let (stereo, mono) = (wav(&[&first, &second]), wav(&[&first]));
    let refused = |file: &[u8], options: &Options| {
        let error = engine.transcribe(Input::Bytes(file, "call.wav"), options).unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = refused(&mono, &options(&[]));
    assert!(kind == "config" && text.contains("one channel") && text.contains("`diarize`"), "{text}");
    let (kind, text) = refused(&stereo, &options(&["A", "B", "C"]));
    assert!(kind == "config" && text.contains("3 names for 2 channels"), "{text}");
    let mut picked = options(&[]);
    picked.audio.channel = Channel::Pick(0);
    assert!(refused(&stereo, &picked).1.contains("`channel`"));
    let both = Options { speakers: Some(SpeakerOptions::default()), ..options(&[]) };
    assert!(refused(&stereo, &both).1.contains("`diarize`"));
    let few = ChannelSpeakers { max_channels: 2, ..ChannelSpeakers::default() };
    let few = Options { channel_speakers: Some(few), ..options(&[]) };
    let (kind, text) = refused(&wav(&[&first, &second, &first]), &few);
    assert!(kind == "audio" && text.contains("3 channels") && text.contains("2 at most"), "{text}");
    let error = engine.transcribe(Input::Samples(&first), &options(&[])).unwrap_err().to_string();
    assert!(error.contains("channel_speakers") && error.contains("one channel"), "{error}");
}

#[test]
fn it_can_be_cancelled_in_every_stage() {
    let (engine, [first, second]) = (engine(), call());
    let file = wav(&[&first, &second]);
    for stage in ["audio", "vad", "asr", "align"] {
        let mut recorder = Recorder { stop_at: Some(stage), ..Recorder::default() };
        let ended = engine.transcribe_with_observer(Input::Bytes(&file, "call.wav"), &options(&[]), &mut recorder);
        assert!(matches!(ended, Err(Error::Cancelled)), "{stage}: {ended:?}");
    }
}
