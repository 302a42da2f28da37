//! Model folders that are incomplete, damaged, or mixed from different models: the error names the file and the remedy,
//! and the program never crashes.

use crate::dsl::{Dir, Outcome};

/// Runs `transcribe` with the built-in model in a folder that `damage` has changed.
fn with(damage: impl FnOnce(&Dir)) -> Outcome {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.model("m");
    damage(&dir);
    let outcome = dir.diarist("transcribe talk.wav --model m --no-align -o out").run();
    let written: Vec<String> = dir.files().into_iter().filter(|f| f.starts_with("out/")).collect();
    assert!(written.is_empty() || outcome.stderr.is_empty(), "{written:?}");
    outcome
}

fn edit(dir: &Dir, file: &str, from: &str, to: &str) {
    let text = dir.read(file);
    assert!(text.contains(from), "{from} is not in {file}");
    dir.write(file, text.replace(from, to));
}

fn edit_weights(dir: &Dir, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(dir.path("m/model.safetensors")).unwrap();
    change(&mut bytes);
    dir.write("m/model.safetensors", bytes);
}

/// The offset of `text` in the header.
fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap()
}

#[test]
fn an_undamaged_folder_works() {
    with(|_| {}).exits(0).without_complaint();
}

#[test]
fn missing_files_are_all_named() {
    let outcome = with(|dir| {
        std::fs::remove_file(dir.path("m/tokenizer.json")).unwrap();
        std::fs::remove_file(dir.path("m/model.safetensors")).unwrap();
    });
    outcome.exits(1).complains(&["m: ", "missing tokenizer.json, model.safetensors", "put them there"]);
}

#[test]
fn weights_of_one_layout_under_the_name_of_another_are_refused() {
    let outcome = with(|dir| {
        std::fs::rename(dir.path("m/model.safetensors"), dir.path("m/model.bin")).unwrap();
    });
    outcome.exits(1).complains(&["m", "CTranslate2"]);
}

#[test]
fn the_generation_config_and_preprocessor_config_can_be_absent() {
    let outcome = with(|dir| {
        std::fs::remove_file(dir.path("m/generation_config.json")).unwrap();
        std::fs::remove_file(dir.path("m/preprocessor_config.json")).unwrap();
    });
    outcome.exits(0);
}

#[test]
fn truncated_weights() {
    for keep in [0, 7, 8, 100, 400_000] {
        let outcome = with(|dir| edit_weights(dir, |bytes| bytes.truncate(keep)));
        outcome.exits(1).complains(&["m/model.safetensors", "fetch the model again"]);
    }
}

#[test]
fn a_header_that_claims_to_be_huge() {
    for size in [u64::MAX, u64::MAX / 2, 1 << 40, 200_000_000] {
        let outcome = with(|dir| edit_weights(dir, |bytes| bytes[..8].copy_from_slice(&size.to_le_bytes())));
        outcome.exits(1).complains(&["m/model.safetensors", "fetch the model again"]);
    }
}

#[test]
fn a_header_that_is_no_json() {
    let outcome = with(|dir| edit_weights(dir, |bytes| bytes[8..60].fill(b'x')));
    outcome.exits(1).complains(&["m/model.safetensors", "fetch the model again"]);
}

#[test]
fn a_tensor_that_is_not_there() {
    let name = "model.decoder.layers.0.fc1.weight";
    let outcome = with(|dir| {
        edit_weights(dir, |bytes| {
            let at = find(bytes, name);
            bytes[at..at + name.len()].copy_from_slice(b"model.decoder.layers.0.fc9.weight");
        });
    });
    outcome.exits(1).complains(&["m/model.safetensors", name, "missing"]);
}

#[test]
fn a_weight_that_is_not_a_number() {
    let outcome = with(|dir| {
        edit_weights(dir, |bytes| {
            // NaN in half precision, in the last weight.
            let at = bytes.len() - 2;
            bytes[at..].copy_from_slice(&0x7e00u16.to_le_bytes());
        });
    });
    outcome.exits(1).complains(&["m/model.safetensors", "NaN", "fetch the model again"]);
}

#[test]
fn a_config_that_disagrees_with_the_weights() {
    let json: serde_json::Value = serde_json::from_str(diarist::assets::MODEL.config).unwrap();
    let by =
        [("d_model", 64), ("encoder_layers", -1), ("decoder_layers", 1), ("vocab_size", -10), ("num_mel_bins", 48)];
    for (field, change) in by {
        let right = json[field].as_i64().unwrap();
        let (from, to) = (format!("\"{field}\": {right}"), format!("\"{field}\": {}", right + change));
        with(|dir| edit(dir, "m/config.json", &from, &to)).exits(1).complains(&["m/", "config"]);
    }
}

#[test]
fn a_config_with_absurd_sizes_is_refused_before_memory_is_allocated() {
    let json: serde_json::Value = serde_json::from_str(diarist::assets::MODEL.config).unwrap();
    for field in ["d_model", "decoder_layers", "vocab_size", "max_source_positions", "max_target_positions"] {
        for wrong in ["0", "-1", "4000000000", "1e99", "\"x\"", "null"] {
            let (from, to) = (format!("\"{field}\": {}", json[field]), format!("\"{field}\": {wrong}"));
            with(|dir| edit(dir, "m/config.json", &from, &to)).exits(1).complains(&["m/"]);
        }
    }
}

#[test]
fn a_config_that_is_no_json_or_another_model() {
    with(|dir| {
        dir.write("m/config.json", "{");
    })
    .exits(1)
    .complains(&["m/config.json"]);
    with(|dir| {
        dir.write("m/config.json", r#"{"model_type": "bert", "hidden_size": 768}"#);
    })
    .exits(1)
    .complains(&["m/config.json"]);
}

#[test]
fn a_tokenizer_without_the_tokens_of_whisper() {
    for token in ["<|startoftranscript|>", "<|endoftext|>", "<|transcribe|>", "<|notimestamps|>"] {
        let outcome = with(|dir| edit(dir, "m/tokenizer.json", token, "<|something else|>"));
        outcome.exits(1).complains(&["m/tokenizer.json", token]);
    }
    with(|dir| {
        // The tokenizer of a model with a larger vocabulary: its special tokens have higher ids.
        let mut json: serde_json::Value = serde_json::from_str(diarist::assets::MODEL.tokenizer).unwrap();
        for id in 1256..2256 {
            json["model"]["vocab"][format!("word {id}")] = id.into();
        }
        json["added_tokens"].as_array_mut().unwrap().iter_mut().for_each(|token| {
            token["id"] = (token["id"].as_u64().unwrap() + 1000).into();
        });
        dir.write("m/tokenizer.json", json.to_string());
    })
    .exits(1)
    .complains(&["m/tokenizer.json", "1766 tokens", "belong together"]);
    with(|dir| {
        dir.write("m/tokenizer.json", "[]");
    })
    .exits(1)
    .complains(&["m/tokenizer.json"]);
}
