//! Concurrent callers of one pipeline: results are the same as for a single caller, and short recordings do not wait.

#![allow(clippy::unwrap_used)] // tests may panic

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier, Mutex};

use diarist::asr::{self, AsrOptions, AsrResult, Chunks, Observer, WhisperRecognizer};
use diarist::config::Options;
use diarist::engine::cpu::Cpu;
use diarist::pipeline::{Input, Pipeline};
use diarist::types::{Chunk, Segment, Span};
use diarist::vad::Detector;
use diarist::{Error, Result, assets, audio};

/// A caller's recording.
struct Recording {
    samples: Arc<Vec<f32>>,
    chunks: Vec<Chunk>,
}

/// The built-in sample from `start` on, in `count` chunks of `seconds`. They overlap if the sample is too short.
fn cut(start: f64, seconds: f64, count: usize) -> Recording {
    let options = audio::DecodeOptions::default();
    let whole = audio::decode_bytes(assets::SAMPLE, "sample", &options, |_| ControlFlow::Continue(())).unwrap();
    let samples = whole.samples[(start * 16_000.0) as usize..].to_vec();
    let step = ((samples.len() as f64 / 16_000.0 - seconds) / count as f64).min(seconds);
    let span = |i: usize| Span::new(i as f64 * step, i as f64 * step + seconds);
    let chunks = (0..count).map(|i| Chunk { span: span(i), segments: vec![span(i)] }).collect();
    Recording { samples: Arc::new(samples), chunks }
}

fn pipeline() -> Pipeline<Cpu> {
    Pipeline::builtin(&Cpu::new(Some(2)).unwrap(), Detector::Energy).unwrap()
}

/// Options for fast decoding.
fn base() -> AsrOptions {
    AsrOptions {
        language: Some("en".into()),
        batch_size: 3,
        beam_size: 2,
        best_of: 2,
        max_new_tokens: Some(12),
        ..AsrOptions::default()
    }
}

/// Options with which every first attempt fails the thresholds, so that chunks are decoded again by sampling.
fn with_fallback(seed: u64) -> AsrOptions {
    let base = base();
    AsrOptions {
        temperatures: vec![0.0, 0.8],
        log_prob_threshold: Some(-0.001),
        no_speech_threshold: None,
        seed,
        ..base
    }
}

fn alone(pipeline: &Pipeline<Cpu>, recording: &Recording, options: &AsrOptions) -> AsrResult {
    let chunks = Chunks::Speech(&recording.chunks);
    asr::transcribe(
        &pipeline.recognizer.whisper,
        &pipeline.recognizer.tokenizer,
        &recording.samples,
        chunks,
        options,
        &mut (),
    )
    .unwrap()
}

fn together(
    pipeline: &Pipeline<Cpu>,
    recording: &Recording,
    options: &AsrOptions,
    observer: &mut dyn Observer,
) -> Result<AsrResult> {
    let WhisperRecognizer { whisper, tokenizer, slots } = &pipeline.recognizer;
    slots.transcribe(whisper, tokenizer, &recording.samples, Chunks::Speech(&recording.chunks), options, observer)
}

#[test]
fn a_pipeline_is_send_and_sync() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Pipeline<Cpu>>();
    is_shared::<Pipeline<diarist::engine::cuda::Cuda>>();
}

/// Recordings with all options that may differ in the same slots, and some that need slots of other shapes.
fn callers() -> Vec<(Recording, AsrOptions)> {
    let timestamps = AsrOptions { without_timestamps: false, ..with_fallback(9) };
    let detect_language = AsrOptions {
        language: None,
        language_detection_segments: 3,
        language_detection_threshold: 1.0,
        initial_prompt: Some("Hello".into()),
        ..base()
    };
    let each = AsrOptions { multilingual: true, language: None, ..base() };
    let penalties = AsrOptions { length_penalty: 0.5, repetition_penalty: 1.3, no_repeat_ngram_size: 2, ..base() };
    let patient = AsrOptions { patience: 2.0, max_new_tokens: Some(5), hotwords: Some("ship".into()), ..base() };
    let words = AsrOptions { word_timestamps: true, ..base() };
    let wide = AsrOptions { beam_size: 4, ..base() };
    vec![
        (cut(0.0, 4.0, 6), with_fallback(5)),
        (cut(1.0, 3.0, 1), timestamps),
        (cut(2.0, 5.0, 4), detect_language),
        (cut(0.5, 2.0, 5), each),
        (cut(3.0, 4.0, 2), penalties),
        (cut(2.5, 6.0, 1), patient),
        (cut(0.0, 4.0, 4), words),
        (cut(1.5, 3.0, 3), wide),
    ]
}

