//! Protection of input files: a command refuses an output that would overwrite one of its inputs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use diarist::{Error, Result};

/// The files that a command reads.
#[derive(Default)]
pub struct Inputs {
    files: HashMap<FileId, PathBuf>,
}

/// The identity of a file. On Unix its device and inode, so that symbolic and hard links are recognised; elsewhere its
/// canonical path.
#[derive(PartialEq, Eq, Hash)]
enum FileId {
    #[cfg(unix)]
    Inode(u64, u64),
    #[cfg(not(unix))]
    Path(PathBuf),
}

/// Files of model folders whose names a recording's results could have.
const MODEL_FILES: [&str; 9] = [
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
    /// Adds files. Paths that do not exist are ignored.
    pub fn with<P: AsRef<Path>>(mut self, files: impl IntoIterator<Item = P>) -> Self {
        for file in files {
            if let Some(file_id) = file_id(file.as_ref()) {
                self.files.entry(file_id).or_insert_with(|| file.as_ref().into());
            }
        }
        self
    }

    /// Adds models: files, or folders with the files of a model. Names of hub models are ignored.
    pub fn with_models<P: AsRef<Path>>(self, models: impl IntoIterator<Item = P>) -> Self {
        models.into_iter().fold(self, |inputs, model| {
            let model = model.as_ref();
            inputs.with(MODEL_FILES.map(|name| model.join(name))).with([model])
        })
    }

    /// Refuses outputs that are also inputs; `cure` tells the user how to choose another output. Outputs that do not
    /// exist yet are accepted.
    ///
    /// # Errors
    /// [`Error::Config`] naming the input and the output.
    pub fn spare<P: AsRef<Path>>(&self, outputs: impl IntoIterator<Item = P>, cure: &str) -> Result<()> {
        for output in outputs {
            if let Some(input) = file_id(output.as_ref()).and_then(|file_id| self.files.get(&file_id)) {
                let output = shown(output.as_ref());
                let rule = format!("is an input, and the output {output} would replace it; {cure}");
                return Err(Error::config("audio", shown(input), rule));
            }
        }
        Ok(())
    }
}

/// The `cure` of [`Inputs::spare`] for results that are named after the recording.
pub const OTHER_FOLDER: &str = "give another folder with `output_dir`, or other formats with `output_format`";

/// A path without its leading `./`, for messages.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// The identity of a regular file; `None` if there is no regular file of this name.
#[cfg(unix)]
fn file_id(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).ok()?;
    // Writing to a pipe or a device does not replace it.
    meta.is_file().then(|| FileId::Inode(meta.dev(), meta.ino()))
}

/// The identity of a regular file; `None` if there is no regular file of this name.
#[cfg(not(unix))]
fn file_id(path: &Path) -> Option<FileId> {
    path.is_file().then(|| path.canonicalize().ok().map(FileId::Path)).flatten()
}
