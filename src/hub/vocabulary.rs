//! Finds or downloads the tokenizer of a model without one: openai-whisper's `.pt` files contain none, and some
//! CTranslate2 conversions lack `tokenizer.json`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::layout::{Layout, WHISPER};
use super::names::{self, Vocabulary};
use super::{Hub, OnProgress, snapshots};
use crate::error::{Error, Result};
use crate::models::whisper::{Checkpoint, Format};

/// The file that is downloaded.
const TOKENIZER: &str = "tokenizer.json";

/// A repository of which only the tokenizer is downloaded.
const LAYOUT: Layout = Layout { required: &[TOKENIZER], optional: &[], weights: &[], other: None, ..WHISPER };

/// Whether a checkpoint has no tokenizer of its own, and none has been found yet.
pub(super) fn is_missing(checkpoint: &Checkpoint) -> bool {
    let lacks_own = match checkpoint.format {
        Format::OpenAi => true,
        Format::CTranslate2 => !checkpoint.path.join(TOKENIZER).is_file(),
        Format::HuggingFace | Format::Ggml => false,
    };
    lacks_own && checkpoint.tokenizer.is_none()
}

impl Hub {
    /// Adds the tokenizer to a checkpoint. Downloads it (2 MB) if no matching one is on this machine.
    ///
    /// # Errors
    /// [`Error::Hub`] if it cannot be downloaded; [`Error::Model`] if the model's vocabulary cannot be determined.
    pub(super) fn with_vocabulary(
        &self,
        mut checkpoint: Checkpoint,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Checkpoint> {
        if !is_missing(&checkpoint) {
            return Ok(checkpoint);
        }
        checkpoint.tokenizer = self.find_vocabulary(&checkpoint);
        if checkpoint.tokenizer.is_some() {
            return Ok(checkpoint);
        }
        // A tokenizer.json was preferred; without one the loader builds a tokenizer from these lists.
        let is_beside = |name: &str| checkpoint.path.join(name).is_file();
        if checkpoint.format == Format::CTranslate2 && (is_beside("vocabulary.json") || is_beside("vocabulary.txt")) {
            return Ok(checkpoint);
        }
        let beside = folder_of(&checkpoint);
        let Some(vocabulary) = vocabulary_of(&checkpoint) else {
            let reason = format!(
                "has no vocabulary, and is none of the published models, so that it is unknown which one is right; put its \
                 {TOKENIZER} into {}",
                beside.display()
            );
            return Err(Error::model(&checkpoint.path, reason));
        };
        let repo = vocabulary.repo();
        let refuse = |why: &str| {
            let reason = format!(
                "it has no vocabulary of its own, none that fits is on this machine (looked in {}, {}), {why}.\n  \
                 To bring it here by hand, put {TOKENIZER} of {}/{repo} (2 MB), or {} of openai-whisper, into {}.",
                beside.display(),
                self.looked_in(&LAYOUT),
                self.endpoint,
                vocabulary.tiktoken(),
                beside.display(),
            );
            Error::Hub { model: checkpoint.path.display().to_string(), reason }
        };
        let folder = self.fetch_repo(repo, repo, &LAYOUT, &refuse, on_progress)?;
        checkpoint.tokenizer = Some(folder.join(TOKENIZER));
        Ok(checkpoint)
    }

    /// A tokenizer for `checkpoint` on this machine: in the checkpoint's folder, or from another model with the same
    /// vocabulary.
    pub(super) fn find_vocabulary(&self, checkpoint: &Checkpoint) -> Option<PathBuf> {
        let (folder, wanted) = (folder_of(checkpoint), vocabulary_of(checkpoint));
        let own = folder.join(TOKENIZER);
        // The vocabulary of an unpublished model cannot be verified: trust the file in its folder.
        if own.is_file() && (wanted.is_none() || vocabulary_in(&own) == wanted) {
            return Some(own);
        }
        let wanted = wanted?;
        let tiktoken = folder.join(wanted.tiktoken());
        if tiktoken.is_file() {
            return Some(tiktoken);
        }
        let roots = || self.model_dir.iter().chain(&self.cache);
        // Check the repository that would be downloaded first, which avoids parsing the tokenizers of others.
        let other = |repo: &String| repo != wanted.repo() && repo.to_lowercase().contains("whisper");
        let first = roots().map(|root| (root, wanted.repo().to_string()));
        let others =
            roots().flat_map(|root| snapshots::repos(root).into_iter().filter(other).map(move |repo| (root, repo)));
        let cached = first.chain(others).flat_map(|(root, repo)| snapshots::snapshots(root, &repo));
        let cached = cached.filter(|snapshot| !snapshot.unfinished).map(|snapshot| snapshot.folder);
        let plain = self.model_dir.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
        let folders = cached.chain(plain.map(|entry| entry.path()));
        folders.map(|folder| folder.join(TOKENIZER)).find(|file| file.is_file() && vocabulary_in(file) == Some(wanted))
    }
}

/// The folder in which a checkpoint's tokenizer is expected.
fn folder_of(checkpoint: &Checkpoint) -> PathBuf {
    match checkpoint.format {
        Format::HuggingFace | Format::CTranslate2 => checkpoint.path.clone(),
        Format::OpenAi | Format::Ggml => checkpoint.path.parent().unwrap_or(Path::new(".")).to_path_buf(),
    }
}

/// The vocabulary that a checkpoint was trained with, by its number of tokens, else by its name.
fn vocabulary_of(checkpoint: &Checkpoint) -> Option<Vocabulary> {
    let tokens = match checkpoint.format {
        Format::OpenAi => tokens_of_torch(&checkpoint.path),
        Format::CTranslate2 => tokens_of_lists(&checkpoint.path),
        Format::HuggingFace | Format::Ggml => None,
    };
    let by_name = || {
        let name = checkpoint.path.file_name()?.to_str()?;
        let of_folder = || snapshots::place(&checkpoint.path).and_then(|place| names::of_repo(&place.repo));
        names::of_file(name).or_else(of_folder).map(|known| known.vocabulary)
    };
    tokens.map_or_else(by_name, Vocabulary::of_size)
}

/// Reads `n_vocab` of the `dims` in an openai-whisper checkpoint without parsing the pickle. torch.save writes the
/// pickle at the beginning of the file, and `dims` is at the beginning of the pickle. The value only selects a
/// vocabulary; the weights loader checks that it matches.
fn tokens_of_torch(file: &Path) -> Option<usize> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(1 << 20).read_to_end(&mut head).ok()?;
    let key = b"n_vocab";
    let at = head.windows(key.len()).position(|window| window == key)? + key.len();
    let mut rest = head.get(at..)?;
    // Skip the memoize opcode (BINPUT, LONG_BINPUT or MEMOIZE); then follows the integer (BININT2 or BININT).
    rest = match rest.first()? {
        b'q' => rest.get(2..)?,
        b'r' => rest.get(5..)?,
        0x94 => rest.get(1..)?,
        _ => rest,
    };
    match *rest {
        [b'M', low, high, ..] => Some(usize::from(u16::from_le_bytes([low, high]))),
        [b'J', a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]).try_into().ok(),
        _ => None,
    }
}

