//! wav2vec2 checkpoints with pseudo-random weights, a function of (seed, name, index): the counterpart of
//! `tests/reference/wav2vec2.py`.

use diarist::engine::weights::Weights;
use serde_json::Value;

use super::seeded;

/// Gain of a layer. The first matching suffix wins.
const GAINS: [(&str, f64); 8] = [
    ("conv.weight", 2.0),
    ("q_proj.weight", 1.5),
    ("k_proj.weight", 1.5),
    ("out_proj.weight", 3.0),
    ("output_dense.weight", 3.0),
    ("lm_head.weight", 6.0),
    (".weight", 1.0),
    (".original1", 1.0),
];

/// Name and shape of every tensor of a checkpoint with this config, with the names of torch 2.1 and later.
fn tensors(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let sizes = |key: &str| -> Vec<usize> { serde_json::from_value(config[key].clone()).unwrap() };
    let (width, inner) = (size("hidden_size"), size("intermediate_size"));
    let mut out = Vec::new();
    let mut pair = |name: String, weight: Vec<usize>| {
        out.push((format!("{name}.bias"), vec![weight[0]]));
        out.push((format!("{name}.weight"), weight));
    };
    let mut inputs = 1;
    for (i, (outputs, taps)) in sizes("conv_dim").into_iter().zip(sizes("conv_kernel")).enumerate() {
        let layer = format!("wav2vec2.feature_extractor.conv_layers.{i}");
        pair(format!("{layer}.conv"), vec![outputs, inputs, taps]);
        if i == 0 || config["feat_extract_norm"] == "layer" {
            pair(format!("{layer}.layer_norm"), vec![outputs]);
        }
        inputs = outputs;
    }
    pair("wav2vec2.feature_projection.layer_norm".into(), vec![inputs]);
    pair("wav2vec2.feature_projection.projection".into(), vec![width, inputs]);
    pair("wav2vec2.encoder.layer_norm".into(), vec![width]);
    pair("lm_head".into(), vec![size("vocab_size"), width]);
    for i in 0..size("num_hidden_layers") {
        let layer = format!("wav2vec2.encoder.layers.{i}");
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            pair(format!("{layer}.attention.{name}"), vec![width, width]);
        }
        pair(format!("{layer}.layer_norm"), vec![width]);
        pair(format!("{layer}.final_layer_norm"), vec![width]);
        pair(format!("{layer}.feed_forward.intermediate_dense"), vec![inner, width]);
        pair(format!("{layer}.feed_forward.output_dense"), vec![width, inner]);
    }
    let (taps, groups) = (size("num_conv_pos_embeddings"), size("num_conv_pos_embedding_groups"));
    let positions = "wav2vec2.encoder.pos_conv_embed.conv";
    out.push((format!("{positions}.bias"), vec![width]));
    out.push((format!("{positions}.parametrizations.weight.original0"), vec![1, 1, taps]));
    out.push((format!("{positions}.parametrizations.weight.original1"), vec![width, width / groups, taps]));
    out
}

fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let (center, scale) = match name {
        _ if name.ends_with("norm.weight") => (1.0, 0.1),
        _ if name.ends_with(".bias") => (0.0, 0.05),
        _ if name.ends_with(".original0") => (2.0, 0.5),
        _ => (0.0, GAINS.iter().find(|gain| name.ends_with(gain.0)).unwrap().1 * (3.0 / fan_in as f64).sqrt()),
    };
    seeded::uniform(seed, name, shape.iter().product(), center, scale)
}

/// Names of the positional convolution's weights.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WeightNorm {
    /// `parametrizations.weight.original0`, `original1`
    Parametrized,
    /// `weight_g`, `weight_v`
    Old,
}

/// The checkpoint for a golden's config. If the config has a `blank_bias`, it is added to the bias of the blank.
pub fn weights(config: &Value, seed: u64, names: WeightNorm) -> Weights {
    let stored = |name: String| match names {
        WeightNorm::Parametrized => name,
        WeightNorm::Old => name
            .replace("parametrizations.weight.original0", "weight_g")
            .replace("parametrizations.weight.original1", "weight_v"),
    };
    let all: Vec<(String, Vec<usize>, Vec<u8>)> = tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let mut values = values(seed, &name, &shape);
            if let (true, Some(bias)) = (name == "lm_head.bias", config["blank_bias"].as_f64()) {
                values[config["pad_token_id"].as_u64().unwrap() as usize] += bias as f32;
            }
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (stored(name), shape, bytes)
        })
        .collect();
    let views = all.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    Weights::from_bytes("random wav2vec2", safetensors::serialize(views, None).unwrap()).unwrap()
}
