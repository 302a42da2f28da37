//! Encoding, decoding and special tokens, with the built-in tokenizer and the published ones.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use std::path::Path;

use diarist::asr::Tokenizer;

fn built_in() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin");
    Tokenizer::open(&folder, true).expect("the built-in tokenizer")
}

#[test]
fn text_round_trips() {
    check_round_trip(&[built_in()]);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_text_round_trips() {
    check_round_trip(&[51864, 51865].map(common::tokenizer::published));
}

fn check_round_trip(tokenizers: &[Tokenizer]) {
    for tokenizer in tokenizers {
        for text in [" And so, my fellow Americans", " £5 — naïve 日本語 🎧", "\n two  spaces", ""] {
            let ids = tokenizer.encode(text).unwrap();
            assert!(ids.iter().all(|&id| id < tokenizer.special.eot));
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
            let special = tokenizer.special;
            let with_special: Vec<u32> =
                [special.sot, special.timestamp_begin + 7].into_iter().chain(ids).chain([special.eot]).collect();
            assert_eq!(tokenizer.decode(&with_special).unwrap(), text);
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_special_tokens_are_found_by_content() {
    for vocab in [51864, 51865, 51866] {
        let tokenizer = common::tokenizer::published(vocab);
        assert_eq!(tokenizer.special, common::tokenizer::special_tokens(vocab));
        let languages = match vocab {
            51864 => 0,
            51865 => 99,
            _ => 100,
        };
        assert_eq!(tokenizer.languages.len(), languages);
        assert_eq!(tokenizer.language_token("yue").is_some(), vocab == 51866);
        assert_eq!(tokenizer.timestamp(tokenizer.special.timestamp_begin + 1499).0, 29.98);
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_non_speech_tokens_are_openai_whispers() {
    // openai-whisper's list: `suppress_tokens` of the published multilingual checkpoints.
    #[rustfmt::skip]
    let want = [
        1, 2, 7, 8, 9, 10, 14, 25, 26, 27, 28, 29, 31, 58, 59, 60, 61, 62, 63, 90, 91, 92, 93, 359, 503, 522, 542, 873,
        893, 902, 918, 922, 931, 1350, 1853, 1982, 2460, 2627, 3246, 3253, 3268, 3536, 3846, 3961, 4183, 4667, 6585,
        6647, 7273, 9061, 9383, 10428, 10929, 11938, 12033, 12331, 12562, 13793, 14157, 14635, 15265, 15618, 16553,
        16604, 18362, 18956, 20075, 21675, 22520, 26130, 26161, 26435, 28279, 29464, 31650, 32302, 32470, 36865, 42863,
        47425, 49870, 50254,
    ];
    let tokenizer = common::tokenizer::published(51865);
    assert_eq!(tokenizer.non_speech_tokens().unwrap(), want);
}

#[test]
fn numeral_tokens_cover_numbers_but_not_words() {
    check_numerals(&built_in());
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_numeral_tokens_cover_numbers_but_not_words() {
    check_numerals(&common::tokenizer::published(51865));
}

fn check_numerals(tokenizer: &Tokenizer) {
    let numerals = tokenizer.numeral_tokens().unwrap();
    for text in ["7", " 1984", "100%", "$", " £3"] {
        let ids = tokenizer.encode(text).unwrap();
        assert!(ids.iter().any(|id| numerals.contains(id)), "{text}: {ids:?}");
    }
    let words = tokenizer.encode(" one hundred percent of nothing").unwrap();
    assert!(words.iter().all(|id| !numerals.contains(id)));
}

#[test]
fn missing_special_tokens_are_errors_with_file_and_advice() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/builtin/tokenizer.json");
    let text = std::fs::read_to_string(path).unwrap();
    for (token, multilingual) in
        [("<|notimestamps|>", false), ("<|startoftranscript|>", false), ("<|en|>", true), ("<|transcribe|>", true)]
    {
        let other = text.replace(token, "<|other|>");
        let parse =
            |multilingual| Tokenizer::from_bytes(Path::new("some/tokenizer.json"), other.as_bytes(), multilingual);
        let message = parse(multilingual).err().expect("refused").to_string();
        for part in ["some/tokenizer.json", token, "fetch"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(parse(false).is_ok(), multilingual);
    }
    let garbage = Tokenizer::from_bytes(Path::new("t.json"), b"{}", false).err().expect("refused").to_string();
    assert!(garbage.contains("t.json"), "{garbage}");
}

/// Ids that would overflow, or make loops over all lower ids too long.
#[test]
fn special_tokens_with_huge_ids_are_refused() {
    let text = diarist::assets::MODEL.tokenizer;
    let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
    let tokens = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"];
    for highest in [u32::MAX, i32::MAX as u32, 1 << 24] {
        json["added_tokens"] = serde_json::json!([]);
        for (token, below) in tokens.iter().zip([2, 1, 0]) {
            json["model"]["vocab"][token] = (highest - below).into();
        }
        let parsed = Tokenizer::from_bytes(Path::new("here.json"), json.to_string().as_bytes(), false);
        let error = parsed.err().expect("a refusal").to_string();
        assert!(error.contains("here.json") && error.contains("at most"), "{error}");
    }
}

/// Found by fuzzing: the crate tokenizers panics on JSON that is truncated within the decoder.
#[test]
fn a_damaged_file_is_refused() {
    let text = diarist::assets::MODEL.tokenizer;
    let decoder = text.find("\"decoder\"").unwrap();
    let breaks = [0, 1, 1000, decoder + 11, decoder + 30, decoder + 60, text.len() - 20];
    for at in breaks {
        for rest in ["", "\u{1}\"", "nope"] {
            let bytes = format!("{}{rest}", &text[..at]);
            let error = Tokenizer::from_bytes(Path::new("here.json"), bytes.as_bytes(), true).err().expect("a refusal");
            assert!(error.to_string().contains("fetch the model again"), "{error}");
        }
    }
    let other = text.replace("\"type\": \"ByteLevel\"", "\"type\": \"Nonsense\"");
    assert_ne!(other, text);
    assert!(Tokenizer::from_bytes(Path::new("here.json"), other.as_bytes(), true).is_err());
}
