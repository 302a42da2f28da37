//! Lists the Whisper models on this machine, in all formats and caches.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::search::usable;
use super::{Hub, names, size_of, snapshots};
use crate::models::whisper::{CTRANSLATE2_WEIGHTS, Checkpoint, Format};

/// A Whisper model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its name for `--model`: a short name of [`names::KNOWN`], else `organisation/name`, else the name of its file or
    /// folder.
    pub name: String,
    /// Its files and their format. [`Checkpoint::tokenizer`] is not filled in.
    pub checkpoint: Checkpoint,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Hub {
    /// Every complete Whisper model in `model_dir` and the caches, in the search order of [`obtain`](Self::obtain). A
    /// model that is installed several times is listed several times.
    pub fn installed(&self) -> Vec<Installed> {
        let mut found: Vec<Installed> = Vec::new();
        let mut add = |name: Option<String>, path: &Path| {
            let Ok(checkpoint) = usable(path) else { return };
            // A file or folder with the name of a known model is assumed to be that model.
            let is_named = name.as_ref().is_some_and(|name| names::named(name).is_some());
            if !(is_named || is_whisper(&checkpoint)) || found.iter().any(|other| other.checkpoint == checkpoint) {
                return;
            }
            let file_name = || path.file_name().map_or_else(String::new, |name| name.display().to_string());
            let bytes = size_of(&checkpoint.path);
            found.push(Installed { name: name.unwrap_or_else(file_name), checkpoint, bytes });
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

/// The paths in a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The short name of the model in a file or folder, by the path's last component: a file name that [`names::of_file`]
/// knows, or a folder named after the model or one of its repositories.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let has_name = |repo: &'static str| repo.rsplit('/').next() == Some(name);
    let of_folder = || names::named(name).or_else(|| names::KNOWN.iter().find(|known| known.repos().any(has_name)));
    let known = if path.is_dir() { of_folder() } else { names::of_file(name) };
    known.map(|known| known.name.to_string())
}

/// Whether a checkpoint is a Whisper model and not another network in the same format. Reads only the first MiB.
fn is_whisper(checkpoint: &Checkpoint) -> bool {
    let path = &checkpoint.path;
    match checkpoint.format {
        Format::HuggingFace => std::fs::read(path.join("config.json"))
            .ok()
            .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
            .is_some_and(|config| config["model_type"] == "whisper"),
        // `u32` version, `u16` length of the name, name of the model's specification.
        Format::CTranslate2 => {
            head(&path.join(CTRANSLATE2_WEIGHTS)).get(6..).is_some_and(|name| name.starts_with(b"WhisperSpec\0"))
        }
        Format::OpenAi => head(path).windows(7).any(|bytes| bytes == b"n_vocab"),
        Format::Ggml => is_whisper_ggml(&head(path)),
    }
}

/// Whether the header of a ggml file has the sizes of Whisper. After the magic number it holds 32-bit integers: number
/// 1 is the vocabulary size, number 2 the audio context (frames), number 10 the mel bins.
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

/// The first MiB of a file. Empty or shorter if the file cannot be read, so that its format is not recognised.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut head));
    head
}
