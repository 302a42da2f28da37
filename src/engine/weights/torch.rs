//! Reader of PyTorch checkpoints, in the zip format and in the legacy format before PyTorch 1.6: the byte ranges of
//! tensors.
//!
//! No code in the file is executed ([`pickle`](super::pickle)). Every tensor is checked to be within its storage, and
//! every storage within the file, before the tensors are listed.
//!
//! | | zip format | legacy format |
//! |---|---|---|
//! | dictionary | `NAME/data.pkl` | the fourth pickle, after a magic number, a version, and byte order and type sizes |
//! | storages | `NAME/data/KEY` | after a fifth pickle, the list of keys: number of elements, then the elements |
//!
//! Source: PyTorch 2.15 `torch/serialization.py` (`_save`, `_legacy_save`), `torch/_utils.py` (`_rebuild_tensor_v2`).

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use safetensors::Dtype;
use serde_json::Value;
use zip::{CompressionMethod, ZipArchive};

use super::contents::Contents;
use super::location::{Encoding, TensorLocation};
use super::metadata::metadata;
use super::pickle::{Id, Node, Pickle};
use crate::guard::guard;

/// The error is the reason, as text.
type Result<T> = std::result::Result<T, String>;

/// The magic number of the legacy format, `0x1950a86a20f9469cfc6c`, as a pickle without the protocol opcode.
const MAGIC: [u8; 13] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
/// Largest pickle read, in bytes. That of a network of a billion parameters has a few hundred kilobytes.
const MAX_PICKLE: usize = 16 << 20;
/// Largest number of axes of a tensor; 3-D convolutions have five.
const MAX_AXES: usize = 8;
/// Keys under which training frameworks store the state dict within a checkpoint.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Whether the bytes are a PyTorch checkpoint rather than safetensors, whose ninth byte is always a brace.
pub(super) fn is_checkpoint(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") && bytes.get(8) != Some(&b'{') || after_magic(bytes).is_some()
}

/// The position after the magic number of the legacy format. From pickle protocol 4 on, a FRAME opcode with eight bytes
/// precedes the number.
fn after_magic(bytes: &[u8]) -> Option<usize> {
    let at = match bytes {
        [0x80, 4 | 5, 0x95, ..] => 11,
        [0x80, ..] => 2,
        _ => return None,
    };
    bytes.get(at..)?.starts_with(&MAGIC).then_some(at + MAGIC.len())
}

/// Reads all tensors of the state dict, which is the checkpoint's dictionary or one of its [`NESTED`] values, and the
/// [`metadata`].
pub(super) fn read(bytes: &[u8]) -> Result<Contents> {
    let (locations, metadata) = after_magic(bytes).map_or_else(|| read_zip(bytes), |at| read_legacy(bytes, at))?;
    Ok(Contents { locations, metadata, ..Contents::default() })
}

/// The element type of a storage class, and its size in bytes.
fn element(storage: &str) -> Option<(Dtype, usize)> {
    Some(match storage {
        "FloatStorage" => (Dtype::F32, 4),
        "HalfStorage" => (Dtype::F16, 2),
        "BFloat16Storage" => (Dtype::BF16, 2),
        "DoubleStorage" => (Dtype::F64, 8),
        "LongStorage" => (Dtype::I64, 8),
        "IntStorage" => (Dtype::I32, 4),
        "ShortStorage" => (Dtype::I16, 2),
        "CharStorage" => (Dtype::I8, 1),
        "ByteStorage" => (Dtype::U8, 1),
        "BoolStorage" => (Dtype::BOOL, 1),
        _ => return None,
    })
}

fn pickle(bytes: &[u8]) -> Result<Pickle> {
    let read = Pickle::read(&bytes[..bytes.len().min(MAX_PICKLE)]);
    read.map_err(|reason| format!("its pickle {reason}"))
}

