//! The published sizes of Whisper and wav2vec2, for measuring without a checkpoint.

use diarist::asr::tokenizer::SpecialTokens;
use diarist::models::wav2vec2;
use diarist::models::whisper::Config;
use diarist::{Error, Result};

/// Every size that can be asked for.
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

/// Name, width, heads, encoder layers, decoder layers, mel bins, vocabulary.
/// Source: the config.json of the openai/whisper-* and distil-whisper checkpoints. `micro` is not published: it tries this
/// program out in a moment, on the emulated driver too.
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
    // Two seconds instead of thirty, and 80 tokens.
    let (frames, positions) = if name == "micro" { (100, 160) } else { (1500, 448) };
    let json = serde_json::json!({
        "d_model": width, "encoder_layers": encoder, "decoder_layers": decoder, "encoder_attention_heads": heads,
        "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
        "num_mel_bins": mels, "max_source_positions": frames, "max_target_positions": positions, "vocab_size": vocab,
    });
    Config::parse(&json.to_string(), std::path::Path::new(name))
}

/// Every size of wav2vec2 that can be asked for.
pub const WAV2VEC2: [&str; 4] = ["wav2vec2-base", "wav2vec2-large", "wav2vec2-1b", "wav2vec2-micro"];

/// The configuration of a size of wav2vec2. Source: config.json of facebook/wav2vec2-base-960h, -xls-r-300m and -xls-r-1b, with
/// torchaudio's 29 classes. `micro` is not published.
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

/// The special tokens of the published vocabularies.
pub fn special(vocab: usize) -> SpecialTokens {
    // The English-only vocabulary has one word less before them; Cantonese, added in large-v3, one language more between.
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

    /// Against the tokenizers of openai/whisper: gpt2, multilingual, and the latter with Cantonese.
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
