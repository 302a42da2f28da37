//! CAM++ checkpoints with pseudo-random weights, a function of (seed, name, index): the counterpart of
//! `tests/reference/campplus.py`.

use std::ops::Range;

use diarist::engine::prelude::*;
use diarist::engine::weights::Weights;
use diarist::models::embedding;
use serde_json::Value;

use super::seeded;

/// Name and shape of a tensor.
pub type Named = (String, Vec<usize>);

/// Name and shape of every tensor for a golden's case.
pub fn tensors(case: &Value) -> Vec<Named> {
    let size = |key: &str, default: usize| case["sizes"][key].as_u64().map_or(default, |v| v as usize);
    let (growth, init) = (size("growth_rate", 32), size("init_channels", 128));
    let bottleneck = growth * size("bn_size", 4);
    let mut out: Vec<Named> = Vec::new();
    let norm = |out: &mut Vec<Named>, name: &str, channels: usize| {
        for kind in ["weight", "bias", "running_mean", "running_var"] {
            out.push((format!("{name}.{kind}"), vec![channels]));
        }
    };
    let mut convolution_2d = |name: &str, norm_name: &str, inputs: usize, taps: usize| {
        out.push((format!("{name}.weight"), vec![32, inputs, taps, taps]));
        norm(&mut out, norm_name, 32);
    };
    convolution_2d("head.conv1", "head.bn1", 1, 3);
    for (stage, block) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        let name = format!("head.layer{stage}.{block}");
        convolution_2d(&format!("{name}.conv1"), &format!("{name}.bn1"), 32, 3);
        convolution_2d(&format!("{name}.conv2"), &format!("{name}.bn2"), 32, 3);
        if block == 0 {
            convolution_2d(&format!("{name}.shortcut.0"), &format!("{name}.shortcut.1"), 32, 1);
        }
    }
    convolution_2d("head.conv2", "head.bn2", 32, 3);
    out.push(("xvector.tdnn.linear.weight".into(), vec![init, 4 * size("feat_dim", 80), 5]));
    norm(&mut out, "xvector.tdnn.nonlinear.batchnorm", init);
    let mut channels = init;
    for (block, layers) in [(1, 12), (2, 24), (3, 16)] {
        for layer in 1..=layers {
            let name = format!("xvector.block{block}.tdnnd{layer}");
            norm(&mut out, &format!("{name}.nonlinear1.batchnorm"), channels);
            out.push((format!("{name}.linear1.weight"), vec![bottleneck, channels, 1]));
            norm(&mut out, &format!("{name}.nonlinear2.batchnorm"), bottleneck);
            out.push((format!("{name}.cam_layer.linear_local.weight"), vec![growth, bottleneck, 3]));
            for (part, [outputs, inputs]) in
                [("linear1", [bottleneck / 2, bottleneck]), ("linear2", [growth, bottleneck / 2])]
            {
                out.push((format!("{name}.cam_layer.{part}.weight"), vec![outputs, inputs, 1]));
                out.push((format!("{name}.cam_layer.{part}.bias"), vec![outputs]));
            }
            channels += growth;
        }
        let name = format!("xvector.transit{block}");
        norm(&mut out, &format!("{name}.nonlinear.batchnorm"), channels);
        out.push((format!("{name}.linear.weight"), vec![channels / 2, channels, 1]));
        channels /= 2;
    }
    norm(&mut out, "xvector.out_nonlinear.batchnorm", channels);
    out.push(("xvector.dense.linear.weight".into(), vec![size("embedding_size", 512), 2 * channels, 1]));
    for kind in ["running_mean", "running_var"] {
        out.push((format!("xvector.dense.nonlinear.batchnorm.{kind}"), vec![size("embedding_size", 512)]));
    }
    out
}

fn values(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let norm = ["batchnorm.weight", "bn1.weight", "bn2.weight", "shortcut.1.weight"];
    let gain = if name == "xvector.dense.linear.weight" { 20.0 } else { 1.0 };
    let (center, scale) = match name {
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if norm.iter().any(|norm| name.ends_with(norm)) => (0.7, 0.3),
        _ if shape.len() == 1 => (0.0, 0.2),
        _ => (0.0, gain * (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt()),
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
    Weights::from_bytes("random CAM++", file(case, &tensors(case))).unwrap()
}

/// The samples for a golden's case.
pub fn audio(case: &Value) -> Vec<f32> {
    seeded::audio_f32(case["audio_seed"].as_u64().unwrap(), case["samples"].as_u64().unwrap() as usize)
}

/// The sample ranges of each embedding in a golden's case.
pub fn spans(case: &Value) -> Vec<Vec<Range<usize>>> {
    let number = |v: &Value| v.as_u64().unwrap() as usize;
    let list = |v: &Value| v.as_array().unwrap().iter().map(|s| number(&s[0])..number(&s[1])).collect();
    case["spans"].as_array().unwrap().iter().map(list).collect()
}

/// Computes embeddings of 0.5 to 10 s excerpts of six meetings with the published weights, in one call. Fails if a
/// value differs from that of 3D-Speaker's code by more than `atol`; returns the largest difference.
pub fn compare_published<B: Backend>(be: &B, atol: f32) -> f32 {
    let golden = super::json("real/campplus.json");
    let network = embedding::open(be, &super::real("campplus/campplus_cn_en_common.pt")).unwrap();
    let (mut samples, mut spans, mut want) = (Vec::new(), Vec::new(), Vec::new());
    for clip in golden["clips"].as_array().unwrap() {
        let path = super::shared(&format!("audio/ami/{}", clip["recording"].as_str().unwrap()));
        let first = samples.len();
        let at = |key: &str| first + (16e3 * clip[key].as_f64().unwrap()).round() as usize;
        spans.push(std::iter::once(at("start")..at("end")).collect());
        samples.extend(hound::WavReader::open(path).unwrap().samples::<f32>().map(|v| v.unwrap()));
        want.extend(clip["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32));
    }
    let got = network.embed_spans(be, &samples, &spans).unwrap();
    super::assert_close("published weights", &got, &want, atol, 0.0)
}
