//! Voice activity: the parts against WhisperX, onnxruntime and silero-vad, and the whole on real recordings.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{Golden, assert_close, data, json, shared};
use diarist::models::silero::{Silero, WINDOW};
use diarist::types::{Chunk, Span};
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::vad::binarize::{FrameGrid, Hysteresis, binarize};
use diarist::vad::merge::{cut_late, merge_chunks, split_long};
use diarist::vad::silero::{LongSpeech, SileroOptions, spans};
use diarist::vad::{Detector, VadMethod, VadOptions, energy};
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

/// Equal but for the last bit that `serde_json` may lose in reading a number.
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

fn wav(path: &Path) -> Vec<f32> {
    let mut reader = hound::WavReader::open(path).expect("a WAV file");
    let spec = reader.spec();
    assert_eq!((spec.sample_rate, spec.channels), (SAMPLE_RATE as u32, 1));
    if spec.sample_format == hound::SampleFormat::Float {
        return reader.samples::<f32>().map(|s| s.expect("a sample")).collect();
    }
    let full_scale = (1u32 << (spec.bits_per_sample - 1)) as f32;
    reader.samples::<i32>().map(|s| s.expect("a sample") as f32 / full_scale).collect()
}

fn network() -> Option<Silero> {
    Some(Silero::open(&shared("models/silero/silero_vad.onnx")?).expect("the Silero network"))
}

/// Reference turns of an RTTM file, by recording.
fn turns(path: &Path) -> HashMap<String, Vec<Span>> {
    let mut out: HashMap<String, Vec<Span>> = HashMap::new();
    for line in std::fs::read_to_string(path).expect("an RTTM file").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, length): (f64, f64) = (fields[3].parse().expect("start"), fields[4].parse().expect("length"));
        out.entry(fields[1].to_string()).or_default().push(Span::new(start, start + length));
    }
    out
}

/// Missed and false speech, in frames of 10 ms.
fn errors(got: &[Span], want: &[Span], frames: usize) -> (usize, usize) {
    let mask = |spans: &[Span]| {
        let mut mask = vec![false; frames];
        for span in spans {
            let frame = |t: Seconds| ((t.0 * 100.0).round() as usize).min(frames);
            mask[frame(span.start)..frame(span.end)].fill(true);
        }
        mask
    };
    let (got, want) = (mask(got), mask(want));
    let count = |g: bool, w: bool| got.iter().zip(&want).filter(|pair| *pair == (&g, &w)).count();
    (count(false, true), count(true, false))
}

/// Ordered, apart or touching, within the recording, none too long.
fn check_spans(spans: &[Span], duration: f64, longest: f64) {
    let mut last = 0.0;
    for span in spans {
        assert!(span.start.0 >= last && span.end > span.start, "{span:?} after {last}");
        assert!(span.duration() <= longest + 1e-9, "{span:?} is longer than {longest}");
        last = span.end.0;
    }
    assert!(last <= duration + 1e-9, "{last} is after the end {duration}");
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

/// Largest difference over every curve that came from the network, and what the network gives for silence.
#[test]
fn silero_probabilities_match_onnxruntime() {
    let Some(network) = network() else { return };
    let (golden, curves) = (json("silero/spans.json"), Golden::open("silero/probabilities.safetensors"));
    let mut worst = 0.0f32;
    for curve in list(&golden["curves"]) {
        let samples = curve["samples"].as_u64().expect("samples") as usize;
        let audio = if let Some(seed) = curve["audio_seed"].as_u64() {
            common::seeded::audio_f32(seed, samples)
        } else if let Some(path) = curve["file"].as_str().and_then(|f| shared(&format!("audio/{f}"))) {
            wav(&path)[..samples].to_vec()
        } else {
            continue;
        };
        let (_, want) = curves.f32(curve["tensor"].as_str().expect("a tensor"));
        let got = network.probabilities(&audio);
        worst = worst.max(assert_close(curve["name"].as_str().expect("a name"), &got, &want, 1e-4, 0.0));
        assert!(want.iter().any(|p| *p > 0.02), "a curve of zeros proves nothing");
    }
    eprintln!("silero: largest difference to onnxruntime {worst:e}");
    assert!(worst > 0.0, "nothing was compared");
}

#[test]
fn silero_of_a_window_depends_on_the_past_only() {
    let Some(network) = network() else { return };
    let audio = common::seeded::audio_f32(3, 200 * WINDOW + 17);
    let whole = network.probabilities(&audio);
    assert_eq!(whole.len(), 201);
    for windows in [1, 63, 64, 65, 130] {
        assert_eq!(network.probabilities(&audio[..windows * WINDOW]), whole[..windows], "{windows} windows");
    }
    assert!(network.probabilities(&[]).is_empty());
    assert!(network.probabilities(&[0.0; 1])[0] < 0.5);
}

#[test]
fn silero_refuses_another_checkpoint() {
    let fails = |path: &Path| match Silero::open(path) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error.to_string(),
    };
    assert!(fails(&data("chunks/scores.safetensors")).contains("stft_conv.weight"));
    assert!(fails(&data("no such file.safetensors")).contains("cannot be opened"));
    assert!(fails(&data("no such file.onnx")).contains("cannot be read"));
    assert!(fails(&data("chunks/chunks.json")).contains("ONNX"));
    let Some(whole) = shared("models/silero/silero_vad.onnx").map(|path| std::fs::read(path).unwrap()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.onnx");
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(fails(&path).contains("damaged"), "{length} bytes");
    }
}

