//! Whisper's encoder output and decoder logits against transformers in f32, with random weights in several
//! architectures, and log-mel against openai-whisper. Goldens: `tests/reference/whisper_forward.py`, `mel.py`.

mod common;

use common::seeded::{self, Layout};
use common::{Golden, assert_close};
use diarist::engine::cpu::{Cpu, CrossCacheType};
use diarist::engine::prelude::*;
use diarist::engine::{StepRows, Tensor, ops};
use diarist::models::whisper::Whisper;
use serde_json::Value;

/// Absolute tolerance of encoder output and logits. transformers itself differs from f64 by a few 1e-5.
const TOLERANCE: f32 = 1e-3;

fn size(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn load(config: &Value, layout: Layout, cross: CrossCacheType) -> Whisper<Cpu> {
    let folder = tempfile::tempdir().unwrap();
    seeded::write_checkpoint(folder.path(), config, layout);
    Whisper::open(&Cpu::new(None).unwrap().with_cross_cache(cross), folder.path()).unwrap()
}

/// Every `strides[1]`-th column of every `strides[0]`-th row.
fn strided(values: &[f32], width: usize, strides: [usize; 2]) -> Vec<f32> {
    values.chunks_exact(width).step_by(strides[0]).flat_map(|row| row.iter().step_by(strides[1]).copied()).collect()
}

/// Encoder output, and logits `[R, V]` of a prompt, for features in slot 0 of new caches.
fn prompt_logits(model: &Whisper<Cpu>, features: &[f32], prompt: &[i32]) -> (Vec<f32>, Vec<f32>) {
    let be = &model.be;
    let mut encoder = model.encoder_scratch(1).unwrap();
    be.write_act(&mut encoder.mel.buf, 0, features).unwrap();
    model.encode_mel(&mut encoder, 1).unwrap();
    let encoded = encoder.out.to_host(be).unwrap();

    let (rows, vocab) = (prompt.len(), model.config.vocab_size);
    let mut caches = model.caches(1, 1, model.cross_kind(1)).unwrap();
    model.fill_slots(&mut caches, &[0], &mut encoder).unwrap();
    let mut step = StepRows::zeros(be, rows).unwrap();
    let positions: Vec<i32> = (0..rows as i32).collect();
    be.write(&mut step.token.buf, 0, prompt).unwrap();
    be.write(&mut step.position.buf, 0, &positions).unwrap();
    let lineage = Tensor::zeros(be, &[1, model.config.max_target_positions]).unwrap();
    let mut scratch = model.decoder_scratch(rows, model.cross_kind(1)).unwrap();
    model.decode(&mut scratch, &mut caches, &step, &lineage).unwrap();
    let mut logits = Tensor::zeros(be, &[rows, vocab]).unwrap();
    model.logits(&mut logits, &scratch.hidden).unwrap();
    (encoded, logits.to_host(be).unwrap())
}

fn check_case(case: &Value, golden: &Golden, layout: Layout, cross: CrossCacheType) {
    let key = case["name"].as_str().unwrap();
    let name = format!("{key} {cross:?}");
    let model = load(&case["config"], layout, cross);
    let features = &case["features"];
    let input = seeded::features(size(&features["seed"]) as u64, size(&features["mels"]), size(&features["frames"]));
    let prompt: Vec<i32> = case["prompt"].as_array().unwrap().iter().map(|t| size(t) as i32).collect();
    let (encoded, logits) = prompt_logits(&model, &input, &prompt);

    let strides = |key: &str| [size(&case[key][0]), size(&case[key][1])];
    let (width, vocab) = (model.config.d_model, model.config.vocab_size);
    let got = strided(&encoded, width, strides("encoder_stride"));
    let worst_encoder =
        assert_close(&format!("{name} encoder"), &got, &golden.f32(&format!("{key}.encoder")).1, TOLERANCE, 0.0);
    let got = strided(&logits, vocab, strides("logits_stride"));
    let worst_logits =
        assert_close(&format!("{name} logits"), &got, &golden.f32(&format!("{key}.logits")).1, TOLERANCE, 0.0);

    let (_, top_ids) = golden.i32(&format!("{key}.top_ids"));
    let (_, top_logits) = golden.f32(&format!("{key}.top_logits"));
    let got: Vec<f32> = top_ids.iter().enumerate().map(|(i, id)| logits[i / 5 * vocab + *id as usize]).collect();
    assert_close(&format!("{name} top 5"), &got, &top_logits, TOLERANCE, 0.0);
    for (row, ids) in logits.chunks_exact(vocab).zip(top_ids.chunks_exact(5)) {
        let best = (0..vocab).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        assert_eq!(best as i32, ids[0], "{name}: most likely token");
    }
    eprintln!("{name}: encoder within {worst_encoder:.1e}, logits within {worst_logits:.1e} of transformers");
}

fn case(name: &str) -> (Value, Golden) {
    let json = common::json("whisper/forward.json");
    let case = json["cases"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap().clone();
    (case, Golden::open("whisper/forward.safetensors"))
}

macro_rules! forward_matches_transformers {
    ($($test:ident: $name:literal, $layout:ident;)*) => {$(
        #[test]
        fn $test() {
            let (case, golden) = case($name);
            // Both forms of cross-attention.
            for cross in [CrossCacheType::F32, CrossCacheType::Absorbed] {
                check_case(&case, &golden, Layout::$layout, cross);
            }
        }
    )*};
}

forward_matches_transformers! {
    forward_multilingual_64: "multilingual-64", F32;
    forward_large_v3_128_mels: "large-v3-128", Sharded;
    forward_english_only: "english-64", F16;
    forward_base_512: "base-512", F32;
    forward_tiny_384_short_context: "tiny-384", F16;
    forward_short_64_deep_decoder: "short-64", Sharded;
}

/// Decoding one token at a time, with the hypothesis moving between beams, gives the logits of a prefill of the whole
/// prompt.
#[test]
fn steps_with_lineage_match_a_prefill() {
    for cross in [CrossCacheType::F32, CrossCacheType::Absorbed] {
        steps_match_a_prefill(cross);
    }
}

fn steps_match_a_prefill(cross: CrossCacheType) {
    let (case, _) = case("short-64");
    let model = load(&case["config"], Layout::F16, cross);
    let be = &model.be;
    let features = seeded::features(1, 80, 200);
    let prompt: Vec<i32> = vec![50258, 50259, 50359, 50363, 440, 7177];
    let (_, want) = prompt_logits(&model, &features, &prompt);

    let mut encoder = model.encoder_scratch(1).unwrap();
    be.write_act(&mut encoder.mel.buf, 0, &features).unwrap();
    model.encode_mel(&mut encoder, 1).unwrap();
    // Slot 1 of 2, three beams: cache rows 3, 4, 5. The hypothesis moves to another row at each step.
    let (beams, positions) = (3, model.config.max_target_positions);
    let mut caches = model.caches(2, beams, model.cross_kind(beams)).unwrap();
    model.fill_slots(&mut caches, &[1], &mut encoder).unwrap();
    let mut scratch = model.decoder_scratch(2, model.cross_kind(beams)).unwrap();
    let vocab = model.config.vocab_size;
    let mut logits = Tensor::zeros(be, &[2, vocab]).unwrap();
    let mut lineage = vec![0i32; 2 * beams * positions];
    for (position, token) in prompt.iter().enumerate() {
        let row = 3 + position % beams;
        for past in 0..=position {
            lineage[row * positions + past] = 3 + (past % beams) as i32;
        }
        let other = 3 + (position + 1) % beams;
        lineage[other * positions + position] = other as i32;
        let table = Tensor::from_host(be, &[2 * beams, positions], &lineage).unwrap();
        let mut step = StepRows::zeros(be, 2).unwrap();
        be.write(&mut step.token.buf, 0, &[*token, 11]).unwrap();
        be.write(&mut step.position.buf, 0, &[position as i32; 2]).unwrap();
        be.write(&mut step.row.buf, 0, &[row as i32, other as i32]).unwrap();
        model.decode(&mut scratch, &mut caches, &step, &table).unwrap();
        model.logits(&mut logits, &scratch.hidden).unwrap();
        let got = logits.to_host(be).unwrap();
        assert_eq!(&got[..vocab], &want[position * vocab..][..vocab], "position {position}: bit-equal to the prefill");
    }
}

#[test]
fn log_mel_matches_openai_whisper() {
    let golden = Golden::open("mel/log_mel.safetensors");
    let be = Cpu::new(None).unwrap();
    let spectrogram = |samples: &[f32], mels: usize| {
        let audio = Tensor::from_host(&be, &[1, samples.len()], samples).unwrap();
        let mut out = Tensor::zeros(&be, &[1, samples.len() / 160, mels]).unwrap();
        ops::log_mel(&be, &mut out, &audio, &be.mel_plan(mels).unwrap()).unwrap();
        out.to_host(&be).unwrap()
    };
    for case in golden.meta()["cases"].as_array().unwrap() {
        let mels = size(&case["mels"]);
        if let Some(samples) = case["silence"].as_u64() {
            let got = spectrogram(&vec![0.0; samples as usize], mels);
            let want = vec![case["value"].as_f64().unwrap() as f32; mels * size(&case["frames"])];
            assert_close("silence", &got, &want, 1e-6, 0.0);
            continue;
        }
        let name = case["tensor"].as_str().unwrap();
        let mut samples = seeded::audio_f32(size(&case["seed"]) as u64, size(&case["samples"]));
        samples.resize(samples.len() + size(&case["zeros_after"]), 0.0);
        if !samples.len().is_multiple_of(160) {
            continue; // The engine computes log-mel of whole hops only.
        }
        let got = spectrogram(&samples, mels);
        let (_, want) = golden.f32(name);
        let kept: Vec<&[f32]> = got.chunks_exact(mels).step_by(size(&case["frame_stride"])).collect();
        let got: Vec<f32> = (0..mels).flat_map(|m| kept.iter().map(move |frame| frame[m])).collect();
        let worst = assert_close(name, &got, &want, 1e-4, 0.0);
        eprintln!("{name}: within {worst:.1e} of openai-whisper");
    }
}

#[test]
fn seeded_numbers_match_the_reference() {
    let json = common::json("seeded.json");
    let as_u64 = |v: &Value| v.as_str().unwrap().parse::<u64>().unwrap();
    for case in json["bits"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        assert_eq!(seeded::fnv1a(name), as_u64(&case["fnv1a"]));
        let got = seeded::bits(case["seed"].as_u64().unwrap(), name, case["index"].as_u64().unwrap());
        assert_eq!(got, as_u64(&case["bits"]), "{case}");
    }
    for case in json["tensors"].as_array().unwrap() {
        let shape: Vec<usize> = case["shape"].as_array().unwrap().iter().map(size).collect();
        let values = seeded::tensor(case["name"].as_str().unwrap(), &shape, &json["config"]);
        for (index, want) in case["index"].as_array().unwrap().iter().zip(case["value"].as_array().unwrap()) {
            let (got, want) = (values[size(index)], want.as_f64().unwrap() as f32);
            assert!((got - want).abs() <= 1e-6 * want.abs().max(1e-3), "{}[{index}]: {got} {want}", case["name"]);
        }
    }
    for case in json["features"].as_array().unwrap() {
        let (mels, frames) = (size(&case["mels"]), size(&case["frames"]));
        let (m, t) = (size(&case["at"][0]), size(&case["at"][1]));
        let got = seeded::features(case["seed"].as_u64().unwrap(), mels, frames)[t * mels + m];
        assert_eq!(got, case["value"].as_f64().unwrap() as f32, "{case}");
    }
    let audio = &json["audio"];
    let samples = seeded::audio(audio["seed"].as_u64().unwrap(), size(&audio["samples"]));
    assert_eq!(samples.iter().map(|s| i64::from(*s)).sum::<i64>(), audio["sum"].as_i64().unwrap());
    let squares: i64 = samples.iter().map(|s| i64::from(*s) * i64::from(*s)).sum();
    assert_eq!(squares, audio["sum_of_squares"].as_i64().unwrap());
}
