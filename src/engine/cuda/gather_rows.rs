//! `gather_rows`: copies the rows listed in an index.

use super::Cuda;
use super::activation::Bits;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`TransformerOps::gather_rows`](crate::engine::backend::TransformerOps::gather_rows): `out` `[N, C]`, `x` `[R,
/// C]`, `index` `[N]`.
pub(super) fn gather_rows(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    index: &Tensor<Cuda, i32>,
) -> Result<()> {
    let (count, width, len) = (index.len(), x.width(), out.len());
    let mut launch = be.device.launch("gather_rows", be.activation.suffix())?;
    launch.grid(count, 1, 1).block(128);
    launch.output(&mut out.buf, len).input(&x.buf, x.len()).input(&index.buf, count).int(x.rows()).int(width);
    // SAFETY: (1) out, x, index, rows, width, as gather_rows.cu declares them; (2) it touches out [N, C], x [R, C], and
    // follows no index outside of R; (3) a block for each of N rows.
    unsafe { launch.run(Work::bytes(2 * len * size_of::<Bits>())) }
}
