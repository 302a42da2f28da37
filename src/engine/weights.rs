//! Reading checkpoints, safetensors or PyTorch's own: memory-mapped, checked against the shapes the model expects,
//! converted to f32 on the host one tensor at a time.

#![allow(unsafe_code)] // the memory map, and nothing else

mod facts;
mod pickle;
mod torch;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::error::{Error, Result};

/// A weight `[N, K]` on the host, row-major.
#[derive(Clone, Debug)]
pub struct HostMatrix {
    /// `N * K` values.
    pub values: Vec<f32>,
    /// `N`: output features.
    pub rows: usize,
    /// `K`: input features.
    pub cols: usize,
}

/// How the weights of a model folder are stored: the single file, and the index of the shards where there are several.
/// The first that is there is read.
pub const LAYOUTS: [(&str, &str); 2] =
    [("model.safetensors", "model.safetensors.index.json"), ("pytorch_model.bin", "pytorch_model.bin.index.json")];

/// The tensors of one checkpoint, in one file or in the shards of an index.
pub struct Weights {
    shards: Vec<Bytes>,
    index: HashMap<String, Entry>,
    origin: PathBuf,
    /// See [`Weights::facts`].
    facts: Value,
    /// Makes every tensor up instead; see [`Weights::random`].
    seed: Option<u64>,
}

/// Where a tensor is.
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Distance of neighbours along each axis, in elements, where that is not row-major.
    strides: Option<Vec<usize>>,
    /// Bytes of the shard.
    range: Range<usize>,
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
    /// Opens the first of [`LAYOUTS`] that is in a model folder: one file, or the shards named by its index.
    ///
    /// # Errors
    /// [`Error::Weights`] naming the file, if it is missing, truncated, or not of its format.
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
        let cure = if folder.join("model.bin").is_file() {
            "this is a CTranslate2 model; diarist reads the Hugging Face layout with model.safetensors"
        } else {
            "expected model.safetensors, pytorch_model.bin, or the index of their shards in this folder"
        };
        Err(Error::weights(folder, "*", cure))
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

    /// Opens one file of any name: safetensors, or a checkpoint of PyTorch.
    ///
    /// # Errors
    /// [`Error::Weights`] naming the file, if it is missing, truncated, or neither.
    pub fn open_file(path: &Path) -> Result<Self> {
        Self::from_shards(path.to_path_buf(), vec![(path.to_path_buf(), map(path)?)])
    }

    /// Reads safetensors that are part of the program.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::from_shards(PathBuf::from(name), vec![(PathBuf::from(name), Bytes::Static(bytes))])
    }

    /// Reads a checkpoint from memory; `name` stands for the file in errors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::from_shards(PathBuf::from(name), vec![(PathBuf::from(name), Bytes::Owned(bytes))])
    }

    fn from_shards(origin: PathBuf, files: Vec<(PathBuf, Bytes)>) -> Result<Self> {
        let mut shards = Vec::new();
        let mut index = HashMap::new();
        let mut facts = Value::Null;
        for (path, bytes) in files {
            if bytes.get(257..262) == Some(b"ustar") {
                let cure = "is in PyTorch's format of before 2017; load it there and save it anew";
                return Err(Error::weights(&path, "*", cure));
            }
            let found = if torch::is_checkpoint(&bytes) { torch::tensors(&bytes) } else { safetensors(&bytes) };
            let damaged = |e| Error::weights(&path, "*", format!("damaged or truncated ({e}); fetch the model again"));
            let (places, said) = found.map_err(damaged)?;
            if facts.is_null() {
                facts = said;
            }
            for torch::Place { name, dtype, shape, strides, range } in places {
                index.insert(name, Entry { shard: shards.len(), dtype, shape, strides, range });
            }
            shards.push(bytes);
        }
        Ok(Weights { shards, index, origin, facts, seed: None })
    }

    /// Random numbers under every name and in every shape: for measuring speed where no checkpoint is at hand. Sums stay
    /// of the size of their inputs and norms are the identity. Attention, which averages, counts for less than the rest, or
    /// every step would choose the same token: so tokens change with the audio and with those before, and the best one
    /// leads by a quarter of the logits' deviation on average, far more than rounding moves them. The same for the same
    /// seed.
    pub fn random(seed: u64) -> Self {
        let origin = PathBuf::from("random weights");
        Weights { shards: Vec::new(), index: HashMap::new(), origin, facts: Value::Null, seed: Some(seed) }
    }

    /// The same tensors under other names.
    pub fn renamed(self, name: impl Fn(&str) -> String) -> Self {
        let index = self.index.into_iter().map(|(old, entry)| (name(&old), entry)).collect();
        Weights { index, ..self }
    }

    /// The file the tensors come from, for errors.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// What the first file says of itself beside its tensors: a checkpoint of PyTorch its `hyper_parameters` and
    /// `pyannote.audio`, as data, nothing of it executed; safetensors their metadata.
    pub fn facts(&self) -> &Value {
        &self.facts
    }

    /// Whether the checkpoint has a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.index.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The tensor's values as f32, checked against `shape`.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing, has another shape, is not f32/f16/bf16, or holds NaN or infinity.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if let Some(seed) = self.seed {
            return Ok(made_up(seed, name, shape));
        }
        let (dtype, bytes) = self.bytes(name, shape)?;
        let fail = |reason: String| Error::weights(&self.origin, name, reason);
        let values =
            to_f32(dtype, &bytes).ok_or_else(|| fail(format!("is {dtype:?}; f32, f16 and bf16 can be read")))?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(fail(format!("element {at} is {}; the file is damaged, fetch the model again", values[at])));
        }
        Ok(values)
    }

    /// The values of a tensor of i64, checked against `shape`.
    ///
    /// # Errors
    /// [`Error::Weights`] if it is missing, has another shape, or is not i64.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<Vec<i64>> {
        let (dtype, bytes) = self.bytes(name, shape)?;
        if dtype != Dtype::I64 {
            return Err(Error::weights(&self.origin, name, format!("is {dtype:?}, expected I64")));
        }
        Ok(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    /// A tensor's elements in row-major order, and their type.
    fn bytes(&self, name: &str, shape: &[usize]) -> Result<(Dtype, Cow<'_, [u8]>)> {
        let fail = |reason: String| Error::weights(&self.origin, name, reason);
        let missing = || fail("missing; is this the checkpoint of this config?".into());
        let entry = self.index.get(name).ok_or_else(missing)?;
        if entry.shape != shape {
            return Err(fail(format!(
                "has shape {:?}, but config.json asks for {shape:?}; do config and weights belong together?",
                entry.shape
            )));
        }
        let bytes = &self.shards[entry.shard][entry.range.clone()];
        let Some(strides) = &entry.strides else { return Ok((entry.dtype, Cow::Borrowed(bytes))) };
        let width = entry.dtype.bitsize() / 8;
        // Otherwise a few bytes could ask for any amount of memory.
        if shape.iter().product::<usize>() > bytes.len() / width {
            return Err(fail("repeats its storage; save a copy of it that does not".into()));
        }
        Ok((entry.dtype, Cow::Owned(row_major(bytes, width, shape, strides))))
    }

    /// A two-dimensional weight `[rows, cols]`.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<HostMatrix> {
        Ok(HostMatrix { values: self.tensor(name, &[rows, cols])?, rows, cols })
    }
}

