//! The [`MatrixOps`] primitives on CUDA.

use super::{Cuda, Matrix, conv1d, embed, linear, linear_by_head, logits};
use crate::engine::backend::{Epilogue, MatrixOps, StepRows, Tensor};
use crate::engine::weights::WeightRef;
use crate::error::Result;

impl MatrixOps for Cuda {
    type Matrix = Matrix;

    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Matrix> {
        Matrix::upload(self, weight.into())
    }

    fn matrix_shape(&self, matrix: &Matrix) -> (usize, usize) {
        (matrix.n, matrix.k)
    }

    fn linear(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        epilogue: Epilogue,
    ) -> Result<()> {
        linear::linear(self, out, x, weight, bias, epilogue)
    }

    fn linear_by_head(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        heads: usize,
    ) -> Result<()> {
        linear_by_head::linear_by_head(self, out, x, weight, bias, heads)
    }

    fn conv1d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        conv1d::conv1d(self, out, x, weight, bias, stride, epilogue)
    }

    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Matrix) -> Result<()> {
        logits::logits(self, out, x, table)
    }

    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Matrix,
        positions: &Tensor<Self, f32>,
    ) -> Result<()> {
        embed::embed(self, out, rows, table, positions)
    }
}
