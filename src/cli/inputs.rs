//! The files that a command reads, so that it does not write over one of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use diarist::{Error, Result};

/// Files that a command reads.
#[derive(Default)]
pub struct Inputs {
    files: HashMap<FileId, PathBuf>,
}

/// What makes two names one file: on Unix its device and inode, so that links of both kinds are seen; elsewhere its real path.
#[derive(PartialEq, Eq, Hash)]
enum FileId {
    #[cfg(unix)]
    Inode(u64, u64),
    #[cfg(not(unix))]
    Path(PathBuf),
}

/// Files of model folders that a recording's results could be called like.
const OF_MODELS: [&str; 9] = [
    "added_tokens.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocab.json",
    "vocabulary.json",
    "vocabulary.txt",
];

impl Inputs {
    /// Adds files; those that are not there are none.
    pub fn with<P: AsRef<Path>>(mut self, files: impl IntoIterator<Item = P>) -> Self {
        for file in files {
            if let Some(place) = place(file.as_ref()) {
                self.files.entry(place).or_insert_with(|| file.as_ref().into());
            }
        }
        self
    }

    /// Adds models: files, or folders with the files of a model. A name that is no path is none.
    pub fn with_models<P: AsRef<Path>>(self, models: impl IntoIterator<Item = P>) -> Self {
        models.into_iter().fold(self, |inputs, model| {
            let model = model.as_ref();
            inputs.with(OF_MODELS.map(|name| model.join(name))).with([model])
        })
    }

    /// Refuses an output that is one of the inputs; `cure` says how to give another. One that does not exist yet is none.
    ///
    /// # Errors
    /// [`Error::Config`] naming both.
    pub fn spare<P: AsRef<Path>>(&self, outputs: impl IntoIterator<Item = P>, cure: &str) -> Result<()> {
        for output in outputs {
            if let Some(input) = place(output.as_ref()).and_then(|place| self.files.get(&place)) {
                let output = shown(output.as_ref());
                let rule = format!("is an input, and the output {output} would replace it; {cure}");
                return Err(Error::config("audio", shown(input), rule));
            }
        }
        Ok(())
    }
}

/// The cure where results are named after the recording.
pub const OTHER_FOLDER: &str = "give another folder with `output_dir`, or other formats with `output_format`";

/// A path without a leading `./`.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// Where a file is; `None` if there is none of this name.
#[cfg(unix)]
fn place(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    // A pipe or a device is not replaced by what is written to it.
    meta.is_file().then(|| FileId::Inode(meta.dev(), meta.ino()))
}

/// Where a file is; `None` if there is none of this name.
#[cfg(not(unix))]
fn place(path: &Path) -> Option<FileId> {
    path.is_file().then(|| path.canonicalize().ok().map(FileId::Path)).flatten()
}
