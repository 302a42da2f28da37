//! Reader of whisper.cpp model files (ggml): the byte ranges of tensors and vocabulary.
//!
//! | field | contents |
//! |---|---|
//! | u32 | the magic number `ggml` |
//! | 11 i32 | the ten sizes of openai-whisper's `dims`, then the type of the file |
//! | i32, i32, f32... | mel filters: bins, frequencies, values |
//! | i32, tokens | number of text tokens; u32 length and bytes of each, in the order of ids, without special tokens |
//! | tensors, to the end | i32 axes, i32 length of the name, i32 type; the axes, last one first; the name; the data |
//!
//! Tensor names are those of openai-whisper. The mel filters of the file are not used; they are computed.
//!
//! Source: whisper.cpp 1.9 `models/convert-pt-to-ggml.py`, `src/whisper.cpp` (`whisper_model_load`).

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::contents::{Contents, MAX_TENSORS, ReadError};
use super::cursor::{Cursor, elements};
use super::ggml_blocks::Blocks;
use super::location::{Encoding, TensorLocation};

/// `ggml` as a little-endian number.
pub(super) const MAGIC: &[u8] = b"lmgg";
/// The sizes of the header, in the order of the file.
const DIMS: [&str; 10] = [
    "n_vocab",
    "n_audio_ctx",
    "n_audio_state",
    "n_audio_head",
    "n_audio_layer",
    "n_text_ctx",
    "n_text_state",
    "n_text_head",
    "n_text_layer",
    "n_mels",
];
/// Frequency bins of a spectrum of 400 samples.
const FREQUENCIES: usize = 201;
/// Largest number of axes of a tensor, as in ggml.
const MAX_AXES: usize = 4;

pub(super) fn read(bytes: &[u8]) -> Result<Contents, ReadError> {
    let mut cursor = Cursor::new(bytes);
    cursor.skip(MAGIC.len())?;
    let mut dims = Map::new();
    for name in DIMS {
        dims.insert(name.into(), Value::from(cursor.u32()?));
    }
    let _file_type = cursor.u32()?;
    let (bins, frequencies) = (cursor.u32()? as usize, cursor.u32()? as usize);
    if dims["n_mels"] != json!(bins) || frequencies != FREQUENCIES {
        let reason = "is a ggml file of another kind of model; expected one that whisper.cpp's converters write";
        return Err(ReadError::Unsupported(reason.into()));
    }
    cursor.skip(elements(&[bins, frequencies, size_of::<f32>()])?)?;
    let mut vocabulary = Vec::new();
    for _ in 0..cursor.size()? {
        let len = cursor.size()?;
        vocabulary.push(cursor.skip(len)?);
    }
    let mut locations = Vec::new();
    while !cursor.is_at_end() {
        if locations.len() == MAX_TENSORS {
            return Err(format!("it has more than {MAX_TENSORS} tensors").into());
        }
        locations.push(tensor(&mut cursor)?);
    }
    Ok(Contents { locations, metadata: json!({"dims": dims}), vocabulary })
}

fn tensor(cursor: &mut Cursor) -> Result<TensorLocation, ReadError> {
    let (axes, len, kind) = (cursor.size()?, cursor.size()?, cursor.u32()?);
    if axes > MAX_AXES {
        return Err(format!("a tensor has {axes} axes").into());
    }
    let mut shape = (0..axes).map(|_| cursor.size()).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let name = String::from_utf8_lossy(cursor.take(len)?).into_owned();
    let encoding = encoding(kind).ok_or_else(|| {
        let types = "f32, f16, bf16, q4_0, q4_1, q5_0, q5_1 and q8_0";
        let reason =
            format!("`{name}` is of the ggml type {kind}; {types} can be read, quantise the model to one of them");
        ReadError::Unsupported(reason)
    })?;
    let whole_rows = shape.last().is_none_or(|row| encoding.bytes(*row).is_some());
    let bytes = encoding.bytes(elements(&shape)?).filter(|_| whole_rows);
    let bytes = bytes.ok_or_else(|| format!("`{name}` has the shape {shape:?}, which is not possible for its type"))?;
    Ok(TensorLocation { name, encoding, shape, strides: None, range: cursor.skip(bytes)? })
}

/// The encoding of a number of `enum ggml_type`.
fn encoding(kind: u32) -> Option<Encoding> {
    match kind {
        0 => Some(Encoding::Plain(Dtype::F32)),
        1 => Some(Encoding::Plain(Dtype::F16)),
        30 => Some(Encoding::Plain(Dtype::BF16)),
        _ => Blocks::of_type(kind).map(Encoding::Blocks),
    }
}
