//! The location of a tensor in a checkpoint file, and the conversion of its bytes to f32.

use std::fmt;
use std::ops::Range;

use half::{bf16, f16};
use safetensors::Dtype;

use super::TensorPart;
use super::ggml_blocks::Blocks;

/// The storage type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Single elements.
    Plain(Dtype),
    /// Quantised blocks of 32 elements, as in ggml.
    Blocks(Blocks),
}

impl Encoding {
    /// Bytes of `count` elements; `None` if `count` is not a whole number of blocks, or the size overflows.
    pub fn bytes(self, count: usize) -> Option<usize> {
        match self {
            Encoding::Plain(dtype) => count.checked_mul(dtype.bitsize() / 8),
            Encoding::Blocks(blocks) => blocks.bytes(count),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoding::Plain(dtype) => write!(f, "{dtype:?}"),
            Encoding::Blocks(blocks) => write!(f, "{blocks:?}"),
        }
    }
}

/// The name, type, shape and location of a tensor.
#[derive(Clone, Debug)]
pub(super) struct TensorLocation {
    pub name: String,
    pub encoding: Encoding,
    pub shape: Vec<usize>,
    /// Strides in elements; `None` for a contiguous row-major tensor.
    pub strides: Option<Vec<usize>>,
    /// Byte range in the file, from the first element to the last.
    pub range: Range<usize>,
}

impl TensorLocation {
    /// A contiguous tensor of plain elements.
    pub fn plain(name: String, dtype: Dtype, shape: Vec<usize>, range: Range<usize>) -> Self {
        TensorLocation { name, encoding: Encoding::Plain(dtype), shape, strides: None, range }
    }

    /// A part of the tensor, without copying. `None` if the rows are out of range, the shape has another number of
    /// elements, or the tensor is not contiguous.
    pub fn part(&self, part: &TensorPart) -> Option<Self> {
        let mut location = TensorLocation { name: part.name.clone(), ..self.clone() };
        if let Some(rows) = &part.rows {
            let count = *self.shape.first()?;
            if self.strides.is_some() || rows.start > rows.end || rows.end > count {
                return None;
            }
            // Exact: the readers accept only tensors whose rows are whole blocks.
            let row = self.range.len() / count.max(1);
            location.range = self.range.start + rows.start * row..self.range.start + rows.end * row;
            location.shape[0] = rows.len();
        }
        if let Some(shape) = &part.shape {
            let same = shape.iter().product::<usize>() == location.shape.iter().product::<usize>();
            if !same || self.strides.is_some() {
                return None;
            }
            location.shape.clone_from(shape);
        }
        Some(location)
    }
}

/// Converts little-endian elements to f32; `None` for integer types and f64.
pub(super) fn to_f32(encoding: Encoding, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match encoding {
        Encoding::Plain(Dtype::F32) => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Encoding::Plain(Dtype::F16) => widen_f16(bytes),
        Encoding::Plain(Dtype::BF16) => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Encoding::Blocks(blocks) => blocks.dequantise(bytes),
        Encoding::Plain(_) => return None,
    })
}

/// Converts a few thousand values at a time, to avoid an aligned copy of the whole tensor.
fn widen_f16(bytes: &[u8]) -> Vec<f32> {
    use half::slice::HalfFloatSliceExt;
    let mut out = vec![0.0; bytes.len() / 2];
    let mut halves = [f16::ZERO; 4096];
    for (wide, narrow) in out.chunks_mut(halves.len()).zip(bytes.chunks(2 * 4096)) {
        let halves = &mut halves[..wide.len()];
        halves.iter_mut().zip(narrow.as_chunks().0).for_each(|(half, b)| *half = f16::from_le_bytes(*b));
        halves.convert_to_f32_slice(wide);
    }
    out
}

/// Copies a strided tensor with elements of `width` bytes to row-major order. The last element must be within `bytes`.
pub(super) fn row_major(bytes: &[u8], width: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    // If one size is 0, the product of the others may overflow.
    let count: usize = if shape.contains(&0) { 0 } else { shape.iter().product() };
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
