//! A tokenizer from its tokens alone, in the order in which they were learnt: the vocabularies of openai-whisper
//! (`multilingual.tiktoken`, `gpt2.tiktoken`), of ggml files and of CTranslate2's folders.
//!
//! A byte-level BPE joins the pair whose token comes first in that order, until no pair makes a token. So a token is made of
//! the two parts that are left when its bytes are joined by the tokens before it alone: these are the merges that a
//! `tokenizer.json` lists.
//!
//! Source: openai-whisper 20250625 `tokenizer.py::get_encoding`; transformers
//! `convert_slow_tokenizer.py::TikTokenConverter`.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

use super::super::language_names::LANGUAGES;
use crate::error::{Error, Result};
use crate::guard::guard;

/// Timestamps from 0 to 30 s, 0.02 s apart.
pub(super) const TIMESTAMPS: usize = 1501;
/// Special tokens beside languages and timestamps.
const NAMED: usize = 8;
/// Text tokens and all others of English-only models; multilingual ones have one text token more.
const ENGLISH: usize = 50_256;
const ENGLISH_VOCAB: usize = 51_864;
/// Longest token: the longest of the published ones has 128 bytes. The work for one grows with the square of its length.
const MAX_TOKEN: usize = 256;

/// The text tokens of a `.tiktoken` file: base64 and the rank on each line, in the order of the ranks.
pub(super) fn parse_tiktoken(path: &Path, text: &str) -> Result<Vec<Vec<u8>>> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parse = || {
            let (token, rank) = line.split_once(' ')?;
            // The empty token of the multilingual vocabulary.
            let bytes = if token == "=" { Vec::new() } else { STANDARD.decode(token).ok()? };
            (rank.trim().parse() == Ok(tokens.len())).then_some(bytes)
        };
        tokens.push(parse().ok_or_else(|| {
            let reason = format!("line {} is not a token in base64 and its rank; fetch the file again", number + 1);
            Error::model(path, reason)
        })?);
    }
    Ok(tokens)
}

/// The text tokens of CTranslate2's `vocabulary.json`, or `vocabulary.txt`, one on each line: all before `<|endoftext|>`.
pub(super) fn parse_ctranslate2(path: &Path, text: &str) -> Result<Vec<Vec<u8>>> {
    let json = path.extension().is_some_and(|extension| extension == "json");
    let listed: Vec<String> = if json {
        serde_json::from_str(text).map_err(|e| Error::model(path, format!("is not a list of tokens: {e}")))?
    } else {
        text.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect()
    };
    let bytes: HashMap<char, u8> = byte_characters().into_iter().zip(0..=u8::MAX).collect();
    let tokens = listed.iter().take_while(|token| *token != "<|endoftext|>");
    let to_bytes = |token: &String| {
        let unknown =
            |c| Error::model(path, format!("the token `{token}` has the character `{c}`, which stands for no byte"));
        token.chars().map(|c| bytes.get(&c).copied().ok_or_else(|| unknown(c))).collect()
    };
    tokens.map(to_bytes).collect()
}

/// A tokenizer for a model of `vocab` tokens: the text `tokens`, then `<|endoftext|>` and the other special ones, of which
/// the last are the timestamps. There are as many languages as there is room for.
pub(super) fn build(path: &Path, mut tokens: Vec<Vec<u8>>, vocab: usize) -> Result<Tokenizer> {
    let fail = |reason: String| Error::model(path, reason);
    if vocab >= ENGLISH_VOCAB {
        let expected = ENGLISH + usize::from(vocab > ENGLISH_VOCAB);
        // Some lists go on with special tokens.
        let surplus =
            tokens.get(expected..).map(|rest| rest.iter().all(|token| token.is_empty() || token.starts_with(b"<|")));
        if surplus != Some(true) {
            let kind = if vocab > ENGLISH_VOCAB { "multilingual" } else { "English-only" };
            let reason = format!("has {} text tokens; a {kind} model of {vocab} tokens needs {expected}", tokens.len());
            return Err(fail(reason));
        }
        tokens.truncate(expected);
    }
    let languages = vocab.checked_sub(tokens.len() + NAMED + TIMESTAMPS).filter(|count| *count <= LANGUAGES.len());
    let languages = languages
        .ok_or_else(|| fail(format!("has {} text tokens, which do not fit a model of {vocab} tokens", tokens.len())))?;
    let inner = guard(|| model(&tokens)).map_err(&fail)?.map_err(&fail)?;
    let mut tokenizer = Tokenizer::new(inner);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    let special: Vec<String> = special_tokens(languages, vocab).collect();
    let added: Vec<AddedToken> = special.iter().map(|token| AddedToken::from(token.as_str(), true)).collect();
    tokenizer.add_special_tokens(&added);
    for (token, id) in special.iter().zip(tokens.len()..) {
        if tokenizer.token_to_id(token) != u32::try_from(id).ok() {
            return Err(fail(format!("has a token twice, so that `{token}` is not token {id}; fetch the file again")));
        }
    }
    Ok(tokenizer)
}

