//! Published sizes of Whisper, wav2vec2 and the diarization networks, for benchmarks with random weights.

use std::collections::HashMap;

use diarist::asr::tokenizer::SpecialTokens;
use diarist::engine::weights::Weights;
use diarist::models::pyannet::METADATA;
use diarist::models::wav2vec2;
use diarist::models::whisper::Config;
use diarist::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};

use crate::ceilings::random;

/// The names of Whisper's sizes.
pub const NAMES: [&str; 13] = [
    "tiny",
    "tiny.en",
    "base",
    "base.en",
    "small",
    "small.en",
    "medium",
    "medium.en",
    "large-v2",
    "large-v3",
    "turbo",
    "distil-large-v3",
    "micro",
];

/// Name, width, heads, encoder layers, decoder layers, mel bins, vocabulary. Source: the config.json of the
/// openai/whisper-* and distil-whisper checkpoints. `micro` is not published: it is small enough for quick tests, also
/// on the emulated driver.
const SHAPES: [(&str, usize, usize, usize, usize, usize, usize); NAMES.len()] = [
    ("tiny", 384, 6, 4, 4, 80, 51_865),
    ("tiny.en", 384, 6, 4, 4, 80, 51_864),
    ("base", 512, 8, 6, 6, 80, 51_865),
    ("base.en", 512, 8, 6, 6, 80, 51_864),
    ("small", 768, 12, 12, 12, 80, 51_865),
    ("small.en", 768, 12, 12, 12, 80, 51_864),
    ("medium", 1024, 16, 24, 24, 80, 51_865),
    ("medium.en", 1024, 16, 24, 24, 80, 51_864),
    ("large-v2", 1280, 20, 32, 32, 80, 51_865),
    ("large-v3", 1280, 20, 32, 32, 128, 51_866),
    ("turbo", 1280, 20, 32, 4, 128, 51_866),
    ("distil-large-v3", 1280, 20, 32, 2, 128, 51_866),
    ("micro", 64, 1, 2, 2, 80, 51_865),
];

/// The configuration of a size.
pub fn config(name: &str) -> Result<Config> {
    let Some(&(_, width, heads, encoder, decoder, mels, vocab)) = SHAPES.iter().find(|shape| shape.0 == name) else {
        return Err(Error::config("shape", name, format!("one of {}", NAMES.join(", "))));
    };
    // micro: 2 s of audio instead of 30, and 80 tokens of text.
    let (frames, positions) = if name == "micro" { (100, 160) } else { (1500, 448) };
    let json = serde_json::json!({
        "d_model": width, "encoder_layers": encoder, "decoder_layers": decoder, "encoder_attention_heads": heads,
        "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
        "num_mel_bins": mels, "max_source_positions": frames, "max_target_positions": positions, "vocab_size": vocab,
    });
    Config::parse(&json.to_string(), std::path::Path::new(name))
}

/// The names of wav2vec2's sizes.
pub const WAV2VEC2: [&str; 4] = ["wav2vec2-base", "wav2vec2-large", "wav2vec2-1b", "wav2vec2-micro"];

/// The configuration of a size of wav2vec2. Source: config.json of facebook/wav2vec2-base-960h, -xls-r-300m and
/// -xls-r-1b, with torchaudio's 29 classes. `micro` is not published.
pub fn wav2vec2(name: &str) -> Result<wav2vec2::Config> {
    let (width, layers, heads, inner) = match name {
        "wav2vec2-base" => (768, 12, 12, 3072),
        "wav2vec2-large" => (1024, 24, 16, 4096),
        "wav2vec2-1b" => (1280, 48, 16, 5120),
        "wav2vec2-micro" => (64, 2, 2, 128),
        _ => return Err(Error::config("align_model", name, format!("one of {}", WAV2VEC2.join(", ")))),
    };
    let is_large = matches!(name, "wav2vec2-large" | "wav2vec2-1b");
    let json = serde_json::json!({
        "model_type": "wav2vec2", "vocab_size": 29, "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": inner, "feat_extract_norm": if is_large { "layer" } else { "group" },
        "conv_bias": is_large, "do_stable_layer_norm": is_large,
        "conv_dim": vec![if name == "wav2vec2-micro" { 32 } else { 512 }; 7],
    });
    wav2vec2::Config::parse(&json.to_string(), std::path::Path::new(name))
}