/// Number of tokens in the vocabulary list of a CTranslate2 folder.
fn tokens_of_lists(folder: &Path) -> Option<usize> {
    if let Ok(text) = std::fs::read(folder.join("vocabulary.json")) {
        return serde_json::from_slice::<Vec<String>>(&text).ok().map(|tokens| tokens.len());
    }
    let text = std::fs::read(folder.join("vocabulary.txt")).ok()?;
    let unterminated = text.last().is_some_and(|last| *last != b'\n');
    Some(text.iter().filter(|byte| **byte == b'\n').count() + usize::from(unterminated))
}

/// Identifies the vocabulary of a `tokenizer.json` by its special tokens.
fn vocabulary_in(file: &Path) -> Option<Vocabulary> {
    #[derive(serde::Deserialize)]
    struct Tokenizer {
        added_tokens: Vec<Added>,
    }
    #[derive(serde::Deserialize)]
    struct Added {
        id: usize,
        content: String,
    }
    let tokenizer: Tokenizer = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let id = |content: &str| tokenizer.added_tokens.iter().find(|t| t.content == content).map(|token| token.id);
    id("<|startoftranscript|>")?;
    match (id("<|endoftext|>")?, id("<|yue|>")) {
        (50256, _) => Some(Vocabulary::English),
        (50257, None) => Some(Vocabulary::Multilingual),
        (50257, Some(_)) => Some(Vocabulary::Cantonese),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tokens_is_found_without_reading_the_weights() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.pt");
        for (bytes, expected) in [
            (&b"..X\x07\0\0\0n_vocabq\x03M\x98\xca..."[..], Some(51864)),
            (&b"..\x8c\x07n_vocab\x94M\x99\xca..."[..], Some(51865)),
            (&b"..n_vocabr\x03\0\0\0J\x9a\xca\0\0"[..], Some(51866)),
            (&b"..n_vocabq"[..], None),
            (&b"nothing"[..], None),
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(tokens_of_torch(&file), expected);
        }
        std::fs::write(folder.path().join("vocabulary.txt"), "a\nb\nc").unwrap();
        assert_eq!(tokens_of_lists(folder.path()), Some(3));
        std::fs::write(folder.path().join("vocabulary.json"), r#"["a", "b"]"#).unwrap();
        assert_eq!(tokens_of_lists(folder.path()), Some(2));
    }
}
