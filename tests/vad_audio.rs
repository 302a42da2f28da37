//! Voice activity detection on audio: Silero's network against onnxruntime, the energy detector against reference
//! turns.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{Golden, assert_close, check_spans, data, json, shared};
use diarist::models::silero::{Silero, WINDOW};
use diarist::types::Span;
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::vad::{Detector, VadOptions, energy};

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

fn network() -> Silero {
    Silero::open(&shared("models/silero/silero_vad.onnx")).expect("the Silero network")
}

/// The reference turns of each recording in an RTTM file.
fn turns(path: &Path) -> HashMap<String, Vec<Span>> {
    let mut out: HashMap<String, Vec<Span>> = HashMap::new();
    for line in std::fs::read_to_string(path).expect("an RTTM file").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, length): (f64, f64) = (fields[3].parse().expect("start"), fields[4].parse().expect("length"));
        out.entry(fields[1].to_string()).or_default().push(Span::new(start, start + length));
    }
    out
}

/// Number of frames of 10 ms with missed and with false speech.
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

/// Probabilities of every golden curve that was computed by the network.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_silero_probabilities_match_onnxruntime() {
    let network = network();
    let (golden, curves) = (json("silero/spans.json"), Golden::open("silero/probabilities.safetensors"));
    let mut worst = 0.0f32;
    for curve in golden["curves"].as_array().expect("an array") {
        // Curves without audio are synthetic: they are for the tests of spans.
        if curve["audio_seed"].is_null() && curve["file"].is_null() {
            continue;
        }
        let samples = curve["samples"].as_u64().expect("samples") as usize;
        let audio = if let Some(seed) = curve["audio_seed"].as_u64() {
            common::seeded::audio_f32(seed, samples)
        } else {
            let file = curve["file"].as_str().expect("a seed or a file");
            wav(&shared(&format!("audio/{file}")))[..samples].to_vec()
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
#[ignore = "needs ../shared"]
fn needs_shared_silero_is_causal() {
    let network = network();
    let audio = common::seeded::audio_f32(3, 200 * WINDOW + 17);
    let whole = network.probabilities(&audio);
    assert_eq!(whole.len(), 201);
    for windows in [1, 63, 64, 65, 130] {
        assert_eq!(network.probabilities(&audio[..windows * WINDOW]), whole[..windows], "{windows} windows");
    }
    assert!(network.probabilities(&[]).is_empty());
    assert!(network.probabilities(&[0.0; 1])[0] < 0.5);
}

fn open_error(path: &Path) -> String {
    match Silero::open(path) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn silero_refuses_another_checkpoint() {
    assert!(open_error(&data("chunks/scores.safetensors")).contains("stft_conv.weight"));
    assert!(open_error(&data("no such file.safetensors")).contains("cannot be opened"));
    assert!(open_error(&data("no such file.onnx")).contains("cannot be read"));
    assert!(open_error(&data("chunks/chunks.json")).contains("ONNX"));
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_silero_refuses_a_truncated_checkpoint() {
    let whole = std::fs::read(shared("models/silero/silero_vad.onnx")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.onnx");
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(open_error(&path).contains("damaged"), "{length} bytes");
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_silero_reads_the_safetensors_layout_too() {
    let network = Silero::open(&shared("models/silero/silero_vad_16k.safetensors")).unwrap();
    let jfk = wav(&shared("audio/jfk/jfk.wav"));
    let probabilities = network.probabilities(&jfk);
    let speech = probabilities.iter().filter(|p| **p > 0.5).count();
    assert!((150..330).contains(&speech), "{speech} of {} windows", probabilities.len());
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_silero_detects_speech_but_not_silence() {
    let network = network();
    let detector = Detector::Silero(Box::new(network));
    let options = VadOptions::default();
    assert!(detector.speech(&vec![0.0; 20 * SAMPLE_RATE], &options).unwrap().is_empty());
    let jfk = wav(&shared("audio/jfk/jfk.wav"));
    let chunks = detector.chunks(&jfk, &options).unwrap();
    assert_eq!(chunks.len(), 1);
    assert!(chunks[0].segments.len() >= 3 && chunks[0].span.start.0 < 0.5 && chunks[0].span.end.0 > 10.0);
}

/// Missed and false speech of `detector` against the reference turns, in per cent of the time, and the number of
/// recordings.
fn error_against_turns(detector: &Detector) -> (f64, f64, usize) {
    let (mut missed, mut false_speech, mut total, mut speech, mut recordings) = (0, 0, 0, 0, 0);
    for name in ["ami/ami.rttm", "dialogue/sample.rttm", "dialogue/falcon.rttm"] {
        let rttm = shared(&format!("audio/{name}"));
        for (recording, want) in turns(&rttm) {
            let samples = wav(&rttm.with_file_name(format!("{recording}.wav")));
            let got = detector.speech(&samples, &VadOptions::default()).unwrap();
            check_spans(&got, samples.len() as f64 / SAMPLE_RATE as f64, 30.0);
            let frames = samples.len() / 160;
            let (miss, fake) = errors(&got, &want, frames);
            eprintln!("{recording}: missed {miss}, false {fake} of {frames} frames");
            (missed, false_speech, total) = (missed + miss, false_speech + fake, total + frames);
            speech += errors(&[], &want, frames).0;
            recordings += 1;
        }
    }
    let percent = |part: usize| 100.0 * part as f64 / total as f64;
    assert!(speech * 2 > total && speech < total, "a constant detector must not pass");
    (percent(missed), percent(false_speech), recordings)
}

/// Compares the error rates in the documentation of `vad::energy` with measured ones.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_energy_error_against_reference_turns_is_the_documented_one() {
    let source = include_str!("../src/vad/energy.rs");
    let docs: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let docs = docs.join(" ");
    let (missed, false_speech, recordings) = error_against_turns(&Detector::Energy);
    let wrong = missed + false_speech;
    let measured = format!("{wrong:.1} % of the time is wrong, {missed:.1} % missed and {false_speech:.1} % false");
    eprintln!("energy: {measured}");
    assert_eq!(recordings, 8);
    assert!(docs.contains(&measured), "measured {measured}; change the documentation of src/vad/energy.rs");
    assert!(wrong < 9.5, "worse than when the constants were tuned");
    let network = network();
    let (missed, false_speech, _) = error_against_turns(&Detector::Silero(Box::new(network)));
    let measured = format!("Silero's default is wrong in {:.1} %", missed + false_speech);
    assert!(docs.contains(&measured), "measured {measured}; change the documentation of src/vad/energy.rs");
    assert!(missed > 10.0 * false_speech, "nearly all of it missed: {missed:.2} %, {false_speech:.2} % false");
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_energy_finds_most_of_what_silero_finds() {
    let network = network();
    let silero = Detector::Silero(Box::new(network));
    for name in ["jfk/jfk", "languages/test", "languages/test_de", "languages/test_es", "languages/test_fr"] {
        let samples = wav(&shared(&format!("audio/{name}.wav")));
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
fn energy_detects_no_speech_in_silence_noise_and_hum() {
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

/// Synthetic speech: bursts of noise ("syllables" of 150 ms with gaps of 50 ms) at times where `is_speech`, over faint
/// noise.
fn syllables(samples: usize, is_speech: impl Fn(f64) -> bool) -> Vec<f32> {
    let mut out = noise(0.002, samples);
    for (i, (x, loud)) in out.iter_mut().zip(noise(0.2, samples)).enumerate() {
        let time = i as f64 / SAMPLE_RATE as f64;
        if is_speech(time) && time % 0.2 < 0.15 {
            *x += loud;
        }
    }
    out
}

#[test]
fn energy_finds_the_start_and_end_of_speech() {
    let samples = syllables(20 * SAMPLE_RATE, |t| (2.0..5.0).contains(&t) || (8.0..9.0).contains(&t));
    let got = Detector::Energy.speech(&samples, &VadOptions::default()).unwrap();
    assert_eq!(got.len(), 2, "{got:?}");
    for (span, (start, end)) in got.iter().zip([(2.0, 4.95), (8.0, 8.95)]) {
        // Spans have 0.2 s of padding.
        assert!((span.start.0 - (start - 0.2)).abs() < 0.06 && (span.end.0 - (end + 0.2)).abs() < 0.06, "{span:?}");
    }
}

/// Spans have no systematic offset. Frames are 10 ms long, so a single span may be off by 5 ms; the mean over bursts at
/// all phases of a frame must not be. With equal thresholds for onset and offset, smoothing moves both ends
/// symmetrically.
#[test]
fn energy_spans_have_no_systematic_offset() {
    const PHASES: usize = 16;
    // `vad::binarize` begins and ends a span in the middle of a frame, so spans are half a frame late.
    let binarize_offset = 0.005;
    let shift = |phase: usize| {
        let (start, end) = (48_000 + phase * 160 / PHASES, 80_000 + phase * 160 / PHASES);
        let mut samples = noise(0.002, 8 * SAMPLE_RATE);
        let burst = noise(0.2, 8 * SAMPLE_RATE);
        samples[start..end].copy_from_slice(&burst[start..end]);
        let got = energy::speech(&samples, 0.5, 0.5, Seconds(30.0)).unwrap();
        assert_eq!(got.len(), 1, "{got:?}");
        (got[0].start.0 + got[0].end.0) / 2.0 - (start + end) as f64 / 2.0 / SAMPLE_RATE as f64 - binarize_offset
    };
    let mean = (0..PHASES).map(shift).sum::<f64>() / PHASES as f64;
    eprintln!("energy: spans are {:.2} ms late", 1000.0 * mean);
    assert!(mean.abs() < 0.002, "spans are {:.2} ms late", 1000.0 * mean);
}

#[test]
fn energy_cuts_long_speech_at_the_quietest_point() {
    // 70 s without a pause of half a second, but with pauses of 0.3 s at 21 s and 43 s.
    let samples = syllables(75 * SAMPLE_RATE, |t| t < 70.0 && !(21.0..21.3).contains(&t) && !(43.0..43.3).contains(&t));
    let scores = energy::scores(&samples).unwrap();
    assert_eq!(scores.len(), 7500);
    let got = Detector::Energy.speech(&samples, &VadOptions::default()).unwrap();
    check_spans(&got, 75.0, 30.0);
    assert_eq!(got.len(), 3, "{got:?}");
    assert!((20.9..21.4).contains(&got[0].end.0), "{got:?}");
    assert!((42.9..43.4).contains(&got[1].end.0), "{got:?}");
    assert_eq!(got[0].end, got[1].start);
}