#[test]
fn concurrent_callers_get_the_same_results_as_alone() {
    let pipeline = pipeline();
    let callers = callers();
    let want: Vec<AsrResult> =
        callers.iter().map(|(recording, options)| alone(&pipeline, recording, options)).collect();
    let segments = |result: &AsrResult| result.segments.clone();
    assert!(segments(&want[0]).iter().any(|s| s.temperature == Some(0.8)), "nothing was decoded again");
    assert!(segments(&want[6]).iter().any(|s| s.words.as_ref().is_some_and(|words| words.len() > 2)));
    for round in 0..2 {
        let start = Barrier::new(callers.len());
        std::thread::scope(|scope| {
            for (i, ((recording, options), want)) in callers.iter().zip(&want).enumerate() {
                let (pipeline, start) = (&pipeline, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut reported = Reported::default();
                    let found = together(pipeline, recording, options, &mut reported).unwrap();
                    assert_eq!(found, *want, "caller {i}, round {round}");
                    assert_eq!((reported.chunks, reported.progress), (recording.chunks.len(), 1.0));
                    assert_eq!(reported.segments, found.segments);
                });
            }
        });
    }
    assert_eq!(Arc::strong_count(&pipeline.recognizer.whisper), 1, "unused slots were not freed");
}

/// Records what an observer is called with.
#[derive(Default)]
struct Reported {
    chunks: usize,
    segments: Vec<Segment>,
    progress: f64,
}

impl Observer for Reported {
    fn chunk(&mut self, segments: &[Segment], progress: f64) {
        assert!(progress > self.progress);
        self.progress = progress;
        self.chunks += 1;
        self.segments.extend_from_slice(segments);
    }
}

#[test]
fn detected_languages_are_the_same_as_alone() {
    let pipeline = pipeline();
    let WhisperRecognizer { whisper, tokenizer, slots } = &pipeline.recognizer;
    let recording = cut(0.0, 4.0, 4);
    let chunks = Chunks::Speech(&recording.chunks);
    for (segments, threshold) in [(1, 0.5), (3, 1.0), (9, 1.0)] {
        let options = AsrOptions {
            language: None,
            language_detection_segments: segments,
            language_detection_threshold: threshold,
            ..base()
        };
        let want = asr::detect_language(whisper, tokenizer, &recording.samples, chunks, &options).unwrap();
        assert!(want.as_ref().is_some_and(|(code, probability)| code == "en" && probability.is_some()));
        let found = slots.detect_language(whisper, tokenizer, &recording.samples, chunks, &options, &mut ()).unwrap();
        assert_eq!(found, want, "{segments} chunks");
    }
    let known = AsrOptions { language: Some("English".into()), ..base() };
    let found = slots.detect_language(whisper, tokenizer, &recording.samples, chunks, &known, &mut ()).unwrap();
    assert_eq!(found, Some(("en".into(), None)));
}

/// Appends its name to a shared log at each chunk, and calls `at_first` at the first chunk.
struct Logger<'a, F: FnMut()> {
    name: char,
    log: &'a Mutex<String>,
    at_first: Option<F>,
}

impl<F: FnMut()> Observer for Logger<'_, F> {
    fn chunk(&mut self, _: &[Segment], _: f64) {
        self.log.lock().unwrap().push(self.name);
        if let Some(mut f) = self.at_first.take() {
            f();
        }
    }
}

/// A short recording that is added after the start of a long one is finished before it.
#[test]
fn a_short_recording_does_not_wait_for_a_long_one() {
    let pipeline = pipeline();
    let (long, short) = (cut(0.0, 4.0, 60), cut(0.0, 4.0, 2));
    let log = Mutex::new(String::new());
    let (begun, wait) = channel::<()>();
    std::thread::scope(|scope| {
        let (pipeline, short, log) = (&pipeline, &short, &log);
        scope.spawn(move || {
            wait.recv().unwrap();
            let mut observer = Logger { name: 's', log, at_first: None::<fn()> };
            together(pipeline, short, &base(), &mut observer).unwrap();
        });
        let at_first = Some(|| begun.send(()).unwrap());
        together(pipeline, &long, &base(), &mut Logger { name: 'l', log, at_first }).unwrap();
    });
    let log = log.into_inner().unwrap();
    assert_eq!((log.matches('l').count(), log.matches('s').count()), (60, 2));
    assert!(log.rfind('s').unwrap() < 30, "{log}");
}

/// Cancels or panics after some chunks.
struct Leaving {
    /// Chunks until then.
    remaining: usize,
    panics: bool,
    /// Receives a message at that chunk.
    leaving: Sender<()>,
}

impl Observer for Leaving {
    fn chunk(&mut self, _: &[Segment], _: f64) {
        self.remaining = self.remaining.saturating_sub(1);
        if self.remaining == 0 {
            self.leaving.send(()).unwrap();
            assert!(!self.panics, "a caller that panics");
        }
    }

    fn is_cancelled(&self) -> bool {
        self.remaining == 0
    }
}

