//! The [`DecoderOps`] primitives on CUDA.

use super::{
    CrossCache, CrossCacheType, Cuda, EncodedCache, SelfCache, absorbed_attention_step, cross_attention_step,
    self_attention_step,
};
use crate::engine::backend::{CrossKind, DecoderOps, StepRows, Tensor};
use crate::error::Result;

impl DecoderOps for Cuda {
    type SelfCache = SelfCache;
    type CrossCache = CrossCache;
    type EncodedCache = EncodedCache;

    fn cross_kind(&self, _heads: usize, _rows: usize) -> CrossKind {
        match self.cross_cache_type {
            CrossCacheType::Absorbed => CrossKind::Absorbed,
            CrossCacheType::Activation | CrossCacheType::Int8 => CrossKind::Projected,
        }
    }

    fn self_cache(&self, rows: usize, positions: usize, width: usize, heads: usize) -> Result<SelfCache> {
        SelfCache::new(&self.device, rows, positions, width, heads)
    }

    fn cross_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<CrossCache> {
        CrossCache::new(&self.device, self.cross_cache_type, slots, frames, width, heads)
    }

    fn cross_store(&self, cache: &mut CrossCache, slots: &[usize], kv: &Tensor<Self>) -> Result<()> {
        cross_attention_step::cross_store(self, cache, slots, kv)
    }

    fn encoded_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<EncodedCache> {
        EncodedCache::new(&self.device, slots, frames, width, heads)
    }

    fn encoded_store(&self, cache: &mut EncodedCache, slots: &[usize], encoded: &Tensor<Self>) -> Result<()> {
        absorbed_attention_step::encoded_store(self, cache, slots, encoded)
    }

    fn self_attention_step(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        cache: &mut SelfCache,
        rows: &StepRows<Self>,
        lineage: &Tensor<Self, i32>,
        scale: f32,
    ) -> Result<()> {
        self_attention_step::self_attention_step(self, out, qkv, cache, rows, lineage, scale)
    }

    fn cross_attention_step(
        &self,
        out: &mut Tensor<Self>,
        q: &Tensor<Self>,
        cache: &CrossCache,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()> {
        cross_attention_step::cross_attention_step(self, out, q, cache, rows, beams, scale)
    }

    fn absorbed_attention_step(
        &self,
        out: &mut Tensor<Self>,
        q: &Tensor<Self>,
        cache: &EncodedCache,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()> {
        absorbed_attention_step::absorbed_attention_step(self, out, q, cache, rows, beams, scale)
    }
}
