//! `linear_by_head`: a product with a block-diagonal weight, one block for each head.

use super::Cuda;
use super::activation::Bits;
use super::linear::STEP_FEATURES;
use super::matrix::{Matrix, Storage};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// Largest `K` for the kernels with two warps per block, which split the steps over `K` among them.
const NARROW: usize = 64;

/// See [`MatrixOps::linear_by_head`](crate::engine::backend::MatrixOps::linear_by_head): `out` `[R, N]`, `x` `[R, H
/// K]`.
pub(super) fn linear_by_head(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    weight: &Matrix,
    bias: Option<&Tensor<Cuda, f32>>,
    heads: usize,
) -> Result<()> {
    let (rows, n, features) = (x.rows(), weight.n, weight.n / heads);
    let (len, bias) = (out.len(), bias.map(|bias| &bias.buf));
    let narrow = weight.k <= NARROW;
    let tiles = if rows <= 8 { 1 } else { 4 };
    let stem = match (&weight.storage, narrow, tiles) {
        (Storage::Plain(_), false, 1) => "linear_by_head_1",
        (Storage::Plain(_), false, _) => "linear_by_head_4",
        (Storage::Plain(_), true, 1) => "linear_by_head_narrow_1",
        (Storage::Plain(_), true, _) => "linear_by_head_narrow_4",
        (Storage::Int8 { .. }, false, 1) => "linear_by_head_int8_1",
        (Storage::Int8 { .. }, false, _) => "linear_by_head_int8_4",
        (Storage::Int8 { .. }, true, 1) => "linear_by_head_int8_narrow_1",
        (Storage::Int8 { .. }, true, _) => "linear_by_head_int8_narrow_4",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(features.div_ceil(STEP_FEATURES), rows.div_ceil(8 * tiles), heads).block(if narrow { 64 } else { 256 });
    launch.output(&mut out.buf, len).input(&x.buf, x.len());
    match &weight.storage {
        Storage::Plain(values) => launch.input(values, n * weight.stride),
        Storage::Int8 { values, scales } => launch.input(values, n * weight.stride).input(scales, n),
    };
    launch.optional(bias, n).int(rows).int(features).int(weight.k).int(weight.stride);
    // SAFETY: (1) out, x, w, [scales,] bias, rows, features, width, stride, as linear_by_head.cu declares them; (2) it touches
    // out [R, H, N / H], x [R, H, K], w [N, stride], scales and bias [N]; (3) blocks of 16 features and 8 rows a tile cover
    // [N / H, R] for each head.
    unsafe { launch.run(weight.work(rows, x.len(), size_of::<Bits>(), Epilogue::Store)) }
}
