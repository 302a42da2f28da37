//! Weight matrices in the layout of the kernels (`kernels/matrix.cuh`): row-major `[output features, input features]`,
//! each row padded with zeros to a multiple of 32 values.

use std::sync::Arc;

use rayon::prelude::*;

use super::activation::Bits;
use super::buffer::Buffer;
use super::device::Device;
use super::{ActivationType, Cuda};
use crate::engine::Epilogue;
use crate::engine::profile::Work;
use crate::engine::weights::{HostInt8, HostMatrix, WeightRef};
use crate::error::Result;

/// `K_STEP` of `kernels/matrix.cuh`.
const K_STEP: usize = 32;

/// How weights are stored. Products are always summed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// 8-bit integers if the checkpoint has them, else the type of the activations.
    #[default]
    Auto,
    /// The type of the activations: f16 or bf16.
    Activation,
    /// 8-bit integers with one scale for each output feature: those of the checkpoint, or `round(127 w / max |w|)`.
    Int8,
}

/// A weight `[N, K]` on the GPU: `N` output features, `K` input features.
pub struct Matrix {
    pub(super) n: usize,
    pub(super) k: usize,
    /// `K` rounded up to a multiple of [`K_STEP`].
    pub(super) stride: usize,
    pub(super) storage: Storage,
}

/// The values, `[N, stride]`.
pub(super) enum Storage {
    Plain(Buffer<Bits>),
    /// Value = `values * scales[n]`; the integers are signed.
    Int8 {
        values: Buffer<u8>,
        scales: Buffer<f32>,
    },
}

impl Matrix {
    pub(super) fn upload(be: &Cuda, weight: WeightRef) -> Result<Self> {
        let (device, activation, kind) = (&be.device, be.activation, be.weight_type);
        match (weight, kind) {
            (WeightRef::Int8(weight), WeightType::Auto | WeightType::Int8) => Self::upload_int8(device, weight),
            (WeightRef::Int8(weight), WeightType::Activation) => {
                Self::upload_plain(device, activation, &weight.to_float())
            }
            (WeightRef::Float(weight), WeightType::Int8) => Self::upload_quantised(device, weight),
            (WeightRef::Float(weight), _) => Self::upload_plain(device, activation, weight),
        }
    }

    fn upload_plain(device: &Arc<Device>, activation: ActivationType, weight: &HostMatrix) -> Result<Self> {
        let (n, k) = (weight.rows, weight.cols);
        let stride = k.next_multiple_of(K_STEP);
        let mut values = Buffer::uninitialised(device, n * stride)?;
        let fill = |row: &mut [Bits], from: usize, index: usize| {
            let source = &weight.values[index * k..(index + 1) * k];
            let inside = source.get(from..).map_or(0, |rest| rest.len().min(row.len()));
            activation.narrow(&mut row[..inside], &source[from.min(k)..][..inside]);
            row[inside..].fill(0);
        };
        values.write_with(0, n * stride, |staged, at| by_rows(staged, at, stride, &fill))?;
        Ok(Matrix { n, k, stride, storage: Storage::Plain(values) })
    }

    fn upload_quantised(device: &Arc<Device>, weight: &HostMatrix) -> Result<Self> {
        let k = weight.cols;
        let largest = |row: &[f32]| row.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        let scales: Vec<f32> = weight.values.par_chunks_exact(k.max(1)).map(|row| largest(row) / 127.0).collect();
        let quantise = |row: usize, column: usize| {
            let (value, scale) = (weight.values[row * k + column], scales[row]);
            if scale > 0.0 { (value / scale).round() as i8 } else { 0 }
        };
        Self::upload_integers(device, [weight.rows, k], &scales, quantise)
    }

    fn upload_int8(device: &Arc<Device>, weight: &HostInt8) -> Result<Self> {
        let k = weight.cols;
        Self::upload_integers(device, [weight.rows, k], &weight.scales, |row, column| weight.values[row * k + column])
    }

    fn upload_integers(
        device: &Arc<Device>,
        [n, k]: [usize; 2],
        host_scales: &[f32],
        value: impl Fn(usize, usize) -> i8 + Sync,
    ) -> Result<Self> {
        let stride = k.next_multiple_of(K_STEP);
        let mut values = Buffer::uninitialised(device, n * stride)?;
        let fill = |row: &mut [u8], from: usize, index: usize| {
            for (i, out) in row.iter_mut().enumerate() {
                *out = if from + i < k { value(index, from + i) as u8 } else { 0 };
            }
        };
        values.write_with(0, n * stride, |staged, at| by_rows(staged, at, stride, &fill))?;
        let mut scales = Buffer::uninitialised(device, n)?;
        scales.write(0, host_scales)?;
        Ok(Matrix { n, k, stride, storage: Storage::Int8 { values, scales } })
    }

    /// Bytes that a product reads of this weight.
    pub(super) fn bytes(&self) -> usize {
        match &self.storage {
            Storage::Plain(_) => self.n * self.stride * size_of::<Bits>(),
            Storage::Int8 { .. } => self.n * (self.stride + size_of::<f32>()),
        }
    }

    /// Bytes and flops of the product of `rows` rows with this weight; each result has `out` bytes.
    pub(super) fn work(&self, rows: usize, x_values: usize, out: usize, epilogue: Epilogue) -> Work {
        let outputs = rows * self.n * out * if epilogue == Epilogue::Add { 2 } else { 1 };
        Work {
            bytes: (self.bytes() + x_values * size_of::<Bits>() + outputs) as u64,
            flops: 2 * (rows * self.n) as u64 * self.k as u64,
        }
    }
}

/// The code of an epilogue in `kernels/matrix.cuh`.
pub(super) fn epilogue_code(epilogue: Epilogue) -> usize {
    match epilogue {
        Epilogue::Store => 0,
        Epilogue::GeluErf => 1,
        Epilogue::Add => 2,
    }
}

/// Splits `piece`, the elements from `at` on of a matrix, at row boundaries and calls `fill(part of a row, its first
/// column, row)` for each part, on all cores. A piece of the staging memory may begin and end within a row.
fn by_rows<T: Send>(piece: &mut [T], at: usize, stride: usize, fill: &(impl Fn(&mut [T], usize, usize) + Sync)) {
    if stride == 0 {
        return;
    }
    let (row, from) = (at / stride, at % stride);
    let head = if from == 0 { 0 } else { (stride - from).min(piece.len()) };
    let (first, rest) = piece.split_at_mut(head);
    if head > 0 {
        fill(first, from, row);
    }
    let next = if head > 0 { row + 1 } else { row };
    rest.par_chunks_mut(stride).enumerate().for_each(|(i, part)| fill(part, 0, next + i));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_make_the_whole_matrix() {
        let (rows, stride) = (7, 32);
        for piece_len in [5, 16, 32, 40, 100, 1000] {
            let mut all = vec![0usize; rows * stride];
            let mut at = 0;
            for piece in all.chunks_mut(piece_len) {
                let len = piece.len();
                by_rows(piece, at, stride, &|part: &mut [usize], from, row| {
                    part.iter_mut().enumerate().for_each(|(i, v)| *v = row * stride + from + i);
                });
                at += len;
            }
            assert!(all.iter().enumerate().all(|(i, v)| i == *v), "pieces of {piece_len}");
        }
    }
}
