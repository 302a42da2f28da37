//! The numbers in `assets/MODEL_CARD.md` are what this engine measures on the sample conversation.

use std::collections::BTreeSet;

use diarist::assets::{SAMPLE, SAMPLE_SCRIPT};
use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};
use diarist::config::Options;
use diarist::diarize::diarizer::OnDevice;
use diarist::diarize::{Diarizer, Turn};
use diarist::engine::cpu::Cpu;
use diarist::hub::BUILTIN;
use diarist::pipeline::{Input, Pipeline, SpeakerOptions, Speakers, WordTimes};
use diarist::score::{errors, normalised, time_errors};
use diarist::types::{Span, Word};
use diarist::vad::Detector;
use serde_json::Value;

const CARD: &str = include_str!("../assets/MODEL_CARD.md");
/// Seconds on both sides of a boundary of the reference that do not count.
const COLLAR: f64 = 0.25;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap()
}

fn words_of(script: &Value) -> Vec<Value> {
    let turns = script["turns"].as_array().unwrap().iter();
    turns.flat_map(|turn| turn["words"].as_array().unwrap().clone()).collect()
}

fn turn(said: &Value) -> Turn {
    let span = Span::new(number(said, "start"), number(said, "end"));
    Turn { span, speaker: said["speaker"].as_str().unwrap().into() }
}

/// The median difference of starts and ends, in milliseconds; the words must be the same.
fn median_error(found: &[&Word], script: &[Value]) -> f64 {
    let differences = found.iter().zip(script).flat_map(|(word, said)| {
        let times = [(word.start, number(said, "start")), (word.end, number(said, "end"))];
        times.map(|(found, said)| (found.unwrap().0 - said).abs() * 1000.0)
    });
    let mut sorted: Vec<f64> = differences.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[test]
fn the_card_states_what_the_engine_measures() {
    let script: Value = serde_json::from_str(SAMPLE_SCRIPT).unwrap();
    let samples =
        decode_bytes(SAMPLE, "conversation.flac", &DecodeOptions::default(), ignore_progress).unwrap().samples;
    let be = Cpu::new(None).unwrap();
    let diarizer = Diarizer::builtin(&be).unwrap();
    let found = diarizer.diarize(&be, &samples, &Default::default(), &mut ()).unwrap();
    let mut pipeline = Pipeline::builtin(&Cpu::new(None).unwrap(), Detector::Diarizer).unwrap();
    pipeline.speakers = Some(Speakers { diarizer: Box::new(OnDevice { be, diarizer }), gallery: None });
    let options = Options {
        words: WordTimes::Aligned(Default::default()),
        speakers: Some(SpeakerOptions::default()),
        ..Options::of_model(BUILTIN)
    };
    let transcript = pipeline.transcribe(Input::Samples(&samples), &options, &mut ()).unwrap();

    let said = words_of(&script);
    let words: Vec<&Word> = transcript.segments.iter().flat_map(|segment| segment.words.iter().flatten()).collect();
    let text = |words: Vec<&str>| normalised(&words.join(" "));
    let reference = text(said.iter().map(|word| word["word"].as_str().unwrap()).collect());
    let wrong = errors(&reference, &text(words.iter().map(|word| word.word.as_str()).collect())).total();
    assert_eq!(words.len(), said.len());
    let turns: Vec<Turn> = script["turns"].as_array().unwrap().iter().map(turn).collect();
    let rate = 100.0 * time_errors(&turns, &found.turns, COLLAR).rate();
    let speakers = words.iter().filter_map(|word| word.speaker.as_ref()).collect::<BTreeSet<_>>().len();
    assert_eq!(speakers, found.speakers());
    for row in [
        format!("| words wrong | {wrong} of {} |", reference.len()),
        format!("| error of the word boundaries, median | {:.0} ms |", median_error(&words, &said)),
        format!("| speakers found | {speakers} |"),
        format!("| diarization error rate, collar 0.25 s | {rate:.1} % |"),
    ] {
        assert!(CARD.contains(&row), "the card does not state: {row}");
    }
}

/// The models make most of the program's size.
#[test]
fn the_networks_of_diarization_are_small() {
    let files = &diarist::assets::DIARIZER;
    let bytes = files.segmentation.len() + files.embedding.len() + files.transform.len() + files.plda.len();
    assert!(bytes <= 5_500_000, "{bytes} bytes");
}
