//! `embed`: token embedding plus position embedding.

use super::{Cpu, Matrix, out_of_range};
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// See [`MatrixOps::embed`](crate::engine::backend::MatrixOps::embed): `out` `[R, C]`, `table` `[V, C]`, `positions`
/// `[L, C]`.
pub(super) fn embed(
    out: &mut Tensor<Cpu>,
    rows: &StepRows<Cpu>,
    table: &Matrix,
    positions: &Tensor<Cpu, f32>,
) -> Result<()> {
    let (len, width, num_positions) = (out.len(), table.k, positions.rows());
    for (r, out) in out.buf[..len].chunks_exact_mut(width.max(1)).enumerate() {
        let token = usize::try_from(rows.token.buf[r]).ok().filter(|t| *t < table.n);
        let token = token.ok_or_else(|| out_of_range("embed", "token", table.n, rows.token.buf[r]))?;
        let position = usize::try_from(rows.position.buf[r]).ok().filter(|p| *p < num_positions);
        let position =
            position.ok_or_else(|| out_of_range("embed", "position", num_positions, rows.position.buf[r]))?;
        table.read_row(token, out);
        for (o, p) in out.iter_mut().zip(&positions.buf[position * width..]) {
            *o += p;
        }
    }
    Ok(())
}
