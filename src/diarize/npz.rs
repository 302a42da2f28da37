//! Reader for NumPy's `.npy` and `.npz` files, with values as `f64`. pyannote stores its PLDA in them.
//!
//! No crate is used: `ndarray-npy` depends on an array library, and `npyz` on a parser of Python literals and a
//! stack-switching crate, for a header of one line.
//!
//! Source: NumPy's `numpy/lib/format.py`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use crate::error::{Error, Result};

/// Maximum number of elements of a file (512 MB); a PLDA has 50 thousand.
const MAX_ELEMENTS: usize = 1 << 26;
/// Maximum length of a header, in bytes; NumPy writes fewer than 200.
const MAX_HEADER: u64 = 1 << 16;

/// An array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Lengths of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub values: Vec<f64>,
}

/// The arrays of an `.npz` file, by name.
#[derive(Clone, Debug)]
pub struct Npz {
    path: PathBuf,
    arrays: BTreeMap<String, Array>,
}

impl Npz {
    /// Reads all arrays of an `.npz` file, compressed or not. Nothing in it is executed: arrays of Python objects
    /// (pickle) are refused.
    ///
    /// # Errors
    /// [`Error::Weights`] with the array that cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|e| Error::weights(path, "*", e.to_string()))?;
        Self::read(path, std::io::BufReader::new(file))
    }

    /// As [`open`](Self::open), from any reader; `path` is used in messages only.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(path: &Path, file: impl std::io::Read + std::io::Seek) -> Result<Self> {
        let mut zip = ZipArchive::new(file).map_err(|e| Error::weights(path, "*", format!("not a .npz file: {e}")))?;
        let (mut arrays, mut total) = (BTreeMap::new(), 0);
        for index in 0..zip.len() {
            let entry = zip.by_index(index).map_err(|e| Error::weights(path, "*", e.to_string()))?;
            let entry_name = entry.name().map_err(|e| Error::weights(path, "*", e.to_string()))?;
            let name = entry_name.trim_end_matches(".npy").to_owned();
            let array = read(entry).map_err(|reason| Error::weights(path, &name, reason))?;
            total += array.values.len();
            if total > MAX_ELEMENTS {
                return Err(Error::weights(path, "*", format!("holds more than {MAX_ELEMENTS} elements")));
            }
            arrays.insert(name, array);
        }
        Ok(Npz { path: path.to_path_buf(), arrays })
    }

    /// The array called `name`, of any shape.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is none.
    pub fn array(&self, name: &str) -> Result<&Array> {
        self.arrays.get(name).ok_or_else(|| {
            let there = self.arrays.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.wrong(name, format!("not in the file, which has: {there}"))
        })
    }

    /// An [`Error::Weights`] about the array called `name`.
    pub fn wrong(&self, name: &str, reason: impl Into<String>) -> Error {
        Error::weights(&self.path, name, reason)
    }

    /// The elements of the array called `name`, row-major.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is none, or if it does not have the shape `shape`.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<&[f64]> {
        let array = self.array(name)?;
        if array.shape != shape {
            let reason = format!("has shape {:?}, expected {shape:?}", array.shape);
            return Err(self.wrong(name, reason));
        }
        Ok(&array.values)
    }
}

/// Reads an `.npy` file.
///
/// # Errors
/// [`Error::Weights`].
pub fn open_npy(path: &Path) -> Result<Array> {
    let file = std::fs::File::open(path).map_err(|e| Error::weights(path, "*", e.to_string()))?;
    read(std::io::BufReader::new(file)).map_err(|reason| Error::weights(path, "*", reason))
}

