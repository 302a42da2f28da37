//! Search for a Whisper model on this machine: by path, or by name in `--model-dir`, the hub cache and the cache of
//! openai-whisper.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::layout::{WHISPER, complete, missing};
use super::{BUILTIN, Hub, names, snapshots};
use crate::error::{Error, Result};
use crate::models::whisper::{Checkpoint, Format};

/// Result of a search.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The first complete model.
    pub(super) found: Option<Checkpoint>,
    /// Files and folders with the right name that cannot be used, and why.
    pub(super) skipped: Vec<(PathBuf, String)>,
}

impl Search {
    /// Sets `found` if the model at `path` is usable, else records why not.
    fn consider(&mut self, path: &Path) {
        match usable(path) {
            Ok(checkpoint) => self.found = Some(checkpoint),
            Err(Error::Model { reason, .. }) => self.skipped.push((path.to_path_buf(), reason)),
            Err(other) => self.skipped.push((path.to_path_buf(), other.to_string())),
        }
    }
}

/// The checkpoint at `path`, if it is complete.
///
/// # Errors
/// [`Error::Model`] with what is missing.
pub(super) fn usable(path: &Path) -> Result<Checkpoint> {
    if path.is_dir() {
        return match (complete(path, &WHISPER), Checkpoint::recognise(path)) {
            (Ok(folder), _) => Checkpoint::recognise(&folder),
            // A folder that contains a single-file model.
            (Err(_), Ok(found)) if found.path.is_file() => usable(&found.path),
            (Err(incomplete), _) => Err(incomplete),
        };
    }
    let checkpoint = Checkpoint::recognise(path)?;
    if checkpoint.path != path {
        return usable(&checkpoint.path);
    }
    if checkpoint.format == Format::OpenAi && !is_whole(path).unwrap_or(false) {
        let reason = "is truncated, as a download that was interrupted leaves it; delete it, or fetch it again";
        return Err(Error::model(path, reason));
    }
    Ok(checkpoint)
}

/// Whether a `.pt` file (a zip archive) is complete: its end-of-central-directory record exists. openai-whisper
/// downloads to the final file name, so that an interrupted download looks like a model.
fn is_whole(path: &Path) -> std::io::Result<bool> {
    /// Maximum length of the end-of-central-directory record: 22 bytes and a comment.
    const LONGEST: u64 = 22 + 65535;
    let mut file = File::open(path)?;
    let mut head = [0; 4];
    // torch.save's legacy format, which is not a zip archive, has no end marker; its reader detects truncation.
    if file.read_exact(&mut head).is_err() || head != *b"PK\x03\x04" {
        return Ok(true);
    }
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
    let mut end = Vec::new();
    file.take(LONGEST).read_to_end(&mut end)?;
    Ok(end.windows(4).any(|bytes| bytes == b"PK\x05\x06"))
}

impl Hub {
    /// Searches for `model`, which is not [`BUILTIN`].
    ///
    /// # Errors
    /// [`Error::Model`] for a path without a usable model, [`Error::Config`] for an unknown name.
    pub(super) fn look(&self, model: &str) -> Result<Search> {
        if let Some(checkpoint) = at_path(model)? {
            return Ok(Search { found: Some(checkpoint), skipped: Vec::new() });
        }
        let mut search = Search::default();
        let is_name = names::named(model).is_some() || names::is_repo_id(model);
        let candidates = self.candidates(model);
        if !is_name && (candidates.is_empty() || model.is_empty()) {
            return Err(unknown(model));
        }
        for candidate in candidates {
            match candidate {
                Candidate::Path(path) => search.consider(&path),
                Candidate::Unfinished(path) => search.skipped.push((path, "its download was not finished".into())),
            }
            if search.found.is_some() {
                break;
            }
        }
        match search {
            // The name exists only in --model-dir, so that nothing can be downloaded instead.
            Search { found: None, skipped } if !is_name => match skipped.into_iter().next() {
                Some((path, reason)) => Err(Error::model(path, reason)),
                None => Err(unknown(model)),
            },
            search => Ok(search),
        }
    }

