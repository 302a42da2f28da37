//! Detection of checkpoint formats by their first bytes, and dispatch to the readers.

use super::contents::{Contents, ReadError};
use super::{ctranslate2, ggml, safetensors, torch};

/// The format of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Hugging Face's safetensors.
    SafeTensors,
    /// A PyTorch checkpoint.
    Torch,
    /// CTranslate2's `model.bin`.
    CTranslate2,
    /// The ggml format of whisper.cpp.
    Ggml,
}

impl FileFormat {
    /// Number of bytes at the beginning of a file that [`of`](Self::of) needs.
    pub const HEAD: usize = 128;

    /// The format of a file that begins with these bytes; `None` if it is unknown.
    pub fn of(head: &[u8]) -> Option<Self> {
        if torch::is_checkpoint(head) {
            Some(FileFormat::Torch)
        } else if head.starts_with(ggml::MAGIC) {
            Some(FileFormat::Ggml)
        } else if ctranslate2::is_model(head) {
            Some(FileFormat::CTranslate2)
        } else {
            (head.get(8) == Some(&b'{')).then_some(FileFormat::SafeTensors)
        }
    }
}

/// Reads a checkpoint. Unknown formats are given to the safetensors reader, which reports why they cannot be read.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, ReadError> {
    if bytes.get(257..262) == Some(b"ustar") {
        let cure = "is in PyTorch's format of before 2017; load it there and save it anew";
        return Err(ReadError::Unsupported(cure.into()));
    }
    match FileFormat::of(bytes) {
        Some(FileFormat::Torch) => Ok(torch::read(bytes)?),
        Some(FileFormat::Ggml) => ggml::read(bytes),
        Some(FileFormat::CTranslate2) => ctranslate2::read(bytes),
        Some(FileFormat::SafeTensors) | None => Ok(safetensors::read(bytes)?),
    }
}
