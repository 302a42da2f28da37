//! Tokenizer of Whisper (byte-level BPE): text to token ids and back, special tokens, suppressed token lists.

mod find;
mod ranks;

use std::path::{Path, PathBuf};

use super::language_names::LANGUAGES;
use crate::engine::decode::RuleTokens;
use crate::error::{Error, Result};
use crate::guard::guard;
use crate::units::{EncoderFrame, Seconds};

/// A tokenizer in the layout of Whisper's checkpoints: text tokens first, then `<|endoftext|>` and the other special
/// tokens, timestamps last.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Its file, for error messages.
    path: PathBuf,
    /// The special tokens.
    pub special: SpecialTokens,
    /// Language codes and tokens in the order of the tokens; empty for an English-only model.
    pub languages: Vec<(&'static str, u32)>,
}

/// Upper bound on the id of a special token, which bounds loops over the ids below it. The largest published id is
/// 51865.
const MAX_ID: u32 = 1 << 20;

/// Ids of the special tokens, looked up by content. `None`: the tokenizer has no such token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<|endoftext|>`; all text tokens have lower ids.
    pub eot: u32,
    /// `<|startoftranscript|>`
    pub sot: u32,
    /// `<|translate|>`
    pub translate: Option<u32>,
    /// `<|transcribe|>`
    pub transcribe: Option<u32>,
    /// `<|startoflm|>`
    pub sot_lm: Option<u32>,
    /// `<|startofprev|>`: precedes previous text.
    pub sot_prev: Option<u32>,
    /// `<|nospeech|>`, called `<|nocaptions|>` before large-v3.
    pub no_speech: Option<u32>,
    /// `<|notimestamps|>`
    pub no_timestamps: u32,
    /// `<|0.00|>`: the first timestamp. Timestamps are 0.02 s apart and have all ids from here on.
    pub timestamp_begin: u32,
}

impl SpecialTokens {
    /// All special tokens that the tokenizer has.
    fn all(&self) -> impl Iterator<Item = u32> {
        let optional = [self.translate, self.transcribe, self.sot_lm, self.sot_prev, self.no_speech];
        let needed = [self.eot, self.sot, self.no_timestamps, self.timestamp_begin];
        optional.into_iter().flatten().chain(needed)
    }

    /// The ids for the logit rules.
    pub fn rule_tokens(&self) -> RuleTokens {
        RuleTokens {
            eot: self.eot as i32,
            no_timestamps: self.no_timestamps as i32,
            timestamp_begin: self.timestamp_begin as i32,
        }
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder. `multilingual`: whether the model was trained with language and task
    /// tokens. (Tokenizers of English-only models have these tokens too, but the models do not use them.)
    ///
    /// # Errors
    /// [`Error::Model`] naming the file, and the token if one is missing.
    pub fn open(folder: &Path, multilingual: bool) -> Result<Self> {
        Self::read(&folder.join("tokenizer.json"), 0, multilingual)
    }

    /// Parses the bytes of a `tokenizer.json`; `path` is used in error messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(path: &Path, bytes: &[u8], multilingual: bool) -> Result<Self> {
        let damaged =
            |reason: String| Error::model(path, format!("is not a tokenizer: {reason}; fetch the model again"));
        // The crate tokenizers panics on JSON that is invalid within a decoder, so check the syntax first.
        serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| damaged(e.to_string()))?;
        let inner = guard(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(damaged)?;
        Self::new(inner.map_err(|e| damaged(e.to_string()))?, path, multilingual)
    }

    fn new(inner: tokenizers::Tokenizer, path: &Path, multilingual: bool) -> Result<Self> {
        let special = find_special(&inner, path)?;
        let mut languages = Vec::new();
        if multilingual {
            languages = LANGUAGES
                .iter()
                .filter_map(|(code, _)| Some((*code, inner.token_to_id(&format!("<|{code}|>"))?)))
                .collect();
            languages.sort_unstable_by_key(|&(_, id)| id);
            if languages.is_empty() {
                return Err(missing(path, "<|en|>"));
            }
            special.transcribe.ok_or_else(|| missing(path, "<|transcribe|>"))?;
        }
        Ok(Tokenizer { inner, path: path.to_path_buf(), special, languages })
    }

    /// Checks that a model with a vocabulary of `vocab` tokens can belong to this tokenizer.
    ///
    /// # Errors
    /// [`Error::Model`] if the id of a special token is not below `vocab`.
    pub fn check_vocab(&self, vocab: usize) -> Result<()> {
        let languages = self.languages.iter().map(|&(_, id)| id);
        let highest = self.special.all().chain(languages).max().unwrap_or_default();
        if (highest as usize) < vocab {
            return Ok(());
        }
        let reason = format!(
            "has special tokens up to {highest}, but the model has only {vocab} tokens; do tokenizer and weights belong \
             together?"
        );
        Err(Error::model(&self.path, reason))
    }

    /// Whether prompts have a language and a task token.
    pub fn is_multilingual(&self) -> bool {
        !self.languages.is_empty()
    }

    /// The token of a language code, if the model has it.
    pub fn language_token(&self, code: &str) -> Option<u32> {
        self.languages.iter().find(|(c, _)| *c == code).map(|&(_, id)| id)
    }

