//! Finding and reading the vocabulary of a checkpoint: `tokenizer.json`, `.tiktoken`, ggml, CTranslate2.

use std::path::{Path, PathBuf};

use super::{Tokenizer, ranks};
use crate::error::{Error, Result};
use crate::models::whisper::{Checkpoint, Files, Format};

/// File name of openai-whisper's vocabulary.
const fn tiktoken(multilingual: bool) -> &'static str {
    if multilingual { "multilingual.tiktoken" } else { "gpt2.tiktoken" }
}

impl Tokenizer {
    /// Reads the vocabulary of a checkpoint. It is in the file of the weights (ggml), in [`Checkpoint::tokenizer`], or
    /// in a file in the folder of the weights: `tokenizer.json`, `multilingual.tiktoken` or `gpt2.tiktoken`, or
    /// CTranslate2's `vocabulary.json` or `vocabulary.txt`.
    ///
    /// # Errors
    /// [`Error::Model`] if there is no vocabulary, or if it does not belong to the model.
    pub fn of(checkpoint: &Checkpoint, files: &Files) -> Result<Self> {
        let (path, vocab) = (&checkpoint.path, files.config.vocab_size);
        let multilingual = files.is_multilingual();
        let tokenizer = if files.weights.vocabulary().len() > 0 {
            let tokens = files.weights.vocabulary().map(<[u8]>::to_vec).collect();
            Self::from_ranks(path, tokens, vocab, multilingual)
        } else {
            let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(Path::new("")) };
            let found = match (&checkpoint.tokenizer, checkpoint.format) {
                (_, Format::HuggingFace) => Some(folder.join("tokenizer.json")),
                (given, Format::CTranslate2) => {
                    tokenizer_json(folder).or_else(|| given.clone()).or_else(|| any_vocabulary(folder, multilingual))
                }
                (given, _) => given.clone().or_else(|| any_vocabulary(folder, multilingual)),
            };
            let found = found.ok_or_else(|| {
                let name = tiktoken(multilingual);
                Error::model(
                    path,
                    format!("has no vocabulary: put {name} or the tokenizer.json of the model beside it"),
                )
            })?;
            Self::read(&found, vocab, multilingual)
        }?;
        tokenizer.check_vocab(vocab)?;
        // A folder of single-file checkpoints can contain models with different vocabularies, so check the exact size.
        let end = tokenizer.special.timestamp_begin as usize + ranks::TIMESTAMPS;
        if matches!(checkpoint.format, Format::OpenAi | Format::Ggml) && end != vocab {
            let reason = format!("is for a model of {end} tokens, and {} has {vocab}", path.display());
            return Err(Error::model(&tokenizer.path, reason));
        }
        Ok(tokenizer)
    }

    /// Reads a vocabulary file: `tokenizer.json`, a `.tiktoken` file, or CTranslate2's vocabulary, for a model with a
    /// vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// [`Error::Model`] with the file and the reason.
    pub fn read(path: &Path, vocab: usize, multilingual: bool) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| {
            Error::model(path, format!("cannot be read ({e}); fetch the model again, or add its tokenizer.json"))
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = || std::str::from_utf8(&bytes).map_err(|_| Error::model(path, "is not UTF-8; fetch the file again"));
        let tokens = if name.ends_with(".tiktoken") {
            ranks::parse_tiktoken(path, text()?)?
        } else if name.starts_with("vocabulary.") {
            ranks::parse_ctranslate2(path, text()?)?
        } else {
            return Self::from_bytes(path, &bytes, multilingual);
        };
        Self::from_ranks(path, tokens, vocab, multilingual)
    }

    /// Parses the text of a `.tiktoken` file; `path` is used in error messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_tiktoken(path: &Path, text: &str, vocab: usize, multilingual: bool) -> Result<Self> {
        Self::from_ranks(path, ranks::parse_tiktoken(path, text)?, vocab, multilingual)
    }

    /// Builds a tokenizer from the bytes of the text tokens, in the order of their ids, for a model with a vocabulary
    /// of `vocab` tokens. `path` is used in error messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_ranks(path: &Path, tokens: Vec<Vec<u8>>, vocab: usize, multilingual: bool) -> Result<Self> {
        Self::new(ranks::build(path, tokens, vocab)?, path, multilingual)
    }
}

fn tokenizer_json(folder: &Path) -> Option<PathBuf> {
    Some(folder.join("tokenizer.json")).filter(|path| path.is_file())
}

/// The first vocabulary file in the folder of the weights. openai-whisper's comes first, because its name states
/// whether it is multilingual.
fn any_vocabulary(folder: &Path, multilingual: bool) -> Option<PathBuf> {
    let names = [tiktoken(multilingual), "tokenizer.json", "vocabulary.json", "vocabulary.txt"];
    names.into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}
