//! Whole transcripts of the built-in sample with word times.

use diarist::asr::{self, AsrOptions, Chunks};
use diarist::config::Options;
use diarist::engine::cpu::Cpu;
use diarist::pipeline::{Input, Pipeline};
use diarist::types::{Chunk, Segment, Span, TimeSource};
use diarist::units::Seconds;
use diarist::vad::Detector;

/// Collects the segments that are reported.
#[derive(Default)]
struct Reported(Vec<Segment>);

impl asr::Observer for Reported {
    fn chunk(&mut self, segments: &[Segment], _: f64) {
        self.0.extend_from_slice(segments);
    }
}

/// The segments of the built-in sample, decoded in chunks of detected speech or in windows.
fn sample(detector: Detector, change: impl FnOnce(&mut AsrOptions)) -> Vec<Segment> {
    let be = Cpu::new(Some(2)).unwrap();
    let pipeline = Pipeline::builtin(&be, detector).unwrap();
    let mut options = Options::default();
    options.vad.chunk_size = Seconds(5.0);
    options.asr = AsrOptions { language: Some("en".into()), beam_size: 1, word_timestamps: true, ..options.asr };
    change(&mut options.asr);
    let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
    pipeline.transcribe(input, &options, &mut ()).unwrap().segments
}

/// Asserts the invariants of words:
/// * They contain the whole text. (A segment of a single punctuation mark is merged into the word before it, and words
///   move up a segment, as in the reference.)
/// * Their times are in order.
/// * They are within their segment, except a word at its edge that contradicts the segment's timestamp: the reference
///   gives it the median duration, at most 0.7 s, which may extend beyond the edge.
#[track_caller]
fn check_words(segments: &[Segment]) {
    assert!(segments.len() >= 2, "{segments:?}");
    let (mut last, mut of_words, mut of_segments) = (0.0, String::new(), String::new());
    for segment in segments {
        let words = segment.words.as_ref().expect("words");
        of_words.extend(words.iter().map(|word| &word.word[..]));
        of_segments.extend(segment.text.split_whitespace().filter(|text| *text != "."));
        assert!(segment.start.0 <= segment.end.0);
        for word in words {
            let (start, end) = (word.start.unwrap().0, word.end.unwrap().0);
            assert!(last <= start + 1e-9 && start <= end, "{word:?} after {last} in {segment:?}");
            assert!(segment.start.0 - 0.7 <= start && end <= segment.end.0 + 0.7, "{word:?} in {segment:?}");
            assert!((0.0..=1.0).contains(&word.score.unwrap()), "{word:?}");
            assert_eq!(word.source, Some(TimeSource::Dtw));
            last = end;
        }
    }
    assert_eq!(of_words, of_segments);
}

#[test]
fn chunks_have_words_in_any_batch() {
    for without_timestamps in [true, false] {
        let change = |batch_size: usize| {
            move |options: &mut AsrOptions| {
                *options = AsrOptions { batch_size, without_timestamps, ..options.clone() };
            }
        };
        let segments = sample(Detector::Energy, change(1));
        check_words(&segments);
        assert_eq!(segments, sample(Detector::Energy, change(4)), "depends on the batch");
        let plain = sample(Detector::Energy, |options| {
            *options = AsrOptions { without_timestamps, word_timestamps: false, ..options.clone() };
        });
        let texts =
            |segments: &[Segment]| segments.iter().map(|s| (s.text.clone(), s.tokens.clone())).collect::<Vec<_>>();
        assert_eq!(texts(&plain), texts(&segments), "word times change the text");
        assert!(plain.iter().all(|segment| segment.words.is_none()));
    }
}

#[test]
fn windows_have_words() {
    let segments = sample(Detector::None, |options| options.without_timestamps = false);
    check_words(&segments);
    let end = segments.last().unwrap().end.0;
    assert!((25.0..31.0).contains(&end), "the sample lasts 30 s, its words {end}");
}

/// Empty audio, a clip shorter than a frame, and silence.
#[test]
fn very_short_and_silent_clips_are_no_error() {
    let be = Cpu::new(Some(1)).unwrap();
    let pipeline = Pipeline::builtin(&be, Detector::None).unwrap();
    let options = AsrOptions { word_timestamps: true, no_speech_threshold: None, ..AsrOptions::default() };
    for samples in [0, 160, 3200] {
        let chunk = Chunk { span: Span::new(0.0, samples as f64 / 16000.0), segments: Vec::new() };
        for chunks in [Chunks::Windows, Chunks::Speech(std::slice::from_ref(&chunk))] {
            let mut reported = Reported::default();
            let audio = vec![0.0; samples];
            let (whisper, tokenizer) = (&pipeline.recognizer.whisper, &pipeline.recognizer.tokenizer);
            let result = asr::transcribe(whisper, tokenizer, &audio, chunks, &options, &mut reported).unwrap();
            assert_eq!(reported.0, result.segments, "{samples} samples");
            let words = result.segments.iter().filter_map(|segment| segment.words.as_ref()).flatten();
            assert!(words.clone().all(|word| word.start <= word.end), "{samples} samples: {:?}", result.segments);
        }
    }
}
