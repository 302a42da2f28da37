//! ResNet34 embedding checkpoints with pseudo-random weights, a function of (seed, name, index): the counterpart of
//! `tests/reference/resnet34.py`.

use diarist::engine::weights::Weights;
use serde_json::Value;

use super::seeded;

/// Name and shape of a tensor.
pub type Named = (String, Vec<usize>);

/// Name and shape of every tensor for a golden's case.
pub fn tensors(case: &Value) -> Vec<Named> {
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    let mut out = Vec::new();
    let mut convolution = |name: String, norm: String, [outputs, inputs, taps]: [usize; 3]| {
        out.push((format!("{name}.weight"), vec![outputs, inputs, taps, taps]));
        for kind in ["weight", "bias", "running_mean", "running_var"] {
            out.push((format!("{norm}.{kind}"), vec![outputs]));
        }
    };
    let planes = number("planes");
    convolution("resnet.conv1".into(), "resnet.bn1".into(), [planes, 1, 3]);
    let mut inputs = planes;
    for (stage, blocks) in case["blocks"].as_array().unwrap().iter().enumerate() {
        let outputs = planes << stage;
        for block in 0..blocks.as_u64().unwrap() {
            let name = format!("resnet.layer{}.{block}", stage + 1);
            convolution(format!("{name}.conv1"), format!("{name}.bn1"), [outputs, inputs, 3]);
            convolution(format!("{name}.conv2"), format!("{name}.bn2"), [outputs, outputs, 3]);
            if inputs != outputs {
                convolution(format!("{name}.shortcut.0"), format!("{name}.shortcut.1"), [outputs, inputs, 1]);
            }
            inputs = outputs;
        }
    }
    out.push(("resnet.seg_1.weight".into(), vec![number("size"), 2 * 10 * inputs]));
    out.push(("resnet.seg_1.bias".into(), vec![number("size")]));
    out
}

fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let gain = if name == "resnet.conv1.weight" { 0.3 } else { 1.0 };
    let norm = ["bn1.weight", "bn2.weight", "shortcut.1.weight"];
    let (center, scale) = match name {
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if norm.iter().any(|norm| name.ends_with(norm)) => (0.7, 0.3),
        _ if shape.len() == 1 => (0.0, 0.2),
        _ => (0.0, gain * (3.0 / fan_in as f64).sqrt()),
    };
    seeded::uniform(seed, name, shape.iter().product(), center, scale)
}

/// A safetensors file with these tensors.
pub fn file(case: &Value, tensors: &[Named]) -> Vec<u8> {
    let seed = case["seed"].as_u64().unwrap();
    let bytes =
        |(name, shape): &Named| -> Vec<u8> { values(seed, name, shape).iter().flat_map(|v| v.to_le_bytes()).collect() };
    let all: Vec<Vec<u8>> = tensors.iter().map(bytes).collect();
    let views = tensors.iter().zip(&all).map(|((name, shape), bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The checkpoint for a golden's case.
pub fn weights(case: &Value) -> Weights {
    Weights::from_bytes("random ResNet34", file(case, &tensors(case))).unwrap()
}

/// Frame masks `[N, S, F]` from the frame ranges in a golden's case.
pub fn masks(case: &Value) -> Vec<bool> {
    let frames = case["frames"].as_u64().unwrap() as usize;
    let mut out = Vec::new();
    for speaker in case["masks"].as_array().unwrap().iter().flat_map(|window| window.as_array().unwrap()) {
        let mut mask = vec![false; frames];
        for span in speaker.as_array().unwrap() {
            let at = |i: usize| span[i].as_u64().unwrap() as usize;
            mask[at(0)..at(1)].fill(true);
        }
        out.extend(mask);
    }
    out
}

/// Cosine similarity of two embeddings; NaN if either contains NaN.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