fn read_zip(bytes: &[u8]) -> Result<(Vec<TensorLocation>, Value)> {
    let files = guard(|| entries(bytes))??;
    let prefix = files.keys().filter_map(|name| name.strip_suffix("data.pkl")).min_by_key(|prefix| prefix.len());
    let prefix = prefix.filter(|prefix| prefix.matches('/').count() <= 1).ok_or("has no data.pkl")?;
    if let Some(order) = files.get(&format!("{prefix}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err("was written by a big-endian machine".into());
    }
    let values = pickle(&bytes[files[&format!("{prefix}data.pkl")].clone()])?;
    Ok((list(&values, |key| files.get(&format!("{prefix}data/{key}")).cloned())?, metadata(&values)))
}

/// The byte ranges of the files in the archive. PyTorch stores them uncompressed, so that they can be memory-mapped.
fn entries(bytes: &[u8]) -> Result<HashMap<String, Range<usize>>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut files = HashMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(|e| e.to_string())?;
        let name = file.name().map_err(|e| e.to_string())?.into_owned();
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Err(format!("`{name}` is compressed or encrypted; PyTorch stores it plain"));
        }
        let range = file.data_start().and_then(|start| Some(start..start.checked_add(file.size())?));
        let range = range.and_then(|r| Some(usize::try_from(r.start).ok()?..usize::try_from(r.end).ok()?));
        let range = range.filter(|range| range.end <= bytes.len());
        files.insert(name.clone(), range.ok_or_else(|| format!("`{name}` reaches past the end of the file"))?);
    }
    Ok(files)
}

/// Reads the legacy format; the second pickle begins at `at`.
fn read_legacy(bytes: &[u8], mut at: usize) -> Result<(Vec<TensorLocation>, Value)> {
    let mut next = || -> Result<Pickle> {
        let read = pickle(&bytes[at..])?;
        at += read.len;
        Ok(read)
    };
    let (version, system, values, keys) = (next()?, next()?, next()?, next()?);
    if version.size(version.root) != Some(1001) {
        return Err("is of an unknown version of PyTorch's format".into());
    }
    let system_note = system.pairs(system.root).unwrap_or_default();
    let little = system_note.iter().find(|(key, _)| system.text(*key) == Some("little_endian"));
    if little.and_then(|(_, value)| system.size(*value)) != Some(1) {
        return Err("was written by a big-endian machine".into());
    }
    let widths = widths(&values)?;
    let mut storages = HashMap::new();
    for key in keys.items(keys.root).ok_or("has no list of storages")? {
        let key = keys.text(*key).ok_or("has a storage without a key")?;
        let width = *widths.get(key).ok_or_else(|| format!("has a storage `{key}` that no tensor uses"))?;
        let count = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).map(|count| u64::from_le_bytes(*count));
        let len = count.and_then(|count| usize::try_from(count).ok()?.checked_mul(width));
        let end = len.and_then(|len| (at + 8).checked_add(len)).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| format!("storage `{key}` reaches past the end of the file"))?;
        storages.insert(key.to_string(), at + 8..end);
        at = end;
    }
    Ok((list(&values, |key| storages.get(key).cloned())?, metadata(&values)))
}

/// Bytes per element of each storage, by key.
fn widths(values: &Pickle) -> Result<HashMap<String, usize>> {
    let storages = values.persistent().map(|id| Storage::of(values, id));
    Ok(storages.flatten().map(|storage| (storage.key.to_string(), storage.width)).collect())
}

/// A reference to a storage in the pickle: `("storage", class, key, device, elements)`, in the legacy format followed
/// by a view, `(key, first element, elements)`, or None.
struct Storage<'a> {
    key: &'a str,
    dtype: Dtype,
    width: usize,
    elements: usize,
    /// First element of the view.
    first: usize,
}

impl<'a> Storage<'a> {
    /// `None` for values other than storages of known element types.
    fn of(values: &'a Pickle, persistent: Id) -> Option<Self> {
        let Node::Persistent(id) = values.node(persistent) else { return None };
        let (head, view) = values.items(*id)?.split_at_checked(5)?;
        let &[kind, class, key, _, elements] = head else { return None };
        let ("torch", class) = values.global(class)? else { return None };
        let (dtype, width) = element(class)?;
        let key = (values.text(kind)? == "storage").then_some(values.text(key)?)?;
        let first = match view {
            [view] if values.items(*view).is_some() => values.size(*values.items(*view)?.get(1)?)?,
            _ => 0,
        };
        Some(Storage { key, dtype, width, elements: values.size(elements)?, first })
    }
}

