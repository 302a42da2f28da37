//! Reader of CTranslate2's `model.bin`: the byte ranges of tensors.
//!
//! | field | contents |
//! |---|---|
//! | u32 | binary version |
//! | string, u32 | name and revision of the specification |
//! | u32, variables | number of variables, then the variables |
//! | u32, aliases | from version 3 on: number of aliases, then two strings for each, the alias and the name |
//!
//! A variable is its name (a string); u8 number of axes and a u32 for each; from version 4 on u8 type and u32 number of
//! bytes, before version 4 u8 bytes per element and u32 number of elements; the data.
//!
//! A string is a u16 length and that many bytes, the last of which is zero. The scales of a quantised weight `W` are in
//! `W_scale`: one per row of an 8-bit weight, a single one for a 16-bit weight (1000 if there is none). Value = integer
//! / scale.
//!
//! Source: CTranslate2 4.8 `src/models/model.cc` (`Model::load`, `ensure_dtype`),
//! `python/ctranslate2/specs/model_spec.py`.

use std::collections::HashMap;

use safetensors::Dtype;
use serde_json::json;

use super::contents::{Contents, MAX_TENSORS, ReadError};
use super::cursor::{Cursor, elements};
use super::location::TensorLocation;

/// Newest supported binary version.
const NEWEST: u32 = 6;
/// Largest number of axes of a variable; convolutions have three.
const MAX_AXES: usize = 8;
/// The default scale of 16-bit weights: `Quantize::global_int16_scale`.
pub(super) const GLOBAL_INT16_SCALE: f32 = 1000.0;

/// Whether the bytes begin with a version and the name of a specification.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.u32();
    let name = string(&mut cursor);
    version.is_ok_and(|version| (2..=64).contains(&version)) && name.is_ok_and(|name| name.ends_with("Spec"))
}

pub(super) fn read(bytes: &[u8]) -> Result<Contents, ReadError> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.u32()?;
    if version > NEWEST {
        let reason = format!(
            "is a CTranslate2 model of binary version {version}; versions 2 to {NEWEST} can be read, convert it with an \
             older ctranslate2"
        );
        return Err(ReadError::Unsupported(reason));
    }
    let (spec, revision) = (string(&mut cursor)?, cursor.u32()?);
    let mut variables = HashMap::new();
    for _ in 0..count(&mut cursor)? {
        let location = variable(&mut cursor, version)?;
        variables.insert(location.name.clone(), location);
    }
    if version >= 3 {
        for _ in 0..count(&mut cursor)? {
            let (alias, name) = (string(&mut cursor)?, string(&mut cursor)?);
            for suffix in ["", "_scale"] {
                let alias = format!("{alias}{suffix}");
                if let Some(location) = variables.get(&format!("{name}{suffix}")) {
                    variables.insert(alias.clone(), TensorLocation { name: alias, ..location.clone() });
                }
            }
        }
    }
    let metadata = json!({"spec": spec, "revision": revision, "version": version});
    Ok(Contents { locations: variables.into_values().collect(), metadata, ..Contents::default() })
}

/// Reads the number of variables or aliases, at most [`MAX_TENSORS`].
fn count(cursor: &mut Cursor) -> Result<usize, String> {
    let count = cursor.size()?;
    if count > MAX_TENSORS {
        Err(format!("it names {count} variables, expected at most {MAX_TENSORS}"))
    } else {
        Ok(count)
    }
}

fn variable(cursor: &mut Cursor, version: u32) -> Result<TensorLocation, ReadError> {
    let name = string(cursor)?;
    let rank = usize::from(cursor.u8()?);
    if rank > MAX_AXES {
        return Err(format!("`{name}` has {rank} axes").into());
    }
    let shape = (0..rank).map(|_| cursor.size()).collect::<Result<Vec<_>, _>>()?;
    let (dtype, len) = if version >= 4 {
        let kind = cursor.u8()?;
        let dtype = element(kind).ok_or_else(|| format!("`{name}` has the unknown type {kind}"))?;
        (dtype, cursor.u32()? as usize)
    } else {
        let width = cursor.u8()?;
        let dtype = element_of_width(width).ok_or_else(|| format!("`{name}` has elements of {width} bytes"))?;
        (dtype, (cursor.u32()? as usize).checked_mul(usize::from(width)).ok_or("a variable has no possible size")?)
    };
    if elements(&shape)?.checked_mul(dtype.bitsize() / 8) != Some(len) {
        return Err(format!("`{name}` has the shape {shape:?} and {len} bytes").into());
    }
    Ok(TensorLocation::plain(name, dtype, shape, cursor.skip(len)?))
}

/// The element type of a number of `enum class DataType`.
fn element(kind: u8) -> Option<Dtype> {
    [Dtype::F32, Dtype::I8, Dtype::I16, Dtype::I32, Dtype::F16, Dtype::BF16].get(usize::from(kind)).copied()
}

/// The element type in files before version 4, which store only the width of the elements.
fn element_of_width(width: u8) -> Option<Dtype> {
    match width {
        1 => Some(Dtype::I8),
        2 => Some(Dtype::I16),
        4 => Some(Dtype::F32),
        _ => None,
    }
}

fn string(cursor: &mut Cursor) -> Result<String, String> {
    let len = usize::from(cursor.u16()?);
    let [text @ .., 0] = cursor.take(len)? else { return Err("a name does not end with a zero".into()) };
    String::from_utf8(text.to_vec()).map_err(|_| "a name is not UTF-8".into())
}
