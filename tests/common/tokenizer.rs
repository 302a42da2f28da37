//! Whisper's `tokenizer.json`, rebuilt from the published tiktoken ranks: the counterpart of
//! `tests/reference/tokenizer.py`.

use std::collections::HashMap;
use std::path::Path;

use diarist::asr::Tokenizer;
use diarist::asr::language_names::LANGUAGES;
use diarist::asr::tokenizer::SpecialTokens;
use serde_json::{Map, Value, json};

/// The special token ids of a published checkpoint with `vocab` tokens.
pub fn special_tokens(vocab: usize) -> SpecialTokens {
    let eot = if vocab == 51864 { 50256 } else { 50257 };
    let after = eot + 2 + if vocab == 51866 { 100 } else { 99 };
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

/// The tokenizer of the published checkpoints with `vocab` tokens, from the ranks in the shared folder.
#[track_caller]
pub fn published(vocab: usize) -> Tokenizer {
    let name = if vocab == 51864 { "gpt2.tiktoken" } else { "multilingual.tiktoken" };
    let path = super::shared(&format!("tokenizer/{name}"));
    let text = std::fs::read_to_string(path).expect("ranks");
    let bytes = tokenizer_json(vocab, &ranks(&text)).to_string().into_bytes();
    Tokenizer::from_bytes(Path::new("tokenizer.json"), &bytes, vocab != 51864).expect("a tokenizer")
}

fn ranks(text: &str) -> Vec<Vec<u8>> {
    let mut ranks: Vec<(usize, Vec<u8>)> = text
        .lines()
        .map(|line| line.split_once(' ').expect("token rank"))
        .map(|(token, rank)| (rank.trim().parse().expect("rank"), base64(token)))
        .collect();
    ranks.sort();
    ranks.into_iter().map(|(_, token)| token).collect()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|&c| c != b'=').map(digit).collect();
    let mut out = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - group.len()));
        out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8][..group.len() * 3 / 4]);
    }
    out
}

/// The byte position at which a token splits into the pair that it was merged from: applies byte-pair encoding with
/// lower ranks only.
fn merge_of(token: &[u8], rank: usize, rank_of: &HashMap<&[u8], usize>) -> Option<usize> {
    let mut ends: Vec<usize> = (0..=token.len()).collect();
    while ends.len() > 3 {
        let pair_rank = |i: usize| rank_of.get(&token[ends[i]..ends[i + 2]]).copied().unwrap_or(rank);
        let best = (0..ends.len() - 2).min_by_key(|&i| pair_rank(i))?;
        if pair_rank(best) >= rank {
            return None;
        }
        ends.remove(best + 1);
    }
    (ends.len() == 3).then(|| ends[1])
}

/// GPT-2's mapping of bytes to printable characters.
fn symbols() -> Vec<char> {
    let printable = |b: u32| (33..127).contains(&b) || (161..173).contains(&b) || (174..256).contains(&b);
    let mut next = 256;
    (0..256)
        .map(|b| {
            if printable(b) {
                return char::from_u32(b).expect("Latin 1");
            }
            next += 1;
            char::from_u32(next - 1).expect("Latin Extended")
        })
        .collect()
}

fn tokenizer_json(vocab: usize, ranks: &[Vec<u8>]) -> Value {
    let symbols = symbols();
    let text = |token: &[u8]| token.iter().map(|&b| symbols[b as usize]).collect::<String>();
    let rank_of: HashMap<&[u8], usize> = ranks.iter().enumerate().map(|(rank, token)| (&token[..], rank)).collect();
    let merges: Vec<String> = ranks
        .iter()
        .enumerate()
        .filter(|(_, token)| token.len() > 1)
        .filter_map(|(rank, token)| {
            let at = merge_of(token, rank, &rank_of)?;
            Some(format!("{} {}", text(&token[..at]), text(&token[at..])))
        })
        .collect();
    let entries: Map<String, Value> =
        ranks.iter().enumerate().map(|(rank, token)| (text(token), json!(rank))).collect();
    let special = special_tokens(vocab);
    let languages = if vocab == 51866 { 100 } else { 99 };
    let mut names = vec!["<|endoftext|>".to_owned(), "<|startoftranscript|>".to_owned()];
    names.extend(LANGUAGES[..languages].iter().map(|(code, _)| format!("<|{code}|>")));
    let no_speech = if vocab == 51866 { "<|nospeech|>" } else { "<|nocaptions|>" };
    names.extend(
        ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", no_speech, "<|notimestamps|>"]
            .map(String::from),
    );
    let num_special = names.len();
    names.extend((0..1501).map(|i| format!("<|{}.{:02}|>", i / 50, i % 50 * 2)));
    assert_eq!(special.eot as usize + names.len(), vocab);
    let added: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(i, content)| {
            json!({"id": special.eot as usize + i, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": i < num_special})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": entries, "merges": merges},
    })
}
