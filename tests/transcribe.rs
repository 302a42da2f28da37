//! Transcription of whole recordings: against faster-whisper with a random checkpoint, and invariants with the built-in
//! model.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use std::path::Path;

use common::seeded::{self, Layout};
use diarist::asr::suppress::{DefaultSuppression, suppressed};
use diarist::asr::{AsrOptions, AsrResult, Chunks, Observer, Task, Tokenizer, is_multilingual, transcribe};
use diarist::engine::cpu::Cpu;
use diarist::models::whisper::Whisper;
use diarist::types::{Chunk, Segment, Span};
use diarist::{Error, Result};
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| number(id) as u32).collect()
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_recordings_match_faster_whisper() {
    let tokenizer = common::tokenizer::published(51865);
    let golden = common::json("sequential/transcripts.json");
    let cases = golden["cases"].as_array().expect("cases");
    let folder = tempfile::tempdir().unwrap();
    seeded::write_checkpoint(folder.path(), &cases[0]["config"], Layout::F16);
    let model = Whisper::open(&Cpu::new(None).unwrap(), folder.path()).unwrap();
    for case in cases {
        let name = case["name"].as_str().expect("a name");
        assert_eq!(case["config"], cases[0]["config"]);
        let given = &case["options"];
        let mut options = AsrOptions {
            language: Some("en".into()),
            temperatures: vec![0.0],
            log_prob_threshold: given["log_prob_threshold"].as_f64(),
            beam_size: number(&given["beam_size"]) as usize,
            condition_on_previous_text: given["condition_on_previous_text"].as_bool().unwrap_or(true),
            initial_prompt: given["initial_prompt"].as_str().map(str::to_owned),
            without_timestamps: false,
            ..AsrOptions::default()
        };
        if let Some(penalty) = given["repetition_penalty"].as_f64() {
            options.repetition_penalty = penalty;
            options.no_repeat_ngram_size = number(&given["no_repeat_ngram_size"]) as usize;
        }
        let lists = suppressed(&model, &tokenizer, &options, DefaultSuppression::NonSpeech).unwrap();
        assert_eq!(lists.always, ids(&given["suppress_tokens"]), "{name}");
        let audio =
            seeded::audio_f32(number(&case["audio"]["seed"]) as u64, number(&case["audio"]["samples"]) as usize);
        let result = transcribe(&model, &tokenizer, &audio, Chunks::Windows, &options, &mut ()).unwrap();
        let want = case["segments"].as_array().expect("segments");
        let tokens = |segment: &Segment| segment.tokens.clone();
        assert_eq!(
            result.segments.iter().map(tokens).collect::<Vec<_>>(),
            want.iter().map(|segment| ids(&segment["tokens"])).collect::<Vec<_>>(),
            "{name}"
        );
        for (got, want) in result.segments.iter().zip(want) {
            assert_eq!(got.text, want["text"].as_str().expect("text"), "{name}");
            for (key, got, tolerance) in [
                ("start", Some(got.start.0), 1e-6),
                ("end", Some(got.end.0), 1e-6),
                ("avg_logprob", got.avg_logprob, 2e-3),
                ("compression_ratio", got.compression_ratio, 1e-9),
                ("no_speech_prob", got.no_speech_prob, 2e-3),
            ] {
                let (got, want) = (got.expect(key), number(&want[key]));
                assert!((got - want).abs() <= tolerance, "{name}: {key} {got}, want {want}");
            }
        }
    }
}

fn built_in() -> (Whisper<Cpu>, Tokenizer) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin");
    let model = Whisper::open(&Cpu::new(None).unwrap(), &folder).unwrap();
    let tokenizer = Tokenizer::open(&folder, is_multilingual(&model)).unwrap();
    (model, tokenizer)
}

/// A minute of seeded noise, and chunks of different lengths; the last one extends beyond its end.
fn minute() -> (Vec<f32>, Vec<Chunk>) {
    let spans = [(0.0, 4.0), (4.5, 11.3), (12.0, 12.4), (15.0, 25.0), (30.2, 37.0), (41.0, 50.5), (55.0, 60.5)];
    let chunk = |(start, end)| Chunk { span: Span::new(start, end), segments: vec![Span::new(start, end)] };
    (seeded::audio_f32(7, 60 * 16_000), spans.into_iter().map(chunk).collect())
}

/// Options with which every first attempt fails the thresholds, so that chunks are decoded again.
fn with_fallback() -> AsrOptions {
    AsrOptions {
        language: Some("en".into()),
        beam_size: 3,
        best_of: 2,
        temperatures: vec![0.0, 0.5, 1.0],
        log_prob_threshold: Some(-0.001),
        no_speech_threshold: None,
        max_new_tokens: Some(20),
        ..AsrOptions::default()
    }
}

#[derive(Default)]
struct Watch {
    segments: usize,
    calls: usize,
    progress: f64,
    cancel_after: Option<usize>,
}

