//! Attention of a decoder step over its key-value caches: the [`DecoderOps`] primitives.

use super::device::Device;
use super::host::{self, HostForm};
use super::shape::check;
use super::step_rows::StepRows;
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::Result;

/// What the cross-attention cache holds, and so how the decoder attends to the encoder output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossKind {
    /// Keys and values, projected once for each chunk and decoder layer: `2 T C` values per layer.
    Projected,
    /// The encoder output `x` itself, once for all layers. The key projection is absorbed into the queries and the
    /// value projection is applied to the weighted mean: `score = (W_k^T q) . x` and `out = W_v (sum of p x) + b_v`.
    /// Both are equal to [`Projected`](Self::Projected) in real arithmetic. A step reads half the bytes per layer and
    /// does `H` times as many multiplications.
    Absorbed,
}

/// Key-value caches and the attention over them. The default bodies keep the caches on [`Device::Host`].
pub trait DecoderOps: Device {
    /// The self-attention cache of one decoder layer: keys and values of the text positions, `rows x L x C` each, in a
    /// device-specific layout.
    type SelfCache: HostForm<<Self::Host as DecoderOps>::SelfCache>;
    /// The cross-attention cache of one decoder layer: keys and values of the encoder output, `slots x T x C` each, in
    /// a device-specific layout.
    type CrossCache: HostForm<<Self::Host as DecoderOps>::CrossCache>;
    /// The encoder output itself, `slots x T x C`, in a device-specific layout.
    type EncodedCache: HostForm<<Self::Host as DecoderOps>::EncodedCache>;

    /// The kind of cross-attention that is faster on this device, for a decoder of `heads` heads and searches of `rows`
    /// rows. If it is absorbed for some number of rows, it is absorbed for every smaller one. It does not depend on the
    /// number of chunks, because results must not.
    fn cross_kind(&self, heads: usize, rows: usize) -> CrossKind {
        let _ = (heads, rows);
        CrossKind::Projected
    }
    /// An empty cache of text keys and values for `rows` cache rows of `positions` positions.
    fn self_cache(&self, rows: usize, positions: usize, width: usize, heads: usize) -> Result<Self::SelfCache> {
        host::prepared(host::of(self)?.self_cache(rows, positions, width, heads)?)
    }
    /// An empty cache of encoder keys and values for `slots` chunks of `frames` encoder frames.
    fn cross_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<Self::CrossCache> {
        host::prepared(host::of(self)?.cross_cache(slots, frames, width, heads)?)
    }
    /// Stores keys and values of freshly encoded chunks: `kv` `[B, T, 2 C]` (keys, values side by side); chunk `b` goes
    /// to slot `slots[b]`.
    fn cross_store(&self, cache: &mut Self::CrossCache, slots: &[usize], kv: &Tensor<Self>) -> Result<()> {
        host::of(self)?.cross_store(host::form_mut(cache)?, slots, &host::copy_act(self, kv)?)
    }
    /// An empty cache of encoder output for `slots` chunks of `frames` encoder frames.
    fn encoded_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<Self::EncodedCache> {
        host::prepared(host::of(self)?.encoded_cache(slots, frames, width, heads)?)
    }
    /// Stores the output for freshly encoded chunks: `encoded` `[B, T, C]`; chunk `b` goes to slot `slots[b]`.
    fn encoded_store(&self, cache: &mut Self::EncodedCache, slots: &[usize], encoded: &Tensor<Self>) -> Result<()> {
        host::of(self)?.encoded_store(host::form_mut(cache)?, slots, &host::copy_act(self, encoded)?)
    }
    /// Appends the key and value of each row at (its cache row, its position), then attends from each row to positions
    /// `0 ..= position`. Position `p` of row `r` is read from cache row `lineage[r, p]`, so reordering beams rewrites
    /// that table and never moves the cache. `out` `[R, C]`, `qkv` `[R, 3 C]`, `lineage` `[cache rows, L]`.
    #[allow(clippy::too_many_arguments)]
    fn self_attention_step(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        cache: &mut Self::SelfCache,
        rows: &StepRows<Self>,
        lineage: &Tensor<Self, i32>,
        scale: f32,
    ) -> Result<()> {
        let (qkv, rows, lineage) = (host::copy_act(self, qkv)?, rows.on_host(self)?, host::copy(self, lineage)?);
        host::update_act(self, out, |host, out| {
            host.self_attention_step(out, &qkv, host::form_mut(cache)?, &rows, &lineage, scale)
        })
    }
    /// Attends from each row to all encoder frames of its slot (`row / beams`): `out` `[R, C]`, `q` `[R, C]`. The
    /// cache is read once for all rows of a slot.
    fn cross_attention_step(
        &self,
        out: &mut Tensor<Self>,
        q: &Tensor<Self>,
        cache: &Self::CrossCache,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()> {
        let (q, rows) = (host::copy_act(self, q)?, rows.on_host(self)?);
        host::update_act(self, out, |host, out| {
            host.cross_attention_step(out, &q, host::form(cache)?, &rows, beams, scale)
        })
    }
    /// Attends from each head of each row to all encoder frames of its slot, which are both keys and values: `out`
    /// `[R, H C]`, `q` `[R, H C]`. The cache is read once for all heads and rows of a slot.
    fn absorbed_attention_step(
        &self,
        out: &mut Tensor<Self>,
        q: &Tensor<Self>,
        cache: &Self::EncodedCache,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()> {
        let (q, rows) = (host::copy_act(self, q)?, rows.on_host(self)?);
        host::update_act(self, out, |host, out| {
            host.absorbed_attention_step(out, &q, host::form(cache)?, &rows, beams, scale)
        })
    }
}

/// See [`DecoderOps::self_attention_step`].
#[allow(clippy::too_many_arguments)]
pub fn self_attention_step<B: DecoderOps>(
    be: &B,
    out: &mut Tensor<B>,
    qkv: &Tensor<B>,
    cache: &mut B::SelfCache,
    rows: &StepRows<B>,
    lineage: &Tensor<B, i32>,
    scale: f32,
) -> Result<()> {
    let _range = range("self_attention_step");
    check("self_attention_step", "out rows", &[out.rows()], &[rows.num_rows()])?;
    check("self_attention_step", "qkv", qkv.shape(), &[out.rows(), 3 * out.width()])?;
    be.self_attention_step(out, qkv, cache, rows, lineage, scale)
}

/// See [`DecoderOps::cross_attention_step`].
pub fn cross_attention_step<B: DecoderOps>(
    be: &B,
    out: &mut Tensor<B>,
    q: &Tensor<B>,
    cache: &B::CrossCache,
    rows: &StepRows<B>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    let _range = range("cross_attention_step");
    check("cross_attention_step", "out", out.shape(), q.shape())?;
    check("cross_attention_step", "rows", &[rows.num_rows()], &[q.rows()])?;
    be.cross_attention_step(out, q, cache, rows, beams, scale)
}

/// See [`DecoderOps::absorbed_attention_step`].
pub fn absorbed_attention_step<B: DecoderOps>(
    be: &B,
    out: &mut Tensor<B>,
    q: &Tensor<B>,
    cache: &B::EncodedCache,
    rows: &StepRows<B>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    check("absorbed_attention_step", "out", out.shape(), q.shape())?;
    check("absorbed_attention_step", "rows", &[rows.num_rows()], &[q.rows()])?;
    let _range = range("absorbed_attention_step");
    be.absorbed_attention_step(out, q, cache, rows, beams, scale)
}
