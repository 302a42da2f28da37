//! Pseudo-random numbers as a pure function of (seed, name, index): the counterpart of `tests/reference/seeded.py`,
//! specified in `tests/reference/README.md`. Random checkpoints, features and audio are computed, not committed.

use std::path::Path;

use half::f16;
use serde_json::Value;

/// FNV-1a, 64 bit.
pub fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// 64 pseudo-random bits: splitmix64's output function over a counter.
pub fn bits(seed: u64, name: &str, index: u64) -> u64 {
    mix((fnv1a(name) ^ seed).wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `center + scale * u`, `u` uniform in `[-1, 1)`, rounded to f16.
fn value(bits: u64, center: f32, scale: f32) -> f32 {
    let u = (bits >> 40) as f32 / (1u32 << 24) as f32 * 2.0 - 1.0;
    f16::from_f32(center + scale * u).to_f32()
}

/// `count` values `center + scale * u` for the tensor `name`, with `u` uniform in `[-1, 1)`. `scale` is rounded to f32
/// once.
pub fn uniform(seed: u64, name: &str, count: usize, center: f32, scale: f64) -> Vec<f32> {
    let base = fnv1a(name) ^ seed;
    let draw = |i: usize| mix(base.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    (0..count).map(|i| value(draw(i), center, scale as f32)).collect()
}

/// Gain of a layer for input of unit variance. The first matching suffix wins.
const GAINS: [(&str, f64); 10] = [
    ("conv1.weight", 4.0),
    ("conv2.weight", 4.0),
    ("encoder_attn.q_proj.weight", 3.0),
    ("encoder_attn.k_proj.weight", 3.0),
    ("encoder_attn.out_proj.weight", 6.0),
    ("q_proj.weight", 1.5),
    ("k_proj.weight", 1.5),
    ("out_proj.weight", 3.0),
    ("fc2.weight", 4.0),
    (".weight", 1.0),
];

/// One tensor, row-major, of the checkpoint that `config` (the golden's JSON) describes.
pub fn tensor(name: &str, shape: &[usize], config: &Value) -> Vec<f32> {
    if name.ends_with("encoder.embed_positions.weight") {
        return sinusoids(shape[0], shape[1]);
    }
    let weights = &config["weights"];
    let seed = weights["seed"].as_u64().expect("seed");
    let option = |key: &str, default: f64| weights[key].as_f64().unwrap_or(default);
    let count: usize = shape.iter().product();
    let base = fnv1a(name) ^ seed;
    let draw = |i: usize| mix(base.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let uniform = |center: f32, scale: f64| (0..count).map(|i| value(draw(i), center, scale as f32)).collect();
    if name.ends_with("layer_norm.weight") {
        return uniform(1.0, 0.1);
    }
    if name.ends_with(".bias") {
        return uniform(0.0, 0.05);
    }
    if name.ends_with("decoder.embed_positions.weight") {
        return uniform(0.0, option("position_scale", 1.0));
    }
    if name.ends_with("embed_tokens.weight") {
        let scale = option("logit_std", 6.0) * (3.0 / shape[1] as f64).sqrt();
        let eot = config["eos_token_id"].as_u64().expect("eos_token_id") as usize;
        let timestamps = config["timestamp_begin"].as_u64().expect("timestamp_begin") as usize;
        let gain = |row: usize| match row {
            _ if row == eot => option("eot_gain", 1.0),
            _ if row >= timestamps => option("timestamp_gain", 1.0),
            _ => 1.0,
        };
        return (0..count).map(|i| value(draw(i), 0.0, (scale * gain(i / shape[1])) as f32)).collect();
    }
    let gain = GAINS.iter().find(|(suffix, _)| name.ends_with(suffix)).expect("a weight").1;
    let fan_in: usize = shape[1..].iter().product();
    uniform(0.0, gain * (3.0 / fan_in as f64).sqrt())
}

/// Whisper's sinusoidal position embeddings of the encoder, `[length, channels]`, computed in f64.
fn sinusoids(length: usize, channels: usize) -> Vec<f32> {
    let half = channels / 2;
    let step = 10000f64.ln() / (half - 1) as f64;
    let inverse: Vec<f64> = (0..half).map(|k| (-step * k as f64).exp()).collect();
    let row = |t: usize| {
        let angles: Vec<f64> = inverse.iter().map(|w| t as f64 * w).collect();
        let sines: Vec<f32> = angles.iter().map(|a| a.sin() as f32).collect();
        let cosines = angles.iter().map(|a| a.cos() as f32);
        sines.into_iter().chain(cosines).collect::<Vec<_>>()
    };
    (0..length).flat_map(row).collect()
}

/// A pseudo-random log-mel spectrogram, constant over 8 frames; `[frames, mels]`, frames first as in the engine (the
/// Python counterpart has mels first).
pub fn features(seed: u64, mels: usize, frames: usize) -> Vec<f32> {
    let blocks = frames.div_ceil(8);
    let cell = |m: usize, b: usize| value(bits(seed, "features", (m * blocks + b) as u64), 0.0, 1.0);
    (0..frames).flat_map(|t| (0..mels).map(move |m| cell(m, t / 8)).collect::<Vec<_>>()).collect()
}

/// Test audio: triangle waves of gliding frequency and noise, computed in integer arithmetic; 16 kHz.
pub fn audio(seed: u64, samples: usize) -> Vec<i16> {
    const BLOCK: usize = 3200;
    let mut phases = [0u64; 3];
    let mut out = Vec::with_capacity(samples);
    let base = fnv1a("noise") ^ seed;
    for block in 0..samples.div_ceil(BLOCK) {
        let q: Vec<u64> = (0..4).map(|v| bits(seed, "audio", (4 * block + v) as u64)).collect();
        let gate = (q[3] >> 8) & 3;
        for j in 0..BLOCK.min(samples - block * BLOCK) {
            let mut sum = 0i64;
            for (voice, phase) in phases.iter_mut().enumerate() {
                let start = 80 + (q[voice] & 0xFFF) % 1500;
                let end = 80 + ((q[voice] >> 12) & 0xFFF) % 1500;
                let full = ((q[voice] >> 24) & 0xFF) as i64 * 32;
                let amplitude = if gate == 0 { full >> 6 } else { full };
                let hertz = start * (BLOCK - j) as u64 + end * j as u64;
                *phase = (*phase + (hertz << 32) / (16_000 * BLOCK as u64)) & 0xFFFF_FFFF;
                let p = (*phase >> 16) as i64;
                let triangle = p.min(65535 - p) * 2 - 32767;
                sum += (amplitude * triangle) >> 15;
            }
            let t = (block * BLOCK + j) as u64;
            let random = mix(base.wrapping_add((t + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let noise = (random >> 48) as i64 - 32768;
            sum += (noise * ((q[3] & 0xFF) as i64 * 4)) >> 15;
            out.push(sum.clamp(-32768, 32767) as i16);
        }
    }
    out
}

/// [`audio`] as f32 in `[-1, 1)`.
pub fn audio_f32(seed: u64, samples: usize) -> Vec<f32> {
    audio(seed, samples).into_iter().map(|s| f32::from(s) / 32768.0).collect()
}

/// Name and shape of every tensor of a Whisper checkpoint with this config.
pub fn whisper_tensors(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |key: &str| config[key].as_u64().expect("a size in the golden's config") as usize;
    let width = size("d_model");
    let mut out = vec![
        ("model.encoder.conv1.weight".into(), vec![width, size("num_mel_bins"), 3]),
        ("model.encoder.conv1.bias".into(), vec![width]),
        ("model.encoder.conv2.weight".into(), vec![width, width, 3]),
        ("model.encoder.conv2.bias".into(), vec![width]),
        ("model.encoder.embed_positions.weight".into(), vec![size("max_source_positions"), width]),
        ("model.decoder.embed_tokens.weight".into(), vec![size("vocab_size"), width]),
        ("model.decoder.embed_positions.weight".into(), vec![size("max_target_positions"), width]),
    ];
    for side in ["encoder", "decoder"] {
        let mut norm = |name: String| {
            out.push((format!("{name}.weight"), vec![width]));
            out.push((format!("{name}.bias"), vec![width]));
        };
        let attentions: &[&str] = if side == "encoder" { &["self_attn"] } else { &["self_attn", "encoder_attn"] };
        norm(format!("model.{side}.layer_norm"));
        for i in 0..size(&format!("{side}_layers")) {
            norm(format!("model.{side}.layers.{i}.final_layer_norm"));
            attentions.iter().for_each(|a| norm(format!("model.{side}.layers.{i}.{a}_layer_norm")));
        }
        let inner = size(&format!("{side}_ffn_dim"));
        for i in 0..size(&format!("{side}_layers")) {
            let layer = format!("model.{side}.layers.{i}");
            for attention in attentions {
                for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                    out.push((format!("{layer}.{attention}.{projection}.weight"), vec![width, width]));
                    if projection != "k_proj" {
                        out.push((format!("{layer}.{attention}.{projection}.bias"), vec![width]));
                    }
                }
            }
            out.push((format!("{layer}.fc1.weight"), vec![inner, width]));
            out.push((format!("{layer}.fc1.bias"), vec![inner]));
            out.push((format!("{layer}.fc2.weight"), vec![width, inner]));
            out.push((format!("{layer}.fc2.bias"), vec![width]));
        }
    }
    out
}

/// Storage format of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `model.safetensors` in f32.
    F32,
    /// `model.safetensors` in f16.
    F16,
    /// Two f16 shards and an index.
    Sharded,
}

/// Writes the checkpoint `config` describes as a model folder: `config.json` and weights.
pub fn write_checkpoint(folder: &Path, config: &Value, layout: Layout) {
    std::fs::write(folder.join("config.json"), config.to_string()).expect("write config.json");
    let tensors: Vec<_> = whisper_tensors(config)
        .into_iter()
        .map(|(name, shape)| {
            let values = tensor(&name, &shape, config);
            let (dtype, bytes): (_, Vec<u8>) = match layout {
                Layout::F32 => (safetensors::Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
                // f16 does not represent the sinusoids exactly: store them in f32, as in mixed checkpoints.
                _ if name.ends_with("encoder.embed_positions.weight") => {
                    (safetensors::Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
                }
                _ => (safetensors::Dtype::F16, values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()),
            };
            (name, shape, dtype, bytes)
        })
        .collect();
    let write = |file: &str, part: &[(String, Vec<usize>, safetensors::Dtype, Vec<u8>)]| {
        let views = part.iter().map(|(name, shape, dtype, bytes)| {
            (name.clone(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).expect("view"))
        });
        safetensors::serialize_to_file(views, None, &folder.join(file)).expect("write safetensors");
    };
    if layout != Layout::Sharded {
        return write("model.safetensors", &tensors);
    }
    let (a, b) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, part) in [("model-00001-of-00002.safetensors", a), ("model-00002-of-00002.safetensors", b)] {
        write(file, part);
        map.extend(part.iter().map(|(name, ..)| (name.clone(), Value::from(file))));
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("write index");
}