/// A caller cancels or panics: its slots are reused, other callers are not affected, and its recording is freed.
#[test]
fn a_caller_that_cancels_or_panics_does_not_affect_others() {
    let pipeline = pipeline();
    let (long, other, late) = (cut(0.0, 4.0, 60), cut(1.0, 3.0, 8), cut(2.0, 4.0, 1));
    let options = with_fallback(3);
    let want = [&other, &late].map(|recording| alone(&pipeline, recording, &options));
    for panics in [false, true] {
        let (leaving, has_left) = channel();
        std::thread::scope(|scope| {
            let left =
                scope.spawn(|| together(&pipeline, &long, &options, &mut Leaving { remaining: 2, panics, leaving }));
            let staying = scope.spawn(|| together(&pipeline, &other, &options, &mut ()));
            has_left.recv().unwrap();
            match left.join() {
                Ok(result) => assert!(!panics && matches!(result, Err(Error::Cancelled))),
                Err(_) => assert!(panics),
            }
            assert_eq!(together(&pipeline, &late, &options, &mut ()).unwrap(), want[1]);
            assert_eq!(staying.join().unwrap().unwrap(), want[0]);
        });
        // The last caller gets its end message after slots and recordings have been freed.
        assert_eq!(together(&pipeline, &late, &options, &mut ()).unwrap(), want[1]);
        assert_eq!(Arc::strong_count(&long.samples), 1, "the recording of the caller that left is not freed");
        assert_eq!(Arc::strong_count(&pipeline.recognizer.whisper), 1);
    }
}

/// Invalid options are refused before a recording is queued.
#[test]
fn invalid_options_are_refused_before_queueing() {
    let pipeline = pipeline();
    let recording = cut(0.0, 4.0, 2);
    let unknown = AsrOptions { language: Some("Klingon".into()), ..base() };
    let no_token = AsrOptions { suppress_tokens: vec![1 << 40], ..base() };
    let no_beam = AsrOptions { beam_size: 0, ..base() };
    for (options, word) in [(unknown, "Klingon"), (no_token, "suppress_tokens"), (no_beam, "beam_size")] {
        let message = together(&pipeline, &recording, &options, &mut ()).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    let long = cut(0.0, 11.0, 1);
    let message = together(&pipeline, &long, &base(), &mut ()).unwrap_err().to_string();
    assert!(message.contains("chunk_size"), "{message}");
    let stopped = AtomicBool::new(true);
    struct Stopped<'a>(&'a AtomicBool);
    impl Observer for Stopped<'_> {
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
    let result = together(&pipeline, &recording, &base(), &mut Stopped(&stopped));
    assert!(matches!(result, Err(Error::Cancelled)));
}

/// Whole transcripts with alignment, by concurrent callers.
#[test]
fn concurrent_transcripts_are_the_same_as_alone() {
    let pipeline = pipeline();
    let mut options = Options { asr: base(), ..Options::default() };
    options.words = diarist::pipeline::WordTimes::Aligned(diarist::align::AlignOptions::default());
    options.vad.chunk_size = diarist::units::Seconds(5.0);
    let run = || pipeline.transcribe(Input::Bytes(assets::SAMPLE, "sample"), &options, &mut ()).unwrap();
    let want = run();
    assert!(want.word_segments.len() > 20);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        callers.into_iter().for_each(|caller| assert_eq!(caller.join().unwrap(), want));
    });
}

/// Throughput of eight recordings of one chunk: without shared slots, with one caller after another, with concurrent
/// callers, and as chunks of one recording, which is the upper bound for sharing. `cargo test --test shared_slots --
/// --ignored --nocapture`
#[test]
#[ignore = "takes long (.ci/long)"]
#[allow(clippy::print_stderr)]
fn takes_long_throughput() {
    let pipeline = pipeline();
    let recordings: Vec<Recording> = (0..8).map(|i| cut(f64::from(i), 9.9, 1)).collect();
    let whole = cut(0.0, 9.9, 8);
    let options = AsrOptions { batch_size: 8, max_new_tokens: None, beam_size: 5, temperatures: vec![0.0], ..base() };
    let run = |recording: &Recording| drop(together(&pipeline, recording, &options, &mut ()).unwrap());
    let timed = |what: &str, f: &dyn Fn()| {
        let before = std::time::Instant::now();
        f();
        eprint!("{what} {:.0} ms  ", before.elapsed().as_secs_f64() * 1e3);
    };
    for _ in 0..6 {
        timed("alone", &|| recordings.iter().for_each(|recording| drop(alone(&pipeline, recording, &options))));
        timed("one by one", &|| recordings.iter().for_each(run));
        timed("at once", &|| std::thread::scope(|scope| recordings.iter().for_each(|r| drop(scope.spawn(|| run(r))))));
        timed("as one", &|| drop(alone(&pipeline, &whole, &options)));
        eprintln!();
    }
}
