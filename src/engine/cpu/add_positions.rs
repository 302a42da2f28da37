//! `add_positions`: adds the positional embedding to every clip.

use rayon::prelude::*;

use super::Cpu;
use crate::engine::Tensor;

/// See [`TransformerOps::add_positions`](crate::engine::backend::TransformerOps::add_positions): `x` `[B, T, C]`,
/// `table` `[T' >= T, C]`.
pub(super) fn add_positions(cpu: &Cpu, x: &mut Tensor<Cpu>, table: &Tensor<Cpu, f32>) {
    let (len, width) = (x.len(), x.width());
    let frames = x.shape().get(1).copied().unwrap_or(0);
    let table = &table.buf[..frames * width];
    let x = &mut x.buf[..len];
    cpu.threads.run(|| {
        x.par_chunks_mut(table.len().max(1)).for_each(|clip| {
            for (v, t) in clip.iter_mut().zip(table) {
                *v += t;
            }
        });
    });
}
