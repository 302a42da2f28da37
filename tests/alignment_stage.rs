//! The alignment stage of the pipeline: when it runs, what it reports, cancellation, and the cache of aligners.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diarist::align::AlignOptions;
use diarist::asr::AsrOptions;
use diarist::config::Options;
use diarist::engine::cpu::Cpu;
use diarist::hub::AlignerSource;
use diarist::pipeline::aligners::LoadAligner;
use diarist::pipeline::{Aligners, Input, Observer, Pipeline, WordTimeFallback, WordTimes};
use diarist::types::{TimeSource, Transcript};
use diarist::units::Seconds;
use diarist::vad::Detector;
use diarist::{Error, assets};

const SAMPLE: Input = Input::Bytes(assets::SAMPLE, "conversation.flac");

fn pipeline() -> Pipeline<Cpu> {
    Pipeline::builtin(&Cpu::new(Some(2)).unwrap(), Detector::Energy).unwrap()
}

fn options(words: WordTimes) -> Options {
    let asr = AsrOptions { beam_size: 1, temperatures: vec![0.0], ..AsrOptions::default() };
    Options { asr, words, ..Options::default() }
}

fn aligned() -> Options {
    options(WordTimes::Aligned(AlignOptions::default()))
}

/// Records all events, and cancels after a stage.
#[derive(Default)]
struct Listener {
    stages: Vec<&'static str>,
    /// Seconds aligned so far.
    aligned: f64,
    /// Language, reason, and what is used instead of alignment.
    unaligned: Vec<(String, String, WordTimeFallback)>,
    stop_after: Option<&'static str>,
}

impl Observer for Listener {
    fn progress(&mut self, stage: &'static str, done: Seconds, total: Option<Seconds>) {
        if stage == "align" {
            assert!(done.0 >= self.aligned && done.0 <= total.unwrap().0 + 1e-6, "{done:?} of {total:?}");
            self.aligned = done.0;
        }
    }

    fn finished(&mut self, stage: &'static str, _: Duration) {
        self.stages.push(stage);
    }

    fn unaligned(&mut self, language: &str, reason: &str, instead: WordTimeFallback) {
        self.unaligned.push((language.into(), reason.into(), instead));
    }

    fn is_cancelled(&self) -> bool {
        self.stop_after.is_some_and(|stage| self.stages.contains(&stage))
    }
}

fn sources(transcript: &Transcript) -> Vec<Option<TimeSource>> {
    transcript.word_segments.iter().map(|word| word.source).collect()
}

#[test]
fn alignment_reports_progress_and_can_be_cancelled() {
    let pipeline = pipeline();
    let mut listener = Listener::default();
    let transcript = pipeline.transcribe(SAMPLE, &aligned(), &mut listener).unwrap();
    assert_eq!(listener.stages, ["audio", "vad", "asr", "align"]);
    assert!(listener.aligned > 10.0 && listener.unaligned.is_empty(), "{:?}", listener.unaligned);
    let aligned_words = sources(&transcript).iter().filter(|source| **source == Some(TimeSource::Aligned)).count();
    assert!(aligned_words >= 40, "{aligned_words} words of {}", transcript.word_segments.len());
    let text = |words: &[diarist::types::Word]| words.iter().map(|w| w.word.clone()).collect::<Vec<_>>();
    let of_segments: Vec<String> = transcript.segments.iter().flat_map(|s| text(s.words.as_ref().unwrap())).collect();
    assert_eq!(text(&transcript.word_segments), of_segments);
    for stop_after in ["vad", "asr"] {
        let mut listener = Listener { stop_after: Some(stop_after), ..Listener::default() };
        let stopped = pipeline.transcribe(SAMPLE, &aligned(), &mut listener);
        assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
        assert_eq!(listener.stages.last(), Some(&stop_after));
    }
    let bare = pipeline.transcribe(SAMPLE, &options(WordTimes::None), &mut ()).unwrap();
    assert!(bare.word_segments.is_empty() && bare.segments.iter().all(|segment| segment.words.is_none()));
    let texts =
        |transcript: &Transcript| transcript.segments.iter().map(|s| s.text.trim().to_string()).collect::<Vec<_>>();
    assert_eq!(texts(&bare).join(" "), texts(&transcript).join(" "));
}

#[test]
fn an_aligner_is_loaded_once() {
    let loads = Arc::new(AtomicUsize::new(0));
    let count = loads.clone();
    let find = move |language: &str, load: &mut LoadAligner<'_>| {
        assert_eq!(language, "en");
        count.fetch_add(1, Ordering::Relaxed);
        load(&AlignerSource::Builtin)
    };
    let pipeline = Pipeline { aligners: Aligners::new(Box::new(find)), ..pipeline() };
    let first = pipeline.transcribe(SAMPLE, &aligned(), &mut ()).unwrap();
    assert_eq!(pipeline.transcribe(SAMPLE, &aligned(), &mut ()).unwrap(), first);
    let mut named = aligned();
    named.asr.language = Some("English".into());
    assert_eq!(pipeline.transcribe(SAMPLE, &named, &mut ()).unwrap().word_segments, first.word_segments);
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[test]
fn without_an_aligner_word_times_come_from_the_recogniser() {
    let find = |language: &str, _: &mut LoadAligner<'_>| Err(Error::config("language", language, "nobody knows it"));
    let mut pipeline = Pipeline { aligners: Aligners::new(Box::new(find)), ..pipeline() };
    let mut listener = Listener::default();
    let transcript = pipeline.transcribe(SAMPLE, &aligned(), &mut listener).unwrap();
    let [(language, reason, instead)] = listener.unaligned.as_slice() else { panic!("{:?}", listener.unaligned) };
    assert_eq!((language.as_str(), *instead), ("en", WordTimeFallback::Dtw));
    assert!(reason.contains("nobody knows it"), "{reason}");
    assert!(transcript.word_segments.len() > 40);
    assert!(sources(&transcript).iter().all(|source| *source == Some(TimeSource::Dtw)));
    let dtw = pipeline.transcribe(SAMPLE, &options(WordTimes::Dtw), &mut ()).unwrap();
    assert_eq!(dtw.segments, transcript.segments);
    let whisper = Arc::get_mut(&mut pipeline.recognizer.whisper).expect("the only reference");
    whisper.generation.alignment_heads = None;
    let mut listener = Listener::default();
    let transcript = pipeline.transcribe(SAMPLE, &aligned(), &mut listener).unwrap();
    assert_eq!(listener.unaligned[0].2, WordTimeFallback::Nothing);
    assert!(transcript.word_segments.is_empty() && !transcript.segments.is_empty());
}