    /// `<|startofprev|>`, which prompts with previous text or hotwords need.
    ///
    /// # Errors
    /// [`Error::Model`] if the tokenizer has no such token.
    pub(super) fn sot_prev(&self) -> Result<u32> {
        self.special.sot_prev.ok_or_else(|| missing(&self.path, "<|startofprev|>"))
    }

    /// `<|translate|>`.
    ///
    /// # Errors
    /// [`Error::Model`] if the tokenizer has no such token.
    pub(super) fn translate(&self) -> Result<u32> {
        self.special.translate.ok_or_else(|| missing(&self.path, "<|translate|>"))
    }

    /// Token ids of a text; no special token is added.
    ///
    /// # Errors
    /// [`Error::Model`] if the tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let refuse = |reason: String| Error::model(&self.path, format!("cannot encode {text:?}: {reason}"));
        let encoding = guard(|| self.inner.encode_fast(text, false)).map_err(refuse)?;
        Ok(encoding.map_err(|e| refuse(e.to_string()))?.get_ids().to_vec())
    }

    /// The text of the tokens, without special tokens and timestamps. Invalid UTF-8 (such as a character that is cut
    /// off by the token limit) becomes U+FFFD.
    ///
    /// # Errors
    /// [`Error::Model`] if the tokenizer cannot decode.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let text: Vec<u32> = tokens.iter().copied().filter(|&token| token < self.special.eot).collect();
        let refuse = |reason: String| Error::model(&self.path, format!("cannot decode tokens: {reason}"));
        guard(|| self.inner.decode(&text, true)).map_err(refuse)?.map_err(|e| refuse(e.to_string()))
    }

    /// Whether a token is a timestamp.
    pub fn is_timestamp(&self, token: u32) -> bool {
        token >= self.special.timestamp_begin
    }

    /// The time of a timestamp token, relative to the start of the window.
    pub fn timestamp(&self, token: u32) -> Seconds {
        EncoderFrame(token.saturating_sub(self.special.timestamp_begin) as usize).to_seconds()
    }

    /// Ids of tokens of symbols that are not spoken (brackets, notes, speaker dashes): the list of faster-whisper and
    /// openai-whisper for `suppress_tokens = -1`. Sorted.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn non_speech_tokens(&self) -> Result<Vec<u32>> {
        const SYMBOLS: &str = "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 << >> <<< >>> -- --- -( -[ (' (\" (( )) \
                               ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪";
        // U+2640 to U+267F: if such a symbol has several tokens, suppressing the first one (its first two bytes) is
        // enough, because no spoken text contains these bytes.
        const NOTES: &str = "♩ ♪ ♫ ♬ ♭ ♮ ♯";
        // Hyphens and apostrophes are allowed within words, but not at the beginning of a word.
        let mut ids = Vec::new();
        for text in [" -", " '"] {
            ids.extend(self.encode(text)?.first());
        }
        let symbols = SYMBOLS.split_whitespace().map(|s| (s, false)).chain(NOTES.split(' ').map(|s| (s, true)));
        for (symbol, first_is_enough) in symbols {
            for text in [symbol.to_owned(), format!(" {symbol}")] {
                let tokens = self.encode(&text)?;
                if tokens.len() == 1 || first_is_enough {
                    ids.extend(tokens.first());
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Ids of text tokens that contain a digit or one of `%$£`. Sorted.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn numeral_tokens(&self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for id in 0..self.special.eot {
            let text = self.decode(&[id])?;
            if text.contains(|c: char| c.is_ascii_digit() || "%$£".contains(c)) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

fn missing(path: &Path, token: &str) -> Error {
    let cure = "it is not the tokenizer of a Whisper model, or of another one; fetch the model again";
    Error::model(path, format!("has no token `{token}`: {cure}"))
}

fn find_special(inner: &tokenizers::Tokenizer, path: &Path) -> Result<SpecialTokens> {
    let find = |token: &str| inner.token_to_id(token);
    let need = |token: &str| find(token).ok_or_else(|| missing(path, token));
    let no_timestamps = need("<|notimestamps|>")?;
    let special = SpecialTokens {
        eot: need("<|endoftext|>")?,
        sot: need("<|startoftranscript|>")?,
        translate: find("<|translate|>"),
        transcribe: find("<|transcribe|>"),
        sot_lm: find("<|startoflm|>"),
        sot_prev: find("<|startofprev|>"),
        no_speech: find("<|nospeech|>").or_else(|| find("<|nocaptions|>")),
        no_timestamps,
        // The first published tokenizers have no entries for the timestamps; their ids follow `<|notimestamps|>`
        // nevertheless.
        timestamp_begin: find("<|0.00|>").unwrap_or(no_timestamps.saturating_add(1)),
    };
    if let Some(id) = special.all().find(|id| *id > MAX_ID) {
        return Err(Error::model(path, format!("has a special token {id}, expected at most {MAX_ID}")));
    }
    let order = [special.eot, special.sot, special.no_timestamps, special.timestamp_begin];
    if !order.is_sorted_by(|a, b| a < b) {
        let reason = "`<|endoftext|>`, `<|startoftranscript|>`, `<|notimestamps|>`, `<|0.00|>` do not have rising ids: it \
                      is not the tokenizer of a Whisper model; fetch the model again";
        return Err(Error::model(path, reason));
    }
    Ok(special)
}
