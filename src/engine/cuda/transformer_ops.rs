//! The [`TransformerOps`] primitives on CUDA.

use super::{Cuda, ENCODER_BATCH, add_positions, attention, gather_rows, layer_norm};
use crate::engine::backend::{Tensor, TransformerOps};
use crate::error::Result;

impl TransformerOps for Cuda {
    fn encoder_batch(&self) -> usize {
        ENCODER_BATCH
    }

    fn layer_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()> {
        layer_norm::run(self, "layer_norm", out, x, gamma, beta, eps)
    }

    fn add_positions(&self, x: &mut Tensor<Self>, table: &Tensor<Self, f32>) -> Result<()> {
        add_positions::add_positions(self, x, table)
    }

    fn gather_rows(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, index: &Tensor<Self, i32>) -> Result<()> {
        gather_rows::gather_rows(self, out, x, index)
    }

    fn attention(&self, out: &mut Tensor<Self>, qkv: &Tensor<Self>, heads: usize, scale: f32) -> Result<()> {
        attention::attention(self, out, qkv, heads, scale, None)
    }
}
