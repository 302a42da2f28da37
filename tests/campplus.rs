//! CAM++ against 3D-Speaker's code, with random weights of several sizes and with the published ones on real
//! recordings. Batched embeddings must be bit-identical to single ones. Invalid checkpoints and spans.

mod common;

use std::ops::Range;

use common::{Golden, assert_close, campplus};
use diarist::engine::cpu::Cpu;
use diarist::engine::weights::Weights;
use diarist::models::campplus::CamPlus;
use diarist::models::embedding::{self, SpeakerEmbedding, Windows};
use serde_json::Value;

fn cpu() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

fn case(name: &str) -> Value {
    let meta = Golden::open("campplus/embeddings.safetensors").meta();
    meta["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap().clone()
}

fn bits_equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// The published variants have the sizes of `common` and `voxceleb`.
#[test]
fn embeddings_match_3d_speaker() {
    let (golden, be) = (Golden::open("campplus/embeddings.safetensors"), cpu());
    for name in ["small", "common", "voxceleb"] {
        let case = case(name);
        let network = embedding::load(&be, &campplus::weights(&case)).unwrap();
        let (shape, want) = golden.f32(name);
        let spans = campplus::spans(&case);
        assert_eq!(shape, [spans.len(), network.size()], "{name}");
        let got = network.embed_spans(&be, &campplus::audio(&case), &spans).unwrap();
        // If all embeddings were nearly equal, the comparison would hide errors.
        let spread = want.chunks_exact(network.size()).map(|v| (v[0] - want[0]).abs()).fold(0.0f32, f32::max);
        assert!(spread > 0.03 || spans.len() == 1, "{name}: {spread}");
        let worst = assert_close(name, &got, &want, 1e-4, 0.0);
        eprintln!("{name}: largest difference {worst:e}; 3D-Speaker's to f64 {}", case["f32_error"]);
    }
}

mod needs_real_needs_shared {
    use super::*;

    /// 0.5 to 10 s of six meetings, all in one call.
    #[test]
    #[ignore = "needs real weights (tests/real/fetch.sh) and ../shared"]
    fn published_weights_give_the_embeddings_of_3d_speaker() {
        eprintln!("largest difference {:e}", campplus::compare_published(&cpu(), 1e-4));
    }
}

#[test]
fn embeddings_do_not_depend_on_the_batch() {
    let (one, two, case) = (Cpu::new(Some(1)).unwrap(), cpu(), case("small"));
    let weights = campplus::weights(&case);
    let (alone, network) = (CamPlus::load(&one, &weights).unwrap(), CamPlus::load(&two, &weights).unwrap());
    let (samples, size) = (campplus::audio(&case), network.size());
    // More than one batch, not sorted by length.
    let spans: Vec<_> =
        (0..40).map(|i| vec![(i * 1237) % 40_000..(i * 1237) % 40_000 + 720 + (i * 7919) % 39_000]).collect();
    let together = network.embed_spans(&two, &samples, &spans).unwrap();
    assert!(together.iter().all(|v| v.is_finite()));
    for (n, want) in together.chunks_exact(size).enumerate().step_by(3) {
        assert!(bits_equal(&alone.embed_spans(&one, &samples, &spans[n..=n]).unwrap(), want), "{n} differs");
    }
}

/// A masked window has the same embedding as the spans of its active frames.
#[test]
fn masked_windows_equal_spans() {
    let (be, case) = (cpu(), case("small"));
    let network = embedding::load(&be, &campplus::weights(&case)).unwrap();
    let (samples, size) = (campplus::audio(&case), network.size());
    // Masks of 98 frames: one value for each frame of features in 16 000 samples.
    let mut masks = vec![true; 2 * 2 * 98];
    masks[98..196].iter_mut().enumerate().for_each(|(i, mask)| *mask = (10..40).contains(&i) || (60..61).contains(&i));
    masks[196..294].iter_mut().enumerate().for_each(|(i, mask)| *mask = i < 2);
    masks[294..].iter_mut().enumerate().for_each(|(i, mask)| *mask = i >= 95);
    let windows = Windows { starts: &[1601, 73_000], length: 16_000, masks: &masks, speakers: 2 };
    let got = network.embed_windows(&be, &samples, &windows).unwrap();
    let frames = |start: usize, first: usize, end: usize| start + 160 * first..start + 160 * (end - 1) + 400;
    let padded: Vec<f32> = samples.iter().copied().chain(std::iter::repeat_n(0.0, 16_000)).collect();
    let spans = [
        vec![1601..17_601],
        vec![frames(1601, 10, 40), frames(1601, 60, 61)],
        vec![frames(73_000, 0, 2)],
        vec![frames(73_000, 95, 98)],
    ];
    let want = network.embed_spans(&be, &padded, &spans).unwrap();
    assert!(bits_equal(&got, &want));
    assert!(got[2 * size..3 * size].iter().all(|v| v.is_nan()), "two frames are one of the blocks, without deviation");
    assert!(got[3 * size..].iter().all(|v| v.is_finite()), "silence behind the end");
    assert_eq!([network.min_frames(589, 160_000), network.min_frames(98, 16_000)], [3, 5]);
    let error = network.embed_windows(&be, &samples, &Windows { masks: &masks[1..], ..windows }).unwrap_err();
    assert!(error.to_string().contains("masks"), "{error}");
    let error = network.embed_windows(&be, &samples, &Windows { length: 399, ..windows }).unwrap_err();
    assert!(error.to_string().contains("400"), "{error}");
    assert!(network.embed_windows(&be, &samples, &Windows { starts: &[], masks: &[], ..windows }).unwrap().is_empty());
}

/// Spans that are empty, too short, past the end, reversed, or contain NaN.
#[test]
fn invalid_spans_give_nan() {
    let (be, case) = (cpu(), case("small"));
    let network = embedding::load(&be, &campplus::weights(&case)).unwrap();
    let (mut samples, size) = (campplus::audio(&case), network.size());
    samples[20_000] = f32::NAN;
    let end = samples.len();
    let spans = [
        vec![],
        vec![0..719],
        vec![0..720],
        vec![end..end + 9000],
        vec![end - 720..usize::MAX],
        vec![19_000..21_000],
        vec![Range { start: 5, end: 3 }],
    ];
    let got = network.embed_spans(&be, &samples, &spans).unwrap();
    for (n, got) in got.chunks_exact(size).enumerate() {
        let is_valid = [2, 4].contains(&n);
        assert!(got.iter().all(|v| v.is_finite() == is_valid), "{n}");
    }
    assert!(network.embed_spans(&be, &samples, &[]).unwrap().is_empty());
    assert!(network.embed_spans(&be, &[], &[vec![0..8000]]).unwrap().iter().all(|v| v.is_nan()));
}

#[test]
fn wrong_checkpoints_are_refused() {
    let (be, case) = (cpu(), case("small"));
    let refusal = |change: &dyn Fn(&mut Vec<campplus::Named>)| {
        let mut tensors = campplus::tensors(&case);
        change(&mut tensors);
        let weights = Weights::from_bytes("changed", campplus::file(&case, &tensors)).unwrap();
        CamPlus::load(&be, &weights).err().unwrap().to_string()
    };
    for (name, to) in [
        ("head.conv1.weight", &[32, 3, 3, 3][..]),
        ("head.conv1.weight", &[20, 1, 3, 3]),
        ("head.layer1.0.shortcut.0.weight", &[32, 32, 3, 3]),
        ("head.layer2.1.conv2.weight", &[48, 32, 3, 3]),
        ("head.bn2.running_var", &[31]),
        ("xvector.tdnn.linear.weight", &[32, 70, 5]),
        ("xvector.tdnn.linear.weight", &[32, 64, 4]),
        ("xvector.tdnn.linear.weight", &[32, 64, 7]),
        ("xvector.tdnn.linear.weight", &[32, 32 * 33, 5]),
        ("xvector.tdnn.linear.weight", &[32, 64]),
        ("xvector.block1.tdnnd3.linear1.weight", &[32, 63, 1]),
        ("xvector.block2.tdnnd9.nonlinear1.batchnorm.weight", &[3]),
        ("xvector.block3.tdnnd16.cam_layer.linear_local.weight", &[16, 32, 2]),
        ("xvector.block3.tdnnd16.cam_layer.linear2.bias", &[15]),
        ("xvector.transit2.linear.weight", &[248, 495, 1]),
        ("xvector.dense.linear.weight", &[0, 504, 1]),
        ("xvector.dense.linear.weight", &[24, 503, 1]),
    ] {
        let error = refusal(&|tensors| tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap().1 = to.to_vec());
        let named = name.strip_suffix("running_var").unwrap_or(name);
        assert!(error.contains(named), "{name} {to:?}: {error}");
    }
    for name in [
        "head.layer1.0.shortcut.0.weight",
        "head.layer1.0.shortcut.1.running_mean",
        "xvector.block1.tdnnd1.linear1.weight",
        "xvector.block2.tdnnd24.nonlinear1.batchnorm.running_var",
        "xvector.out_nonlinear.batchnorm.running_mean",
        "xvector.dense.nonlinear.batchnorm.running_var",
    ] {
        let error = refusal(&|tensors| tensors.retain(|tensor| tensor.0 != name));
        assert!(error.contains(name) && error.contains("missing"), "{name}: {error}");
    }
}
