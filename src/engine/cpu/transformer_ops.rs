//! The [`TransformerOps`] primitives on the CPU.

use super::{Cpu, add_positions, attention, gather_rows, layer_norm};
use crate::engine::backend::{Tensor, TransformerOps};
use crate::error::Result;

impl TransformerOps for Cpu {
    fn encoder_batch(&self) -> usize {
        1
    }

    fn layer_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()> {
        layer_norm::layer_norm(self, out, x, gamma, beta, eps, false);
        Ok(())
    }

    fn add_positions(&self, x: &mut Tensor<Self>, table: &Tensor<Self, f32>) -> Result<()> {
        add_positions::add_positions(self, x, table);
        Ok(())
    }

    fn gather_rows(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, index: &Tensor<Self, i32>) -> Result<()> {
        gather_rows::gather_rows(out, x, index)
    }

    fn attention(&self, out: &mut Tensor<Self>, qkv: &Tensor<Self>, heads: usize, scale: f32) -> Result<()> {
        attention::attention(self, out, qkv, heads, scale, None);
        Ok(())
    }
}
