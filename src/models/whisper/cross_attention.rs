//! Cross-attention of the decoder, in two forms from which the device chooses ([`CrossKind`]): over keys and values
//! projected for each layer, or over the encoder's output itself, with the projections absorbed into queries and
//! outputs.
//!
//! Let `q` be the query of a head, `x_t` a frame, and `W_k` and `W_v` the head's rows of the projections (`[D, C]`;
//! Whisper's keys have no bias). Then both forms are equal in real arithmetic:
//!
//! `q . (W_k x_t) = (W_k^T q) . x_t` and `sum_t p_t (W_v x_t + b_v) = W_v (sum_t p_t x_t) + b_v`, since the `p_t` sum
//! to 1.

use super::config::Config;
use crate::engine::profile::range;
use crate::engine::weights::{HostInt8, HostMatrix, HostWeight};
use crate::engine::{Backend, CrossKind, Epilogue, StepRows, Tensor, ops};
use crate::error::{Error, Result};
use crate::models::transformer::{Bias, Linear, Scope};

/// The weights of one layer, for the forms that the device may choose.
pub(super) struct CrossAttention<B: Backend> {
    q: Linear<B>,
    projected: Option<Projected<B>>,
    absorbed: Option<Absorbed<B>>,
    pub out: Linear<B>,
    heads: usize,
}

/// Fused projection of keys and values: `[2 C, C]`.
struct Projected<B: Backend>(Linear<B>);

struct Absorbed<B: Backend> {
    /// `W_k^T` of all heads, stacked: `[H C, D]`.
    keys: B::Matrix,
    /// Query projection with the scales of 8-bit keys multiplied in; `None` for float keys, which use the layer's
    /// projection.
    q: Option<Linear<B>>,
    /// `[C, C]` value projection; the rows of a head are applied to the weighted mean of that head.
    values: Linear<B>,
}

/// The cross-attention cache of all slots.
pub(super) enum CrossCaches<B: Backend> {
    /// Keys and values of each layer.
    Projected(Vec<B::CrossCache>),
    /// The encoder's output, for all layers.
    Absorbed(B::EncodedCache),
}

/// The cross-attention cache as one layer uses it, with the number of cache rows per slot.
pub(super) enum LayerCache<'a, B: Backend> {
    Projected(&'a B::CrossCache, usize),
    Absorbed(&'a B::EncodedCache, usize),
}

/// Working memory for up to `R` rows.
pub(super) struct CrossScratch<B: Backend> {
    /// `[R, C]` queries.
    q: Tensor<B>,
    /// `[R, H C]` queries after the key projection `W_k^T q`, and weighted means of the encoder's output.
    absorbed: Option<[Tensor<B>; 2]>,
}

impl<B: Backend> CrossScratch<B> {
    pub fn new(be: &B, config: &Config, rows: usize, kind: CrossKind) -> Result<Self> {
        let (width, wide) = (config.d_model, config.decoder_attention_heads * config.d_model);
        let absorbed = match kind {
            CrossKind::Projected => None,
            CrossKind::Absorbed => Some([Tensor::zeros(be, &[rows, wide])?, Tensor::zeros(be, &[rows, wide])?]),
        };
        Ok(CrossScratch { q: Tensor::zeros(be, &[rows, width])?, absorbed })
    }

    /// The queries of the last layer: `[R, C]` for projected keys, `[R, H C]` if the encoder's output serves as keys.
    pub fn queries(&self) -> &Tensor<B> {
        match &self.absorbed {
            None => &self.q,
            Some([queries, _]) => queries,
        }
    }

    pub fn tensors(&mut self) -> impl Iterator<Item = &mut Tensor<B>> {
        std::iter::once(&mut self.q).chain(self.absorbed.iter_mut().flatten())
    }
}

impl<B: Backend> CrossCaches<B> {
    pub fn new(be: &B, config: &Config, slots: usize, kind: CrossKind) -> Result<Self> {
        let (frames, width, heads) = (config.max_source_positions, config.d_model, config.decoder_attention_heads);
        Ok(match kind {
            CrossKind::Projected => {
                let layers = (0..config.decoder_layers).map(|_| be.cross_cache(slots, frames, width, heads));
                CrossCaches::Projected(layers.collect::<Result<_>>()?)
            }
            CrossKind::Absorbed => CrossCaches::Absorbed(be.encoded_cache(slots, frames, width, heads)?),
        })
    }

    /// Fills the cache of `slots` from the encoder's output `encoded` `[B, T, C]`; clip `b` goes to `slots[b]`. `kv`
    /// `[B, T, 2 C]` is scratch.
    pub fn store<'a>(
        &mut self,
        be: &B,
        slots: &[usize],
        encoded: &Tensor<B>,
        kv: &mut Tensor<B>,
        layers: impl Iterator<Item = &'a CrossAttention<B>>,
    ) -> Result<()> {
        let caches = match self {
            CrossCaches::Absorbed(cache) => {
                let _range = range("encoded_store");
                return be.encoded_store(cache, slots, encoded);
            }
            CrossCaches::Projected(caches) => caches,
        };
        for (layer, cache) in layers.zip(caches) {
            let Projected(weights) = layer.projected.as_ref().ok_or_else(not_loaded)?;
            weights.run(be, kv, encoded, Epilogue::Store)?;
            let _range = range("cross_store");
            be.cross_store(cache, slots, kv)?;
        }
        Ok(())
    }

    pub fn of_layer(&self, layer: usize, beams: usize) -> LayerCache<'_, B> {
        match self {
            CrossCaches::Projected(caches) => LayerCache::Projected(&caches[layer], beams),
            CrossCaches::Absorbed(cache) => LayerCache::Absorbed(cache, beams),
        }
    }
}

