//! `linear`: the product of activation rows with a weight, plus bias and epilogue.

use super::{Cpu, Matrix, gemm};
use crate::engine::{Epilogue, Tensor};

/// See [`MatrixOps::linear`](crate::engine::backend::MatrixOps::linear): `out` `[R, N]`, `x` `[R, K]`, bias `[N]`.
pub(super) fn linear(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    x: &Tensor<Cpu>,
    weight: &Matrix,
    bias: Option<&Tensor<Cpu, f32>>,
    epilogue: Epilogue,
) {
    let (num_rows, k, len) = (x.rows(), weight.k, out.len());
    let row = |r: usize| &x.buf[r * k..(r + 1) * k];
    let bias = bias.map(|b| &b.buf[..weight.n]);
    gemm::gemm(cpu, row, num_rows, weight.panels(), bias, epilogue, &mut out.buf[..len]);
}
