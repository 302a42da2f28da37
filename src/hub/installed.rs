//! The recognisers on this machine, wherever they lie and whatever they are called.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::search::usable;
use super::{Hub, names, size_of, snapshots};
use crate::models::whisper::{CTRANSLATE2_WEIGHTS, Checkpoint, Format};

/// A recogniser on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What `--model` calls it: a short name of [`names::KNOWN`], else `organisation/name`; of what has neither, the name of its
    /// file or folder.
    pub name: String,
    /// Its files and their format; [`Checkpoint::tokenizer`] is not looked for.
    pub checkpoint: Checkpoint,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Hub {
    /// Every model of Whisper in `model_dir` and the caches that is complete, in the order in which a name is looked for. A model
    /// that is there several times is listed several times.
    pub fn installed(&self) -> Vec<Installed> {
        let mut found: Vec<Installed> = Vec::new();
        let mut add = |name: Option<String>, path: &Path| {
            let Ok(checkpoint) = usable(path) else { return };
            // What has the name of a model is taken for it.
            let is_named = name.as_ref().is_some_and(|name| names::named(name).is_some());
            if !(is_named || is_whisper(&checkpoint)) || found.iter().any(|other| other.checkpoint == checkpoint) {
                return;
            }
            let file = || path.file_name().map_or_else(String::new, |name| name.display().to_string());
            let bytes = size_of(&checkpoint.path);
            found.push(Installed { name: name.unwrap_or_else(file), checkpoint, bytes });
        };
        for path in self.model_dir.iter().flat_map(|dir| entries(dir)) {
            add(name_of(&path), &path);
            // organisation/name
            for inner in entries(&path).into_iter().filter(|inner| inner.is_dir()) {
                add(name_of(&inner), &inner);
            }
        }
        for root in self.model_dir.iter().chain(&self.cache) {
            for repo in snapshots::repos(root) {
                let name = names::of_repo(&repo).map_or_else(|| repo.clone(), |known| known.name.to_string());
                for snapshot in snapshots::snapshots(root, &repo).into_iter().filter(|s| !s.unfinished) {
                    add(Some(name.clone()), &snapshot.folder);
                }
            }
        }
        for path in self.whisper_cache.iter().flat_map(|dir| entries(dir)) {
            if path.extension().is_some_and(|ending| ending == "pt") {
                add(name_of(&path), &path);
            }
        }
        found
    }
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The short name of a file, or of a folder called like it or like one of its repositories.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let bare = |repo: &'static str| repo.rsplit('/').next() == Some(name);
    let of_folder = || names::named(name).or_else(|| names::KNOWN.iter().find(|known| known.repos().any(bare)));
    let known = if path.is_dir() { of_folder() } else { names::of_file(name) };
    known.map(|known| known.name.to_string())
}

/// Whether a checkpoint holds Whisper and not another network in the same format. Only its beginning is read.
fn is_whisper(checkpoint: &Checkpoint) -> bool {
    let path = &checkpoint.path;
    match checkpoint.format {
        Format::HuggingFace => std::fs::read(path.join("config.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
            .is_some_and(|config| config["model_type"] == "whisper"),
        // The version, the length of a text, the text.
        Format::CTranslate2 => {
            beginning(&path.join(CTRANSLATE2_WEIGHTS)).get(6..).is_some_and(|name| name.starts_with(b"WhisperSpec\0"))
        }
        Format::OpenAi => beginning(path).windows(7).any(|bytes| bytes == b"n_vocab"),
        Format::Ggml => is_whisper_ggml(&beginning(path)),
    }
}

/// Whether the sizes at the beginning of a ggml file are those of Whisper: after the magic number the tokens, the frames, and as
/// the tenth the mel bins.
///
/// Source: whisper.cpp `whisper_model_load`.
fn is_whisper_ggml(head: &[u8]) -> bool {
    let number = |index: usize| {
        let bytes = head.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    number(1).is_some_and(|tokens| tokens >= 50_000)
        && number(2).is_some_and(|frames| (1..=1500).contains(&frames))
        && matches!(number(10), Some(80 | 128))
}

/// The first 64 KiB of a file.
fn beginning(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // What cannot be read is not recognised.
    let _ = File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut head));
    head
}
