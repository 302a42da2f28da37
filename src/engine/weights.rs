//! Readers of checkpoints: safetensors, PyTorch, CTranslate2 and whisper.cpp (ggml).
//!
//! Files are memory-mapped. A tensor is checked against the shape the model expects and converted on the host when it
//! is requested, one at a time. Each format has its own reader, which lists the tensors with their byte ranges;
//! [`Weights`] is common to all formats.

#![allow(unsafe_code)] // only for the memory map

mod contents;
mod ctranslate2;
mod cursor;
mod format;
mod ggml;
mod ggml_blocks;
mod host;
mod location;
mod metadata;
mod pickle;
mod quantised;
mod random;
mod safetensors;
mod torch;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use serde_json::Value;

pub use format::FileFormat;
pub use host::{HostInt8, HostMatrix, HostWeight, WeightRef};

use self::contents::ReadError;
use self::location::{Encoding, TensorLocation, row_major, to_f32};
use self::random::random;
use crate::error::{Error, Result};

/// File names of weights in a model folder: the single file, or the index of several shards. The first one found is
/// read.
pub const LAYOUTS: [(&str, &str); 2] =
    [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")];

/// The tensors of one checkpoint, in one file or in the shards of an index.
pub struct Weights {
    shards: Vec<Bytes>,
    index: HashMap<String, Entry>,
    origin: PathBuf,
    /// See [`Weights::metadata`].
    metadata: Value,
    /// See [`Weights::vocabulary`]: byte ranges in the first shard.
    vocabulary: Vec<Range<usize>>,
    /// Generates random tensors instead; see [`Weights::random`].
    seed: Option<u64>,
}

/// The location of a tensor.
struct Entry {
    shard: usize,
    location: TensorLocation,
}

/// A part of a tensor under a name of its own; see [`Weights::split`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPart {
    /// The name that the model requests.
    pub name: String,
    /// Rows of the first axis; `None` is the whole tensor.
    pub rows: Option<Range<usize>>,
    /// The shape that the model requests, if the file has the same elements in another shape.
    pub shape: Option<Vec<usize>>,
}

enum Bytes {
    Mapped(memmap2::Mmap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Weights {
    /// Opens the weights of a model folder, the first of [`LAYOUTS`] found: one file, or the shards named by an index.
    ///
    /// # Errors
    /// [`Error::Weights`] with the file name, if it is missing, truncated, or not of its format.
    pub fn open(folder: &Path) -> Result<Self> {
        for (single, index) in LAYOUTS {
            let (single, index) = (folder.join(single), folder.join(index));
            if single.is_file() {
                return Self::open_file(&single);
            }
            if index.is_file() {
                return Self::open_shards(folder, index);
            }
        }
        let reason = "expected model.safetensors, pytorch_model.bin, or the index of their shards in this folder";
        Err(Error::weights(folder, "*", reason))
    }

    fn open_shards(folder: &Path, index: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&index).map_err(|e| Error::io(&index, e))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Error::weights(&index, "*", format!("not valid JSON: {e}")))?;
        let map_of = json["weight_map"]
            .as_object()
            .ok_or_else(|| Error::weights(&index, "*", "has no `weight_map`; fetch the model again"))?;
        let mut names: Vec<&str> = map_of.values().filter_map(|v| v.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut shards = Vec::new();
        for name in names {
            if Path::new(name).components().count() != 1 || name.starts_with("..") {
                return Err(Error::weights(&index, "*", format!("shard name `{name}` is not a plain file name")));
            }
            let path = folder.join(name);
            shards.push((path.clone(), map(&path)?));
        }
        Self::from_shards(index, shards)
    }

    /// Opens one file of any name: safetensors, a PyTorch checkpoint, CTranslate2's `model.bin`, or whisper.cpp's ggml.
    ///
    /// # Errors
    /// [`Error::Weights`] with the file name, if it is missing, truncated, or of none of these formats.
    pub fn open_file(path: &Path) -> Result<Self> {
        Self::from_shards(path.to_path_buf(), vec![(path.to_path_buf(), map(path)?)])
    }

    /// Reads a checkpoint embedded in the program; `name` stands for the file in errors.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::from_shards(PathBuf::from(name), vec![(PathBuf::from(name), Bytes::Static(bytes))])
    }

