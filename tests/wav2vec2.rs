//! wav2vec2 against transformers and torchaudio, with random weights in narrow versions of the published architectures.
//! Batched clips must be bit-identical to single ones.

mod common;

use std::path::Path;

use common::wav2vec2::{WeightNorm, weights};
use common::{Golden, assert_close, seeded};
use diarist::engine::cpu::Cpu;
use diarist::engine::weights::Weights;
use diarist::models::wav2vec2::{Bundle, Config, Emissions, FeatureNorm, Normalise, Wav2Vec2, bundle};
use serde_json::Value;

fn network(cpu: &Cpu, case: &Value, names: WeightNorm) -> Wav2Vec2<Cpu> {
    let config = Config::parse(&case["config"].to_string(), Path::new("config.json")).unwrap();
    let weights = weights(&case["config"], case["seed"].as_u64().unwrap(), names);
    Wav2Vec2::load(cpu, config, &weights, case["normalise"].as_bool().unwrap()).unwrap()
}

fn clips(meta: &Value) -> Vec<Vec<f32>> {
    let lengths: Vec<usize> = serde_json::from_value(meta["clips"].clone()).unwrap();
    lengths.into_iter().enumerate().map(|(i, samples)| seeded::audio_f32(400 + i as u64, samples)).collect()
}

/// The emissions of clip `b`, `[frames, V + 1]`.
fn rows(cpu: &Cpu, emissions: &Emissions<Cpu>, b: usize) -> Vec<f32> {
    let (longest, columns) = (emissions.log_probs.shape()[1], emissions.log_probs.width());
    emissions.log_probs.to_host(cpu).unwrap()[b * longest * columns..][..emissions.frames[b] * columns].to_vec()
}

#[test]
fn emissions_match_transformers() {
    let golden = Golden::open("wav2vec2/emissions.safetensors");
    let (meta, cpu) = (golden.meta(), Cpu::new(Some(2)).unwrap());
    let clips = clips(&meta);
    for (number, case) in meta["cases"].as_array().unwrap().iter().enumerate() {
        let name = case["name"].as_str().unwrap();
        let names = if number == 0 { WeightNorm::Old } else { WeightNorm::Parametrized };
        let network = network(&cpu, case, names);
        let (classes, blank) = (network.config().vocab_size, network.config().pad_token_id);
        let together = network.emissions(&cpu, &clips.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        for (i, clip) in clips.iter().enumerate() {
            let (shape, want) = golden.f32(&format!("{name}.{i}"));
            let alone = network.emissions(&cpu, &[clip]).unwrap();
            assert_eq!((alone.frames[0], classes), (shape[0], shape[1]), "{name}: frames of clip {i}");
            let got = rows(&cpu, &alone, 0);
            let letters: Vec<f32> = got.chunks_exact(classes + 1).flat_map(|row| &row[..classes]).copied().collect();
            assert_close(&format!("{name}, clip {i}"), &letters, &want, 1e-3, 0.0);
            for row in got.chunks_exact(classes + 1) {
                let others = row[..classes].iter().enumerate().filter(|(class, _)| *class != blank);
                assert_eq!(row[classes], others.map(|(_, p)| *p).fold(f32::MIN, f32::max), "{name}: wildcard");
            }
            let batched = rows(&cpu, &together, i);
            assert!(
                got.iter().zip(&batched).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{name}: clip {i} depends on the others"
            );
            assert_eq!(got.len(), batched.len());
        }
    }
}

/// A clip shorter than the receptive field has one frame. The result does not depend on the number of threads.
#[test]
fn short_clips_and_numbers_of_threads() {
    let golden = Golden::open("wav2vec2/emissions.safetensors");
    let (meta, one, two) = (golden.meta(), Cpu::new(Some(1)).unwrap(), Cpu::new(Some(2)).unwrap());
    let clip = seeded::audio_f32(7, 9000);
    for case in meta["cases"].as_array().unwrap() {
        let (small, large) = (network(&one, case, WeightNorm::Old), network(&two, case, WeightNorm::Parametrized));
        for samples in [0, 1, 399, 9000] {
            let [a, b] = [(&one, &small), (&two, &large)].map(|(cpu, network)| {
                let emissions = network.emissions(cpu, &[&clip[..samples]]).unwrap();
                assert_eq!(emissions.frames, [network.config().frames(samples.max(400))]);
                rows(cpu, &emissions, 0)
            });
            assert!(a.iter().all(|v| v.is_finite()), "{samples} samples");
            assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()), "{samples} samples: depends on threads");
        }
        assert!(small.emissions(&one, &[]).is_err());
    }
}