    /// Files and folders with the name `model`, in search order.
    fn candidates(&self, model: &str) -> Vec<Candidate> {
        let known = names::named(model);
        let repos: Vec<&str> = known.map_or_else(|| vec![model], |known| known.repos().collect());
        let mut found = Vec::new();
        if let Some(dir) = &self.model_dir {
            let bare = repos.iter().map(|repo| repo.rsplit('/').next().unwrap_or(repo));
            let mut folders: Vec<PathBuf> =
                [model].into_iter().chain(repos.iter().copied()).chain(bare).map(|n| dir.join(n)).collect();
            folders.retain(|path| path.exists());
            let files = files_called(dir, known.map_or(model, |known| known.file), model);
            for path in folders.into_iter().chain(files) {
                if !found.contains(&path) {
                    found.push(path);
                }
            }
        }
        let mut found: Vec<Candidate> = found.into_iter().map(Candidate::Path).collect();
        for root in self.model_dir.iter().chain(&self.cache) {
            let snapshots = repos.iter().flat_map(|repo| snapshots::snapshots(root, repo));
            found.extend(snapshots.map(|snapshot| match snapshot.unfinished {
                true => Candidate::Unfinished(snapshot.folder),
                false => Candidate::Path(snapshot.folder),
            }));
        }
        let of_whisper =
            known.zip(self.whisper_cache.as_ref()).map(|(known, dir)| dir.join(format!("{}.pt", known.file)));
        found.extend(of_whisper.filter(|file| file.is_file()).map(Candidate::Path));
        found
    }

    /// The complete folder of a repository in `model_dir` or a cache.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder in `model_dir` that lacks files.
    pub(super) fn local(&self, model: &str, repo: &str, layout: &super::Layout) -> Result<Option<PathBuf>> {
        if let Some(dir) = &self.model_dir {
            for plain in [dir.join(model), dir.join(repo), dir.join(repo.rsplit('/').next().unwrap_or(repo))] {
                if plain.is_dir() {
                    return complete(&plain, layout).map(Some);
                }
            }
        }
        let roots = self.model_dir.iter().chain(self.cache.iter());
        let snapshots = roots.flat_map(|root| snapshots::snapshots(root, repo)).filter(|s| !s.unfinished);
        Ok(snapshots.map(|snapshot| snapshot.folder).find(|folder| missing(folder, layout).is_empty()))
    }
}

/// A file or folder that may be the requested model.
enum Candidate {
    Path(PathBuf),
    /// A snapshot whose download was interrupted.
    Unfinished(PathBuf),
}

/// The files of openai-whisper and whisper.cpp in a folder for the model `name` or `alias`, in order of preference.
fn files_called(folder: &Path, name: &str, alias: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [alias, name].map(|name| folder.join(format!("{name}.pt"))).to_vec();
    found.retain(|file| file.is_file());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let rank = |file: &str| names::ggml_rank(alias, file).or_else(|| names::ggml_rank(name, file));
    let mut ggml: Vec<(usize, PathBuf)> =
        entries.filter_map(|entry| Some((rank(entry.file_name().to_str()?)?, entry.path()))).collect();
    ggml.sort();
    found.into_iter().chain(ggml.into_iter().map(|(_, path)| path)).collect()
}

/// The model at the path `model`; `None` if `model` is to be taken as a name.
fn at_path(model: &str) -> Result<Option<Checkpoint>> {
    let path = Path::new(model);
    if model.is_empty() || model == BUILTIN || !path.exists() {
        return Ok(None);
    }
    // A repository's folder in a hub cache.
    if path.join("snapshots").is_dir()
        && let Some((root, repo)) =
            path.parent().zip(path.file_name().and_then(|name| snapshots::repo_of(name.to_str()?)))
    {
        let folders = snapshots::snapshots(root, &repo).into_iter().filter(|s| !s.unfinished);
        if let Some(found) = folders.filter_map(|snapshot| usable(&snapshot.folder).ok()).next() {
            return Ok(Some(found));
        }
    }
    match usable(path) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        // A folder that only happens to have the name of a known model (an output folder `small`) is not a model.
        Err(_) if names::named(model).is_some() && !path.join(WHISPER.required[0]).is_file() => Ok(None),
        Err(Error::Model { path, reason }) => Err(Error::model(&path, format!("{reason}{}", files_within(&path)))),
        Err(error) => Err(error),
    }
}

/// A hint for a folder that contains a single-file model.
fn files_within(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let single = |path: &PathBuf| {
        path.is_file()
            && Checkpoint::recognise(path).is_ok_and(|found| matches!(found.format, Format::OpenAi | Format::Ggml))
    };
    match entries.filter(single).min() {
        Some(file) => format!("; it holds a model in a single file: give {}", file.display()),
        None => String::new(),
    }
}

fn unknown(model: &str) -> Error {
    let looks_like_path = model.contains(['/', '\\']) || model.starts_with('.');
    if looks_like_path {
        let files = "or is a file of openai-whisper (.pt) or whisper.cpp (ggml .bin)";
        return Error::model(model, format!("no such file or folder. {}, {files}", WHISPER.holds()));
    }
    let names: Vec<&str> = names::KNOWN.iter().map(|k| k.name).collect();
    let rule = format!("expected a folder or file, organisation/name, {BUILTIN}, or {}", names.join(", "));
    Error::config("model", model, rule)
}