impl Observer for Watch {
    fn chunk(&mut self, segments: &[Segment], progress: f64) {
        assert!(progress > self.progress && progress <= 1.0);
        self.progress = progress;
        self.calls += 1;
        self.segments += segments.len();
    }

    fn is_cancelled(&self) -> bool {
        self.cancel_after.is_some_and(|calls| self.calls >= calls)
    }
}

#[test]
fn chunks_do_not_depend_on_the_batch_size() {
    let (model, tokenizer) = built_in();
    let (audio, chunks) = minute();
    for timestamps in [false, true] {
        let run = |batch_size| -> AsrResult {
            let options = AsrOptions { batch_size, without_timestamps: !timestamps, ..with_fallback() };
            let mut watch = Watch::default();
            let result = transcribe(&model, &tokenizer, &audio, Chunks::Speech(&chunks), &options, &mut watch).unwrap();
            assert_eq!((watch.calls, watch.segments, watch.progress), (chunks.len(), result.segments.len(), 1.0));
            result
        };
        let alone = run(1);
        assert!(!alone.segments.is_empty(), "no segments to compare");
        assert!(alone.segments.iter().any(|s| s.temperature == Some(1.0)), "nothing was decoded again");
        for batch_size in [3, 8] {
            assert_eq!(run(batch_size), alone, "batch size {batch_size}");
        }
        for pair in alone.segments.windows(2) {
            assert!(pair[0].start <= pair[1].start);
        }
        for segment in &alone.segments {
            assert!(segment.start <= segment.end && !segment.text.trim().is_empty());
            assert!(chunks.iter().any(|c| c.span.start <= segment.start && segment.end <= c.span.end));
        }
    }
}

#[test]
fn windows_cover_the_recording() {
    let (model, tokenizer) = built_in();
    let (audio, _) = minute();
    let options = AsrOptions {
        without_timestamps: false,
        condition_on_previous_text: true,
        temperatures: vec![0.0],
        ..with_fallback()
    };
    let mut watch = Watch::default();
    let result = transcribe(&model, &tokenizer, &audio, Chunks::Windows, &options, &mut watch).unwrap();
    assert_eq!((watch.segments, watch.progress), (result.segments.len(), 1.0));
    assert!(watch.calls >= 6, "a window is 10 s");
    assert_eq!((result.language.as_str(), result.language_probability), ("en", None));
}

#[test]
fn silence_and_empty_recordings_are_no_error() -> Result<()> {
    let (model, tokenizer) = built_in();
    let options = AsrOptions { language: None, ..with_fallback() };
    let empty = transcribe(&model, &tokenizer, &[], Chunks::Windows, &options, &mut ())?;
    assert_eq!(empty.segments, []);
    let empty = transcribe(&model, &tokenizer, &[], Chunks::Speech(&[]), &options, &mut ())?;
    assert_eq!(empty.segments, []);
    let silence = AsrOptions { no_speech_threshold: Some(-1.0), ..options };
    let (audio, chunks) = minute();
    let result = transcribe(&model, &tokenizer, &audio, Chunks::Speech(&chunks), &silence, &mut ())?;
    assert_eq!(result.segments, [], "every chunk counts as no speech");
    assert!(result.language_probability.is_some_and(|p| p > 0.0 && p <= 1.0));
    Ok(())
}

#[test]
fn cancellation_and_invalid_options_are_errors() {
    let (model, tokenizer) = built_in();
    let (audio, chunks) = minute();
    let run = |options: AsrOptions, watch: &mut Watch| {
        transcribe(&model, &tokenizer, &audio, Chunks::Speech(&chunks), &options, watch)
    };
    let cancelled =
        run(AsrOptions { batch_size: 1, ..with_fallback() }, &mut Watch { cancel_after: Some(2), ..Watch::default() });
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    let unknown = AsrOptions { language: Some("Klingon".into()), ..with_fallback() };
    let unsupported = AsrOptions { language: Some("yue".into()), ..with_fallback() };
    let no_token = AsrOptions { suppress_tokens: vec![1 << 40], ..with_fallback() };
    for (options, word) in [(unknown, "Klingon"), (unsupported, "yue"), (no_token, "suppress_tokens")] {
        let message = run(options, &mut Watch::default()).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    let long = [Chunk { span: Span::new(0.0, 11.0), segments: vec![] }];
    let message = transcribe(&model, &tokenizer, &audio, Chunks::Speech(&long), &with_fallback(), &mut ());
    assert!(message.unwrap_err().to_string().contains("chunk_size"));
    let english = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin");
    let english = Tokenizer::open(&english, false).unwrap();
    let translate = AsrOptions { language: None, task: Task::Translate, ..with_fallback() };
    let refused = transcribe(&model, &english, &audio, Chunks::Speech(&chunks), &translate, &mut ());
    assert!(refused.unwrap_err().to_string().contains("English only"));
}
