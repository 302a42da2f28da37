//! Checkpoint formats, with a tiny Whisper in each: the same weights, sizes, token lists and logits, and dequantised
//! blocks of whisper.cpp's types as in gguf. Files: `tests/reference/formats.py`.

mod common;
#[path = "formats/hostile.rs"]
mod hostile;
#[path = "formats/recognise.rs"]
mod recognise;
#[path = "formats/versions.rs"]
mod versions;
#[path = "formats/vocabulary.rs"]
mod vocabulary;

use std::path::PathBuf;

use common::{Golden, data, seeded};
use diarist::engine::cpu::{Cpu, CrossCacheType, WeightType};
use diarist::engine::prelude::*;
use diarist::engine::weights::{HostInt8, HostWeight, Weights};
use diarist::engine::{StepRows, Tensor, ops};
use diarist::models::whisper::{Checkpoint, Files, Format, Whisper};
use serde_json::Value;

/// Files without quantisation, which hold the f16 weights exactly.
const EXACT: [&str; 6] =
    ["ct2-float16", "ct2-float32", "openai.pt", "openai-legacy.pt", "ggml-f16.bin", "ggml-f32.bin"];
const INT8: [&str; 2] = ["ct2-int8_float16", "ct2-int8_float32"];
const GGML: [&str; 5] = ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"];

fn path(name: &str) -> PathBuf {
    data("formats").join(name)
}

fn open(name: &str) -> Files {
    Checkpoint::recognise(&path(name)).unwrap().open().unwrap_or_else(|error| panic!("{error}"))
}

fn config() -> Value {
    common::json("formats/meta.json")["config"].clone()
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    seeded::whisper_tensors(&config())
}

/// Values of a tensor under the model's name.
fn values(files: &Files, name: &str, shape: &[usize]) -> Vec<f32> {
    files.weights.tensor(name, shape).unwrap_or_else(|error| panic!("{error}"))
}

/// Logits of three tokens for random features, from encoder and decoder.
fn logits(files: &Files, weights: WeightType) -> Vec<f32> {
    logits_of(&Cpu::new(Some(1)).unwrap().with_weights(weights), files)
}

fn logits_of(be: &Cpu, files: &Files) -> Vec<f32> {
    let model = Whisper::load(be, files.config.clone(), files.generation.clone(), &files.weights).unwrap();
    let (frames, mels) = (2 * model.config.max_source_positions, model.config.num_mel_bins);
    let mut encoder = model.encoder_scratch(1).unwrap();
    be.write_act(&mut encoder.mel.buf, 0, &seeded::features(3, mels, frames)).unwrap();
    model.encode_mel(&mut encoder, 1).unwrap();
    let mut caches = model.caches(1, 1, model.cross_kind(1)).unwrap();
    model.fill_slots(&mut caches, &[0], &mut encoder).unwrap();
    let mut step = StepRows::zeros(be, 3).unwrap();
    be.write(&mut step.token.buf, 0, &[51, 7, 33]).unwrap();
    be.write(&mut step.position.buf, 0, &[0, 1, 2]).unwrap();
    let lineage = Tensor::zeros(be, &[1, model.config.max_target_positions]).unwrap();
    let mut scratch = model.decoder_scratch(3, model.cross_kind(1)).unwrap();
    model.decode(&mut scratch, &mut caches, &step, &lineage).unwrap();
    let mut out = Tensor::zeros(be, &[3, model.config.vocab_size]).unwrap();
    model.logits(&mut out, &scratch.hidden).unwrap();
    out.to_host(be).unwrap()
}

/// Root mean square of the difference, in standard deviations of `want`.
fn error(got: &[f32], want: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let mean = want.iter().sum::<f32>() / want.len() as f32;
    let difference = square(&mut got.iter().zip(want).map(|(g, w)| g - w));
    (difference / square(&mut want.iter().map(|w| w - mean))).sqrt()
}

#[test]
fn every_exact_format_holds_the_same_weights() {
    let reference = open("safetensors");
    for name in EXACT {
        let files = open(name);
        assert_eq!(
            files.config,
            diarist::models::whisper::Config {
                decoder_start_token_id: None,
                eos_token_id: None,
                ..reference.config.clone()
            },
            "{name}"
        );
        for (tensor, shape) in tensors() {
            assert_eq!(values(&files, &tensor, &shape), values(&reference, &tensor, &shape), "{name}: {tensor}");
        }
    }
}

#[test]
fn every_exact_format_gives_the_same_logits() {
    let want = logits(&open("safetensors"), WeightType::Auto);
    assert!(want.iter().any(|value| value.abs() > 1.0), "the reference logits are too small");
    for name in EXACT {
        assert_eq!(logits(&open(name), WeightType::Auto), want, "{name}");
    }
}