    /// Reads a checkpoint from memory; `name` stands for the file in errors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::from_shards(PathBuf::from(name), vec![(PathBuf::from(name), Bytes::Owned(bytes))])
    }

    fn from_shards(origin: PathBuf, files: Vec<(PathBuf, Bytes)>) -> Result<Self> {
        let (mut metadata, mut vocabulary) = (Value::Null, Vec::new());
        let (mut shards, mut index) = (Vec::new(), HashMap::new());
        for (path, bytes) in files {
            let found = format::read(&bytes).map_err(|reason| match reason {
                ReadError::Unsupported(reason) => Error::weights(&path, "*", reason),
                ReadError::Damaged(reason) => {
                    Error::weights(&path, "*", format!("damaged or truncated ({reason}); fetch the model again"))
                }
            })?;
            if shards.is_empty() {
                (metadata, vocabulary) = (found.metadata, found.vocabulary);
            }
            for location in found.locations {
                index.insert(location.name.clone(), Entry { shard: shards.len(), location });
            }
            shards.push(bytes);
        }
        Ok(Weights { shards, index, origin, metadata, vocabulary, seed: None })
    }

    /// Random weights under every name and in every shape, for measuring speed without a checkpoint. The same seed
    /// gives the same weights. Sums keep the magnitude of their inputs, and norms are the identity. Attention, which
    /// averages, has a smaller weight than the rest; otherwise every step would choose the same token. So tokens depend
    /// on the audio and on earlier tokens. The best token leads by a quarter of the logits' standard deviation on
    /// average, far more than rounding errors.
    pub fn random(seed: u64) -> Self {
        let origin = PathBuf::from("random weights");
        let (shards, index, vocabulary) = (Vec::new(), HashMap::new(), Vec::new());
        Weights { shards, index, origin, metadata: Value::Null, vocabulary, seed: Some(seed) }
    }

    /// Renames all tensors.
    pub fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        let index = self.index.into_iter().map(|(old, entry)| (name(&old), entry)).collect();
        Weights { index, ..self }
    }

    /// Splits and renames tensors: `parts` returns, for the name and shape of each tensor of the file, the parts that
    /// the model requests. A tensor without parts is dropped; nothing is copied.
    ///
    /// # Errors
    /// [`Error::Weights`] if a part is outside of its tensor or has another number of elements.
    pub fn split(self, parts: impl Fn(&str, &[usize]) -> Vec<TensorPart>) -> Result<Self> {
        let mut index = HashMap::new();
        for (name, Entry { shard, location }) in &self.index {
            for part in parts(name, &location.shape) {
                let cut = location.part(&part);
                let location = cut.ok_or_else(|| {
                    let reason = format!("has shape {:?}, but {part:?} is asked of it", location.shape);
                    Error::weights(&self.origin, name, reason)
                })?;
                index.insert(part.name, Entry { shard: *shard, location });
            }
        }
        Ok(Weights { index, ..self })
    }

    /// The file that the tensors come from, for error messages.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Metadata of the first file. PyTorch: `hyper_parameters`, `pyannote.audio` and `dims`, as data; no code of the
    /// pickle is executed. Safetensors: its metadata. CTranslate2: `spec`, `revision` and `version`. Ggml: `dims`, with
    /// the names of openai-whisper.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// The text tokens of a ggml file as bytes, in the order of their ids; empty for other formats.
    pub fn vocabulary(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let shard = self.shards.first().map_or(&[][..], |shard| shard);
        self.vocabulary.iter().map(move |range| &shard[range.clone()])
    }

    /// Whether the checkpoint has a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The names of all tensors, unordered.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// The shape of a tensor; `None` if there is none of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.index.get(name).map(|entry| entry.location.shape.as_slice())
    }

    /// The values of a tensor as f32, checked against `shape`. Quantised values are multiplied by their scales.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing, has another shape or an unsupported type, or holds NaN or infinity.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if let Some(seed) = self.seed {
            return Ok(random(seed, name, shape));
        }
        let fail = |reason: String| Error::weights(&self.origin, name, reason);
        let (encoding, bytes) = self.bytes(name, shape)?;
        let values = match encoding {
            Encoding::Plain(Dtype::I8) if self.is_quantised(name) => {
                return Ok(self.int8(name, shape)?.to_float().values);
            }
            Encoding::Plain(Dtype::I16) if self.is_quantised(name) => self.int16(name, &bytes)?,
            _ => {
                to_f32(encoding, &bytes).ok_or_else(|| fail(format!("is {encoding}; f32, f16 and bf16 can be read")))?
            }
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(fail(format!("element {at} is {}; the file is damaged, fetch the model again", values[at])));
        }
        Ok(values)
    }

    /// Whether two tensors hold the same bytes in the same shape.
    pub fn are_equal(&self, a: &str, b: &str) -> bool {
        let [a, b] = [a, b].map(|name| {
            let Entry { shard, location } = self.index.get(name)?;
            Some((location.encoding, &location.shape, &self.shards[*shard][location.range.clone()]))
        });
        a.is_some() && a == b
    }

    /// A single integer of 8, 16 or 32 bits; `None` if there is none of this name.
    pub fn integer(&self, name: &str) -> Option<i64> {
        let Entry { shard, location } = self.index.get(name)?;
        let bytes = &self.shards[*shard][location.range.clone()];
        match location.encoding {
            Encoding::Plain(Dtype::I8) => bytes.try_into().ok().map(|b| i8::from_le_bytes(b).into()),
            Encoding::Plain(Dtype::I16) => bytes.try_into().ok().map(|b| i16::from_le_bytes(b).into()),
            Encoding::Plain(Dtype::I32) => bytes.try_into().ok().map(|b| i32::from_le_bytes(b).into()),
            _ => None,
        }
    }

    /// The values of an i64 tensor, checked against `shape`.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing, has another shape, or is not i64.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<Vec<i64>> {
        let (encoding, bytes) = self.bytes(name, shape)?;
        if encoding != Encoding::Plain(Dtype::I64) {
            return Err(Error::weights(&self.origin, name, format!("is {encoding}, expected I64")));
        }
        Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    /// A tensor's elements in row-major order, and their type.
    fn bytes(&self, name: &str, shape: &[usize]) -> Result<(Encoding, Cow<'_, [u8]>)> {
        let fail = |reason: String| Error::weights(&self.origin, name, reason);
        let missing = || fail("missing; is this the checkpoint of this config?".into());
        let Entry { shard, location } = self.index.get(name).ok_or_else(missing)?;
        if location.shape != shape {
            return Err(fail(format!(
                "has shape {:?}, but config.json (or `dims`) asks for {shape:?}; do config and weights belong together?",
                location.shape
            )));
        }
        let bytes = &self.shards[*shard][location.range.clone()];
        let (Some(strides), Encoding::Plain(dtype)) = (&location.strides, location.encoding) else {
            return Ok((location.encoding, Cow::Borrowed(bytes)));
        };
        let width = dtype.bitsize() / 8;
        // Otherwise a small damaged file could request any amount of memory (stride 0).
        if shape.iter().product::<usize>() > bytes.len() / width {
            return Err(fail("repeats its storage; save a copy of it that does not".into()));
        }
        Ok((location.encoding, Cow::Owned(row_major(bytes, width, shape, strides))))
    }

    /// A two-dimensional weight `[rows, cols]`.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostMatrix> {
        Ok(HostMatrix { values: self.tensor(name, &[rows, cols])?, rows, cols })
    }
}

fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(|e| Error::weights(path, "*", format!("cannot be opened: {e}")))?;
    // SAFETY: the map is read-only and private to this process. If another process truncates the file while it is
    // mapped, reading it faults (SIGBUS). We accept this, as other safetensors loaders do, in order not to copy
    // gigabytes of weights.
    let map = unsafe { memmap2::Mmap::map(&file) };
    Ok(Bytes::Mapped(map.map_err(|e| Error::weights(path, "*", format!("cannot be mapped: {e}")))?))
}
