//! PyanNet against pyannote.audio, with random weights in the true architecture and with WhisperX's checkpoint; every window
//! alone against the same window among others, bit for bit; and WhisperX's speech regions.

mod common;

use std::path::Path;

use common::{Golden, assert_close, json, pyannet, seeded, shared};
use diarist::engine::cpu::Cpu;
use diarist::engine::weights::Weights;
use diarist::models::pyannet::{Head, METADATA, PyanNet, Specification};
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::vad::pyannote::{FrameScores, Pyannote, speech};
use diarist::vad::{Detector, VadMethod, VadOptions};
use serde_json::Value;

/// WhisperX's own checkpoint.
const CHECKPOINT: &str = "models/whisperx-vad/pytorch_model.bin";
/// Seconds from one frame to the next.
const FRAME: f64 = 270.0 / 16000.0;

fn cpu() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

fn random(be: &Cpu, case: &Value) -> PyanNet<Cpu> {
    let weights = pyannet::weights(case);
    PyanNet::load(be, Specification::read(&weights).unwrap(), &weights).unwrap()
}

fn cases() -> Vec<Value> {
    Golden::open("pyannet/scores.safetensors").meta()["cases"].as_array().unwrap().clone()
}

fn audio(case: &Value, samples: usize) -> Vec<f32> {
    seeded::audio_f32(case["audio_seed"].as_u64().unwrap(), samples)
}

/// 16 kHz mono.
fn wav(path: &Path) -> Vec<f32> {
    diarist::audio::decode(path, &Default::default(), |_| std::ops::ControlFlow::Continue(())).unwrap().samples
}

#[test]
fn scores_are_those_of_pyannote() {
    let (golden, be) = (Golden::open("pyannet/scores.safetensors"), cpu());
    for case in cases() {
        let (name, network) = (case["name"].as_str().unwrap(), random(&be, &case));
        let (shape, want) = golden.f32(name);
        let window = network.specification().window;
        let step = case["step"].as_u64().unwrap() as usize;
        assert_eq!(shape, [2, network.frames(), network.specification().outputs()], "{name}");
        let got = network.scores(&be, &audio(&case, window + step), step).unwrap().to_host(&be).unwrap();
        // Log-probabilities are larger than probabilities; pyannote's own f32 is as far from f64 as the golden says.
        let tolerance = if network.specification().head == Head::MultiLabel { 1e-4 } else { 3e-4 };
        let worst = assert_close(name, &got, &want, tolerance, 0.0);
        eprintln!("{name}: largest difference {worst:e}, of pyannote to f64 {}", case["f32_error"]);
    }
}