/// Sizes of the segmentation and the embedding network.
pub struct Diarization {
    /// Length of a window, in seconds.
    pub seconds: f64,
    /// Layers of the segmentation's LSTM.
    pub lstm_layers: usize,
    /// Channels of the embedding's first ResNet stage; each further stage doubles them.
    pub channels: usize,
    /// Residual blocks of the four stages.
    pub blocks: [usize; 4],
    /// Dimension of the embedding.
    pub voice: usize,
}

/// Small enough for quick tests, also on the emulated driver.
pub const SMALL_DIARIZATION: Diarization =
    Diarization { seconds: 0.3, lstm_layers: 1, channels: 16, blocks: [1; 4], voice: 32 };

/// Sizes by name. Source of `pyannote`: the checkpoints pyannote/segmentation-3.0 and wespeaker-voxceleb-resnet34-LM.
pub fn diarization(name: &str) -> Option<Diarization> {
    match name {
        "pyannote" => {
            Some(Diarization { seconds: 10.0, lstm_layers: 4, channels: 32, blocks: [3, 4, 6, 3], voice: 256 })
        }
        "pyannote-micro" => Some(SMALL_DIARIZATION),
        _ => None,
    }
}

impl Diarization {
    /// Random weights of a PyanNet (segmentation).
    pub fn segmentation(&self) -> Result<Weights> {
        let mut all = Random::default();
        for end in ["weight", "bias"] {
            let center = if end == "weight" { 1.0 } else { 0.0 };
            all.add(&format!("sincnet.wav_norm1d.{end}"), &[1], center, 0.1);
            for (i, width) in [80, 60, 60].into_iter().enumerate() {
                all.add(&format!("sincnet.norm1d.{i}.{end}"), &[width], center, 0.1);
            }
        }
        let filters = "sincnet.conv1d.0.filterbank";
        for (name, shape, center, scale) in [
            ("low_hz_", &[40, 1][..], 3000.0, 2900.0),
            ("band_hz_", &[40, 1], 600.0, 550.0),
            ("window_", &[125], 0.5, 0.4),
            ("n_", &[1, 125], -0.02, 0.02),
        ] {
            all.add(&format!("{filters}.{name}"), shape, center, scale);
        }
        for (i, inputs) in [(1, 80), (2, 60)] {
            all.weight(&format!("sincnet.conv1d.{i}.weight"), &[60, inputs, 5]);
            all.add(&format!("sincnet.conv1d.{i}.bias"), &[60], 0.0, 0.05);
        }
        for layer in 0..self.lstm_layers {
            for end in ["", "_reverse"] {
                all.weight(&format!("lstm.weight_ih_l{layer}{end}"), &[512, if layer == 0 { 60 } else { 256 }]);
                all.weight(&format!("lstm.weight_hh_l{layer}{end}"), &[512, 128]);
                all.add(&format!("lstm.bias_ih_l{layer}{end}"), &[512], 0.0, 0.05);
                all.add(&format!("lstm.bias_hh_l{layer}{end}"), &[512], 0.0, 0.05);
            }
        }
        for (name, shape) in [("linear.0", [128, 256]), ("linear.1", [128, 128]), ("classifier", [7, 128])] {
            all.weight(&format!("{name}.weight"), &shape);
            all.add(&format!("{name}.bias"), &shape[..1], 0.0, 0.05);
        }
        let metadata = serde_json::json!({
            "duration": self.seconds, "classes": ["speaker#1", "speaker#2", "speaker#3"], "powerset_max_classes": 2,
        });
        all.weights(Some([(METADATA.to_string(), metadata.to_string())].into()))
    }

