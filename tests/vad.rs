//! Voice activity detection: from scores to spans and chunks, against WhisperX, silero-vad and faster-whisper.

mod common;

use std::collections::HashMap;

use common::{Golden, check_spans, json};
use diarist::models::silero::WINDOW;
use diarist::types::{Chunk, Span};
use diarist::units::FrameGrid;
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::vad::binarize::{Hysteresis, binarize};
use diarist::vad::merge::{cut_late, merge_chunks, split_long};
use diarist::vad::silero::{LongSpeech, SileroOptions, spans};
use diarist::vad::{Detector, VadMethod, VadOptions};
use proptest::prelude::*;
use serde_json::Value;

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

/// `[[start, end], ...]`
fn span_list(value: &Value) -> Vec<Span> {
    list(value).iter().map(|pair| Span::new(number(&pair[0]), number(&pair[1]))).collect()
}

/// Asserts equal spans, up to the rounding of numbers by `serde_json`.
#[track_caller]
fn assert_spans(what: &str, got: &[Span], want: &[Span]) {
    assert_eq!(got.len(), want.len(), "{what}: number of spans");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = |a: Seconds, b: Seconds| (a.0 - b.0).abs() < 1e-9;
        assert!(near(g.start, w.start) && near(g.end, w.end), "{what}[{i}]: got {g:?}, want {w:?}");
    }
}

#[track_caller]
fn assert_chunks(what: &str, got: &[Chunk], want: &[Chunk]) {
    let bounds = |chunks: &[Chunk]| chunks.iter().map(|c| c.span).collect::<Vec<_>>();
    assert_spans(what, &bounds(got), &bounds(want));
    got.iter().zip(want).for_each(|(g, w)| assert_spans(what, &g.segments, &w.segments));
}

fn chunk_list(value: &Value) -> Vec<Chunk> {
    let chunk = |c: &Value| Chunk {
        span: Span::new(number(&c["start"]), number(&c["end"])),
        segments: span_list(&c["segments"]),
    };
    list(value).iter().map(chunk).collect()
}

#[test]
fn binarize_and_merge_match_whisperx() {
    let (golden, scores) = (json("chunks/chunks.json"), Golden::open("chunks/scores.safetensors"));
    let duration = number(&golden["meta"]["frame_field"]);
    let grid = FrameGrid { start: 0.0, step: number(&golden["meta"]["frame_step"]), duration };
    let mut regions = 0;
    for case in list(&golden["cases"]) {
        let (_, curve) = scores.f32(case["tensor"].as_str().expect("a tensor name"));
        let max_duration = Seconds(number(&case["chunk_size"]));
        let options = Hysteresis { onset: number(&case["onset"]), offset: number(&case["offset"]), max_duration };
        let got = binarize(&curve, grid, &options);
        let what = format!("{} in {} s", case["curve"], case["chunk_size"]);
        assert_spans(&what, &got, &span_list(&case["regions"]));
        assert_chunks(&what, &merge_chunks(&got, max_duration), &chunk_list(&case["chunks"]));
        regions += got.len();
    }
    assert!(regions > 100, "only {regions} regions compared");
}

#[test]
fn merge_matches_whisperx_at_the_edges() {
    for case in list(&json("chunks/chunks.json")["merges"]) {
        let got = merge_chunks(&span_list(&case["spans"]), Seconds(number(&case["chunk_size"])));
        assert_chunks(&case["name"].to_string(), &got, &chunk_list(&case["chunks"]));
    }
    assert!(merge_chunks(&[], Seconds(30.0)).is_empty());
}

#[test]
fn silero_spans_match_silero_vad_and_faster_whisper() {
    let (golden, curves) = (json("silero/spans.json"), Golden::open("silero/probabilities.safetensors"));
    let tensor: HashMap<&str, &str> = list(&golden["curves"])
        .iter()
        .map(|c| (c["name"].as_str().expect("a name"), c["tensor"].as_str().expect("a tensor")))
        .collect();
    let mut compared = 0;
    for case in list(&golden["cases"]) {
        let (_, curve) = curves.f32(tensor[case["curve"].as_str().expect("a name")]);
        let faster = case["function"] == "faster-whisper";
        let given = &case["options"];
        let or = |name: &str, default: f64| given.get(name).map_or(default, number);
        let threshold = or("threshold", 0.5);
        let legacy = faster || given.get("use_max_poss_sil_at_max_speech") == Some(&Value::Bool(false));
        let mut options = SileroOptions::new(threshold, Seconds(or("max_speech_duration_s", f64::INFINITY)));
        options.neg_threshold = or("neg_threshold", options.neg_threshold);
        options.min_speech = Seconds(or("min_speech_duration_ms", if faster { 0.0 } else { 250.0 }) / 1000.0);
        options.min_silence = Seconds(or("min_silence_duration_ms", if faster { 2000.0 } else { 100.0 }) / 1000.0);
        options.speech_pad = Seconds(or("speech_pad_ms", if faster { 400.0 } else { 30.0 }) / 1000.0);
        options.long_speech = if legacy { LongSpeech::LastSilence } else { LongSpeech::LongestSilence };
        let samples = case["samples"].as_u64().expect("samples") as usize;
        let want: Vec<Span> = span_list(&case["spans"])
            .iter()
            .map(|s| Span::new(s.start.0 / SAMPLE_RATE as f64, s.end.0 / SAMPLE_RATE as f64))
            .collect();
        let what = format!("{} {} {given}", case["curve"], case["function"]);
        assert_spans(&what, &spans(&curve, samples, &options), &want);
        compared += want.len();
    }
    assert!(compared > 500, "only {compared} spans compared");
}

