//! A tensor of a checkpoint by its place in the file, and its bytes as numbers.

use std::fmt;
use std::ops::Range;

use half::{bf16, f16};
use safetensors::Dtype;

use super::Part;
use super::ggml_blocks::Blocks;

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// One by one.
    Plain(Dtype),
    /// In the blocks of 32 of whisper.cpp.
    Blocks(Blocks),
}

impl Encoding {
    /// Bytes of `count` elements; `None` if they do not fill whole blocks, or are beyond any memory.
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

/// A tensor and where it is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub name: String,
    pub encoding: Encoding,
    pub shape: Vec<usize>,
    /// Distance of neighbours along each axis, in elements; `None` for a tensor that is contiguous and row-major.
    pub strides: Option<Vec<usize>>,
    /// Bytes of the file from the first element to the last.
    pub range: Range<usize>,
}

impl Place {
    /// A contiguous tensor of plain elements.
    pub fn plain(name: String, dtype: Dtype, shape: Vec<usize>, range: Range<usize>) -> Self {
        Place { name, encoding: Encoding::Plain(dtype), shape, strides: None, range }
    }

    /// A part of it by the same bytes; `None` if it does not have the rows, or as many elements as the shape.
    pub fn part(&self, part: &Part) -> Option<Self> {
        let mut place = Place { name: part.name.clone(), ..self.clone() };
        if let Some(rows) = &part.rows {
            let count = *self.shape.first()?;
            if self.strides.is_some() || rows.start > rows.end || rows.end > count {
                return None;
            }
            // Tensors are read in whole rows of whole blocks, so this divides.
            let row = self.range.len() / count.max(1);
            place.range = self.range.start + rows.start * row..self.range.start + rows.end * row;
            place.shape[0] = rows.len();
        }
        if let Some(shape) = &part.shape {
            let same = shape.iter().product::<usize>() == place.shape.iter().product::<usize>();
            if !same || self.strides.is_some() {
                return None;
            }
            place.shape.clone_from(shape);
        }
        Some(place)
    }
}

/// Little-endian bytes to f32; `None` for a type that is not a float of at most 32 bits.
pub(super) fn to_f32(encoding: Encoding, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match encoding {
        Encoding::Plain(Dtype::F32) => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Encoding::Plain(Dtype::F16) => widen_f16(bytes),
        Encoding::Plain(Dtype::BF16) => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Encoding::Blocks(blocks) => blocks.dequantise(bytes),
        Encoding::Plain(_) => return None,
    })
}

/// A few thousand numbers at a time, so that no second copy of a large tensor is held.
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

/// Elements of `width` bytes, copied from wherever `strides` says they are. `bytes` was checked to hold the last of them.
pub(super) fn row_major(bytes: &[u8], width: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    // The product of the other sizes may be no `usize` where one is 0.
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
