//! Fuzzes the parsers of a model folder's JSON files. Each input is read as `config.json`, `generation_config.json` and
//! `tokenizer.json`: an error, or a value on which all methods work that do not need the weights.
#![no_main]

use std::path::Path;
use std::sync::Once;

use diarist::asr::Tokenizer;
use diarist::models::whisper::{Config, GenerationConfig};
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // libFuzzer's panic hook aborts even if the panic would be caught. Remove the hook; uncaught panics still abort.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let path = Path::new("fuzz");
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(config) = Config::parse(text, path) {
            assert!(config.window_samples() > 0 && config.window().0 > 0.0);
        }
        let _ = GenerationConfig::parse(text, path);
    }
    for multilingual in [false, true] {
        if let Ok(tokenizer) = Tokenizer::from_bytes(path, bytes, multilingual) {
            tokenize(&tokenizer);
        }
    }
});

fn tokenize(tokenizer: &Tokenizer) {
    let special = tokenizer.special;
    for text in [" And so, my fellow Americans", " £5 — naïve 日本語 🎧\n", "<|endoftext|>", ""] {
        if let Ok(ids) = tokenizer.encode(text) {
            let _ = tokenizer.decode(&ids);
        }
    }
    let _ = tokenizer.decode(&[0, 1, special.eot, special.timestamp_begin, u32::MAX]);
    let _ = tokenizer.non_speech_tokens();
    let _ = tokenizer.numeral_tokens();
    let rules = special.rule_tokens();
    assert!(0 <= rules.eot && rules.eot < rules.no_timestamps && rules.no_timestamps < rules.timestamp_begin);
    assert!(tokenizer.timestamp(special.timestamp_begin).0 == 0.0);
}