impl<B: Backend> CrossAttention<B> {
    /// Loads the weights of every form that the device may choose.
    pub fn load(scope: &Scope<B>, width: usize, heads: usize) -> Result<Self> {
        let kinds = [1, usize::MAX].map(|rows| scope.be.cross_kind(heads, rows));
        let projected = if kinds.contains(&CrossKind::Projected) {
            Some(Projected(scope.linears(&[("k_proj", Bias::No), ("v_proj", Bias::Yes)], width, width)?))
        } else {
            None
        };
        let absorbed =
            if kinds.contains(&CrossKind::Absorbed) { Some(Absorbed::load(scope, width, heads)?) } else { None };
        Ok(CrossAttention {
            q: scope.linear("q_proj", width, width)?,
            projected,
            absorbed,
            out: scope.linear("out_proj", width, width)?,
            heads,
        })
    }

    /// `out` `[R, C]` from the normed hidden states `[R, C]`, before the output projection.
    #[allow(clippy::too_many_arguments)]
    pub fn attend(
        &self,
        be: &B,
        out: &mut Tensor<B>,
        hidden: &Tensor<B>,
        s: &mut CrossScratch<B>,
        cache: LayerCache<B>,
        rows: &StepRows<B>,
        scale: f32,
    ) -> Result<()> {
        match cache {
            LayerCache::Projected(cache, beams) => {
                self.q.run(be, &mut s.q, hidden, Epilogue::Store)?;
                ops::cross_attention_step(be, out, &s.q, cache, rows, beams, scale)
            }
            LayerCache::Absorbed(cache, beams) => {
                let weights = self.absorbed.as_ref().ok_or_else(not_loaded)?;
                weights.q.as_ref().unwrap_or(&self.q).run(be, &mut s.q, hidden, Epilogue::Store)?;
                let [query, mean] = s.absorbed.as_mut().ok_or_else(not_loaded)?;
                ops::linear_by_head(be, query, &s.q, &weights.keys, None, self.heads)?;
                ops::absorbed_attention_step(be, mean, query, cache, rows, beams, scale)?;
                let Linear { weight, bias } = &weights.values;
                ops::linear_by_head(be, out, mean, weight, Some(bias), self.heads)
            }
        }
    }
}

impl<B: Backend> CrossAttention<B> {
    /// The keys that match [`CrossScratch::queries`], for one clip with the encoder's output `encoded` `[1, T, C]`:
    /// projected into `kv` `[1, T, 2 C]`, or `encoded` itself if `kv` is `None`.
    pub fn keys<'a>(&self, be: &B, encoded: &'a Tensor<B>, kv: &'a mut Option<Tensor<B>>) -> Result<&'a Tensor<B>> {
        let Some(kv) = kv else { return Ok(encoded) };
        let Projected(weights) = self.projected.as_ref().ok_or_else(not_loaded)?;
        weights.run(be, kv, encoded, Epilogue::Store)?;
        Ok(kv)
    }
}

impl<B: Backend> Absorbed<B> {
    /// 8-bit key projections stay integers. They have one scale per output `d`, which is a column after the
    /// transposition, so the scales are multiplied into the query projection instead: `sum_d s_d k_dc q_d = sum_d k_dc
    /// (s_d q_d)`.
    fn load(scope: &Scope<B>, width: usize, heads: usize) -> Result<Self> {
        let values = scope.linear("v_proj", width, width)?;
        let (keys, q) = match scope.host_weight("k_proj.weight", &[width, width])? {
            HostWeight::Float(HostMatrix { values, rows, cols }) => {
                let values = transpose_heads(&values, [rows, cols], heads);
                let keys = HostMatrix { values, rows: heads * width, cols: rows / heads.max(1) };
                (scope.be.matrix(&keys)?, None)
            }
            HostWeight::Int8(HostInt8 { values, scales, rows, cols }) => {
                let values = transpose_heads(&values, [rows, cols], heads);
                let ones = vec![1.0; heads * width];
                let keys =
                    HostWeight::Int8(HostInt8 { values, scales: ones, rows: heads * width, cols: rows / heads.max(1) });
                (scope.be.matrix(&keys)?, Some(scope.scaled_linear("q_proj", &scales, width)?))
            }
        };
        Ok(Absorbed { keys, q, values })
    }
}

/// Transposes each head: `[H D, C]` to `[H C, D]`.
fn transpose_heads<T: Copy + Default>(weight: &[T], [rows, width]: [usize; 2], heads: usize) -> Vec<T> {
    let head_dim = rows / heads.max(1);
    let mut values = vec![T::default(); weight.len()];
    for (head, part) in weight.chunks_exact((head_dim * width).max(1)).enumerate() {
        for (d, row) in part.chunks_exact(width).enumerate() {
            for (c, value) in row.iter().enumerate() {
                values[(head * width + c) * head_dim + d] = *value;
            }
        }
    }
    values
}

/// The error for caches or scratch of a form that the device did not choose when the model was loaded.
fn not_loaded() -> Error {
    let rule = "the model was loaded for another kind of attention to the audio";
    Error::config("cross_cache", "another kind", rule)
}