#[test]
fn configs_of_other_networks_are_refused() {
    let parse = |text: &str| Config::parse(text, Path::new("config.json"));
    let base = parse(r#"{"model_type": "wav2vec2"}"#).unwrap();
    assert_eq!((base.field(), base.frames(400), base.frames(399), base.frames(480_000)), (400, 1, 0, 1499));
    for (text, reason) in [
        (r#"{"model_type": "hubert"}"#, "`hubert`"),
        (r#"{}"#, "expected wav2vec2"),
        (r#"{"model_type": "wav2vec2", "adapter_attn_dim": 16}"#, "adapters"),
        (r#"{"model_type": "wav2vec2", "hidden_act": "relu"}"#, "only gelu"),
        (r#"{"model_type": "wav2vec2", "layer_norm_eps": 1e-6}"#, "layer_norm_eps"),
        (r#"{"model_type": "wav2vec2", "conv_dim": [512]}"#, "without"),
        (r#"{"model_type": "wav2vec2", "conv_stride": [0, 2, 2, 2, 2, 2, 2]}"#, "size of zero"),
        (r#"{"model_type": "wav2vec2", "hidden_size": 770}"#, "12 heads"),
        (r#"{"model_type": "wav2vec2", "pad_token_id": 32}"#, "pad_token_id"),
        (r#"{"model_type": "wav2vec2", "feat_extract_norm": "batch"}"#, "not the config"),
        (r#"[1]"#, "not the config"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("config.json"), "{text}: {error}");
    }
}

/// Files written by `torch.save`, with emissions of torchaudio. The head of the first file has rows of unused classes.
#[test]
fn bundle_emissions_match_torchaudio() {
    let golden = Golden::open("wav2vec2/bundle.safetensors");
    let (meta, cpu) = (golden.meta(), Cpu::new(Some(1)).unwrap());
    let lengths: Vec<usize> = serde_json::from_value(meta["clips"].clone()).unwrap();
    let unused: Vec<usize> = serde_json::from_value(meta["unused"].clone()).unwrap();
    for (order, gain) in [("group_norm", 1.0), ("layer_norm", 0.01)] {
        let layered = order == "layer_norm";
        let config = Config {
            vocab_size: 9,
            hidden_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            intermediate_size: 48,
            feat_extract_norm: if layered { FeatureNorm::Layer } else { FeatureNorm::Group },
            conv_dim: vec![12, 16, 16, 16, 16, 16, 12],
            conv_bias: layered,
            num_conv_pos_embeddings: 16,
            num_conv_pos_embedding_groups: 4,
            do_stable_layer_norm: layered,
            ..Config::default()
        };
        let file = common::data(&format!("wav2vec2/bundle-{order}.pth"));
        let normalise = if layered { Normalise::Torchaudio } else { Normalise::No };
        let open = |unused: &[usize]| {
            bundle::load(&cpu, config.clone(), Weights::open_file(&file).unwrap(), normalise, unused)
        };
        let network = open(&unused).unwrap();
        for (i, samples) in lengths.iter().enumerate() {
            let clip: Vec<f32> = seeded::audio_f32(500 + i as u64, *samples).iter().map(|s| s * gain).collect();
            let (shape, want) = golden.f32(&format!("{order}.{i}"));
            let emissions = network.emissions(&cpu, &[&clip]).unwrap();
            assert_eq!((emissions.frames[0], 9), (shape[0], shape[1]), "{order}: frames of clip {i}");
            let got: Vec<f32> = rows(&cpu, &emissions, 0).chunks_exact(10).flat_map(|row| &row[..9]).copied().collect();
            assert_close(&format!("{order}, clip {i}"), &got, &want, 1e-3, 0.0);
        }
        // Without the list of unused rows, the number of classes is wrong.
        let refused = open(&[]).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(refused.is_err(), !layered, "{refused:?}");
        let other = Bundle::named("WAV2VEC2_ASR_BASE_960H").unwrap().open(&cpu, &file);
        let error = other.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("bundle-") && error.contains("another network"), "{error}");
    }
}