#[test]
fn silero_reads_the_safetensors_layout_too() {
    let Some(path) = shared("models/silero/silero_vad_16k.safetensors") else { return };
    let network = Silero::open(&path).unwrap();
    let Some(jfk) = shared("audio/jfk/jfk.wav").map(|path| wav(&path)) else { return };
    let probabilities = network.probabilities(&jfk);
    let speech = probabilities.iter().filter(|p| **p > 0.5).count();
    assert!((150..330).contains(&speech), "{speech} of {} windows", probabilities.len());
}

#[test]
fn silero_finds_speech_and_nothing_in_silence() {
    let Some(network) = network() else { return };
    let detector = Detector::Silero(Box::new(network));
    let options = VadOptions::default();
    assert!(detector.speech(&vec![0.0; 20 * SAMPLE_RATE], &options).unwrap().is_empty());
    let Some(jfk) = shared("audio/jfk/jfk.wav").map(|path| wav(&path)) else { return };
    let chunks = detector.chunks(&jfk, &options).unwrap();
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].segments.len() >= 3 && chunks[0].span.start.0 < 0.5 && chunks[0].span.end.0 > 10.0);
}

/// Where this threshold comes from: 8.9 % when written; Silero's default is at 11.0 % (see `vad::energy`).
#[test]
fn energy_error_against_reference_turns() {
    let (mut missed, mut false_speech, mut total, mut speech) = (0, 0, 0, 0);
    for name in ["ami/ami.rttm", "dialogue/sample.rttm", "dialogue/falcon.rttm"] {
        let Some(rttm) = shared(&format!("audio/{name}")) else { return };
        for (recording, want) in turns(&rttm) {
            let samples = wav(&rttm.with_file_name(format!("{recording}.wav")));
            let got = Detector::Energy.speech(&samples, &VadOptions::default()).unwrap();
            check_spans(&got, samples.len() as f64 / SAMPLE_RATE as f64, 30.0);
            let frames = samples.len() / 160;
            let (miss, fake) = errors(&got, &want, frames);
            eprintln!("{recording}: missed {miss}, false {fake} of {frames} frames");
            (missed, false_speech, total) = (missed + miss, false_speech + fake, total + frames);
            speech += errors(&[], &want, frames).0;
        }
    }
    let percent = |part: usize| 100.0 * part as f64 / total as f64;
    eprintln!("energy: missed {:.2} %, false {:.2} %", percent(missed), percent(false_speech));
    assert!(speech * 2 > total && speech < total, "a detector of all or nothing must not pass");
    assert!(percent(missed) < 7.0 && percent(false_speech) < 4.5);
}

#[test]
fn energy_finds_most_of_what_silero_finds() {
    let Some(network) = network() else { return };
    let silero = Detector::Silero(Box::new(network));
    for name in ["jfk/jfk", "languages/test", "languages/test_de", "languages/test_es", "languages/test_fr"] {
        let Some(samples) = shared(&format!("audio/{name}.wav")).map(|path| wav(&path)) else { return };
        let options = VadOptions::default();
        let want = silero.speech(&samples, &options).unwrap();
        let got = Detector::Energy.speech(&samples, &options).unwrap();
        let frames = samples.len() / 160;
        let (missed, _) = errors(&got, &want, frames);
        let speech = errors(&[], &want, frames).0;
        assert!(missed * 100 <= speech * 6, "{name}: {missed} of {speech} frames missed");
    }
}

