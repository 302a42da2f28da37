//! Formats of Whisper checkpoints, and recognition of a file's or folder's format.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::engine::weights::{FileFormat, LAYOUTS};
use crate::error::{Error, Result};

/// The format of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A folder with `config.json`, `tokenizer.json` and safetensors or `pytorch_model.bin`, as transformers saves it.
    HuggingFace,
    /// A folder with `model.bin` and `config.json`, as CTranslate2's converters write it and faster-whisper reads it.
    CTranslate2,
    /// A single `.pt` file with `dims` and `model_state_dict`, as openai-whisper downloads it.
    OpenAi,
    /// A single `.bin` file, as whisper.cpp's converters write it.
    Ggml,
}

/// A checkpoint on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The format.
    pub format: Format,
    /// The folder, or the single file of [`Format::OpenAi`] and [`Format::Ggml`].
    pub path: PathBuf,
    /// A `tokenizer.json` or `.tiktoken` file, for checkpoints without a vocabulary ([`Format::OpenAi`], and
    /// [`Format::CTranslate2`] without a `tokenizer.json`).
    pub tokenizer: Option<PathBuf>,
}

impl Format {
    /// Name of the format in messages and tables.
    pub fn name(self) -> &'static str {
        match self {
            Format::HuggingFace => "Hugging Face",
            Format::CTranslate2 => "CTranslate2",
            Format::OpenAi => "openai-whisper",
            Format::Ggml => "ggml",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name of the weights in a CTranslate2 folder.
pub const CTRANSLATE2_WEIGHTS: &str = "model.bin";

impl Checkpoint {
    /// A folder in the Hugging Face layout.
    pub fn hugging_face(folder: impl Into<PathBuf>) -> Self {
        Checkpoint { format: Format::HuggingFace, path: folder.into(), tokenizer: None }
    }

    /// Recognises the format of a file or folder by its contents. The path of a file that belongs to a folder
    /// (`model.safetensors`, `model.bin`, `config.json`) stands for that folder; a folder with a single `.pt` or ggml
    /// file stands for that file. Only the beginning of a file is read, so damage further in is found by loading only.
    ///
    /// # Errors
    /// [`Error::Model`] if there is nothing at `path`, or no known format.
    pub fn recognise(path: &Path) -> Result<Self> {
        let (format, path) = if path.is_dir() { of_folder(path) } else { of_file(path) }?;
        Ok(Checkpoint { format, path, tokenizer: None })
    }
}

fn of_folder(folder: &Path) -> Result<(Format, PathBuf)> {
    let has = |name: &str| folder.join(name).is_file();
    if LAYOUTS.iter().any(|(single, index)| has(single) || has(index)) {
        if !has("config.json") {
            let reason =
                "has weights, but no config.json, which says what they belong to; fetch the whole model folder";
            return Err(Error::model(folder, reason));
        }
        return Ok((Format::HuggingFace, folder.to_path_buf()));
    }
    if has(CTRANSLATE2_WEIGHTS) {
        return of_file(&folder.join(CTRANSLATE2_WEIGHTS));
    }
    match single_files(folder).as_slice() {
        [file] => of_file(file),
        [] => {
            let reason = "holds no model: expected model.safetensors or pytorch_model.bin (Hugging Face), model.bin \
                          (CTranslate2), or a single .pt (openai-whisper) or .bin (ggml) file";
            Err(Error::model(folder, reason))
        }
        several => {
            let names = several.iter().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy());
            let names = names.collect::<Vec<_>>().join(", ");
            Err(Error::model(folder, format!("holds several models ({names}); name one of them")))
        }
    }
}

/// The files of a folder that are complete checkpoints (openai-whisper, ggml), sorted.
fn single_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.map(|entry| entry.path()).filter(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("pt" | "pth" | "bin")) && path.is_file()
    });
    let is_model = |path: &PathBuf| matches!(format_of(path), Ok(Some(FileFormat::Torch | FileFormat::Ggml)));
    let mut found: Vec<PathBuf> = named.filter(is_model).collect();
    found.sort();
    found
}

fn format_of(path: &Path) -> Result<Option<FileFormat>> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FileFormat::HEAD as u64).read_to_end(&mut head));
    read.map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::model(path, "there is no such file or folder; check the path"),
        _ => Error::model(path, format!("cannot be read: {e}")),
    })?;
    for (magic, kind) in
        [(&b"GGUF"[..], "a GGUF file"), (b"tjgg", "a ggml file of llama.cpp"), (b"fmgg", "a ggml file of llama.cpp")]
    {
        if head.starts_with(magic) {
            let reason = format!("is {kind}; expected one that whisper.cpp's converters write (ggml-*.bin)");
            return Err(Error::model(path, reason));
        }
    }
    Ok(FileFormat::of(&head))
}

fn of_file(path: &Path) -> Result<(Format, PathBuf)> {
    let format = format_of(path)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = || match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let of_layout = LAYOUTS.iter().any(|(single, index)| name == *single || name == *index);
    match format {
        Some(FileFormat::Ggml) => Ok((Format::Ggml, path.to_path_buf())),
        Some(FileFormat::CTranslate2) if name == CTRANSLATE2_WEIGHTS => {
            Ok((Format::CTranslate2, folder().to_path_buf()))
        }
        Some(FileFormat::CTranslate2) => {
            Err(Error::model(path, format!("is a CTranslate2 model; it must be called {CTRANSLATE2_WEIGHTS}")))
        }
        Some(FileFormat::Torch) if !of_layout => Ok((Format::OpenAi, path.to_path_buf())),
        Some(FileFormat::SafeTensors) if name.ends_with(".safetensors") && !of_layout && !name.contains("-of-") => {
            let reason = "is not a model by itself: it must be called model.safetensors and lie in a folder with the \
                          model's config.json and tokenizer.json";
            Err(Error::model(path, reason))
        }
        // A file of a folder: the folder is the checkpoint.
        _ if of_layout || matches!(name, "config.json" | "tokenizer.json") || name.contains("-of-") => {
            of_folder(folder())
        }
        _ => {
            let reason = "is not a model that is known: expected a folder (Hugging Face or CTranslate2), a .pt file \
                          (openai-whisper) or a .bin file (ggml)";
            Err(Error::model(path, reason))
        }
    }
}
