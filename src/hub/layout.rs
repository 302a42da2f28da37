//! The files that a model folder must contain, and the check for missing files.

use std::path::{Path, PathBuf};

use crate::engine::weights::LAYOUTS;
use crate::error::{Error, Result};
use crate::models::whisper::CTRANSLATE2_WEIGHTS;

/// The files of one kind of model folder.
pub(crate) struct Layout {
    /// The command-line option that takes such a folder.
    pub(super) option: &'static str,
    /// The kind of model, for messages.
    #[cfg_attr(not(feature = "fetch"), allow(dead_code))]
    pub(super) kind: &'static str,
    /// Files that must exist.
    pub(super) required: &'static [&'static str],
    /// Files that are used if they exist.
    pub(super) optional: &'static [&'static str],
    /// Weights files, in order of preference: the name of a single file, and the name of the index of a sharded
    /// checkpoint. Empty if the folder itself holds no weights (a pipeline's networks are in subfolders).
    pub(super) weights: &'static [(&'static str, &'static str)],
    /// An alternative layout, for the same kind of model in another format.
    pub(super) other: Option<&'static Layout>,
    /// How to continue without the model, for messages.
    pub(super) without: &'static str,
}

/// A Whisper folder in the Hugging Face layout.
pub(super) const WHISPER: Layout = Layout {
    required: &["config.json", "tokenizer.json"],
    optional: &["generation_config.json", "preprocessor_config.json"],
    weights: &LAYOUTS,
    other: Some(&CTRANSLATE2),
    ..CTRANSLATE2
};

/// A Whisper folder converted for CTranslate2. A missing `tokenizer.json` is replaced by that of another model with the
/// same vocabulary.
const CTRANSLATE2: Layout = Layout {
    option: "model",
    kind: "Whisper model",
    required: &["config.json"],
    optional: &["tokenizer.json", "vocabulary.json", "vocabulary.txt", "preprocessor_config.json"],
    weights: &[(CTRANSLATE2_WEIGHTS, "model.bin.index.json")],
    other: None,
    without: "To go on without any of this, `--model builtin` is part of the program (small, English, for trying out).",
};

impl Layout {
    /// The names of the files, weights last, for messages.
    pub(super) fn files(&self) -> String {
        let weights = self.weights.first().map(|(single, _)| *single);
        self.required.iter().chain(self.optional).copied().chain(weights).collect::<Vec<_>>().join(", ")
    }

    /// A sentence that lists the files of such a folder.
    pub(super) fn holds(&self) -> String {
        format!("A model folder holds {}", self.files())
    }

    /// The alternative layout if only its weights exist, else this layout.
    pub(super) fn where_weights(&self, exists: impl Fn(&str) -> bool) -> &Layout {
        let has = |layout: &Layout| layout.weights.iter().any(|(single, index)| exists(single) || exists(index));
        self.other.filter(|other| !has(self) && has(other)).unwrap_or(self)
    }
}

/// Returns `folder` if no file is missing in it.
///
/// # Errors
/// [`Error::Model`] with the missing files.
pub(super) fn complete(folder: &Path, layout: &Layout) -> Result<PathBuf> {
    let missing = missing(folder, layout);
    if missing.is_empty() {
        return Ok(folder.to_path_buf());
    }
    let other = match layout.where_weights(|name| folder.join(name).is_file()).other {
        Some(other) => format!(" (or {}, as converters to CTranslate2 write them)", other.files()),
        None => String::new(),
    };
    let reason = format!(
        "not a complete model folder: missing {}{other}; put them there, from the repository the model was published in",
        missing.join(", ")
    );
    Err(Error::model(folder, reason))
}

/// The files that are missing in a model folder, including the shards of an index.
pub(super) fn missing(folder: &Path, layout: &Layout) -> Vec<String> {
    let absent = |name: &str| !folder.join(name).is_file();
    let layout = layout.where_weights(|name| !absent(name));
    let mut missing: Vec<String> = layout.required.iter().filter(|f| absent(f)).map(|f| f.to_string()).collect();
    for (single, index) in layout.weights {
        if !absent(single) {
            return missing;
        }
        if let Ok(text) = std::fs::read_to_string(folder.join(index)) {
            missing.extend(shards(&text).unwrap_or_default().into_iter().filter(|s| absent(s)));
            return missing;
        }
    }
    missing.extend(layout.weights.first().map(|(single, _)| single.to_string()));
    missing
}

/// The distinct shard files that an index lists. `None` if the text is not an index, or if a name is not a plain file
/// name (which prevents path traversal).
pub(super) fn shards(index: &str) -> Option<Vec<String>> {
    let json: serde_json::Value = serde_json::from_str(index).ok()?;
    let mut names: Vec<String> =
        json["weight_map"].as_object()?.values().map(|v| v.as_str().map(str::to_string)).collect::<Option<_>>()?;
    names.sort_unstable();
    names.dedup();
    let plain = |name: &String| !name.starts_with('.') && !name.contains(['/', '\\']);
    names.iter().all(plain).then_some(names)
}

/// Size in bytes of a model file, or of the files directly in a model folder. Symbolic links are followed.
pub fn size_of(model: &Path) -> u64 {
    let size = |path: PathBuf| std::fs::metadata(path).ok().filter(|m| m.is_file()).map(|m| m.len());
    match std::fs::read_dir(model) {
        Ok(entries) => entries.flatten().filter_map(|entry| size(entry.path())).sum(),
        Err(_) => size(model.to_path_buf()).unwrap_or(0),
    }
}