    /// Random weights of a ResNet34 (embedding).
    pub fn embedding(&self) -> Result<Weights> {
        let mut all = Random::default();
        all.convolution("resnet.conv1", "resnet.bn1", [self.channels, 1, 3]);
        let mut inputs = self.channels;
        for (stage, blocks) in self.blocks.into_iter().enumerate() {
            let outputs = self.channels << stage;
            for block in 0..blocks {
                let name = format!("resnet.layer{}.{block}", stage + 1);
                all.convolution(&format!("{name}.conv1"), &format!("{name}.bn1"), [outputs, inputs, 3]);
                all.convolution(&format!("{name}.conv2"), &format!("{name}.bn2"), [outputs, outputs, 3]);
                if inputs != outputs {
                    let [name, norm] = [0, 1].map(|i| format!("{name}.shortcut.{i}"));
                    all.convolution(&name, &norm, [outputs, inputs, 1]);
                }
                inputs = outputs;
            }
        }
        all.weight("resnet.seg_1.weight", &[self.voice, 2 * 10 * inputs]);
        all.add("resnet.seg_1.bias", &[self.voice], 0.0, 0.05);
        all.weights(None)
    }
}

/// Builder of a checkpoint with random tensors, the same in every run: name, shape, bytes.
#[derive(Default)]
struct Random(Vec<(String, Vec<usize>, Vec<u8>)>);

impl Random {
    /// Adds a tensor with values from `center - scale` to `center + scale`.
    fn add(&mut self, name: &str, shape: &[usize], center: f32, scale: f32) {
        let values = random(100 + self.0.len() as u64, shape.iter().product());
        let bytes = values.iter().flat_map(|v| (center + scale * v).to_le_bytes()).collect();
        self.0.push((name.to_string(), shape.to_vec(), bytes));
    }

    /// Adds a weight matrix scaled so that the outputs have the variance of the inputs.
    fn weight(&mut self, name: &str, shape: &[usize]) {
        let inputs: usize = shape[1..].iter().product();
        self.add(name, shape, 0.0, (3.0 / inputs as f32).sqrt());
    }

    fn convolution(&mut self, name: &str, norm: &str, [outputs, inputs, taps]: [usize; 3]) {
        self.weight(&format!("{name}.weight"), &[outputs, inputs, taps, taps]);
        for (end, center) in [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)] {
            self.add(&format!("{norm}.{end}"), &[outputs], center, 0.2);
        }
    }

    fn weights(self, metadata: Option<HashMap<String, String>>) -> Result<Weights> {
        let wrong =
            |error: safetensors::SafeTensorError| Error::config("diarize_model", "random weights", error.to_string());
        let views: std::result::Result<Vec<_>, _> = self
            .0
            .iter()
            .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
            .collect();
        let bytes = safetensors::serialize(views.map_err(wrong)?, metadata).map_err(wrong)?;
        Weights::from_bytes("random weights", bytes)
    }
}

/// The special tokens of the published vocabularies.
pub fn special(vocab: usize) -> SpecialTokens {
    // The English-only vocabulary has one token less before the special tokens; large-v3 added one language token
    // (Cantonese).
    let eot = if vocab < 51_865 { 50_256 } else { 50_257 };
    let after = eot + if vocab > 51_865 { 102 } else { 101 };
    SpecialTokens {
        eot,
        sot: eot + 1,
        translate: Some(after),
        transcribe: Some(after + 1),
        sot_lm: Some(after + 2),
        sot_prev: Some(after + 3),
        no_speech: Some(after + 4),
        no_timestamps: after + 5,
        timestamp_begin: after + 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_shape() {
        for name in NAMES {
            assert!(config(name).is_ok(), "{name}");
        }
        for name in WAV2VEC2 {
            assert!(wav2vec2(name).is_ok(), "{name}");
        }
    }

    /// Expected values: the tokenizers of openai/whisper (gpt2, multilingual, and multilingual with Cantonese).
    #[test]
    fn special_tokens_are_the_published_ones() {
        let of = |vocab| {
            let s = special(vocab);
            (s.eot, s.transcribe, s.no_timestamps, s.timestamp_begin)
        };
        assert_eq!(of(51_864), (50_256, Some(50_358), 50_362, 50_363));
        assert_eq!(of(51_865), (50_257, Some(50_359), 50_363, 50_364));
        assert_eq!(of(51_866), (50_257, Some(50_360), 50_364, 50_365));
    }
}