/// Lists the tensors of the state dict; `location` returns the byte range of a storage.
fn list(values: &Pickle, location: impl Fn(&str) -> Option<Range<usize>>) -> Result<Vec<TensorLocation>> {
    let top = values.pairs(values.root).ok_or("holds no dictionary; a whole module was saved, not its state_dict")?;
    let named = |pairs: &[(Id, Id)]| -> Result<Vec<TensorLocation>> {
        let mut found = Vec::new();
        for (key, value) in pairs {
            if let (Some(name), Some(tensor)) = (values.text(*key), Tensor::of(values, *value)) {
                found.push(tensor.location(name, &location)?);
            }
        }
        Ok(found)
    };
    let direct = named(top)?;
    if !direct.is_empty() {
        return Ok(direct);
    }
    for nested in NESTED {
        let inner = top.iter().rev().find(|(key, _)| values.text(*key) == Some(nested));
        if let Some(pairs) = inner.and_then(|(_, inner)| values.pairs(*inner)) {
            return named(pairs);
        }
    }
    Ok(direct)
}

/// A tensor as described in the pickle.
struct Tensor<'a> {
    storage: Storage<'a>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> Tensor<'a> {
    /// Reads the recorded call of a `_rebuild_tensor` or `_rebuild_parameter` function; `None` for other values.
    fn of(values: &'a Pickle, id: Id) -> Option<Self> {
        let Node::Call { callable, arguments, .. } = values.node(id) else { return None };
        let arguments = values.items(*arguments)?;
        match values.global(*callable)? {
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => {
                let (&[storage, offset, shape, strides], _) = arguments.split_first_chunk::<4>()?;
                let sizes = |id: Id| -> Option<Vec<usize>> {
                    let sizes = values.items(id).filter(|sizes| sizes.len() <= MAX_AXES)?;
                    sizes.iter().map(|size| values.size(*size)).collect()
                };
                let storage = Storage::of(values, storage)?;
                Some(Tensor { storage, offset: values.size(offset)?, shape: sizes(shape)?, strides: sizes(strides)? })
            }
            // A parameter wraps a tensor. Nested parameters are refused, which bounds the recursion.
            ("torch._utils", "_rebuild_parameter") => {
                let inner = *arguments.first()?;
                let Node::Call { callable, .. } = values.node(inner) else { return None };
                (values.global(*callable)?.1 != "_rebuild_parameter").then(|| Tensor::of(values, inner))?
            }
            _ => None,
        }
    }

    fn location(self, name: &str, storage_place: impl Fn(&str) -> Option<Range<usize>>) -> Result<TensorLocation> {
        let Tensor { storage, offset, shape, strides } = self;
        let bytes = storage_place(storage.key).ok_or_else(|| format!("the storage of `{name}` is missing"))?;
        let outside = || format!("`{name}` reaches past the end of its storage");
        if strides.len() != shape.len() {
            return Err(format!("`{name}` has {} axes and {} strides", shape.len(), strides.len()));
        }
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size)).ok_or_else(outside)?;
        let reach = shape
            .iter()
            .zip(&strides)
            .try_fold(0usize, |reach, (size, stride)| reach.checked_add(size.saturating_sub(1).checked_mul(*stride)?));
        let span = if count == 0 { Some(0) } else { reach.and_then(|reach| reach.checked_add(1)) };
        let to_bytes = |elements: usize| elements.checked_mul(storage.width);
        let first = storage.first.checked_add(offset).ok_or_else(outside)?;
        let end = span.and_then(|span| first.checked_add(span)).ok_or_else(outside)?;
        let held = to_bytes(storage.elements.saturating_add(storage.first)).ok_or_else(outside)?;
        if to_bytes(end).is_none_or(|end| end > bytes.len() || end > held) {
            return Err(outside());
        }
        let range = bytes.start + first * storage.width..bytes.start + end * storage.width;
        let strides = (!is_contiguous(&shape, &strides)).then_some(strides);
        Ok(TensorLocation { name: name.to_string(), encoding: Encoding::Plain(storage.dtype), shape, strides, range })
    }
}

/// Whether a tensor is contiguous and row-major. The strides of axes of size 1 are ignored.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (size, stride) in shape.iter().zip(strides).rev().filter(|(size, _)| **size != 1) {
        if *stride != expected {
            return shape.contains(&0);
        }
        expected *= size;
    }
    true
}
