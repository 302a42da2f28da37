//! Search order of models, incomplete models, and the list of `diarist models`.

use std::path::{Path, PathBuf};

use diarist::hub::{Hub, Network, Source};
use diarist::models::whisper::{Checkpoint, Format};

use crate::dsl::Dir;
use crate::server::{Fault, Server};

const CONFIG: &[u8] = br#"{"model_type": "whisper"}"#;
/// The beginning of a CTranslate2 `model.bin`: its binary version and the name of its specification.
const CTRANSLATE2: &[u8] = b"\x06\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0\0\0\0\0";
/// The beginning and the end of a torch.save archive, with the vocabulary size of an English model.
const TORCH: &[u8] = b"PK\x03\x04..X\x07\0\0\0n_vocabq\x03M\x98\xca..PK\x05\x06";

/// A `tokenizer.json` with the special tokens that distinguish the vocabularies.
fn tokenizer(end: usize, more: &str) -> String {
    let token = |id, content: &str| format!(r#"{{"id": {id}, "content": "{content}"}}"#);
    let tokens = [token(end, "<|endoftext|>"), token(end + 1, "<|startoftranscript|>"), token(end + 2, more)];
    format!(r#"{{"added_tokens": [{}]}}"#, tokens.join(", "))
}

/// The header of a ggml file of Whisper.
fn ggml() -> Vec<u8> {
    let sizes: [u32; 12] = [0x6767_6d6c, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1];
    sizes.iter().flat_map(|size| size.to_le_bytes()).collect()
}

/// Writes one model; its format follows from the name.
fn put(dir: &Dir, place: &str) {
    if place.ends_with(".pt") {
        dir.write(place, TORCH);
    } else if place.ends_with(".bin") {
        dir.write(place, ggml());
    } else {
        dir.write(&format!("{place}/config.json"), CONFIG);
        dir.write(&format!("{place}/tokenizer.json"), tokenizer(50256, "<|en|>"));
        if ["faster", "ct2"].iter().any(|word| place.contains(word)) {
            let version_and_length = [6, 0, 0, 0, 12, 0];
            dir.write(&format!("{place}/model.bin"), [&version_and_length[..], b"WhisperSpec\0"].concat());
        } else {
            dir.write(&format!("{place}/model.safetensors"), b"w");
        }
    }
}

/// A hub without network whose caches are all in the temporary folder.
fn hub(dir: &Dir) -> Hub {
    Hub {
        model_dir: Some(dir.path("models")),
        network: Network::Forbidden,
        cache: Some(dir.path("hub")),
        whisper_cache: Some(dir.path("whisper")),
        torch_cache: None,
        token: None,
        ..Hub::from_env()
    }
}

fn found(hub: &Hub, model: &str) -> Option<Checkpoint> {
    match hub.find(model).unwrap()? {
        Source::Checkpoint(checkpoint) => Some(checkpoint),
        Source::Builtin => panic!("{model} is the built-in model"),
    }
}

const SYSTRAN: &str = "hub/models--Systran--faster-whisper-tiny.en/snapshots/0d3d";
const OPENAI: &str = "hub/models--openai--whisper-tiny.en/snapshots/87c7";

/// All places where `tiny.en` is searched, in search order.
const PLACES: [(&str, Format); 14] = [
    ("models/tiny.en", Format::HuggingFace),
    ("models/openai/whisper-tiny.en", Format::HuggingFace),
    ("models/Systran/faster-whisper-tiny.en", Format::CTranslate2),
    ("models/whisper-tiny.en", Format::HuggingFace),
    ("models/faster-whisper-tiny.en", Format::CTranslate2),
    ("models/tiny.en.pt", Format::OpenAi),
    ("models/ggml-tiny.en.bin", Format::Ggml),
    ("models/ggml-tiny.en-q8_0.bin", Format::Ggml),
    ("models/ggml-tiny.en-q5_0.bin", Format::Ggml),
    ("models/models--Systran--faster-whisper-tiny.en/snapshots/0d3d", Format::CTranslate2),
    (OPENAI, Format::HuggingFace),
    (SYSTRAN, Format::CTranslate2),
    ("hub/models--guillaumekln--faster-whisper-tiny.en/snapshots/44b3", Format::CTranslate2),
    ("whisper/tiny.en.pt", Format::OpenAi),
];

#[test]
fn a_name_is_found_in_every_place_and_the_first_place_wins() {
    for first in 0..PLACES.len() {
        let dir = Dir::new();
        PLACES[first..].iter().for_each(|(place, _)| put(&dir, place));
        let checkpoint = found(&hub(&dir), "tiny.en").unwrap();
        let (place, format) = PLACES[first];
        assert_eq!((checkpoint.path, checkpoint.format), (dir.path(place), format));
        let alone = Dir::new();
        put(&alone, place);
        assert_eq!(found(&hub(&alone), "tiny.en").map(|c| c.path), Some(alone.path(place)));
        assert_eq!(found(&hub(&alone), "tiny"), None, "{place} is taken for another model");
    }
}

#[test]
fn names_and_their_files_belong_together() {
    for (name, place) in [
        ("large-v2", "hub/models--Systran--faster-whisper-large-v2/snapshots/a"),
        ("large", "hub/models--Systran--faster-whisper-large-v3/snapshots/a"),
        ("large-v1", "hub/models--openai--whisper-large/snapshots/a"),
        ("turbo", "hub/models--mobiuslabsgmbh--faster-whisper-large-v3-turbo/snapshots/a"),
        ("large-v3-turbo", "hub/models--mobiuslabsgmbh--faster-whisper-large-v3-turbo/snapshots/a"),
        ("distil-large-v3", "hub/models--distil-whisper--distil-large-v3/snapshots/a"),
        ("distil-large-v3.5", "hub/models--distil-whisper--distil-large-v3.5-ct2/snapshots/a"),
        ("distil-small.en", "hub/models--Systran--faster-distil-whisper-small.en/snapshots/a"),
        ("large", "whisper/large-v3.pt"),
        ("turbo", "whisper/large-v3-turbo.pt"),
        ("turbo", "models/ggml-large-v3-turbo-q5_0.bin"),
        ("openai/whisper-large-v2", "hub/models--openai--whisper-large-v2/snapshots/a"),
        ("Systran/faster-whisper-large-v2", "hub/models--Systran--faster-whisper-large-v2/snapshots/a"),
        ("Systran/faster-whisper-large-v2", "models/faster-whisper-large-v2"),
        ("somebody/whisper-faster-own", "hub/models--somebody--whisper-faster-own/snapshots/a"),
        ("my-faster-model", "models/my-faster-model"),
    ] {
        let dir = Dir::new();
        put(&dir, place);
        assert_eq!(found(&hub(&dir), name).map(|c| c.path), Some(dir.path(place)), "{name}");
    }
    let dir = Dir::new();
    put(&dir, "models/ggml-large-v3-turbo.bin");
    put(&dir, "whisper/large-v3-turbo.pt");
    assert_eq!(found(&hub(&dir), "large-v3"), None);
}

#[test]
fn paths_of_files_and_folders_are_used_as_given() {
    let dir = Dir::new();
    PLACES.iter().for_each(|(place, _)| put(&dir, place));
    let mut given: Vec<(PathBuf, &str, Format)> = PLACES.iter().map(|(p, format)| (dir.path(p), *p, *format)).collect();
    given.push((dir.path(SYSTRAN).join("model.bin"), SYSTRAN, Format::CTranslate2));
    given.push((dir.path(OPENAI).join("model.safetensors"), OPENAI, Format::HuggingFace));
    given.push((dir.path("hub/models--openai--whisper-tiny.en"), OPENAI, Format::HuggingFace));
    for (path, expected, format) in given {
        let checkpoint = found(&hub(&dir), path.to_str().unwrap()).unwrap();
        assert_eq!((checkpoint.path, checkpoint.format), (dir.path(expected), format));
    }
    let file = dir.path("whisper/tiny.en.pt");
    assert_eq!(found(&hub(&dir), dir.path("whisper").to_str().unwrap()).unwrap().path, file);
    // The legacy format of torch.save (before zip) has no end marker.
    std::fs::copy(crate::common::data("formats/openai-legacy.pt"), &file).unwrap();
    assert_eq!(found(&hub(&dir), file.to_str().unwrap()).unwrap().format, Format::OpenAi);
}

#[test]
fn incomplete_models_are_skipped_and_named_in_the_error() {
    let dir = Dir::new();
    PLACES.iter().for_each(|(place, _)| put(&dir, place));
    std::fs::remove_file(dir.path("models/tiny.en/config.json")).unwrap();
    assert_eq!(found(&hub(&dir), "tiny.en").unwrap().path, dir.path(PLACES[1].0));
    let dir = Dir::new();
    put(&dir, "models/tiny.en");
    put(&dir, "whisper/tiny.en.pt");
    put(&dir, SYSTRAN);
    std::fs::remove_file(dir.path("models/tiny.en/model.safetensors")).unwrap();
    std::fs::remove_file(dir.path(SYSTRAN).join("config.json")).unwrap();
    dir.write("whisper/tiny.en.pt", &TORCH[..TORCH.len() - 4]);
    let refused = hub(&dir).obtain("tiny.en", &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err().to_string();
    for part in [
        "models/tiny.en is not used",
        "missing model.safetensors",
        "missing config.json",
        "tiny.en.pt is not used",
        "truncated",
    ] {
        assert!(refused.contains(part), "{part} is not in: {refused}");
    }
    // An unfinished download of a new revision, and a complete older one.
    let cached = |commit: &str| format!("hub/models--openai--whisper-base/snapshots/{commit}");
    put(&dir, &cached("old"));
    put(&dir, &cached("new"));
    dir.write("hub/models--openai--whisper-base/refs/main", "new");
    assert_eq!(found(&hub(&dir), "base").unwrap().path, dir.path(&cached("new")));
    dir.write("hub/.locks/models--openai--whisper-base/new.diarist-unfinished", "");
    assert_eq!(found(&hub(&dir), "base").unwrap().path, dir.path(&cached("old")));
}

#[test]
fn a_repository_is_not_replaced_by_another_but_the_error_suggests_it() {
    let dir = Dir::new();
    put(&dir, SYSTRAN);
    let hub = hub(&dir);
    assert_eq!(hub.find("openai/whisper-tiny.en").unwrap(), None);
    let error = hub.obtain("openai/whisper-tiny.en", &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("give `--model tiny.en`"), "{error}");
}

/// The vocabulary found for the `.pt` file of `tiny.en`.
fn vocabulary(dir: &Dir) -> Option<PathBuf> {
    found(&hub(dir), dir.path("own/x.pt").to_str().unwrap()).unwrap().tokenizer
}

#[test]
fn a_vocabulary_is_found_beside_the_file_or_in_a_cache() {
    let dir = Dir::new();
    dir.write("own/x.pt", TORCH);
    assert_eq!(vocabulary(&dir), None);
    // Vocabularies of multilingual models do not fit an English model.
    dir.write("own/multilingual.tiktoken", "x");
    dir.write("own/tokenizer.json", tokenizer(50257, "<|yue|>"));
    dir.write("hub/models--openai--whisper-small/snapshots/a/tokenizer.json", tokenizer(50257, "<|en|>"));
    assert_eq!(vocabulary(&dir), None);
    let mut best = Vec::new();
    for (place, text) in [
        ("models/some-folder/tokenizer.json", tokenizer(50256, "<|en|>")),
        ("hub/models--a--my-whisper/snapshots/a/tokenizer.json", tokenizer(50256, "<|en|>")),
        ("hub/models--openai--whisper-tiny.en/snapshots/a/tokenizer.json", tokenizer(50256, "<|en|>")),
        ("own/gpt2.tiktoken", "x".into()),
        ("own/tokenizer.json", tokenizer(50256, "<|en|>")),
    ] {
        best.push(dir.write(place, text));
        assert_eq!(vocabulary(&dir).as_ref(), best.last());
    }
    // A conversion without a tokenizer.
    put(&dir, SYSTRAN);
    std::fs::remove_file(dir.path(SYSTRAN).join("tokenizer.json")).unwrap();
    dir.write(&format!("{SYSTRAN}/vocabulary.txt"), "x\n".repeat(51864));
    assert_eq!(found(&hub(&dir), "tiny.en").unwrap().tokenizer.as_ref(), Some(&best[2]));
}

#[test]
fn a_missing_vocabulary_is_fetched_without_the_weights() {
    let text = tokenizer(50256, "<|en|>");
    let server =
        Server::new(&[("tokenizer.json", text.as_bytes()), ("config.json", CONFIG), ("model.safetensors", b"w")]);
    let dir = Dir::new();
    dir.write("whisper/tiny.en.pt", TORCH);
    let mut hub = Hub { model_dir: None, endpoint: server.endpoint.clone(), ..hub(&dir) };
    let obtain = |hub: &Hub| hub.obtain("tiny.en", &mut |_| std::ops::ControlFlow::Continue(()));
    let error = obtain(&hub).unwrap_err().to_string();
    for part in ["tokenizer.json of", "openai/whisper-tiny.en", "gpt2.tiktoken", "downloads are switched off"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    hub.network = Network::Allowed;
    let Source::Checkpoint(checkpoint) = obtain(&hub).unwrap() else { panic!("built in") };
    assert_eq!(std::fs::read_to_string(checkpoint.tokenizer.unwrap()).unwrap(), text);
    assert!(server.offsets("model.safetensors").is_empty() && server.offsets("config.json").is_empty());
    let before = server.requests();
    assert!(matches!(obtain(&hub), Ok(Source::Checkpoint(Checkpoint { tokenizer: Some(_), .. }))));
    assert_eq!(server.requests(), before);
}

#[test]
fn a_conversion_is_fetched_with_its_files() {
    let text = tokenizer(50256, "<|en|>");
    let files: &[(&str, &[u8])] = &[
        ("config.json", CONFIG),
        ("tokenizer.json", text.as_bytes()),
        ("model.bin", CTRANSLATE2),
        ("vocabulary.txt", b"x"),
        ("README.md", b"x"),
    ];
    let (server, dir) = (Server::new(files), Dir::new());
    let hub = Hub { network: Network::Allowed, model_dir: None, endpoint: server.endpoint.clone(), ..hub(&dir) };
    let fetched = hub.obtain("Systran/faster-whisper-tiny.en", &mut |_| std::ops::ControlFlow::Continue(()));
    let Ok(Source::Checkpoint(checkpoint)) = fetched else { panic!("{fetched:?}") };
    assert_eq!((checkpoint.format, checkpoint.tokenizer), (Format::CTranslate2, None));
    let here = |file: &str| checkpoint.path.join(file).is_file();
    assert!(["config.json", "tokenizer.json", "model.bin", "vocabulary.txt"].iter().all(|file| here(file)));
    assert!(!here("README.md"));
    let ggml = Server::new(&[("ggml-tiny.bin", b"x")]);
    let error = Hub { endpoint: ggml.endpoint.clone(), ..hub }
        .obtain("a/whisper.cpp", &mut |_| std::ops::ControlFlow::Continue(()));
    assert!(error.unwrap_err().to_string().contains("ggml-tiny.bin"));
}

#[test]
fn errors_distinguish_missing_refused_and_unauthorised_tokens() {
    for (token, status, parts) in [
        (None, 401, ["without an access token (401)", "set HF_TOKEN"]),
        (None, 403, ["without an access token (403)", "accept its terms"]),
        (Some("hf_x"), 401, ["refuses the access token (401)", "expired"]),
        (Some("hf_x"), 403, ["accepts the access token", "accept its terms"]),
        (Some("hf x"), 200, ["characters that no token has", "copy it again"]),
    ] {
        let (server, dir) = (Server::new(&[]), Dir::new());
        server.fail("api", &[Fault::Status(status)]);
        let token = token.map(str::to_string);
        let hub = Hub { network: Network::Allowed, token, endpoint: server.endpoint.clone(), ..hub(&dir) };
        let error = hub.obtain("tiny", &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn models_lists_every_copy_with_place_format_and_size() {
    let dir = Dir::new();
    put(&dir, "models/my-faster-model");
    put(&dir, "models/ggml-tiny.en-q5_0.bin");
    dir.write("models/not-whisper.pt", b"PK\x03\x04PK\x05\x06");
    dir.write("models/bert/config.json", br#"{"model_type": "bert"}"#);
    dir.write("models/bert/tokenizer.json", b"{}");
    dir.write("models/bert/model.safetensors", b"w");
    put(&dir, &SYSTRAN.replace("hub/", "home/hub/"));
    put(&dir, "home/hub/models--somebody--whisper-own/snapshots/a");
    put(&dir, "home/whisper/tiny.en.pt");
    let home = dir.path(".").canonicalize().unwrap();
    let tables = dir.diarist("models --model-dir models").env("HOME", &home).env("HF_HOME", "~/home").run();
    tables.exits(0).without_complaint();
    let line = |parts: &[&str]| tables.stdout.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    for parts in [
        &["my-faster-model ", "CTranslate2", "MB", "models/my-faster-model"][..],
        &["tiny.en ", "ggml", "models/ggml-tiny.en-q5_0.bin"],
        &["tiny.en ", "CTranslate2", "~/home/hub/models--Systran--faster-whisper-tiny.en/snapshots/0d3d"],
        &["tiny.en ", "openai-whisper", "home/whisper/tiny.en.pt"],
        &["somebody/whisper-own ", "Hugging Face", "~/home/hub/models--somebody"],
        &["tiny.en ", "openai/whisper-tiny.en", " 1 MB "],
        &["large-v2 ", "openai/whisper-large-v2", " - "],
    ] {
        assert!(line(parts), "{parts:?} is not a line of:\n{}", tables.stdout);
    }
    assert!(!tables.stdout.contains("not-whisper") && !tables.stdout.contains("bert"), "{}", tables.stdout);
    let outcome = dir.diarist("models --json --model-dir models").run();
    let list: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let sizes: Vec<u64> = list.as_array().unwrap().iter().map(|model| model["bytes"].as_u64().unwrap()).collect();
    assert_eq!(sizes.len(), 5);
    let file = Path::new("models/ggml-tiny.en-q5_0.bin");
    assert!(list.as_array().unwrap().iter().any(|m| m["path"] == file.to_str().unwrap() && m["bytes"] == 48), "{list}");
}