/// Reads one `.npy` array, of any supported element type.
fn read(mut bytes: impl Read) -> Result<Array, String> {
    let mut start = [0; 8];
    bytes.read_exact(&mut start).map_err(|e| e.to_string())?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("is not a .npy array".into());
    }
    // The header length has two bytes in format version 1, and four bytes since version 2.
    let mut length = [0; 4];
    let wide = if start[6] == 1 { 2 } else { 4 };
    bytes.read_exact(&mut length[..wide]).map_err(|e| e.to_string())?;
    let length = u64::from(u32::from_le_bytes(length)).min(MAX_HEADER);
    let mut header = String::new();
    bytes.by_ref().take(length).read_to_string(&mut header).map_err(|e| e.to_string())?;
    let (kind, shape) = parse(&header).ok_or_else(|| format!("has a header that cannot be read: {header}"))?;
    if field(&header, "fortran_order")?.starts_with("True") && shape.len() > 1 {
        return Err("is column-major; save it with numpy.ascontiguousarray".into());
    }
    let elements = shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis)).filter(|n| *n <= MAX_ELEMENTS);
    let elements =
        elements.ok_or_else(|| format!("has shape {shape:?}, which is more than {MAX_ELEMENTS} elements"))?;
    let values = numbers(bytes, kind, elements)?;
    if values.len() != elements {
        return Err(format!("has shape {shape:?}, but only {} elements", values.len()));
    }
    Ok(Array { shape, values })
}

/// Reads at most `elements` elements of the dtype `kind`, such as `<f8`.
fn numbers(bytes: impl Read, kind: &str, elements: usize) -> Result<Vec<f64>, String> {
    let width: usize = kind.get(2..).and_then(|width| width.parse().ok()).unwrap_or(0);
    let convert: fn(&[u8]) -> f64 = match kind {
        "<f8" => |b| f64::from_le_bytes(b.try_into().unwrap_or_default()),
        "<f4" => |b| f64::from(f32::from_le_bytes(b.try_into().unwrap_or_default())),
        "<i8" => |b| i64::from_le_bytes(b.try_into().unwrap_or_default()) as f64,
        "<i4" => |b| f64::from(i32::from_le_bytes(b.try_into().unwrap_or_default())),
        "|i1" => |b| f64::from(b[0] as i8),
        "|u1" => |b| f64::from(b[0]),
        _ => return Err(format!("has elements of kind {kind}; <f8, <f4, <i8, <i4, |i1 and |u1 are read")),
    };
    let mut data = Vec::new();
    bytes.take((elements * width) as u64).read_to_end(&mut data).map_err(|e| e.to_string())?;
    Ok(data.chunks_exact(width).map(convert).collect())
}

/// The dtype and the shape of a header, which is a Python dictionary literal.
fn parse(header: &str) -> Option<(&str, Vec<usize>)> {
    let kind = field(header, "descr").ok()?.strip_prefix('\'')?.split('\'').next()?;
    let axes = field(header, "shape").ok()?.strip_prefix('(')?.split(')').next()?;
    let axes = axes.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    Some((kind, axes.map(|axis| axis.parse().ok()).collect::<Option<_>>()?))
}

/// The text of the header after a key.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let behind = header.split_once(&format!("'{key}':")).map(|(_, behind)| behind.trim_start());
    behind.ok_or_else(|| format!("has no {key} in its header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_of_all_kinds() {
        let read = |header: &str, data: &[u8]| read(&npy(header, data)[..]);
        let array = read("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", &[0, 0, 128, 63, 0, 0, 0, 192]);
        assert_eq!(array.unwrap(), Array { shape: vec![1, 2], values: vec![1.0, -2.0] });
        let scalar = read("{'descr': '|i1', 'fortran_order': False, 'shape': (), }", &[254]);
        assert_eq!(scalar.unwrap(), Array { shape: vec![], values: vec![-2.0] });
    }

    #[test]
    fn what_is_no_array_of_numbers_is_refused() {
        for (header, reason) in [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "kind |O"),
            ("{'descr': '<f8', 'fortran_order': True, 'shape': (1, 2), }", "column-major"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9999999999), }", "more than"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", "only 1 elements"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }", "cannot be read"),
            ("", "cannot be read"),
        ] {
            let error = read(&npy(header, &[0; 8])[..]).unwrap_err();
            assert!(error.contains(reason), "{header}: {error}");
        }
        assert!(read(&b"PK"[..]).is_err());
    }
}
