//! Truncated, damaged and malicious files of CTranslate2 and whisper.cpp: they give an error, or tensors that fit into
//! the file, never a panic.

use diarist::asr::Tokenizer;
use diarist::engine::weights::Weights;
use diarist::models::whisper::{Checkpoint, Format};
use proptest::prelude::*;
use std::path::Path;

use super::path;

const FILES: [&str; 5] =
    ["ct2-int8_float16/model.bin", "ct2-int16/model.bin", "ggml-f16.bin", "ggml-q5_1.bin", "ggml-q8_0.bin"];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Reads all tensors, if the bytes are accepted, and checks that they fit into the bytes. A block of 18 bytes has 32
/// elements.
fn read(bytes: Vec<u8>) {
    let len = bytes.len();
    let Ok(weights) = Weights::from_bytes("damaged.bin", bytes) else { return };
    for name in weights.names() {
        let shape = weights.shape(name).unwrap();
        if let Ok(values) = weights.tensor(name, shape) {
            assert!(values.len() <= 2 * len, "{name} has more values than the file can hold");
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
        let _ = (weights.weight(name, shape), weights.integer(name));
    }
    assert!(weights.vocabulary().map(<[u8]>::len).sum::<usize>() <= len);
}

fn open_as(format: Format, bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.bin");
    std::fs::write(&file, bytes).unwrap();
    let path = if format == Format::CTranslate2 { folder.path() } else { &file };
    let checkpoint = Checkpoint { format, path: path.into(), tokenizer: None };
    checkpoint.open().map(drop).map_err(|error| error.to_string())
}

/// A size that is possible alone, but not as a product of several.
const HUGE: u32 = 1 << 30;

/// Found by fuzzing: a tensor without elements, with sizes whose product overflows.
#[test]
fn empty_tensors_with_huge_sizes_are_refused_or_empty() {
    for dtype in [0u8, 1] {
        let order = [0, HUGE, HUGE, HUGE];
        let string = |text: &str| [&(text.len() as u16 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat();
        let mut bytes =
            [&6u32.to_le_bytes()[..], &string("WhisperSpec"), &3u32.to_le_bytes(), &1u32.to_le_bytes()].concat();
        bytes.extend([&string("a/weight")[..], &[order.len() as u8]].concat());
        order.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
        bytes.extend([&[dtype][..], &0u32.to_le_bytes(), &0u32.to_le_bytes()].concat());
        assert_eq!(Weights::from_bytes("empty.bin", bytes.clone()).unwrap().names().count(), 1);
        read(bytes);
    }
}

#[test]
fn impossible_sizes_are_named() {
    let mut ggml = file("ggml-f16.bin");
    ggml[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = open_as(Format::Ggml, &ggml).unwrap_err();
    assert!(error.contains("vocab_size") && error.contains("model.bin"), "{error}");

    let ct2 = file("ct2-int16/model.bin");
    let changed = |from: &[u8], to: &[u8]| {
        let at = ct2.windows(from.len()).position(|part| part == from).expect("the bytes to change");
        let mut bytes = ct2.clone();
        bytes.splice(at..at + from.len(), to.iter().copied());
        open_as(Format::CTranslate2, &bytes).unwrap_err()
    };
    let error = changed(b"decoder/embeddings/weight\0\x02\x40", b"decoder/embeddings/weight\0\x02\x41");
    assert!(error.contains("decoder/embeddings/weight") && error.contains("[65, 32]"), "{error}");
    let error = changed(b"decoder/embeddings/weight\0", b"decoder/embeddings/weights");
    assert!(error.contains("does not end with a zero"), "{error}");
    let error = changed(b"encoder/conv1/weight\0", b"encoder/conv3/weight\0");
    assert!(error.contains("encoder/conv1/weight") && error.contains("missing"), "{error}");
}

#[test]
fn huge_counts_of_variables_or_tokens_allocate_no_memory() {
    let mut ct2 = file("ct2-int16/model.bin");
    let count = ct2.windows(12).position(|part| part == b"WhisperSpec\0").unwrap() + 16;
    ct2[count..count + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(open_as(Format::CTranslate2, &ct2).unwrap_err().contains("damaged or truncated"));
    let mut ggml = file("ggml-f16.bin");
    let tokens = 4 + 11 * 4 + 8 + 16 * 201 * 4;
    assert_eq!(ggml[tokens..tokens + 4], 50u32.to_le_bytes());
    ggml[tokens..tokens + 4].copy_from_slice(&i32::MAX.to_le_bytes());
    assert!(open_as(Format::Ggml, &ggml).unwrap_err().contains("damaged or truncated"));
}

/// An entry of a dozen bytes takes hundreds of bytes in memory.
#[test]
fn a_file_of_many_tiny_tensors_is_refused() {
    let names = (0..20_000).map(|i| format!("{i:x}"));
    let mut ggml = file("ggml-f16.bin");
    ggml.truncate(4 + 11 * 4 + 8 + 16 * 201 * 4);
    ggml.extend(0u32.to_le_bytes());
    for name in names {
        ggml.extend([0, name.len() as u32, 0].iter().flat_map(|number| number.to_le_bytes()));
        ggml.extend(name.as_bytes());
        ggml.extend([0; 4]);
    }
    assert!(open_as(Format::Ggml, &ggml).unwrap_err().contains("more than 16384 tensors"));
}

#[test]
fn scales_that_are_zero_tiny_or_not_finite_are_damage() {
    let bytes = file("ct2-int8_float32/model.bin");
    let name = b"decoder/layer_0/ffn/linear_0/weight_scale\0";
    let data = bytes.windows(name.len()).position(|part| part == name).unwrap() + name.len() + 1 + 4 + 1 + 4;
    for scale in [0.0f32, -0.0, 1e-38, f32::NAN, f32::INFINITY] {
        let mut bytes = bytes.clone();
        bytes[data..data + 4].copy_from_slice(&scale.to_le_bytes());
        let weights = Weights::from_bytes("scale.bin", bytes).unwrap();
        let name = "decoder/layer_0/ffn/linear_0/weight";
        let error = weights.weight(name, &[128, 32]).unwrap_err().to_string();
        assert!(error.contains("weight_scale`: has a scale of"), "{error}");
        assert_eq!(weights.tensor(name, &[128, 32]).unwrap_err().to_string(), error);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_truncated_file_is_refused_or_misses_tensors(which in 0..FILES.len(), keep in 0.0f64..1.0) {
        let whole = Weights::from_bytes("whole.bin", file(FILES[which])).unwrap().names().count();
        let mut bytes = file(FILES[which]);
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        // A ggml file has no count of tensors: truncated between two tensors, it is valid but shorter.
        if let Ok(weights) = Weights::from_bytes("cut.bin", bytes) {
            prop_assert!(FILES[which].starts_with("ggml") && weights.names().count() < whole);
        }
    }

    #[test]
    fn flipped_bits_never_panic(which in 0..FILES.len(), flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u8), 1..6), early in any::<bool>()) {
        let mut bytes = file(FILES[which]);
        for (at, bit) in flips {
            let at = at.index(if early { 4096 } else { bytes.len() });
            bytes[at] ^= 1 << bit;
        }
        let format = if FILES[which].starts_with("ct2") { Format::CTranslate2 } else { Format::Ggml };
        let _ = open_as(format, &bytes);
        read(bytes);
    }

    /// Arbitrary bytes after the header of each format.
    #[test]
    fn any_bytes_terminate(tail in proptest::collection::vec(any::<u8>(), 0..400), heads in any::<bool>()) {
        let head: &[u8] = if heads { b"\x06\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0" } else { b"lmgg" };
        read([head, &tail].concat());
    }

    #[test]
    fn any_vocabulary_terminates(text in "([A-Za-z0-9+/]{0,8}={0,2} [0-9]{1,3}\n){0,40}", vocab in 0usize..60_000, multilingual in any::<bool>()) {
        if let Ok(tokenizer) = Tokenizer::from_tiktoken(Path::new("any.tiktoken"), &text, vocab, multilingual) {
            let _ = tokenizer.encode("any text").and_then(|ids| tokenizer.decode(&ids));
        }
    }

    #[test]
    fn any_tokens_terminate(tokens in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..40), 0..80), languages in 0usize..101) {
        let vocab = tokens.len() + 8 + 1501 + languages;
        let distinct = tokens.iter().collect::<std::collections::HashSet<_>>().len();
        let tokenizer = Tokenizer::from_ranks(Path::new("any.bin"), tokens.clone(), vocab, false);
        prop_assert_eq!(tokenizer.is_ok(), distinct == tokens.len());
    }
}
