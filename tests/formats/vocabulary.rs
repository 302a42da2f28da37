//! Tokenizers from a vocabulary without merges: the same ids as the published `tokenizer.json` and as tiktoken.

use std::path::Path;

use diarist::asr::Tokenizer;

use super::common;

/// All single bytes in the order of openai-whisper, and a few longer tokens.
fn tokens() -> Vec<Vec<u8>> {
    let printable = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff);
    let others = (0..=255u8).filter(|byte| !matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff));
    let bytes = printable.chain(others).map(|byte| vec![byte]);
    let merged = [" t", "he", " the", "in", "er", " th", "\u{e9}", "ing"].map(|token| token.as_bytes().to_vec());
    bytes.chain(merged).collect()
}

fn tiktoken(tokens: &[Vec<u8>]) -> String {
    use base64::Engine as _;
    let encode = |token: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(token);
    tokens.iter().enumerate().map(|(rank, token)| format!("{} {rank}\n", encode(token))).collect()
}

#[test]
fn pairs_are_merged_in_the_order_of_ranks() {
    let (tokens, path) = (tokens(), Path::new("tiny.tiktoken"));
    let vocab = tokens.len() + 8 + 1501 + 2;
    let tokenizer = Tokenizer::from_tiktoken(path, &tiktoken(&tokens), vocab, true).unwrap();
    let id = |token: &str| tokens.iter().position(|known| known == token.as_bytes()).unwrap() as u32;
    // " t" has a lower rank than " th": " th" is merged from " t" and "h", and " the" from " t" and "he".
    assert_eq!(
        tokenizer.encode(" the thin\u{e9}").unwrap(),
        ["␠the", "␠th", "in", "\u{e9}"].map(|t| id(&t.replace('␠', " ")))
    );
    let text = " the thing: naïve 日本語 🎧\n";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
    let eot = tokens.len() as u32;
    let special = tokenizer.special;
    assert_eq!((special.eot, special.sot, special.timestamp_begin), (eot, eot + 1, eot + 10));
    assert_eq!((special.translate, special.no_speech, special.no_timestamps), (Some(eot + 4), Some(eot + 8), eot + 9));
    assert_eq!(tokenizer.languages, [("en", eot + 2), ("zh", eot + 3)]);
    assert_eq!(special.timestamp_begin as usize + 1501, vocab);
}

#[test]
fn vocabularies_of_the_wrong_size_are_refused() {
    let path = Path::new("tiny.tiktoken");
    let error = |text: &str, vocab| match Tokenizer::from_tiktoken(path, text, vocab, false) {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string(),
    };
    let whole = tiktoken(&tokens());
    for vocab in [10, tokens().len() + 1508, tokens().len() + 1509 + 101] {
        assert!(error(&whole, vocab).contains("do not fit"), "{vocab}");
    }
    assert!(error(&whole, 51_864).contains("an English-only model") || error(&whole, 51_864).contains("English-only"));
    assert!(error(&whole, 51_865).contains("needs 50257"));
    assert!(error("IQ== 0\nIg== 2\n", 1600).contains("line 2"));
    assert!(error("IQ== 0\n%% 1\n", 1600).contains("line 2"));
    assert!(error("IQ== 0\nIQ== 1\n", 1600).contains("token twice"));
    let long = vec![vec![b'a'], vec![b'a'; 300]];
    assert!(error(&tiktoken(&long), 1600).contains("300 bytes"));
}

/// CTranslate2's vocabulary lists tokens in the characters of byte-level BPE.
#[test]
fn a_ctranslate2_vocabulary_gives_a_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let listed = ["!", "\"", "Ġ", "t", "Ġt", "<|endoftext|>", "<|startoftranscript|>"];
    let json = folder.path().join("vocabulary.json");
    std::fs::write(&json, serde_json::to_string(&listed).unwrap()).unwrap();
    let text = folder.path().join("vocabulary.txt");
    std::fs::write(&text, listed.join("\n") + "\n").unwrap();
    for path in [json, text] {
        let tokenizer = Tokenizer::read(&path, 5 + 1509, false).unwrap();
        assert_eq!(tokenizer.encode(" t!").unwrap(), [4, 0]);
        assert_eq!(tokenizer.decode(&[2, 3, 1]).unwrap(), " t\"");
    }
    std::fs::write(folder.path().join("vocabulary.txt"), "日\n").unwrap();
    let error = Tokenizer::read(&folder.path().join("vocabulary.txt"), 1510, false).err().unwrap().to_string();
    assert!(error.contains("stands for no byte"), "{error}");
}

/// Texts of many kinds, with the ids of tiktoken: `tests/reference/tokens.py`.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_published_vocabularies_give_the_ids_of_tiktoken() {
    let golden = common::json("tokenizer/tokens.json");
    for (name, vocab) in [("gpt2", 51_864), ("multilingual", 51_865)] {
        let path = common::shared(&format!("tokenizer/{name}.tiktoken"));
        let tokenizer = Tokenizer::read(&path, vocab, vocab > 51_864).unwrap();
        for case in golden[name].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let want: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), want, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&want).unwrap(), text, "{name}");
        }
    }
}

/// The same ids as a `tokenizer.json` with merges, for every token and a long text.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_published_vocabularies_equal_their_tokenizer_json() {
    let mut text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    text += &std::fs::read_to_string(common::shared("tokenizer/english.json")).unwrap();
    for (name, vocab) in [("gpt2", 51_864), ("multilingual", 51_865), ("multilingual", 51_866)] {
        let path = common::shared(&format!("tokenizer/{name}.tiktoken"));
        let tokenizer = Tokenizer::read(&path, vocab, vocab > 51_864).unwrap();
        let json = common::tokenizer::published(vocab);
        assert_eq!(tokenizer.special, json.special, "{name}");
        assert_eq!(tokenizer.languages, json.languages, "{name}");
        assert_eq!(tokenizer.encode(&text).unwrap(), json.encode(&text).unwrap(), "{name}");
        for id in 0..tokenizer.special.eot {
            let word = tokenizer.decode(&[id]).unwrap();
            assert_eq!(word, json.decode(&[id]).unwrap(), "{name}: {id}");
            assert_eq!(tokenizer.encode(&word).unwrap(), json.encode(&word).unwrap(), "{name}: {word:?}");
        }
        assert_eq!(tokenizer.non_speech_tokens().unwrap(), json.non_speech_tokens().unwrap(), "{name}");
    }
}
