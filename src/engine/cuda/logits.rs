//! `logits`: the product of the decoder's output with the tied token embedding `[V, C]`, stored in f32. The kernels are
//! those of `linear_step.cu` with another output type.

use super::Cuda;
use super::linear::{STEP_FEATURES, row_groups};
use super::matrix::{Matrix, Storage};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// See [`MatrixOps::logits`](crate::engine::backend::MatrixOps::logits): `out` `[R, V]`, `x` `[R, C]`.
pub(super) fn logits(be: &Cuda, out: &mut Tensor<Cuda, f32>, x: &Tensor<Cuda>, table: &Matrix) -> Result<()> {
    let (rows, vocab) = (x.rows(), table.n);
    let len = out.len();
    let groups = row_groups(rows);
    let stem = match (&table.storage, groups) {
        (Storage::Plain(_), 1) => "logits_1",
        (Storage::Plain(_), 2) => "logits_2",
        (Storage::Plain(_), _) => "logits_4",
        (Storage::Int8 { .. }, 1) => "logits_int8_1",
        (Storage::Int8 { .. }, 2) => "logits_int8_2",
        (Storage::Int8 { .. }, _) => "logits_int8_4",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(vocab.div_ceil(STEP_FEATURES), rows.div_ceil(8 * groups), 1).block(256);
    launch.output(&mut out.buf, len).input(&x.buf, x.len());
    match &table.storage {
        Storage::Plain(values) => launch.input(values, vocab * table.stride),
        Storage::Int8 { values, scales } => launch.input(values, vocab * table.stride).input(scales, vocab),
    };
    launch.int(rows).int(vocab).int(table.k).int(table.stride);
    // SAFETY: (1) out, x, w, [scales,] rows, features, width, stride, as linear_step.cu declares them; (2) it touches out
    // [R, V], x [R, C], w [V, stride], scales [V]; (3) blocks of 16 features and 8 rows a group cover [V, R].
    unsafe { launch.run(table.work(rows, x.len(), size_of::<f32>(), Epilogue::Store)) }
}
