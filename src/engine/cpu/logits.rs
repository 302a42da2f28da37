//! `logits`: the product of the decoder output with the tied embedding `[V, C]`.

use super::{Cpu, Matrix, linear};
use crate::engine::{Epilogue, Tensor};

/// See [`MatrixOps::logits`](crate::engine::backend::MatrixOps::logits): `out` `[R, V]`, `x` `[R, C]`. The same as
/// `linear`, because activations on this device are f32.
pub(super) fn logits(cpu: &Cpu, out: &mut Tensor<Cpu, f32>, x: &Tensor<Cpu>, table: &Matrix) {
    linear::linear(cpu, out, x, table, None, Epilogue::Store);
}
