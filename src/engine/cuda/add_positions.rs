//! `add_positions`: adds the position table to every window.

use super::Cuda;
use super::activation::Bits;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`TransformerOps::add_positions`](crate::engine::backend::TransformerOps::add_positions): `x` `[B, T, C]`,
/// `table` `[T' >= T, C]`.
pub(super) fn add_positions(be: &Cuda, x: &mut Tensor<Cuda>, table: &Tensor<Cuda, f32>) -> Result<()> {
    let (clips, len) = (x.shape()[0], x.len());
    let per_clip = len / clips.max(1);
    let mut launch = be.device.launch("add_positions", be.activation.suffix())?;
    launch.grid(per_clip.div_ceil(1024), clips, 1).block(256);
    launch.output(&mut x.buf, len).input(&table.buf, per_clip).long(per_clip);
    // SAFETY: (1) x, table, per_clip, as add_positions.cu declares them; (2) it touches x [B, T, C] and the first T rows of
    // table; (3) blocks of 1024 elements cover a clip.
    unsafe { launch.run(Work::bytes(2 * len * size_of::<Bits>() + per_clip * size_of::<f32>())) }
}
