//! The [`DecoderOps`] primitives on the CPU.

use super::{
    Cpu, CrossCache, EncodedCache, SelfCache, absorbed_attention_step, cross_attention_step, self_attention_step,
};
use crate::engine::backend::{CrossKind, DecoderOps, StepRows, Tensor};
use crate::error::Result;

impl DecoderOps for Cpu {
    type SelfCache = SelfCache;
    type CrossCache = CrossCache;
    type EncodedCache = EncodedCache;

    fn cross_kind(&self, heads: usize, rows: usize) -> CrossKind {
        self.cross_cache_type.kind(heads, rows)
    }

    fn self_cache(&self, rows: usize, positions: usize, width: usize, heads: usize) -> Result<SelfCache> {
        Ok(SelfCache::new(rows, positions, width, heads))
    }

    fn cross_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<CrossCache> {
        Ok(CrossCache::new(self, slots, frames, width, heads))
    }

    fn cross_store(&self, cache: &mut CrossCache, slots: &[usize], kv: &Tensor<Self>) -> Result<()> {
        cross_attention_step::cross_store(self, cache, slots, kv)
    }

    fn encoded_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<EncodedCache> {
        Ok(EncodedCache::new(slots, frames, width, heads))
    }

    fn encoded_store(&self, cache: &mut EncodedCache, slots: &[usize], encoded: &Tensor<Self>) -> Result<()> {
        absorbed_attention_step::encoded_store(cache, slots, encoded)
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