/// The tensors of a safetensors file.
fn safetensors(bytes: &[u8]) -> std::result::Result<(Vec<torch::Place>, Value), String> {
    // Checks that every tensor lies within the file, that none overlap, and that sizes match shapes.
    SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let data = header + size_of::<u64>();
    let place = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
        let range = data + info.data_offsets.0..data + info.data_offsets.1;
        torch::Place { name, dtype: info.dtype, shape: info.shape.clone(), strides: None, range }
    };
    let notes = metadata.metadata().iter().flatten();
    let facts = notes.map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect();
    Ok((metadata.tensors().into_iter().map(place).collect(), Value::Object(facts)))
}

/// Elements of `width` bytes, copied from wherever `strides` says they are. `bytes` was checked to hold the last of them.
fn row_major(bytes: &[u8], width: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let count: usize = shape.iter().product();
    let mut out = Vec::with_capacity(count * width);
    let mut at = vec![0; shape.len()];
    for _ in 0..count {
        let element: usize = at.iter().zip(strides).map(|(at, stride)| at * stride).sum();
        out.extend_from_slice(&bytes[element * width..(element + 1) * width]);
        for (at, size) in at.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *size {
                break;
            }
            *at = 0;
        }
    }
    out
}

/// See [`Weights::random`]: uniform, each block of 4096 numbers from a generator of its own, so that all cores can work.
fn made_up(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let scale = match (shape.len(), name) {
        (1, name) if name.contains("layer_norm") && name.ends_with("weight") => {
            return vec![1.0; shape[0]];
        }
        (1, _) => 0.02,
        (_, name) if name.contains("embed_tokens") || name.contains("embed_positions") => 0.1,
        (_, name) if name.contains("out_proj") => 0.15 * (3.0 / fan_in.max(1) as f32).sqrt(),
        _ => (3.0 / fan_in.max(1) as f32).sqrt(),
    };
    let base =
        name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut values = vec![0.0; shape.iter().product()];
    values.par_chunks_mut(4096).enumerate().for_each(|(block, values)| {
        // xorshift64*, Vigna 2016
        let mut state = (base ^ (block as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1;
        for value in values {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *value = ((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale;
        }
    });
    values
}

fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(|e| Error::weights(path, "*", format!("cannot be opened: {e}")))?;
    // SAFETY: the map is read-only and private to this process. If another process truncates the file while it is
    // mapped, reading it faults; that is the accepted price of not copying gigabytes of weights, as in every loader
    // of this format.
    let map = unsafe { memmap2::Mmap::map(&file) };
    Ok(Bytes::Mapped(map.map_err(|e| Error::weights(path, "*", format!("cannot be mapped: {e}")))?))
}

/// Little-endian bytes to f32; `None` for a type that is not a float of at most 32 bits.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => {
            let halves: Vec<half::f16> =
                bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]])).collect();
            let mut out = vec![0.0; halves.len()];
            halves.convert_to_f32_slice(&mut out);
            Some(out)
        }
        Dtype::BF16 => Some(
            bytes.chunks_exact(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect(),
        ),
        _ => None,
    }
}
