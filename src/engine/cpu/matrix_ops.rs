//! The [`MatrixOps`] primitives on the CPU.

use super::{Cpu, Matrix, conv1d, embed, linear, linear_by_head, logits};
use crate::engine::backend::{Epilogue, MatrixOps, StepRows, Tensor};
use crate::engine::weights::WeightRef;
use crate::error::Result;

impl MatrixOps for Cpu {
    type Matrix = Matrix;

    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Matrix> {
        Ok(Matrix::pack(weight.into(), self.weight_type, self.level.panel_width()))
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
        linear::linear(self, out, x, weight, bias, epilogue);
        Ok(())
    }

    fn linear_by_head(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        heads: usize,
    ) -> Result<()> {
        linear_by_head::linear_by_head(self, out, x, weight, bias, heads);
        Ok(())
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
        conv1d::conv1d(self, out, x, weight, bias, stride, epilogue);
        Ok(())
    }

    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Matrix) -> Result<()> {
        logits::logits(self, out, x, table);
        Ok(())
    }

    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Matrix,
        positions: &Tensor<Self, f32>,
    ) -> Result<()> {
        embed::embed(out, rows, table, positions)
    }
}
