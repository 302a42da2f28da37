//! ResNet34 against pyannote.audio, with random weights of several sizes and many masks. Batched windows must be
//! bit-identical to single ones. Invalid checkpoints, recordings and masks.

mod common;

use common::{Golden, assert_close, resnet34, seeded};
use diarist::engine::cpu::Cpu;
use diarist::engine::weights::Weights;
use diarist::models::embedding;
use diarist::models::resnet34::{ResNet34, nearest_frames};
use serde_json::Value;

fn cpu() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

fn cases() -> Vec<Value> {
    Golden::open("resnet34/voices.safetensors").meta()["cases"].as_array().unwrap().clone()
}

fn case(name: &str) -> Value {
    cases().into_iter().find(|case| case["name"] == name).unwrap()
}

fn number(case: &Value, key: &str) -> usize {
    case[key].as_u64().unwrap() as usize
}

fn audio(case: &Value) -> Vec<f32> {
    seeded::audio_f32(case["audio_seed"].as_u64().unwrap(), number(case, "samples"))
}

fn starts(case: &Value) -> Vec<usize> {
    case["starts"].as_array().unwrap().iter().map(|start| start.as_u64().unwrap() as usize).collect()
}

fn bits_equal(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn embeddings_match_pyannote() {
    let (golden, be) = (Golden::open("resnet34/voices.safetensors"), cpu());
    for case in cases() {
        let (name, network) = (case["name"].as_str().unwrap(), ResNet34::load(&be, &resnet34::weights(&case)).unwrap());
        let (shape, want) = golden.f32(name);
        let (starts, size) = (starts(&case), network.size());
        assert_eq!(shape, [starts.len(), 4, size], "{name}");
        let masks = resnet34::masks(&case);
        let got =
            network.embed_masked_windows(&be, &audio(&case), &starts, number(&case, "window"), &masks, 4).unwrap();
        // The embeddings of a random network are similar: they are also compared after subtracting their mean.
        let mean: Vec<f32> =
            (0..size).map(|i| want.iter().skip(i).step_by(size).sum::<f32>() / (want.len() / size) as f32).collect();
        let centred = |values: &[f32]| values.iter().zip(&mean).map(|(v, m)| v - m).collect::<Vec<f32>>();
        let (mut least, mut least_centred) = (1.0f64, 1.0f64);
        for (n, (got, want)) in got.chunks_exact(size).zip(want.chunks_exact(size)).enumerate() {
            let cosines = [resnet34::cosine(got, want), resnet34::cosine(&centred(got), &centred(want))];
            assert!(cosines[0] >= 0.9999 && cosines[1] >= 0.9999, "{name}: embedding {n}: {cosines:?}");
            (least, least_centred) = (least.min(cosines[0]), least_centred.min(cosines[1]));
        }
        let worst = assert_close(name, &got, &want, 1e-3, 0.0);
        eprintln!(
            "{name}: 1 - cosine {:e}, centred {:e}, largest difference {worst:e}; pyannote's to f64 {}",
            1.0 - least,
            1.0 - least_centred,
            case["f32_error"]
        );
    }
}

#[test]
fn windows_do_not_depend_on_the_batch() {
    for name in ["narrow", "short"] {
        let case = case(name);
        let (one, two, weights) = (Cpu::new(Some(1)).unwrap(), cpu(), resnet34::weights(&case));
        let (alone, network) = (ResNet34::load(&one, &weights).unwrap(), ResNet34::load(&two, &weights).unwrap());
        let (samples, window, masks) = (audio(&case), number(&case, "window"), resnet34::masks(&case));
        let starts = starts(&case);
        let together = network.embed_masked_windows(&two, &samples, &starts, window, &masks, 4).unwrap();
        let (voices, frames) = (4 * network.size(), number(&case, "frames"));
        for (n, want) in together.chunks_exact(voices).enumerate() {
            let masks = &masks[n * 4 * frames..][..4 * frames];
            let got = alone.embed_masked_windows(&one, &samples, &starts[n..=n], window, masks, 4).unwrap();
            assert!(bits_equal(&got, want), "{name}: window {n} differs");
            // The embedding of a speaker does not depend on the other speakers of the window.
            for (s, want) in want.chunks_exact(network.size()).enumerate() {
                let mask = &masks[s * frames..][..frames];
                let got = network.embed_masked_windows(&two, &samples, &starts[n..=n], window, mask, 1).unwrap();
                assert!(bits_equal(&got, want), "{name}: window {n}, speaker {s} differs");
            }
        }
        // In another order, and more windows than one batch.
        let count = 3 * starts.len();
        let (mut shuffled, mut shuffled_masks) = (Vec::new(), Vec::new());
        for n in (0..count).map(|i| (i * 7 + 2) % starts.len()) {
            shuffled.push(starts[n]);
            shuffled_masks.extend_from_slice(&masks[n * 4 * frames..][..4 * frames]);
        }
        let got = network.embed_masked_windows(&two, &samples, &shuffled, window, &shuffled_masks, 4).unwrap();
        for (i, got) in got.chunks_exact(voices).enumerate() {
            let n = (i * 7 + 2) % starts.len();
            assert!(bits_equal(got, &together[n * voices..][..voices]), "{name}: window {n} differs at {i}");
        }
    }
}

/// A list of spans has the embedding of a recording of these spans joined, whatever the other lists of the call.
#[test]
fn spans_equal_a_joined_recording() {
    let (be, case) = (cpu(), case("short"));
    let network = embedding::load(&be, &resnet34::weights(&case)).unwrap();
    let (samples, size) = (audio(&case), network.size());
    let end = samples.len();
    let spans = [
        vec![0..8000],
        vec![100..4100, 20_000..24_000],
        vec![0..399],
        vec![1000..41_000],
        vec![end - 4000..end + 1000, 5..4005, 3000..3000],
        vec![],
        vec![12_345..20_345],
    ];
    let got = network.embed_spans(&be, &samples, &spans).unwrap();
    assert_eq!(got.len(), spans.len() * size);
    let plain = ResNet34::load(&be, &resnet34::weights(&case)).unwrap();
    for (n, (got, spans)) in got.chunks_exact(size).zip(&spans).enumerate() {
        let joined: Vec<f32> = spans.iter().flat_map(|span| &samples[span.start..span.end.min(end)]).copied().collect();
        if joined.len() < 400 {
            assert!(got.iter().all(|v| v.is_nan()), "{n}");
        } else {
            assert!(
                bits_equal(got, &plain.embed_masked_windows(&be, &joined, &[0], joined.len(), &[true], 1).unwrap()),
                "{n}"
            );
        }
    }
    // A NaN sample makes exactly those embeddings NaN whose spans contain it.
    let mut with_nan = samples.clone();
    with_nan[2000] = f32::NAN;
    let changed = network.embed_spans(&be, &with_nan, &spans).unwrap();
    for (n, (changed, got)) in changed.chunks_exact(size).zip(got.chunks_exact(size)).enumerate() {
        let contains = spans[n].iter().any(|span| span.contains(&2000));
        let all_nan = changed.iter().all(|v| v.is_nan());
        assert!(if contains { all_nan } else { bits_equal(changed, got) || got[0].is_nan() }, "{n}");
    }
    let unknown = Weights::from_bytes("nothing", resnet34::file(&case, &[("x".into(), vec![2, 2])])).unwrap();
    let error = embedding::load(&be, &unknown).err().unwrap().to_string();
    assert!(error.contains("resnet.conv1.weight"), "{error}");
}

#[test]
fn masks_are_resampled_as_in_pytorch() {
    let golden = Golden::open("resnet34/voices.safetensors");
    let (_, want) = golden.i32("stretches");
    let mut got = Vec::new();
    for stretch in golden.meta()["stretches"].as_array().unwrap() {
        got.extend(nearest_frames(stretch[0].as_u64().unwrap() as usize, stretch[1].as_u64().unwrap() as usize));
    }
    assert!(got.iter().map(|at| *at as i32).eq(want));
}

#[test]
fn the_minimum_of_active_frames_matches_pyannote() {
    // 400 samples of 160000 are 1.47 of 589 frames.
    assert_eq!(ResNet34::<Cpu>::min_frames(589, 160_000), 2);
    assert_eq!(ResNet34::<Cpu>::min_frames(293, 80_000), 2);
    assert_eq!(ResNet34::<Cpu>::min_frames(400, 160_000), 1);
}

/// Windows without speakers, silence, short windows, wrong masks, and NaN.
#[test]
fn silent_short_and_nan_windows() {
    let (be, case) = (cpu(), case("short"));
    let network = ResNet34::load(&be, &resnet34::weights(&case)).unwrap();
    let (size, frames, window) = (network.size(), 293, 80_000);
    let embed = |samples: &[f32], starts: &[usize], window: usize, masks: &[bool], speakers: usize| {
        network.embed_masked_windows(&be, samples, starts, window, masks, speakers)
    };
    assert!(embed(&[], &[], window, &[], 3).unwrap().is_empty());
    let samples = audio(&case);
    let bias = embed(&samples, &[0], window, &[false; 293], 1).unwrap();
    assert_eq!(bias.len(), size);
    // The same for a speaker who is never active, in a window where another speaker is.
    let masks: Vec<bool> = (0..2 * frames).map(|i| i < frames).collect();
    assert!(bits_equal(&embed(&samples, &[0], window, &masks, 2).unwrap()[size..], &bias));
    // Silence has a finite embedding, as has a window past the end.
    let silent = embed(&vec![0.0; 80_000], &[0], window, &[true; 293], 1).unwrap();
    assert!(silent.iter().all(|v| v.is_finite()) && !bits_equal(&silent, &bias));
    assert!(bits_equal(&embed(&samples, &[1_000_000], window, &[true; 293], 1).unwrap(), &silent));
    assert!(bits_equal(&embed(&samples, &[usize::MAX], window, &[true; 293], 1).unwrap(), &silent));
    // The minimum is one frame of features.
    assert!(embed(&samples, &[0], 400, &[true; 1], 1).unwrap().iter().all(|v| v.is_finite()));
    assert!(embed(&samples, &[0], 399, &[true; 1], 1).unwrap_err().to_string().contains("400"));
    for (masks, speakers) in [(293, 2), (0, 1), (293, 0)] {
        let error = embed(&samples, &[0], window, &vec![true; masks], speakers).unwrap_err().to_string();
        assert!(error.contains("masks"), "{error}");
    }
    // NaN and infinity make exactly those windows NaN that contain them; in samples that features do not use, they have
    // no effect.
    let mut with_nan = samples.clone();
    with_nan[60_000] = f32::NAN;
    with_nan[60_001] = f32::INFINITY;
    let starts = [0, 8000, 60_001, 60_002, 61_000];
    let (got, want) = (
        embed(&with_nan, &starts, 40_000, &[true; 5 * 146], 1).unwrap(),
        embed(&samples, &starts, 40_000, &[true; 5 * 146], 1).unwrap(),
    );
    assert!(want.iter().all(|v| v.is_finite()));
    for (n, (got, want)) in got.chunks_exact(size).zip(want.chunks_exact(size)).enumerate() {
        if n == 2 {
            assert!(got.iter().all(|v| v.is_nan()), "window {n}");
        } else {
            assert!(bits_equal(got, want), "window {n}");
        }
    }
}

/// Checkpoints as files and folders, also in f16, and wrong ones.
#[test]
fn checkpoints_are_opened_or_refused() {
    let (be, case) = (cpu(), case("short"));
    let (samples, folder) = (audio(&case), tempfile::tempdir().unwrap());
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, resnet34::file(&case, &resnet34::tensors(&case))).unwrap();
    let want = ResNet34::load(&be, &resnet34::weights(&case)).unwrap();
    let want = want.embed_masked_windows(&be, &samples, &[0], 40_000, &[true; 146], 1).unwrap();
    for path in [&path, folder.path()] {
        let network = ResNet34::open(&be, path).unwrap();
        assert!(bits_equal(
            &network.embed_masked_windows(&be, &samples, &[0], 40_000, &[true; 146], 1).unwrap(),
            &want
        ));
    }
    // Written by pyannote.audio, without most of its tensors: the error names the first missing one.
    let error = ResNet34::open(&be, &common::data("resnet34/beginning.bin")).err().unwrap().to_string();
    assert!(error.contains("resnet.layer1.0.conv1.weight") && error.contains("missing"), "{error}");
    let refusal = |change: &dyn Fn(&mut Vec<resnet34::Named>)| {
        let mut tensors = resnet34::tensors(&case);
        change(&mut tensors);
        let weights = Weights::from_bytes("changed", resnet34::file(&case, &tensors)).unwrap();
        ResNet34::load(&be, &weights).err().unwrap().to_string()
    };
    let shape = |name: &'static str, shape: &'static [usize]| {
        move |tensors: &mut Vec<resnet34::Named>| {
            tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap().1 = shape.to_vec();
        }
    };
    for (name, to) in [
        ("resnet.conv1.weight", &[16, 3, 3, 3][..]),
        ("resnet.conv1.weight", &[20, 1, 3, 3]),
        ("resnet.conv1.weight", &[16]),
        ("resnet.bn1.running_var", &[17]),
        ("resnet.layer2.1.conv2.weight", &[48, 32, 3, 3]),
        ("resnet.layer3.0.shortcut.0.weight", &[32, 32, 1, 1]),
        ("resnet.layer4.0.conv1.weight", &[128, 64, 1, 1]),
        ("resnet.seg_1.weight", &[16, 2570]),
        ("resnet.seg_1.weight", &[16, 2 * 128 * 33]),
        ("resnet.seg_1.weight", &[40960]),
        ("resnet.seg_1.bias", &[15]),
    ] {
        let error = refusal(&shape(name, to));
        let named = name.strip_suffix("running_var").unwrap_or(name);
        assert!(error.contains(named), "{name} {to:?}: {error}");
    }
    let error = refusal(&|tensors| tensors.retain(|tensor| tensor.0 != "resnet.layer2.0.shortcut.1.running_mean"));
    assert!(error.contains("resnet.layer2.0.shortcut.1.running_mean"), "{error}");
    let error = refusal(&|tensors| tensors.push(("resnet.layer1.0.conv3.weight".into(), vec![64, 16, 1, 1])));
    assert!(error.contains("ResNet34"), "{error}");
    assert!(
        ResNet34::open(&be, &common::data("pyannet/specification.bin"))
            .err()
            .unwrap()
            .to_string()
            .contains("resnet.conv1")
    );
}