#[test]
fn windows_do_not_know_each_other() {
    for case in cases() {
        let (one, two) = (Cpu::new(Some(1)).unwrap(), cpu());
        let (network, alone) = (random(&two, &case), random(&one, &case));
        let window = network.specification().window;
        // A step that is no multiple of the filters' stride goes another way; a window begins where its samples do.
        for step in [8000, 7777] {
            let samples = audio(&case, window + 4 * step);
            let together = network.scores(&two, &samples, step).unwrap().to_host(&two).unwrap();
            for (b, want) in together.chunks_exact(together.len() / 5).enumerate() {
                let got = alone.scores(&one, &samples[b * step..][..window], step).unwrap().to_host(&one).unwrap();
                assert!(got.iter().zip(want).all(|(a, b)| a.to_bits() == b.to_bits()), "{step}: window {b} differs");
                assert_eq!(got.len(), want.len());
            }
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_the_real_checkpoint_scores_as_pyannote_does() {
    let (checkpoint, jfk) = (shared(CHECKPOINT), shared("audio/jfk/jfk.wav"));
    let (golden, be) = (Golden::open("pyannet/scores.safetensors"), cpu());
    let network = PyanNet::open(&be, &checkpoint).unwrap();
    assert_eq!(network.specification().window, 80_000);
    assert_eq!((network.specification().outputs(), network.frames()), (3, 293));
    assert_eq!((network.frame_field(), network.frame_step()), (991, 270));
    let samples = wav(&jfk);
    let got = network.scores(&be, &samples[..128_000], 48_000).unwrap().to_host(&be).unwrap();
    let worst = assert_close("jfk", &got, &golden.f32("jfk").1, 1e-4, 0.0);
    let vad = Pyannote::new(&be, network);
    let mut overall = worst;
    for len in [samples.len(), 64_000, 14_400] {
        let (_, want) = golden.f32(&format!("scores of {len}"));
        overall = overall.max(assert_close("overlap", &vad.scores(&samples[..len]).unwrap(), &want, 1e-4, 0.0));
    }
    eprintln!("jfk: largest difference {worst:e}, {overall:e} with overlaps");
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_regions_are_whisperxs_to_a_frame() {
    let checkpoint = shared(CHECKPOINT);
    let (be, mut regions) = (cpu(), 0);
    let vad = Pyannote::open(&be, &checkpoint).unwrap();
    for case in json("pyannet/regions.json")["recordings"].as_array().unwrap() {
        let number = |key: &str| case[key].as_f64().unwrap();
        let file = case["file"].as_str().unwrap();
        let path = shared(&format!("audio/{file}"));
        let samples = &wav(&path)[..number("samples") as usize];
        let options =
            VadOptions { onset: number("onset"), offset: number("offset"), chunk_size: Seconds(number("chunk_size")) };
        let got = speech(samples, &vad, &options).unwrap();
        let want = case["regions"].as_array().unwrap();
        assert_eq!(got.len(), want.len(), "{file}: {got:?}, expected {want:?}");
        assert_eq!(vad.scores(samples).unwrap().len(), number("frames") as usize, "{file}");
        for (got, want) in got.iter().zip(want) {
            // WhisperX's last region may end half a frame behind the recording; ours end with it.
            let end = samples.len() as f64 / SAMPLE_RATE as f64;
            let near = |got: Seconds, want: &Value| (got.0 - want.as_f64().unwrap().min(end)).abs() <= FRAME + 1e-9;
            assert!(near(got.start, &want[0]) && near(got.end, &want[1]), "{file}: {got:?}, expected {want}");
        }
        regions += got.len();
    }
    assert!(regions > 90, "only {regions} regions compared");
}

#[test]
fn silence_shorts_and_numbers_that_are_none() {
    let (be, case) = (cpu(), &cases()[0]);
    let vad = Pyannote::new(&be, random(&be, case));
    assert!(vad.scores(&[]).unwrap().is_empty());
    let count = |samples: usize| vad.scores(&audio(case, samples)).unwrap().len();
    // Every frame that begins within the recording, and no other: as pyannote's "loose" crop has it.
    assert_eq!([count(1), count(3200), count(80_000 - 1)], [1, 12, 297]);
    assert_eq!(count(80_000), 297);
    let mut samples = audio(case, 20 * SAMPLE_RATE);
    let clean = vad.scores(&samples).unwrap();
    samples[10 * SAMPLE_RATE] = f32::NAN;
    let spoilt = vad.scores(&samples).unwrap();
    assert!(spoilt.iter().all(|score| score.is_finite()) && clean.len() == spoilt.len());
    let frame = |seconds: f64| (seconds / FRAME) as usize;
    // Windows of 5 s that hold it begin from 5 to 10 s.
    assert_eq!(clean[..frame(5.0)], spoilt[..frame(5.0)]);
    assert_eq!(clean[frame(15.1)..], spoilt[frame(15.1)..]);
    assert_ne!(clean[frame(10.0)], spoilt[frame(10.0)]);
    assert!(vad.scores(&[f32::NAN; 90_000]).unwrap().iter().all(|score| *score == 0.0));
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_nobody_speaks_in_silence() {
    let checkpoint = shared(CHECKPOINT);
    let be = cpu();
    assert_eq!(VadMethod::of_network(&checkpoint), VadMethod::Pyannote);
    assert_eq!(VadMethod::of_network(Path::new("silero_vad.onnx")), VadMethod::Silero);
    let detector = Detector::load(&be, VadMethod::Pyannote, &checkpoint).unwrap();
    let options = VadOptions::default();
    for samples in [vec![0.0; 20 * SAMPLE_RATE], vec![0.0; 3200], vec![], vec![f32::NAN; 100_000]] {
        assert!(detector.chunks(&samples, &options).unwrap().is_empty(), "{} samples", samples.len());
    }
    let jfk = wav(&shared("audio/jfk/jfk.wav"));
    let chunks = detector.chunks(&jfk, &options).unwrap();
    assert_eq!((chunks.len(), chunks[0].segments.len()), (1, 4));
}

/// Hours of sound are scored a few windows at a time: the scores of a part are those of the whole, batches or not.
#[test]
fn batches_of_windows_do_not_show() {
    let (be, case) = (cpu(), &cases()[0]);
    let vad = Pyannote::new(&be, random(&be, case));
    let samples = audio(case, 26 * SAMPLE_RATE);
    let whole = vad.scores(&samples).unwrap();
    assert_eq!(whole.len(), 1542);
    let part = vad.scores(&samples[..23 * SAMPLE_RATE]).unwrap();
    // All windows that see these frames lie in both.
    assert_eq!(whole[..1000], part[..1000]);
}

/// Written by pyannote.audio, between commands that would run if anything of a pickle did.
#[test]
fn a_specification_is_read_as_data() {
    let bytes = std::fs::read(common::data("pyannet/specification.bin")).unwrap();
    let command = b"executed-by-a-pickle";
    assert!(bytes.windows(command.len()).any(|part| part == command), "no trap in it");
    let weights = Weights::from_bytes("specification.bin", bytes).unwrap();
    let specification = Specification::read(&weights).unwrap();
    assert!(!Path::new("executed-by-a-pickle").exists(), "the pickle ran its command");
    assert_eq!((specification.window, specification.head, specification.stride), (160_000, Head::Powerset(2), 10));
    assert_eq!(specification.classes, ["speaker#1", "speaker#2", "speaker#3"]);
    assert_eq!(specification.outputs(), 7);
    // Its weights are not there, and that is said.
    let error = PyanNet::load(&cpu(), specification, &weights).err().unwrap().to_string();
    assert!(error.contains("lstm.weight_ih_l0"), "{error}");
}

#[test]
fn specifications_that_cannot_be_are_refused() {
    let refusal = |text: &str| {
        let metadata = [(METADATA.to_string(), text.to_string())].into();
        let tensor = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0; 4]).unwrap();
        let bytes = safetensors::serialize([("x", tensor)], Some(metadata)).unwrap();
        let weights = Weights::from_bytes("some.safetensors", bytes).unwrap();
        Specification::read(&weights).err().unwrap_or_else(|| panic!("accepted {text}")).to_string()
    };
    for (text, says) in [
        ("", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "`duration`"),
        (r#"{"duration": 1e9, "classes": ["a"]}"#, "`duration`"),
        (r#"{"duration": -5, "classes": ["a"]}"#, "`duration`"),
        (r#"{"duration": 5, "classes": []}"#, "`classes`"),
        (r#"{"duration": 5, "classes": ["a"], "powerset_max_classes": 9}"#, "powerset_max_classes"),
        (r#"{"duration": 5, "classes": ["a"], "stride": 0}"#, "stride"),
        (r#"{"duration": 5, "classes": ["a"], "resolution": {"arguments": [2]}}"#, "whole windows"),
    ] {
        assert!(refusal(text).contains(says), "{text}: {}", refusal(text));
    }
    let golden = Weights::open_file(&common::data("chunks/scores.safetensors")).unwrap();
    let error = Specification::read(&golden).err().unwrap().to_string();
    assert!(error.contains("pytorch_model.bin"), "{error}");
    let short = Specification { window: 300, classes: vec!["a".into()], head: Head::MultiLabel, stride: 10 };
    assert!(PyanNet::load(&cpu(), short, &golden).err().unwrap().to_string().contains("too short"));
}

mod needs_real_needs_shared {
    use super::*;

    /// Every fourth frame of all meetings, in windows of ten seconds side by side. In a frame where somebody begins to speak, f32
    /// alone moves a probability by more than 1e-4: pyannote's own f32 and f64 differ by far more there.
    #[test]
    #[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
    fn segmentation_3_0_is_that_of_pyannote() {
        let (be, golden) = (cpu(), common::Golden::open("real/segmentation.safetensors"));
        let network = PyanNet::open(&be, &common::real("segmentation-3.0")).unwrap();
        let window = network.specification().window;
        let meta = golden.meta();
        let step = meta["step"].as_u64().unwrap() as usize;
        let (mut worst, mut worst_log) = (0.0f32, 0.0f32);
        for name in meta["recordings"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
            let (shape, want) = golden.f32(name);
            let path = common::shared(&format!("audio/ami/{name}"));
            let mut samples: Vec<f32> =
                hound::WavReader::open(path).unwrap().samples::<f32>().map(|v| v.unwrap()).collect();
            samples.resize(samples.len().next_multiple_of(window), 0.0);
            let scores = network.scores(&be, &samples, window).unwrap();
            assert_eq!([scores.shape()[0], scores.shape()[1].div_ceil(step), scores.shape()[2]], shape[..], "{name}");
            let (frames, width) = (scores.shape()[1], scores.width());
            let got: Vec<f32> = scores
                .to_host(&be)
                .unwrap()
                .chunks_exact(frames * width)
                .flat_map(|window| window.chunks_exact(width).step_by(step).flatten().copied().collect::<Vec<f32>>())
                .collect();
            let apart = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
            worst_log = apart.fold(worst_log, f32::max);
            let probabilities = |scores: &[f32]| scores.iter().map(|v| v.exp()).collect::<Vec<f32>>();
            worst = worst.max(common::assert_close(name, &probabilities(&got), &probabilities(&want), 2.5e-4, 0.0));
        }
        eprintln!("largest difference of a probability {worst:e}, of its logarithm {worst_log:e}");
    }
}
