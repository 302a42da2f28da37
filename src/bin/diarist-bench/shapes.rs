//! The published sizes of Whisper, for measuring without a checkpoint.

use diarist::asr::tokenizer::SpecialTokens;
use diarist::models::whisper::Config;
use diarist::{Error, Result};

/// Name, width, heads, encoder layers, decoder layers, mel bins, vocabulary.
/// Source: the config.json of the openai/whisper-* and distil-whisper checkpoints.
const SHAPES: [(&str, usize, usize, usize, usize, usize, usize); 8] = [
    ("tiny", 384, 6, 4, 4, 80, 51_865),
    ("base", 512, 8, 6, 6, 80, 51_865),
    ("small", 768, 12, 12, 12, 80, 51_865),
    ("medium", 1024, 16, 24, 24, 80, 51_865),
    ("large-v2", 1280, 20, 32, 32, 80, 51_865),
    ("large-v3", 1280, 20, 32, 32, 128, 51_866),
    ("turbo", 1280, 20, 32, 4, 128, 51_866),
    ("distil-large-v3", 1280, 20, 32, 2, 128, 51_866),
];

/// The configuration of a published size.
pub fn config(name: &str) -> Result<Config> {
    let Some(&(_, width, heads, encoder, decoder, mels, vocab)) = SHAPES.iter().find(|shape| shape.0 == name) else {
        let names: Vec<&str> = SHAPES.iter().map(|shape| shape.0).collect();
        return Err(Error::config("shape", name, format!("one of {}", names.join(", "))));
    };
    let json = serde_json::json!({
        "d_model": width, "encoder_layers": encoder, "decoder_layers": decoder, "encoder_attention_heads": heads,
        "decoder_attention_heads": heads, "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
        "num_mel_bins": mels, "max_source_positions": 1500, "max_target_positions": 448, "vocab_size": vocab,
    });
    Config::parse(&json.to_string(), std::path::Path::new(name))
}

/// The special tokens of the multilingual vocabularies.
pub fn special(vocab: usize) -> SpecialTokens {
    // Cantonese, added in large-v3, moves everything behind the languages by one.
    let after = if vocab > 51_865 { 1 } else { 0 };
    SpecialTokens {
        eot: 50_257,
        sot: 50_258,
        translate: Some(50_358 + after),
        transcribe: Some(50_359 + after),
        sot_lm: Some(50_360 + after),
        sot_prev: Some(50_361 + after),
        no_speech: Some(50_362 + after),
        no_timestamps: 50_363 + after,
        timestamp_begin: 50_364 + after,
    }
}
