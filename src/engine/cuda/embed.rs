//! `embed`: token embedding plus position embedding.

use super::Cuda;
use super::activation::Bits;
use super::matrix::{Matrix, Storage};
use crate::engine::profile::Work;
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// See [`MatrixOps::embed`](crate::engine::backend::MatrixOps::embed): `out` `[R, C]`, `table` `[V, C]`, `positions`
/// `[L, C]`.
pub(super) fn embed(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    rows: &StepRows<Cuda>,
    table: &Matrix,
    positions: &Tensor<Cuda, f32>,
) -> Result<()> {
    let (count, vocab, len) = (rows.num_rows(), table.n, out.len());
    let stem = match &table.storage {
        Storage::Plain(_) => "embed",
        Storage::Int8 { .. } => "embed_int8",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(count, 1, 1).block(128);
    launch.output(&mut out.buf, len).input(&rows.token.buf, count).input(&rows.position.buf, count);
    match &table.storage {
        Storage::Plain(values) => launch.input(values, vocab * table.stride),
        Storage::Int8 { values, scales } => launch.input(values, vocab * table.stride).input(scales, vocab),
    };
    launch.input(&positions.buf, positions.len()).int(vocab).int(positions.rows()).int(table.k).int(table.stride);
    // SAFETY: (1) out, tokens, positions, table, [scales,] position_table, vocab, num_positions, width, stride, as embed.cu
    // declares them; (2) it touches out [R, C], tokens and positions [R], and follows no id or position outside of the
    // tables; (3) a block for each of R rows.
    unsafe { launch.run(Work::bytes(len * (2 * size_of::<Bits>() + size_of::<f32>()))) }
}