#[test]
fn none_splits_the_whole_recording_into_chunks() {
    let options = VadOptions { chunk_size: Seconds(10.0), ..VadOptions::default() };
    let got = Detector::None.speech(&vec![0.0; 25 * SAMPLE_RATE], &options).unwrap();
    assert_eq!(got, [Span::new(0.0, 10.0), Span::new(10.0, 20.0), Span::new(20.0, 25.0)]);
    assert_eq!(Detector::None.chunks(&vec![0.0; 25 * SAMPLE_RATE], &options).unwrap().len(), 3);
    assert!(Detector::None.speech(&[], &options).unwrap().is_empty());
}

#[test]
fn invalid_options_are_refused() {
    for method in ["none", "energy", "silero", "pyannote"] {
        assert_eq!(method.parse::<VadMethod>().unwrap().to_string(), method);
    }
    assert!("webrtc".parse::<VadMethod>().unwrap_err().to_string().contains("pyannote"));
    let with = |onset: f64, offset: f64, chunk_size: f64| VadOptions { onset, offset, chunk_size: Seconds(chunk_size) };
    assert!(with(0.5, 0.363, 30.0).check().is_ok());
    for (options, name) in [
        (with(1.0, 0.3, 30.0), "vad_onset"),
        (with(f64::NAN, 0.3, 30.0), "vad_onset"),
        (with(0.5, 0.0, 30.0), "vad_offset"),
        (with(0.5, 0.3, 0.0), "chunk_size"),
        (with(0.5, 0.3, 31.0), "chunk_size"),
    ] {
        let error = Detector::None.speech(&[0.0; 10], &options).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

/// Spans in order, without overlap, of positive length.
fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec((0.0..20.0f64, 0.001..45.0f64), 0..60).prop_map(|pairs| {
        let mut time = 0.0;
        let next = |(gap, length): (f64, f64)| {
            let start = time + gap;
            time = start + length;
            Span::new(start, time)
        };
        pairs.into_iter().map(next).collect()
    })
}

proptest! {
    // A failure prints the minimal case; there is no file of past failures.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_chunks_contain_every_span_in_order_and_fit(spans in any_spans(), size in 1.0..30.0f64) {
        let chunks = merge_chunks(&spans, Seconds(size));
        let inside: Vec<Span> = chunks.iter().flat_map(|c| c.segments.clone()).collect();
        prop_assert_eq!(&inside, &spans);
        for chunk in &chunks {
            prop_assert_eq!(chunk.span.start, chunk.segments[0].start);
            prop_assert_eq!(chunk.span.end, chunk.segments[chunk.segments.len() - 1].end);
            prop_assert!(chunk.span.duration() <= size || chunk.segments.len() == 1);
        }
        for pair in chunks.windows(2) {
            // Greedy: the first span of a chunk does not fit in the previous chunk.
            prop_assert!(pair[1].segments[0].end.0 - pair[0].span.start.0 > size);
        }
    }

    #[test]
    fn split_spans_fit_and_cover_the_same_time(spans in any_spans(), size in 1.0..30.0f64, at in -1.0..2.0f64) {
        let cut = |w: Span| if at < 0.0 { Seconds(f64::NAN) } else { Seconds(w.start.0 + at * w.duration()) };
        for pieces in [split_long(&spans, Seconds(size), cut), split_long(&spans, Seconds(size), cut_late)] {
            prop_assert!(pieces.iter().all(|p| p.duration() <= size + 1e-9 && p.duration() >= 0.0));
            let length = |spans: &[Span]| spans.iter().map(|s| s.duration()).sum::<f64>();
            prop_assert!((length(&pieces) - length(&spans)).abs() < 1e-6);
            prop_assert!(pieces.windows(2).all(|p| p[0].end <= p[1].start));
        }
    }

    #[test]
    fn binarized_regions_are_ordered_and_do_not_overlap(
        scores in prop::collection::vec(prop_oneof![0.0..1.0f32, Just(f32::NAN)], 0..400),
        onset in 0.05..0.95f64, offset in 0.05..0.95f64, longest in 0.5..30.0f64,
    ) {
        let grid = FrameGrid { start: 0.0, step: 0.1, duration: 0.2 };
        let got = binarize(&scores, grid, &Hysteresis { onset, offset, max_duration: Seconds(longest) });
        let end = grid.middle(scores.len().saturating_sub(1));
        check_spans(&got, end, longest + 2.0 * grid.step);
    }

    #[test]
    fn silero_spans_are_ordered_do_not_overlap_and_fit(
        runs in prop::collection::vec((0.0..1.0f32, 1..60usize), 0..80), size in 1.0..30.0f64, last in any::<bool>(),
    ) {
        let curve: Vec<f32> = runs.iter().flat_map(|&(p, n)| vec![p; n]).collect();
        let samples = (curve.len() * WINDOW).saturating_sub(100);
        let mut options = SileroOptions::new(0.5, Seconds(size));
        if last {
            options.long_speech = LongSpeech::LastSilence;
        }
        check_spans(&spans(&curve, samples, &options), samples as f64 / SAMPLE_RATE as f64, size);
    }
}
