//! Products and lookups with a prepared weight: the [`MatrixOps`] primitives. Every device implements them.

use super::device::Device;
use super::host;
use super::shape::{check, check_heads, check_len};
use super::step_rows::StepRows;
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::engine::weights::WeightRef;
use crate::error::{Error, Result};

/// The epilogue of a matrix product: the element-wise operation applied before the result is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = x W^T + b`
    Store,
    /// `out = gelu_erf(x W^T + b)`, with the exact error function.
    GeluErf,
    /// `out += x W^T + b`: the residual connection.
    Add,
}

/// Operations with a weight matrix in the layout and precision of the device.
pub trait MatrixOps: Device {
    /// A weight `[N, K]` in the layout and precision that the device multiplies fastest.
    type Matrix: Send + Sync;

    /// Prepares a weight `[N, K]` (output features first, as checkpoints store it). 8-bit weights stay 8-bit, unless
    /// this device was opened with another compute type.
    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Self::Matrix>;
    /// `(N, K)` of a prepared weight.
    fn matrix_shape(&self, matrix: &Self::Matrix) -> (usize, usize);
    /// `out` `[R, N]` from `x` `[R, K]`, weight `[N, K]`, bias `[N]`.
    fn linear(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        epilogue: Epilogue,
    ) -> Result<()>;
    /// `out` `[R, V]` f32 from `x` `[R, C]` and the tied embedding `[V, C]`.
    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Self::Matrix) -> Result<()>;
    /// `out[r] = table[token[r]] + positions[position[r]]`: `out` `[R, C]`, `table` `[V, C]`, `positions` `[L, C]`.
    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Self::Matrix,
        positions: &Tensor<Self, f32>,
    ) -> Result<()>;
    /// Block-diagonal linear layer, one block per head: columns `h N / H ..` of `out` `[R, N]` are computed from
    /// columns `h K ..` of `x` `[R, H K]`; weight `[N, K]`, bias `[N]`.
    fn linear_by_head(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        heads: usize,
    ) -> Result<()> {
        let ((n, k), rows) = (self.matrix_shape(weight), x.rows());
        let (values, size) = (host::values(self, x)?, n / heads);
        let mut result = vec![0.0; rows * n];
        let mut product = Tensor::zeros(self, &[rows, n])?;
        for head in 0..heads {
            let columns: Vec<f32> =
                values.chunks_exact(heads * k).flat_map(|row| &row[head * k..][..k]).copied().collect();
            self.linear(&mut product, &host::activations(self, &[rows, k], &columns)?, weight, bias, Epilogue::Store)?;
            let products = host::values(self, &product)?;
            for (result, product) in result.chunks_exact_mut(n).zip(products.chunks_exact(n)) {
                result[head * size..][..size].copy_from_slice(&product[head * size..][..size]);
            }
        }
        self.write_act(&mut out.buf, 0, &result)
    }
    /// Convolution over time of width `W` (odd), zero padding `W / 2`: `out` `[B, ceil(F / stride), N]` from `x`
    /// `[B, F, C]`, weight `[N, W * C]` (tap by tap, channels contiguous within a tap), bias `[N]`.
    fn conv1d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Self::Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        let taps = self.matrix_shape(weight).1 / x.width();
        let windows = host::unfold(self, x, taps, stride, taps / 2, out.shape()[1])?;
        self.linear(out, &windows, weight, bias, epilogue)
    }
}

/// See [`MatrixOps::linear`]. Leading axes of `out` and `x` count as rows.
pub fn linear<B: MatrixOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    epilogue: Epilogue,
) -> Result<()> {
    let _range = range("linear");
    let (n, k) = be.matrix_shape(weight);
    check("linear", "x", &[x.width()], &[k])?;
    check("linear", "out", &[out.rows(), out.width()], &[x.rows(), n])?;
    if let Some(bias) = bias {
        check_len("linear", "bias", bias, n)?;
    }
    be.linear(out, x, weight, bias, epilogue)
}

/// See [`MatrixOps::linear_by_head`].
pub fn linear_by_head<B: MatrixOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    heads: usize,
) -> Result<()> {
    let (n, k) = be.matrix_shape(weight);
    check_heads("linear_by_head", n, heads)?;
    check("linear_by_head", "x", &[x.width()], &[heads * k])?;
    check("linear_by_head", "out", out.shape(), &[x.rows(), n])?;
    if let Some(bias) = bias {
        check_len("linear_by_head", "bias", bias, n)?;
    }
    let _range = range("linear_by_head");
    be.linear_by_head(out, x, weight, bias, heads)
}

/// See [`MatrixOps::conv1d`].
pub fn conv1d<B: MatrixOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
    epilogue: Epilogue,
) -> Result<()> {
    let _range = range("conv1d");
    let (n, k) = be.matrix_shape(weight);
    let (shape, width) = (x.shape().to_vec(), x.width());
    let odd_taps = width > 0 && k.is_multiple_of(width) && !(k / width).is_multiple_of(2);
    if shape.len() != 3 || stride == 0 || !odd_taps {
        return Err(Error::Shape {
            op: "conv1d",
            what: "x",
            expected: format!("[B, F, C] with {k} = taps * C, taps odd"),
            got: format!("{shape:?}, stride {stride}"),
        });
    }
    check("conv1d", "out", out.shape(), &[shape[0], shape[1].div_ceil(stride), n])?;
    if let Some(bias) = bias {
        check_len("conv1d", "bias", bias, n)?;
    }
    be.conv1d(out, x, weight, bias, stride, epilogue)
}

/// See [`MatrixOps::logits`].
pub fn logits<B: MatrixOps>(be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B>, table: &B::Matrix) -> Result<()> {
    let _range = range("logits");
    let (vocab, width) = be.matrix_shape(table);
    check("logits", "x", &[x.width()], &[width])?;
    check("logits", "out", &[out.rows(), out.width()], &[x.rows(), vocab])?;
    be.logits(out, x, table)
}

/// See [`MatrixOps::embed`]. Not checked here: the decoder must keep token ids and positions in range.
pub fn embed<B: MatrixOps>(
    be: &B,
    out: &mut Tensor<B>,
    rows: &StepRows<B>,
    table: &B::Matrix,
    positions: &Tensor<B, f32>,
) -> Result<()> {
    let _range = range("embed");
    let (_, width) = be.matrix_shape(table);
    check("embed", "out", out.shape(), &[rows.num_rows(), width])?;
    check("embed", "positions width", &[positions.width()], &[width])?;
    be.embed(out, rows, table, positions)
}
