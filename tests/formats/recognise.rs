//! Recognition of a checkpoint's format from its path, and errors for paths without a checkpoint.

use std::path::Path;

use diarist::models::whisper::{Checkpoint, Format};

use super::path;

fn refusal(path: &Path) -> String {
    let checkpoint = Checkpoint::recognise(path).map_err(|error| error.to_string());
    checkpoint.map_or_else(|error| error, |checkpoint| checkpoint.open().err().expect("an error").to_string())
}

#[test]
fn a_file_of_a_folder_stands_for_the_folder() {
    for (file, format) in [
        ("safetensors/model.safetensors", Format::HuggingFace),
        ("safetensors/config.json", Format::HuggingFace),
        ("ct2-float16/model.bin", Format::CTranslate2),
        ("ct2-float16/config.json", Format::CTranslate2),
    ] {
        let checkpoint = Checkpoint::recognise(&path(file)).unwrap();
        assert_eq!((checkpoint.format, Some(checkpoint.path.as_path())), (format, path(file).parent()), "{file}");
    }
}

#[test]
fn formats_are_recognised_by_content_not_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let renamed = |from: &str, to: &str| {
        let to = folder.path().join(to);
        std::fs::copy(path(from), &to).unwrap();
        to
    };
    assert_eq!(Checkpoint::recognise(&renamed("ggml-f16.bin", "tiny.pt")).unwrap().format, Format::Ggml);
    assert_eq!(Checkpoint::recognise(&renamed("openai.pt", "ggml-tiny.bin")).unwrap().format, Format::OpenAi);
    let several = refusal(folder.path());
    assert!(several.contains("ggml-tiny.bin, tiny.pt") && several.contains("name one"), "{several}");
    std::fs::remove_file(folder.path().join("tiny.pt")).unwrap();
    let single = Checkpoint::recognise(folder.path()).unwrap();
    assert_eq!((single.format, single.path), (Format::OpenAi, folder.path().join("ggml-tiny.bin")));
    let error = refusal(&renamed("ct2-int16/model.bin", "tiny.bin"));
    assert!(error.contains("must be called model.bin"), "{error}");
    let error = refusal(&renamed("safetensors/model.safetensors", "tiny.safetensors"));
    assert!(error.contains("config.json"), "{error}");
    let error = refusal(&renamed("safetensors/model.safetensors", "model.safetensors"));
    assert!(error.contains("no config.json"), "{error}");
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let with = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        refusal(&path)
    };
    let torch = std::fs::read(super::data("torch/zip.bin")).unwrap();
    let bare = std::fs::read(super::data("torch/bare.bin")).unwrap();
    let mut ggml = std::fs::read(path("ggml-f16.bin")).unwrap();
    ggml[48..52].copy_from_slice(&81u32.to_le_bytes());
    let mut ct2 = std::fs::read(path("ct2-int16/model.bin")).unwrap();
    let spec = ct2.windows(11).position(|part| part == b"WhisperSpec").unwrap();
    let newer = [&7u32.to_le_bytes(), &ct2[4..]].concat();
    ct2[spec..spec + 11].copy_from_slice(b"Wav2VecSpec");
    let mut revised = std::fs::read(path("ct2-int16/model.bin")).unwrap();
    revised[spec + 12] = 4;
    for (name, bytes, reason) in [
        ("other.pt", &torch[..], "not a model of openai-whisper"),
        ("other-bare.pt", &bare, "not a model of openai-whisper"),
        ("other.bin", &ggml, "another kind of model"),
        ("model.bin", &ct2, "Wav2VecSpec"),
        ("model.bin", &newer, "binary version 7"),
        ("model.bin", &revised, "revision 4"),
        ("llama.gguf", b"GGUF\x03\0\0\0", "GGUF"),
        ("llama.bin", b"tjgg\x03\0\0\0", "llama.cpp"),
        ("notes.txt", b"hello, this is a text", "not a model that is known"),
        ("empty.bin", b"", "not a model that is known"),
    ] {
        let error = with(name, bytes);
        assert!(error.contains(name) && error.contains(reason), "{name}: {error}");
    }
    let error = refusal(&folder.path().join("nowhere"));
    assert!(error.contains("nowhere") && error.contains("no such file or folder"), "{error}");
    let error = refusal(tempfile::tempdir().unwrap().path());
    assert!(error.contains("holds no model"), "{error}");
}
