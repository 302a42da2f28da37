//! The tensors of a PyTorch checkpoint, in the zip format of today and in the bare one before PyTorch 1.6, by their
//! place in the file. Nothing in the file is executed ([`pickle`](super::pickle)), and every tensor is checked to lie
//! within its storage, and every storage within the file, before any of them is listed.
//!
//! | | zip | bare |
//! |---|---|---|
//! | values | `NAME/data.pkl` | the fourth pickle, after a magic number, a version and a note of byte order and widths |
//! | storages | `NAME/data/KEY` | behind a fifth pickle, the list of their keys: a count of elements, then the elements |
//!
//! Source: PyTorch 2.15 `torch/serialization.py` (`_save`, `_legacy_save`), `torch/_utils.py` (`_rebuild_tensor_v2`).

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use safetensors::Dtype;
use serde_json::Value;
use zip::{CompressionMethod, ZipArchive};

use super::facts::facts;
use super::found::Found;
use super::pickle::{Id, Node, Pickle};
use super::place::{Encoding, Place};
use crate::guard::guard;

/// Result with the reason why a file cannot be used.
type Result<T> = std::result::Result<T, String>;

/// The magic number of a bare checkpoint, `0x1950a86a20f9469cfc6c`, as a pickle without its protocol.
const MAGIC: [u8; 13] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
/// Largest pickle read. That of a network of a billion parameters has a few hundred kilobytes.
const MAX_PICKLE: usize = 16 << 20;
/// Most axes of a tensor: convolutions over volumes have five.
const MAX_AXES: usize = 8;
/// Where training frameworks keep the weights among the rest of a checkpoint's dictionary.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Whether the bytes are a checkpoint of PyTorch rather than safetensors, whose ninth byte is always a brace.
pub(super) fn is_checkpoint(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") && bytes.get(8) != Some(&b'{') || after_magic(bytes).is_some()
}

/// Where a bare checkpoint goes on after its magic number. From protocol 4 on a frame of eight bytes is around that.
fn after_magic(bytes: &[u8]) -> Option<usize> {
    let at = match bytes {
        [0x80, 4 | 5, 0x95, ..] => 11,
        [0x80, ..] => 2,
        _ => return None,
    };
    bytes.get(at..)?.starts_with(&MAGIC).then_some(at + MAGIC.len())
}

/// All tensors of a checkpoint's dictionary, or of the one among its values that holds the weights; and its
/// [`facts`].
pub(super) fn read(bytes: &[u8]) -> Result<Found> {
    let (places, facts) = after_magic(bytes).map_or_else(|| zipped(bytes), |at| bare(bytes, at))?;
    Ok(Found { places, facts, ..Found::default() })
}

/// An element type by the name of its storage class.
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

fn zipped(bytes: &[u8]) -> Result<(Vec<Place>, Value)> {
    let files = guard(|| entries(bytes))??;
    let prefix = files.keys().filter_map(|name| name.strip_suffix("data.pkl")).min_by_key(|prefix| prefix.len());
    let prefix = prefix.filter(|prefix| prefix.matches('/').count() <= 1).ok_or("has no data.pkl")?;
    if let Some(order) = files.get(&format!("{prefix}byteorder"))
        && &bytes[order.clone()] != b"little"
    {
        return Err("was written by a big-endian machine".into());
    }
    let values = pickle(&bytes[files[&format!("{prefix}data.pkl")].clone()])?;
    Ok((list(&values, |key| files.get(&format!("{prefix}data/{key}")).cloned())?, facts(&values)))
}

/// Where the files of the archive are. PyTorch stores without compression, so that they can be mapped.
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

/// A bare checkpoint; its second pickle begins at `at`.
fn bare(bytes: &[u8], mut at: usize) -> Result<(Vec<Place>, Value)> {
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
    Ok((list(&values, |key| storages.get(key).cloned())?, facts(&values)))
}

/// Bytes of an element of each storage.
fn widths(values: &Pickle) -> Result<HashMap<String, usize>> {
    let storages = values.persistent().map(|id| Storage::of(values, id));
    Ok(storages.flatten().map(|storage| (storage.key.to_string(), storage.width)).collect())
}

/// What the pickle says of a storage: `("storage", class, key, device, elements)`, in the bare format with a view of a
/// part of it behind: `(key, first element, elements)` or None.
struct Storage<'a> {
    key: &'a str,
    dtype: Dtype,
    width: usize,
    elements: usize,
    /// First element of the view.
    first: usize,
}

impl<'a> Storage<'a> {
    /// `None` for what is no storage of a known element type.
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

/// The tensors of the dictionary of weights; `place` finds the bytes of a storage.
fn list(values: &Pickle, place: impl Fn(&str) -> Option<Range<usize>>) -> Result<Vec<Place>> {
    let top = values.pairs(values.root).ok_or("holds no dictionary; a whole module was saved, not its state_dict")?;
    let named = |pairs: &[(Id, Id)]| -> Result<Vec<Place>> {
        let mut found = Vec::new();
        for (key, value) in pairs {
            if let (Some(name), Some(tensor)) = (values.text(*key), Tensor::of(values, *value)) {
                found.push(tensor.place(name, &place)?);
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

/// What the pickle says of a tensor.
struct Tensor<'a> {
    storage: Storage<'a>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> Tensor<'a> {
    /// The call that would have made it; `None` for anything else.
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
            // A parameter is the tensor it was made of, one level down and no further.
            ("torch._utils", "_rebuild_parameter") => {
                let inner = *arguments.first()?;
                let Node::Call { callable, .. } = values.node(inner) else { return None };
                (values.global(*callable)?.1 != "_rebuild_parameter").then(|| Tensor::of(values, inner))?
            }
            _ => None,
        }
    }

    fn place(self, name: &str, storage_place: impl Fn(&str) -> Option<Range<usize>>) -> Result<Place> {
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
        Ok(Place { name: name.to_string(), encoding: Encoding::Plain(storage.dtype), shape, strides, range })
    }
}

/// Whether row-major order is the order in memory. An axis of one element has no neighbours to be apart from.
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
