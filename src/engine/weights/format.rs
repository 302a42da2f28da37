//! The format of a file of weights, recognised by its first bytes, and the reader for it.

use super::found::{Found, Unreadable};
use super::{ctranslate2, ggml, safetensors, torch};

/// The format of one file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Hugging Face's safetensors.
    SafeTensors,
    /// A checkpoint of PyTorch.
    Torch,
    /// CTranslate2's `model.bin`.
    CTranslate2,
    /// The ggml format of whisper.cpp.
    Ggml,
}

impl FileFormat {
    /// Bytes at the beginning of a file that tell its format.
    pub const HEAD: usize = 128;

    /// The format that a file begins with.
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

/// What a file holds. Whatever begins like none of the formats is left to the reader of safetensors, whose reason is as good as
/// any.
pub(super) fn read(bytes: &[u8]) -> Result<Found, Unreadable> {
    if bytes.get(257..262) == Some(b"ustar") {
        let cure = "is in PyTorch's format of before 2017; load it there and save it anew";
        return Err(Unreadable::Unsupported(cure.into()));
    }
    match FileFormat::of(bytes) {
        Some(FileFormat::Torch) => Ok(torch::read(bytes)?),
        Some(FileFormat::Ggml) => ggml::read(bytes),
        Some(FileFormat::CTranslate2) => ctranslate2::read(bytes),
        Some(FileFormat::SafeTensors) | None => Ok(safetensors::read(bytes)?),
    }
}