/// Compares with the seeded weights, so that an error in the reference folder is found.
#[test]
fn the_reference_folder_holds_the_seeded_weights() {
    let (reference, config) = (open("safetensors"), config());
    for (tensor, shape) in tensors() {
        let made = seeded::tensor(&tensor, &shape, &config);
        let want: Vec<f32> = made.iter().map(|value| half::f16::from_f32(*value).to_f32()).collect();
        assert_eq!(values(&reference, &tensor, &shape), want, "{tensor}");
    }
}

/// Some fine-tuning scripts save openai-whisper's `ModelDimensions` object instead of a dictionary.
#[test]
fn dims_may_be_an_object() {
    assert_eq!(open("openai-dataclass.pt").config, open("openai.pt").config);
}

#[test]
fn ctranslate2_token_lists_come_from_its_config() {
    let files = open("ct2-float16");
    assert_eq!(files.generation.suppress_tokens, Some(vec![1, 2, 51]));
    assert_eq!(files.generation.begin_suppress_tokens, Some(vec![3, 50]));
    assert_eq!(files.generation.alignment_heads, Some(vec![[0, 0]]));
    assert!(!files.is_multilingual());
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(path("ct2-float16/model.bin"), folder.path().join("model.bin")).unwrap();
    let without = Checkpoint::recognise(folder.path()).unwrap().open().unwrap();
    assert_eq!(without.generation.suppress_tokens, None);
    assert_eq!(without.config, files.config);
    std::fs::write(folder.path().join("config.json"), r#"{"suppress_ids": null}"#).unwrap();
    let null = Checkpoint::recognise(folder.path()).unwrap().open().unwrap();
    assert_eq!(null.generation.suppress_tokens, Some(vec![]), "null suppresses nothing");
    assert_eq!(null.generation.begin_suppress_tokens, None);
}

/// CTranslate2 quantises each row to `round(weight * scale)` with `scale = 127 / max |weight|`, and divides by the
/// scale again.
#[test]
fn int8_weights_are_the_integers_of_the_file() {
    let reference = open("safetensors");
    for name in INT8 {
        let files = open(name);
        let mut integers = 0;
        for (tensor, shape) in tensors().iter().filter(|(_, shape)| shape.len() > 1) {
            let HostWeight::Int8(got) = files.weights.weight(tensor, shape).unwrap() else {
                assert!(tensor.contains("embed_positions"), "{name}: {tensor} is not int8");
                continue;
            };
            let floats = values(&reference, tensor, shape);
            let width = floats.len() / shape[0];
            for (row, (want, got_row)) in floats.chunks(width).zip(got.values.chunks(width)).enumerate() {
                let scale = 127.0 / want.iter().fold(0.0f32, |max, v| max.max(v.abs()));
                assert_eq!(got.scales[row], 1.0 / scale, "{name}: {tensor}, row {row}");
                let want: Vec<i8> = want.iter().map(|v| (v * scale).round_ties_even() as i8).collect();
                assert_eq!(got_row, want, "{name}: {tensor}, row {row}");
            }
            integers += got.values.len();
        }
        assert!(integers > 30_000, "{name} has only {integers} integers");
    }
}

#[test]
fn quantised_conversions_are_near_the_original_weights() {
    let reference = open("safetensors");
    for (name, tolerance) in [("ct2-int16", 0.003), ("ct2-bfloat16", 0.004), ("ct2-int8_float16", 0.02)] {
        let files = open(name);
        for (tensor, shape) in tensors() {
            let want = values(&reference, &tensor, &shape);
            let largest = want.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            common::assert_close(
                &format!("{name}: {tensor}"),
                &values(&files, &tensor, &shape),
                &want,
                tolerance * largest,
                0.0,
            );
        }
    }
}

/// Measured errors, in standard deviations of the logits: int16 0.002, bfloat16 0.01, int8 0.03, q8_0 0.02, q5 0.2, q4
/// 0.4.
#[test]
fn quantised_conversions_give_nearly_the_same_logits() {
    let want = logits(&open("safetensors"), WeightType::F32);
    let limit = |name: &str, limit: f64| {
        let error = error(&logits(&open(name), WeightType::Auto), &want);
        assert!(error < limit, "{name}: {error}");
        assert!(error > 0.0, "{name} is not quantised");
    };
    for (name, most) in
        [("ct2-int16", 0.02), ("ct2-bfloat16", 0.05), ("ct2-int8_float16", 0.15), ("ct2-int8_float32", 0.15)]
    {
        limit(name, most);
    }
    for (kind, most) in GGML.into_iter().zip([1.2, 1.2, 0.7, 0.7, 0.1]) {
        limit(&format!("ggml-{kind}.bin"), most);
    }
}

/// No integer reaches 127, so that quantising the weights again would change them.
#[test]
fn int8_weights_are_not_quantised_again() {
    let be = |kind| Cpu::new(Some(1)).unwrap().with_weights(kind);
    let values: Vec<i8> = (0..128 * 32).map(|i| (i * 7 % 41) as i8 - 20).collect();
    let scales: Vec<f32> = (0..128).map(|row| 0.1 + row as f32 / 1000.0).collect();
    let want: Vec<f32> = values.iter().enumerate().map(|(i, v)| f32::from(*v) * scales[i / 32]).collect();
    let weight = HostWeight::Int8(HostInt8 { values, scales, rows: 128, cols: 32 });
    for (kind, atol) in
        [(WeightType::Auto, 0.0), (WeightType::Int8, 0.0), (WeightType::F32, 0.0), (WeightType::F16, 3e-3)]
    {
        let be = be(kind);
        let matrix = be.matrix(&weight).unwrap();
        // The product with the unit vectors is the transposed weight.
        let mut x = Tensor::zeros(&be, &[32, 32]).unwrap();
        let units: Vec<f32> = (0..32 * 32).map(|i| if i / 32 == i % 32 { 1.0 } else { 0.0 }).collect();
        be.write_act(&mut x.buf, 0, &units).unwrap();
        let mut out = Tensor::zeros(&be, &[32, 128]).unwrap();
        ops::linear(&be, &mut out, &x, &matrix, None, diarist::engine::Epilogue::Store).unwrap();
        let got = out.to_host(&be).unwrap();
        let transposed: Vec<f32> = (0..128 * 32).map(|i| got[i % 32 * 128 + i / 32]).collect();
        common::assert_close(&format!("{kind:?}"), &transposed, &want, atol, 1e-6);
    }
}

/// All matrices of the file are int8 already, so that the compute type int8 changes nothing.
#[test]
fn compute_types_of_an_int8_file() {
    let files = open("ct2-int8_float32");
    let [auto, int8, float] = [WeightType::Auto, WeightType::Int8, WeightType::F32].map(|kind| logits(&files, kind));
    assert_eq!(int8, auto);
    assert!(error(&float, &auto) < 1e-4, "{}", error(&float, &auto));
}

/// Both forms of cross-attention use the integers of the key projections unchanged.
#[test]
fn int8_keys_are_the_same_in_both_forms_of_cross_attention() {
    let files = open("ct2-int8_float16");
    let be = || Cpu::new(Some(1)).unwrap().with_weights(WeightType::Int8);
    let absorbed = logits_of(&be().with_cross_cache(CrossCacheType::Absorbed), &files);
    let projected = logits_of(&be().with_cross_cache(CrossCacheType::F32), &files);
    assert!(error(&absorbed, &projected) < 1e-4, "{}", error(&absorbed, &projected));
}

#[test]
fn blocks_dequantise_bit_equal_to_gguf() {
    let weights = Weights::open_file(&path("blocks.bin")).unwrap();
    let golden = Golden::open("formats/blocks.safetensors");
    for kind in GGML {
        let (shape, want) = golden.f32(kind);
        let got = weights.tensor(kind, &shape).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got), bits(&want), "{kind}");
        assert!(want.iter().filter(|value| **value != 0.0).count() > want.len() / 2);
    }
}

#[test]
fn quantised_ggml_tensors_are_near_the_original_weights() {
    let reference = open("safetensors");
    for (kind, tolerance) in GGML.into_iter().zip([0.15, 0.1, 0.08, 0.05, 0.01]) {
        let files = open(&format!("ggml-{kind}.bin"));
        assert_eq!(files.config.vocab_size, 64);
        for (tensor, shape) in tensors() {
            let want = values(&reference, &tensor, &shape);
            let largest = want.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            common::assert_close(
                &format!("{kind}: {tensor}"),
                &values(&files, &tensor, &shape),
                &want,
                tolerance * largest,
                0.0,
            );
        }
    }
}

#[test]
fn formats_are_recognised() {
    for (name, format) in [
        ("safetensors", Format::HuggingFace),
        ("ct2-int16", Format::CTranslate2),
        ("openai.pt", Format::OpenAi),
        ("openai-legacy.pt", Format::OpenAi),
        ("ggml-q5_1.bin", Format::Ggml),
    ] {
        let checkpoint = Checkpoint::recognise(&path(name)).unwrap();
        assert_eq!((checkpoint.format, checkpoint.path), (format, path(name)), "{name}");
    }
}
