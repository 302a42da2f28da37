//! ONNX files of diarization networks: small ones from PyTorch's exporters, exports of the published networks, and
//! damaged files.

mod common;

use common::{Golden, assert_close, seeded};
use diarist::engine::cpu::Cpu;
use diarist::models::embedding;
use diarist::models::onnx;
use diarist::models::pyannet::{Head, PyanNet};
use serde_json::Value;

fn cpu() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

fn audio(case: &Value) -> Vec<f32> {
    seeded::audio_f32(case["audio_seed"].as_u64().unwrap(), case["samples"].as_u64().unwrap() as usize)
}

/// Exports with and without folded batch norms, with original and generated names.
#[test]
fn campplus_exports_match_pytorch() {
    let (golden, be) = (Golden::open("onnx/results.safetensors"), cpu());
    let (audio, (_, want)) = (audio(&golden.meta()["campplus"]), golden.f32("campplus"));
    for name in ["campplus-13.onnx", "campplus-14-unfolded.onnx", "campplus-dynamo.onnx"] {
        let network = embedding::open(&be, &common::data("onnx").join(name)).unwrap();
        let got = network.embed_spans(&be, &audio, &[vec![0..audio.len()]]).unwrap();
        eprintln!("{name}: largest difference {:e}", assert_close(name, &got, &want, 1e-4, 0.0));
    }
}

#[test]
fn pyannet_export_matches_pytorch() {
    let (golden, be) = (Golden::open("onnx/results.safetensors"), cpu());
    let (audio, (_, want)) = (audio(&golden.meta()["pyannet"]), golden.f32("pyannet"));
    let network = PyanNet::open(&be, &common::data("onnx/pyannet-13.onnx")).unwrap();
    let read = network.specification();
    assert_eq!((read.window, read.head, read.classes.len(), read.stride), (32_000, Head::Powerset(2), 3, 10));
    let got = network.scores(&be, &audio, audio.len()).unwrap().to_host(&be).unwrap();
    eprintln!("largest difference {:e}", assert_close("pyannet", &got, &want, 1e-4, 1e-5));
}

/// A folder with a single file of weights stands for that file; with two files, one must be named.
#[test]
fn a_folder_with_a_single_file_is_opened() {
    let (be, folder) = (cpu(), tempfile::tempdir().unwrap());
    std::fs::copy(common::data("onnx/campplus-13.onnx"), folder.path().join("voice.onnx")).unwrap();
    std::fs::write(folder.path().join("README.md"), "a network").unwrap();
    assert_eq!(embedding::open(&be, folder.path()).unwrap().size(), 12);
    std::fs::write(folder.path().join("other.pt"), "weights").unwrap();
    let error = embedding::open(&be, folder.path()).err().unwrap().to_string();
    assert!(error.contains("voice.onnx") && error.contains("other.pt"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(embedding::open(&be, empty.path()).is_err());
}

/// Truncated files are errors; flipped bits never cause a panic or excessive memory.
#[test]
fn damaged_files_do_not_panic() {
    let path = std::path::Path::new("damaged.onnx");
    for name in ["campplus-13.onnx", "pyannet-13.onnx"] {
        let bytes = std::fs::read(common::data("onnx").join(name)).unwrap();
        assert!(onnx::weights(path, &bytes).is_ok());
        for end in (0..bytes.len()).step_by(bytes.len() / 97) {
            assert!(onnx::weights(path, &bytes[..end]).is_err(), "{name} up to {end}");
        }
        for (i, at) in (0..bytes.len()).step_by(bytes.len() / 997).enumerate() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (i % 8);
            // The result may be Ok: a changed weight cannot be detected.
            drop(onnx::weights(path, &changed));
        }
    }
    let silero = onnx::weights(path, &[]).err().unwrap().to_string();
    assert!(silero.contains("damaged.onnx"), "{silero}");
}

mod needs_real_needs_exports {
    use super::*;

    /// A file from `tests/reference/onnx_files.py`, which exports with the same calls as the published files.
    fn file(name: &str) -> std::path::PathBuf {
        common::exports(name)
    }

    #[test]
    #[ignore = "needs real weights (tests/real/fetch.sh) and exports of networks (tests/reference/onnx_files.py)"]
    fn campplus_export_matches_the_state_dict() {
        let be = cpu();
        let samples = seeded::audio_f32(730, 48_000);
        let spans = [vec![0..48_000], vec![1000..20_000]];
        let embed =
            |path: &std::path::Path| embedding::open(&be, path).unwrap().embed_spans(&be, &samples, &spans).unwrap();
        let want = embed(&common::real("campplus/campplus_cn_en_common.pt"));
        let worst = assert_close("campplus.onnx", &embed(&file("campplus.onnx")), &want, 1e-4, 0.0);
        eprintln!("largest difference {worst:e}");
    }

    #[test]
    #[ignore = "needs real weights (tests/real/fetch.sh) and exports of networks (tests/reference/onnx_files.py)"]
    fn segmentation_exports_match_the_checkpoint() {
        let be = cpu();
        let samples = seeded::audio_f32(731, 160_000);
        let scores = |path: &std::path::Path| {
            let network = PyanNet::open(&be, path).unwrap();
            (network.specification().clone(), network.scores(&be, &samples, 160_000).unwrap().to_host(&be).unwrap())
        };
        let (expected, want) = scores(&common::real("segmentation-3.0/pytorch_model.bin"));
        for name in ["segmentation.onnx", "segmentation-baked.onnx"] {
            let (found, got) = scores(&file(name));
            let expected = (expected.window, expected.head, expected.stride);
            assert_eq!((found.window, found.head, found.stride), expected, "{name}");
            let probabilities = |scores: &[f32]| scores.iter().map(|v| v.exp()).collect::<Vec<f32>>();
            let worst = assert_close(name, &probabilities(&got), &probabilities(&want), 1e-4, 0.0);
            eprintln!("{name}: largest difference of a probability {worst:e}");
        }
    }

    /// A checkpoint with WeSpeaker's names, and WeSpeaker's ONNX file, which subtracts a mean embedding.
    #[test]
    #[ignore = "needs real weights (tests/real/fetch.sh) and exports of networks (tests/reference/onnx_files.py)"]
    fn resnet34_files_of_wespeaker_match_pytorch() {
        let (golden, be) = (Golden::open("onnx/resnet34.safetensors"), cpu());
        let audio = audio(&golden.meta());
        for (name, want) in [("avg_model.pt", "plain"), ("resnet34.onnx", "mean")] {
            let network = embedding::open(&be, &file(name)).unwrap();
            let (_, want) = golden.f32(want);
            let got = network.embed_spans(&be, &audio, &[vec![0..audio.len()]]).unwrap();
            let worst = assert_close(name, &got, &want, 1e-3, 1e-3);
            eprintln!("{name}: largest difference {worst:e}, cosine {}", common::resnet34::cosine(&got, &want));
        }
    }
}