/// Uniform noise in `[-amplitude, amplitude]`.
fn noise(amplitude: f32, samples: usize) -> Vec<f32> {
    let uniform = |i: usize| (common::seeded::bits(1, "hiss", i as u64) >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
    (0..samples).map(|i| amplitude * uniform(i)).collect()
}

#[test]
fn energy_hears_nothing_in_silence_noise_and_hum() {
    let seconds = 40 * SAMPLE_RATE;
    let hum = |i: usize| 0.1 * (std::f32::consts::TAU * 50.0 * i as f32 / SAMPLE_RATE as f32).sin();
    let with_hum: Vec<f32> = noise(0.01, seconds).iter().enumerate().map(|(i, x)| x + hum(i)).collect();
    let steady =
        [vec![0.0; seconds], vec![0.25; seconds], noise(3e-5, seconds), noise(0.003, seconds), noise(0.2, seconds)];
    for (number, samples) in steady.iter().chain([&with_hum]).enumerate() {
        let got = Detector::Energy.speech(samples, &VadOptions::default()).unwrap();
        assert!(got.is_empty(), "case {number}: {got:?}");
    }
    for samples in [&[][..], &[0.5], &[f32::NAN; 16000], &[f32::INFINITY; 16000]] {
        assert!(Detector::Energy.speech(samples, &VadOptions::default()).unwrap().is_empty());
    }
}

/// Noise that comes and goes, over a faint one: "syllables" of 150 ms, 50 ms apart.
fn babble(samples: usize, talking: impl Fn(f64) -> bool) -> Vec<f32> {
    let mut out = noise(0.002, samples);
    for (i, (x, loud)) in out.iter_mut().zip(noise(0.2, samples)).enumerate() {
        let time = i as f64 / SAMPLE_RATE as f64;
        if talking(time) && time % 0.2 < 0.15 {
            *x += loud;
        }
    }
    out
}

#[test]
fn energy_finds_the_bounds_of_speech() {
    let samples = babble(20 * SAMPLE_RATE, |t| (2.0..5.0).contains(&t) || (8.0..9.0).contains(&t));
    let got = Detector::Energy.speech(&samples, &VadOptions::default()).unwrap();
    assert_eq!(got.len(), 2, "{got:?}");
    for (span, (start, end)) in got.iter().zip([(2.0, 4.95), (8.0, 8.95)]) {
        // 0.2 s are added on purpose.
        assert!((span.start.0 - (start - 0.2)).abs() < 0.06 && (span.end.0 - (end + 0.2)).abs() < 0.06, "{span:?}");
    }
}

#[test]
fn energy_cuts_long_speech_where_it_is_quietest() {
    // 70 s without a pause of half a second, but one of 0.3 s at 21 s and one at 43 s.
    let samples = babble(75 * SAMPLE_RATE, |t| t < 70.0 && !(21.0..21.3).contains(&t) && !(43.0..43.3).contains(&t));
    let scores = energy::scores(&samples).unwrap();
    assert_eq!(scores.len(), 7500);
    let got = Detector::Energy.speech(&samples, &VadOptions::default()).unwrap();
    check_spans(&got, 75.0, 30.0);
    assert_eq!(got.len(), 3, "{got:?}");
    assert!((20.9..21.4).contains(&got[0].end.0), "{got:?}");
    assert!((42.9..43.4).contains(&got[1].end.0), "{got:?}");
    assert_eq!(got[0].end, got[1].start);
}

#[test]
fn none_takes_everything_in_windows() {
    let options = VadOptions { chunk_size: Seconds(10.0), ..VadOptions::default() };
    let got = Detector::None.speech(&vec![0.0; 25 * SAMPLE_RATE], &options).unwrap();
    assert_eq!(got, [Span::new(0.0, 10.0), Span::new(10.0, 20.0), Span::new(20.0, 25.0)]);
    assert_eq!(Detector::None.chunks(&vec![0.0; 25 * SAMPLE_RATE], &options).unwrap().len(), 3);
    assert!(Detector::None.speech(&[], &options).unwrap().is_empty());
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    for method in ["none", "energy", "silero"] {
        assert_eq!(method.parse::<VadMethod>().unwrap().to_string(), method);
    }
    assert!("pyannote".parse::<VadMethod>().unwrap_err().to_string().contains("silero"));
    assert!("webrtc".parse::<VadMethod>().is_err());
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

/// Spans in order, apart, of positive length.
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
    // A failure prints the smallest case; there is no file of old ones beside the tests.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_chunks_hold_every_span_in_order_and_fit(spans in any_spans(), size in 1.0..30.0f64) {
        let chunks = merge_chunks(&spans, Seconds(size));
        let inside: Vec<Span> = chunks.iter().flat_map(|c| c.segments.clone()).collect();
        prop_assert_eq!(&inside, &spans);
        for chunk in &chunks {
            prop_assert_eq!(chunk.span.start, chunk.segments[0].start);
            prop_assert_eq!(chunk.span.end, chunk.segments[chunk.segments.len() - 1].end);
            prop_assert!(chunk.span.duration() <= size || chunk.segments.len() == 1);
        }
        for pair in chunks.windows(2) {
            // Greedy: the first span of a chunk did not fit in the one before.
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
    fn binarized_regions_are_ordered_and_apart(
        scores in prop::collection::vec(prop_oneof![0.0..1.0f32, Just(f32::NAN)], 0..400),
        onset in 0.05..0.95f64, offset in 0.05..0.95f64, longest in 0.5..30.0f64,
    ) {
        let grid = FrameGrid { start: 0.0, step: 0.1, duration: 0.2 };
        let got = binarize(&scores, grid, &Hysteresis { onset, offset, max_duration: Seconds(longest) });
        let end = grid.middle(scores.len().saturating_sub(1));
        check_spans(&got, end, longest + 2.0 * grid.step);
    }

    #[test]
    fn silero_spans_are_ordered_apart_and_fit(
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
