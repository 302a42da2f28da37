//! Weight files that are damaged, hostile or not what the config says: an error that names the file and the cure,
//! never a panic, never an allocation larger than the file.

mod common;

use std::path::Path;

use common::seeded::{self, Layout};
use diarist::engine::weights::Weights;
use proptest::prelude::*;
use serde_json::json;

fn config() -> serde_json::Value {
    json!({
        "d_model": 64, "encoder_layers": 1, "encoder_attention_heads": 1, "encoder_ffn_dim": 128,
        "decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 128, "num_mel_bins": 80,
        "max_source_positions": 100, "max_target_positions": 32, "vocab_size": 64,
        "eos_token_id": 60, "timestamp_begin": 62, "weights": {"seed": 1}
    })
}

fn checkpoint(layout: Layout) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    seeded::write_checkpoint(folder.path(), &config(), layout);
    folder
}

/// The error of opening `folder`, or of reading one of its tensors.
fn failure(folder: &Path) -> String {
    let weights = match Weights::open(folder) {
        Err(error) => return error.to_string(),
        Ok(weights) => weights,
    };
    let read = seeded::whisper_tensors(&config()).into_iter().find_map(|(n, s)| weights.tensor(&n, &s).err());
    read.expect("an error").to_string()
}

fn patch(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let file = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    change(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    failure(folder)
}

#[test]
fn all_layouts_hold_the_same_numbers() {
    let (f32, f16, sharded) = (checkpoint(Layout::F32), checkpoint(Layout::F16), checkpoint(Layout::Sharded));
    let [f32, f16, sharded] = [f32, f16, sharded].map(|f| Weights::open(f.path()).unwrap());
    for (name, shape) in seeded::whisper_tensors(&config()) {
        let want = seeded::tensor(&name, &shape, &config());
        for weights in [&f32, &f16, &sharded] {
            assert_eq!(weights.tensor(&name, &shape).unwrap(), want, "{name}");
        }
    }
}

#[test]
fn damage_is_named() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage, &str); 6] = [
        ("empty", |b| b.clear(), "truncated"),
        ("header only half there", |b| b.truncate(100), "truncated"),
        ("data cut off", |b| b.truncate(b.len() - 10), "truncated"),
        ("header longer than memory", |b| b[..8].copy_from_slice(&u64::MAX.to_le_bytes()), "truncated"),
        ("header of 90 MB claimed", |b| b[..8].copy_from_slice(&90_000_000u64.to_le_bytes()), "truncated"),
        ("header not JSON", |b| b[8..40].fill(b'x'), "damaged"),
    ];
    for (what, change, reason) in cases {
        let folder = checkpoint(Layout::F32);
        let error = patch(folder.path(), change);
        assert!(error.contains("model.safetensors") && error.contains(reason), "{what}: {error}");
        assert!(error.contains("fetch the model again"), "{what}: {error}");
    }
}

#[test]
fn not_a_number_is_refused() {
    let folder = checkpoint(Layout::F32);
    let error = patch(folder.path(), |bytes| {
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(error.contains("NaN"), "{error}");
}

#[test]
fn a_config_that_disagrees_is_named_with_both_shapes() {
    let folder = checkpoint(Layout::F32);
    let weights = Weights::open(folder.path()).unwrap();
    let error = weights.tensor("model.encoder.conv1.bias", &[65]).unwrap_err().to_string();
    assert!(error.contains("[64]") && error.contains("[65]") && error.contains("config.json"), "{error}");
    let error = weights.tensor("model.encoder.conv3.bias", &[64]).unwrap_err().to_string();
    assert!(error.contains("conv3") && error.contains("missing"), "{error}");
}

#[test]
fn a_folder_without_weights_is_told_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    assert!(failure(folder.path()).contains("expected model.safetensors"));
    std::fs::write(folder.path().join("pytorch_model.bin"), b"").unwrap();
    let error = failure(folder.path());
    assert!(error.contains("pytorch_model.bin") && error.contains("truncated"), "{error}");
}

#[test]
fn an_index_cannot_reach_outside_its_folder() {
    let folder = checkpoint(Layout::Sharded);
    let index = folder.path().join("model.safetensors.index.json");
    for name in ["../secret.safetensors", "..", "/etc/passwd"] {
        std::fs::write(&index, json!({"weight_map": {"a": name}}).to_string()).unwrap();
        let error = failure(folder.path());
        assert!(error.contains("plain file name"), "{name}: {error}");
    }
    std::fs::write(&index, json!({"weight_map": {"a": "gone.safetensors"}}).to_string()).unwrap();
    assert!(failure(folder.path()).contains("gone.safetensors"));
    std::fs::write(&index, "{").unwrap();
    assert!(failure(folder.path()).contains("not valid JSON"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_an_error_or_a_checkpoint(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Weights::from_bytes("fuzz", bytes);
    }

    #[test]
    fn a_flipped_header_byte_never_panics(at in 0usize..4000, to in any::<u8>()) {
        let folder = checkpoint(Layout::F16);
        let mut bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
        let len = bytes.len();
        bytes[at % len] = to;
        if let Ok(weights) = Weights::from_bytes("fuzz", bytes) {
            for (name, shape) in seeded::whisper_tensors(&config()) {
                let _ = weights.tensor(&name, &shape);
            }
        }
    }
}
