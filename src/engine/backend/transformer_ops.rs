//! Layers of transformers other than products with weights: the [`TransformerOps`] primitives.

use super::device::Device;
use super::host;
use super::shape::{check, check_heads, check_len};
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::{Error, Result};

/// Norms, positions and attention over whole sequences. The default bodies run on [`Device::Host`].
pub trait TransformerOps: Device {
    /// Largest number of clips worth encoding in one pass. One clip keeps a CPU busy, so more would only cost memory.
    /// Results do not depend on it.
    fn encoder_batch(&self) -> usize {
        usize::MAX
    }
    /// `out[r] = (x[r] - mean) / sqrt(var + eps) * gamma + beta` over the last axis; `gamma`, `beta` `[C]`.
    fn layer_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()> {
        let (x, gamma, beta) = (host::copy_act(self, x)?, host::copy(self, gamma)?, host::copy(self, beta)?);
        host::update_act(self, out, |host, out| host.layer_norm(out, &x, &gamma, &beta, eps))
    }
    /// `x[b, t] += table[t]`: `x` `[B, T, C]`, `table` `[T' >= T, C]`.
    fn add_positions(&self, x: &mut Tensor<Self>, table: &Tensor<Self, f32>) -> Result<()> {
        let table = host::copy(self, table)?;
        host::update_act(self, x, |host, x| host.add_positions(x, &table))
    }
    /// `out[i] = x[index[i]]`: `out` `[N, C]`, `x` `[R, C]`, `index` `[N]`.
    fn gather_rows(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, index: &Tensor<Self, i32>) -> Result<()> {
        let (x, index) = (host::copy_act(self, x)?, host::copy(self, index)?);
        host::update_act(self, out, |host, out| host.gather_rows(out, &x, &index))
    }
    /// Bidirectional attention: `out` `[B, T, C]` from `qkv` `[B, T, 3 C]` (queries, keys, values side by side),
    /// `C = heads * D`; scores are multiplied by `scale` before the softmax.
    fn attention(&self, out: &mut Tensor<Self>, qkv: &Tensor<Self>, heads: usize, scale: f32) -> Result<()> {
        let qkv = host::copy_act(self, qkv)?;
        host::update_act(self, out, |host, out| host.attention(out, &qkv, heads, scale))
    }
}

/// See [`TransformerOps::layer_norm`].
pub fn layer_norm<B: TransformerOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    gamma: &Tensor<B, f32>,
    beta: &Tensor<B, f32>,
    eps: f32,
) -> Result<()> {
    let _range = range("layer_norm");
    check("layer_norm", "out", out.shape(), x.shape())?;
    check_len("layer_norm", "gamma", gamma, x.width())?;
    check_len("layer_norm", "beta", beta, x.width())?;
    be.layer_norm(out, x, gamma, beta, eps)
}

/// See [`TransformerOps::add_positions`].
pub fn add_positions<B: TransformerOps>(be: &B, x: &mut Tensor<B>, table: &Tensor<B, f32>) -> Result<()> {
    let _range = range("add_positions");
    let &[_, frames, width] = x.shape() else {
        return Err(Error::Shape {
            op: "add_positions",
            what: "x",
            expected: "[B, T, C]".into(),
            got: format!("{:?}", x.shape()),
        });
    };
    check("add_positions", "table width", &[table.width()], &[width])?;
    if table.rows() < frames {
        return Err(Error::Shape {
            op: "add_positions",
            what: "table",
            expected: format!("at least {frames} rows"),
            got: format!("{:?}", table.shape()),
        });
    }
    be.add_positions(x, table)
}

/// See [`TransformerOps::gather_rows`]. Not checked here: the caller must keep the indices in range.
pub fn gather_rows<B: TransformerOps>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    index: &Tensor<B, i32>,
) -> Result<()> {
    let _range = range("gather_rows");
    check("gather_rows", "out", &[out.rows(), out.width()], &[index.len(), x.width()])?;
    be.gather_rows(out, x, index)
}

/// See [`TransformerOps::attention`].
pub fn attention<B: TransformerOps>(
    be: &B,
    out: &mut Tensor<B>,
    qkv: &Tensor<B>,
    heads: usize,
    scale: f32,
) -> Result<()> {
    let _range = range("attention");
    check_heads("attention", out.width(), heads)?;
    let mut expected = out.shape().to_vec();
    if let (3, Some(last)) = (expected.len(), expected.last_mut()) {
        *last *= 3;
    }
    check("attention", "qkv", qkv.shape(), &expected)?;
    be.attention(out, qkv, heads, scale)
}
