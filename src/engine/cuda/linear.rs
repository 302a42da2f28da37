//! `linear`: the product of activations with a weight, and its epilogue.
//!
//! There are two kernels, which add in different orders. Results must not depend on the number of rows, so the shape
//! decides instead: frames of windows, `[B, T, C]`, use the tiled product of `linear.cu`; rows of a decode step,
//! `[R, C]`, use `linear_step.cu`, which is bound by reading the weight and reuses each read for up to 32 rows.

use super::Cuda;
use super::activation::Bits;
use super::matrix::{Matrix, Storage, epilogue_code};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// Rows and features of a tile of `gemm.cuh`, and the shared memory of its block in bytes.
pub(super) const TILE: usize = 128;
pub(super) const TILE_SHARED: usize = 48 << 10;
/// Output features of a block of `linear_step.cu`.
pub(super) const STEP_FEATURES: usize = 16;

/// See [`MatrixOps::linear`](crate::engine::backend::MatrixOps::linear).
pub(super) fn linear(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    weight: &Matrix,
    bias: Option<&Tensor<Cuda, f32>>,
    epilogue: Epilogue,
) -> Result<()> {
    if x.shape().len() == 2 {
        return step(be, out, x, weight, bias, epilogue);
    }
    let (rows, n) = (x.rows(), weight.n);
    let (len, bias) = (out.len(), bias.map(|bias| &bias.buf));
    let stem = match &weight.storage {
        Storage::Plain(_) => "linear",
        Storage::Int8 { .. } => "linear_int8",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(n.div_ceil(TILE), rows.div_ceil(TILE), 1).block(128).shared(TILE_SHARED);
    launch.output(&mut out.buf, len).input(&x.buf, x.len());
    match &weight.storage {
        Storage::Plain(values) => launch.input(values, n * weight.stride),
        Storage::Int8 { values, scales } => launch.input(values, n * weight.stride).input(scales, n),
    };
    launch.optional(bias, n).long(rows).int(n).int(weight.k).int(weight.stride).int(epilogue_code(epilogue));
    // SAFETY: (1) out, x, w, [scales,] bias, rows, features, width, stride, epilogue, as linear.cu declares them; (2) it
    // touches out [R, N], x [R, K], w [N, stride], scales and bias [N]; (3) tiles of 128 x 128 cover [N, R].
    unsafe { launch.run(weight.work(rows, x.len(), size_of::<Bits>(), epilogue)) }
}

/// `linear` for the rows of a decode step.
fn step(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    weight: &Matrix,
    bias: Option<&Tensor<Cuda, f32>>,
    epilogue: Epilogue,
) -> Result<()> {
    let (rows, n) = (x.rows(), weight.n);
    let (len, bias) = (out.len(), bias.map(|bias| &bias.buf));
    let groups = row_groups(rows);
    let stem = match (&weight.storage, groups) {
        (Storage::Plain(_), 1) => "linear_step_1",
        (Storage::Plain(_), 2) => "linear_step_2",
        (Storage::Plain(_), _) => "linear_step_4",
        (Storage::Int8 { .. }, 1) => "linear_step_int8_1",
        (Storage::Int8 { .. }, 2) => "linear_step_int8_2",
        (Storage::Int8 { .. }, _) => "linear_step_int8_4",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(n.div_ceil(STEP_FEATURES), rows.div_ceil(8 * groups), 1).block(256);
    launch.output(&mut out.buf, len).input(&x.buf, x.len());
    match &weight.storage {
        Storage::Plain(values) => launch.input(values, n * weight.stride),
        Storage::Int8 { values, scales } => launch.input(values, n * weight.stride).input(scales, n),
    };
    launch.optional(bias, n).int(rows).int(n).int(weight.k).int(weight.stride).int(epilogue_code(epilogue));
    // SAFETY: (1) out, x, w, [scales,] bias, rows, features, width, stride, epilogue, as linear_step.cu declares them; (2)
    // it touches out [R, N], x [R, K], w [N, stride], scales and bias [N]; (3) blocks of 16 features and 8 rows a group
    // cover [N, R].
    unsafe { launch.run(weight.work(rows, x.len(), size_of::<Bits>(), epilogue)) }
}

/// Groups of 8 rows that share one read of the weight; there is one kernel for each number. It does not change results.
pub(super) fn row_groups(rows: usize) -> usize {
    match rows {
        0..=8 => 1,
        9..=16 => 2,
        _ => 4,
    }
}
