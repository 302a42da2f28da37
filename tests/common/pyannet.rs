//! PyanNet checkpoints with pseudo-random weights, a function of (seed, name, index): the counterpart of
//! `tests/reference/pyannet.py`.

use diarist::engine::weights::Weights;
use diarist::models::pyannet::METADATA;
use serde_json::{Value, json};

use super::seeded;

/// Speakers per window.
const SPEAKERS: usize = 3;

/// Name and shape of every tensor for a golden's case.
fn tensors(case: &Value) -> Vec<(String, Vec<usize>)> {
    let mut out = Vec::new();
    let mut add = |name: String, shape: &[usize]| out.push((name, shape.to_vec()));
    for name in ["weight", "bias"] {
        add(format!("sincnet.wav_norm1d.{name}"), &[1]);
        for (i, width) in [80, 60, 60].into_iter().enumerate() {
            add(format!("sincnet.norm1d.{i}.{name}"), &[width]);
        }
    }
    let filters = "sincnet.conv1d.0.filterbank";
    add(format!("{filters}.low_hz_"), &[40, 1]);
    add(format!("{filters}.band_hz_"), &[40, 1]);
    add(format!("{filters}.window_"), &[125]);
    add(format!("{filters}.n_"), &[1, 125]);
    for (i, inputs) in [(1, 80), (2, 60)] {
        add(format!("sincnet.conv1d.{i}.weight"), &[60, inputs, 5]);
        add(format!("sincnet.conv1d.{i}.bias"), &[60]);
    }
    for layer in 0..case["layers"].as_u64().unwrap() {
        for end in ["", "_reverse"] {
            add(format!("lstm.weight_ih_l{layer}{end}"), &[512, if layer == 0 { 60 } else { 256 }]);
            add(format!("lstm.weight_hh_l{layer}{end}"), &[512, 128]);
            add(format!("lstm.bias_ih_l{layer}{end}"), &[512]);
            add(format!("lstm.bias_hh_l{layer}{end}"), &[512]);
        }
    }
    let classes = if case["powerset_max_classes"].is_null() { SPEAKERS } else { 7 };
    for (name, rows, cols) in [("linear.0", 128, 256), ("linear.1", 128, 128), ("classifier", classes, 128)] {
        add(format!("{name}.weight"), &[rows, cols]);
        add(format!("{name}.bias"), &[rows]);
    }
    out
}

fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    // The buffers of asteroid's filterbank, computed in f32.
    let half = 1..=125;
    if name.ends_with("window_") {
        let hamming = |i: usize| (0.54 - 0.46 * (std::f64::consts::TAU * (i - 1) as f64 / 250.0).cos()) as f32;
        return half.map(hamming).collect();
    }
    if name.ends_with(".n_") {
        return half.map(|i| std::f32::consts::TAU * ((i as f32 - 126.0) / 16000.0)).collect();
    }
    let fan_in: usize = shape[1..].iter().product();
    let gain = if name == "classifier.weight" { 4.0 } else { 2.0 };
    let (center, scale) = match name {
        _ if name.ends_with("low_hz_") => (3000.0, 2900.0),
        _ if name.ends_with("band_hz_") => (600.0, 550.0),
        _ if name.contains("norm1d") && name.ends_with("weight") => (1.0, 0.1),
        _ if name.contains("bias") => (0.0, 0.05),
        _ => (0.0, gain * (3.0 / fan_in as f64).sqrt()),
    };
    seeded::uniform(seed, name, shape.iter().product(), center, scale)
}

/// The checkpoint for a golden's case, as a safetensors file.
pub fn file(case: &Value) -> Vec<u8> {
    let seed = case["seed"].as_u64().unwrap();
    let all: Vec<(String, Vec<usize>, Vec<u8>)> = tensors(case)
        .into_iter()
        .map(|(name, shape)| {
            let bytes = values(seed, &name, &shape).iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = all.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let specification = json!({
        "duration": case["duration"],
        "classes": ["speaker#1", "speaker#2", "speaker#3"],
        "powerset_max_classes": case["powerset_max_classes"],
    });
    let metadata = [(METADATA.to_string(), specification.to_string())].into();
    safetensors::serialize(views, Some(metadata)).unwrap()
}

/// The checkpoint for a golden's case, opened.
pub fn weights(case: &Value) -> Weights {
    Weights::from_bytes("random PyanNet", file(case)).unwrap()
}
