//! `gather_rows`: copies the rows given by an index.

use super::{Cpu, out_of_range};
use crate::engine::Tensor;
use crate::error::Result;

/// See [`TransformerOps::gather_rows`](crate::engine::backend::TransformerOps::gather_rows): `out` `[N, C]`, `x` `[R,
/// C]`, `index` `[N]`.
pub(super) fn gather_rows(out: &mut Tensor<Cpu>, x: &Tensor<Cpu>, index: &Tensor<Cpu, i32>) -> Result<()> {
    let (len, width, rows) = (out.len(), x.width(), x.rows());
    for (out, index) in out.buf[..len].chunks_exact_mut(width.max(1)).zip(&index.buf) {
        let row = usize::try_from(*index).ok().filter(|r| *r < rows);
        let row = row.ok_or_else(|| out_of_range("gather_rows", "index", rows, index))?;
        out.copy_from_slice(&x.buf[row * width..(row + 1) * width]);
    }
    Ok(())
}
