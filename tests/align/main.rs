//! Forced alignment: sentences, words and characters with times, on random networks and against WhisperX.

#[path = "../common/mod.rs"]
mod common;

mod foundations;
mod hostile;
mod long;
mod numbers;
mod order;
mod stage;
mod whisperx;

use std::path::Path;

use common::wav2vec2::{WeightNorm, weights};
use diarist::align::{Aligner, Dictionary};
use diarist::engine::cpu::Cpu;
use diarist::models::wav2vec2::{Config, Wav2Vec2};
use diarist::types::Segment;
use diarist::units::Seconds;
use serde_json::{Value, json};

/// The config of a small network with random weights and classes for the letters of English.
fn small_config() -> Value {
    json!({
        "model_type": "wav2vec2", "vocab_size": 29, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "conv_dim": [16, 16, 16, 16, 16, 16, 16], "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "layer", "conv_bias": true, "do_stable_layer_norm": true, "pad_token_id": 0,
    })
}

/// The `vocab.json` of the small network, with or without a delimiter.
fn small_vocab(delimiter: bool) -> String {
    let mut vocab = serde_json::Map::from_iter([("<pad>".to_string(), json!(0))]);
    vocab.extend(('a'..='z').zip(2..).map(|(letter, class)| (letter.to_string(), json!(class))));
    vocab.insert("'".into(), json!(28));
    if delimiter {
        vocab.insert("|".into(), json!(1));
    }
    Value::Object(vocab).to_string()
}

fn network(cpu: &Cpu, config: &Value, seed: u64, normalise: bool) -> Wav2Vec2<Cpu> {
    let parsed = Config::parse(&config.to_string(), Path::new("config.json")).unwrap();
    Wav2Vec2::load(cpu, parsed, &weights(config, seed, WeightNorm::Parametrized), normalise).unwrap()
}

fn aligner(cpu: &Cpu, config: &Value, seed: u64, vocab: &str) -> Aligner<Cpu> {
    let network = network(cpu, config, seed, false);
    let (blank, classes) = (network.config().pad_token_id, network.config().vocab_size);
    Aligner::new(network, Dictionary::parse(vocab, Path::new("vocab.json"), blank, classes).unwrap())
}

fn small_aligner(cpu: &Cpu) -> Aligner<Cpu> {
    aligner(cpu, &small_config(), 7, &small_vocab(true))
}

fn segment(start: f64, end: f64, text: &str) -> Segment {
    Segment { start: Seconds(start), end: Seconds(end), text: text.into(), ..Segment::default() }
}

fn texts(segments: &[Segment]) -> Vec<&str> {
    segments.iter().flat_map(|segment| segment.words.iter().flatten()).map(|word| word.word.as_str()).collect()
}
