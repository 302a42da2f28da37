//! BPE tokenizers from a ranked list of tokens without merges: the vocabularies of openai-whisper
//! (`multilingual.tiktoken`, `gpt2.tiktoken`), of ggml files and of CTranslate2 folders.
//!
//! Byte-level BPE repeatedly joins the adjacent pair whose token has the lowest rank. The merges that a
//! `tokenizer.json` lists are recovered from the ranks: encoding the bytes of a token with only the tokens of lower
//! rank leaves two parts, and these are its merge.
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
/// Number of special tokens besides languages and timestamps.
const NUM_SPECIAL: usize = 8;
/// Number of text tokens of English-only models; multilingual models have one more.
const ENGLISH: usize = 50_256;
/// Number of all tokens of English-only models.
const ENGLISH_VOCAB: usize = 51_864;
/// Longest token in bytes, because finding a merge takes quadratic time. The longest published token has 128 bytes.
const MAX_TOKEN: usize = 256;

/// Parses the text tokens of a `.tiktoken` file: each line has a token in base64 and its rank, in the order of the
/// ranks.
pub(super) fn parse_tiktoken(path: &Path, text: &str) -> Result<Vec<Vec<u8>>> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let parse = || {
            let (token, rank) = line.split_once(' ')?;
            // `=` is the empty token of the multilingual vocabulary.
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

/// Parses the text tokens of CTranslate2's `vocabulary.json` (a list) or `vocabulary.txt` (one per line): all tokens
/// before `<|endoftext|>`.
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

/// Builds the tokenizer of a model with a vocabulary of `vocab` tokens: the text `tokens`, `<|endoftext|>` and the
/// other special tokens, the timestamps. The number of languages follows from `vocab`.
pub(super) fn build(path: &Path, mut tokens: Vec<Vec<u8>>, vocab: usize) -> Result<Tokenizer> {
    let fail = |reason: String| Error::model(path, reason);
    if vocab >= ENGLISH_VOCAB {
        let expected = ENGLISH + usize::from(vocab > ENGLISH_VOCAB);
        // Some lists continue with special tokens.
        let surplus =
            tokens.get(expected..).map(|rest| rest.iter().all(|token| token.is_empty() || token.starts_with(b"<|")));
        if surplus != Some(true) {
            let kind = if vocab > ENGLISH_VOCAB { "multilingual" } else { "English-only" };
            let reason = format!("has {} text tokens; a {kind} model of {vocab} tokens needs {expected}", tokens.len());
            return Err(fail(reason));
        }
        tokens.truncate(expected);
    }
    let languages =
        vocab.checked_sub(tokens.len() + NUM_SPECIAL + TIMESTAMPS).filter(|count| *count <= LANGUAGES.len());
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

/// The special tokens in the order of their ids, without timestamps, which are identified by id only.
fn special_tokens(languages: usize, vocab: usize) -> impl Iterator<Item = String> {
    // Renamed in large-v3, whose vocabulary has one more language.
    let no_speech = if vocab > ENGLISH_VOCAB + 1 { "nospeech" } else { "nocaptions" };
    let codes = LANGUAGES.iter().take(languages).map(|(code, _)| *code);
    let tasks = ["translate", "transcribe", "startoflm", "startofprev", no_speech, "notimestamps"];
    let names = ["endoftext", "startoftranscript"].into_iter().chain(codes).chain(tasks);
    names.map(|name| format!("<|{name}|>"))
}

/// The BPE model: vocabulary and merges, with bytes to_characters as the characters of byte-level BPE.
fn model(tokens: &[Vec<u8>]) -> std::result::Result<BPE, String> {
    let characters = byte_characters();
    let to_characters = |bytes: &[u8]| -> String { bytes.iter().map(|byte| characters[usize::from(*byte)]).collect() };
    let mut ranks: HashMap<&[u8], u32> = HashMap::with_capacity(tokens.len());
    let mut vocab = Vocab::default();
    for (token, id) in tokens.iter().zip(0..) {
        if token.len() > MAX_TOKEN {
            return Err(format!("has a token of {} bytes, expected at most {MAX_TOKEN}", token.len()));
        }
        ranks.insert(token, id);
        vocab.insert(to_characters(token), id);
    }
    let mut merges = Merges::new();
    for (token, rank) in tokens.iter().zip(0..) {
        let parts = merge_point(token, rank, &ranks).map(|at| token.split_at(at));
        // A part can be a single byte without a token, which BPE cannot merge.
        if let Some((left, right)) = parts.filter(|(left, right)| ranks.contains_key(left) && ranks.contains_key(right))
        {
            merges.push((to_characters(left), to_characters(right)));
        }
    }
    BPE::builder().vocab_and_merges(vocab, merges).build().map_err(|e| format!("is not a vocabulary: {e}"))
}

/// Byte offset between the two parts of a token that remain after merging its bytes with tokens of lower rank. `None`
/// if the number of parts is not two.
fn merge_point(token: &[u8], rank: u32, ranks: &HashMap<&[u8], u32>) -> Option<usize> {
    let mut ends: Vec<usize> = (0..=token.len()).collect();
    let joined = |from: usize, to: usize| ranks.get(&token[from..to]).copied().filter(|found| *found < rank);
    let mut pairs: Vec<Option<u32>> = ends.windows(3).map(|pair| joined(pair[0], pair[2])).collect();
    while pairs.len() > 1 {
        let known = pairs.iter().enumerate().filter_map(|(at, pair)| Some(((*pair)?, at)));
        let (_, first) = known.min()?;
        ends.remove(first + 1);
        pairs.remove(first);
        // Update the pairs on both sides of the joined part.
        for at in [first.checked_sub(1), Some(first)].into_iter().flatten().filter(|at| at + 2 < ends.len()) {
            pairs[at] = joined(ends[at], ends[at + 2]);
        }
    }
    (pairs.len() == 1).then(|| ends[1])
}

/// The character of each byte in byte-level BPE: itself if it is printable, else the next one from U+0100 on.
///
/// Source: openai/gpt-2 `encoder.py::bytes_to_unicode`.
fn byte_characters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_printable { byte as u32 } else { next };
        next += u32::from(!is_printable);
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    })
}
