//! Fuzzes vocabularies that are lists of tokens. Each input is read as a `.tiktoken` file, and as the tokens of a ggml
//! file, one per line, in addition to all single bytes.
#![no_main]

use std::path::Path;
use std::sync::Once;

use diarist::asr::Tokenizer;
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();
/// Number of special tokens without the languages.
const SPECIAL: usize = 8 + 1501;

fuzz_target!(|bytes: &[u8]| {
    // libFuzzer's panic hook aborts even if the panic would be caught. Remove the hook; uncaught panics still abort.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let path = Path::new("fuzz");
    if let Ok(text) = std::str::from_utf8(bytes) {
        let vocab = text.lines().filter(|line| !line.trim().is_empty()).count() + SPECIAL + 2;
        if let Ok(tokenizer) = Tokenizer::from_tiktoken(path, text, vocab, true) {
            tokenize(&tokenizer, false);
        }
    }
    let single = (0..=u8::MAX).map(|byte| vec![byte]);
    let tokens: Vec<Vec<u8>> = single.chain(bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)).collect();
    let vocab = tokens.len() + SPECIAL;
    if let Ok(tokenizer) = Tokenizer::from_ranks(path, tokens, vocab, false) {
        tokenize(&tokenizer, true);
    }
});

/// Encodes and decodes text. `complete`: the vocabulary contains all single bytes, so that the text must be restored.
fn tokenize(tokenizer: &Tokenizer, complete: bool) {
    for text in [" And so, my fellow Americans", " £5 — naïve 日本語 🎧\n", ""] {
        if let Ok(ids) = tokenizer.encode(text) {
            let decoded = tokenizer.decode(&ids);
            assert!(!complete || decoded.is_ok_and(|decoded| decoded == text));
        }
    }
    let _ = (tokenizer.non_speech_tokens(), tokenizer.numeral_tokens());
    let special = tokenizer.special;
    assert!(special.eot < special.sot && special.no_timestamps < special.timestamp_begin);
}