/// In the order of their ids. The timestamps are known by their ids alone.
fn special_tokens(languages: usize, vocab: usize) -> impl Iterator<Item = String> {
    // Renamed with large-v3, which has one more language.
    let no_speech = if vocab > ENGLISH_VOCAB + 1 { "nospeech" } else { "nocaptions" };
    let codes = LANGUAGES.iter().take(languages).map(|(code, _)| *code);
    let tasks = ["translate", "transcribe", "startoflm", "startofprev", no_speech, "notimestamps"];
    let names = ["endoftext", "startoftranscript"].into_iter().chain(codes).chain(tasks);
    names.map(|name| format!("<|{name}|>"))
}

/// Tokens and merges under the characters of byte-level BPE.
fn model(tokens: &[Vec<u8>]) -> std::result::Result<BPE, String> {
    let characters = byte_characters();
    let written = |bytes: &[u8]| -> String { bytes.iter().map(|byte| characters[usize::from(*byte)]).collect() };
    let mut ranks: HashMap<&[u8], u32> = HashMap::with_capacity(tokens.len());
    let mut vocab = Vocab::default();
    for (token, id) in tokens.iter().zip(0..) {
        if token.len() > MAX_TOKEN {
            return Err(format!("has a token of {} bytes, expected at most {MAX_TOKEN}", token.len()));
        }
        ranks.insert(token, id);
        vocab.insert(written(token), id);
    }
    let mut merges = Merges::new();
    for (token, rank) in tokens.iter().zip(0..) {
        let parts = seam(token, rank, &ranks).map(|at| token.split_at(at));
        // A single byte that is no token cannot be joined with anything.
        if let Some((left, right)) = parts.filter(|(left, right)| ranks.contains_key(left) && ranks.contains_key(right))
        {
            merges.push((written(left), written(right)));
        }
    }
    BPE::builder().vocab_and_merges(vocab, merges).build().map_err(|e| format!("is not a vocabulary: {e}"))
}

/// Where the two parts of a token meet, joined by the tokens before it; `None` if there are not two.
fn seam(token: &[u8], rank: u32, ranks: &HashMap<&[u8], u32>) -> Option<usize> {
    let mut ends: Vec<usize> = (0..=token.len()).collect();
    let joined = |from: usize, to: usize| ranks.get(&token[from..to]).copied().filter(|found| *found < rank);
    let mut pairs: Vec<Option<u32>> = ends.windows(3).map(|pair| joined(pair[0], pair[2])).collect();
    while pairs.len() > 1 {
        let known = pairs.iter().enumerate().filter_map(|(at, pair)| Some(((*pair)?, at)));
        let (_, first) = known.min()?;
        ends.remove(first + 1);
        pairs.remove(first);
        // The joined part has new neighbours.
        for at in [first.checked_sub(1), Some(first)].into_iter().flatten().filter(|at| at + 2 < ends.len()) {
            pairs[at] = joined(ends[at], ends[at + 2]);
        }
    }
    (pairs.len() == 1).then(|| ends[1])
}

/// The character that stands for each byte: itself if it can be seen, else one from U+0100 on.
///
/// Source: openai/gpt-2 `encoder.py::bytes_to_unicode`.
fn byte_characters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let is_seen = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_seen { byte as u32 } else { next };
        next += u32::from(!is_seen);
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}
