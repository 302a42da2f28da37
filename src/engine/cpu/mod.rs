//! The CPU backend: f32 activations, all cores, the widest vector instructions of the machine, no `unsafe`.
//!
//! Each op has its own file. Most ops call the matrix product of `gemm`: a convolution is a product over windows of its
//! input, attention is two products with a softmax between them, and a decode step reads its weights and its cache
//! through the same kernel.

#![forbid(unsafe_code)]

mod absorbed_attention_step;
mod add_positions;
mod advance_search;
mod aligned;
mod attention;
mod bounds;
mod clip_conv;
mod conv1d;
mod conv2d;
mod cross_attention_step;
mod ctc_viterbi;
mod dense;
mod embed;
mod embedding_ops;
mod fbank;
mod few_rows;
mod gather_rows;
mod gelu;
mod gemm;
mod isa;
mod layer_norm;
mod linear;
mod linear_by_head;
mod list_rows;
mod log_mel;
mod logit_rules;
mod logits;
mod lstm;
mod masked_statistics;
mod matrix;
mod pack_results;
mod pick_candidates;
mod pool_norm;
mod sample_conv;
mod segmentation_ops;
mod self_attention_step;
mod softmax;
mod stored;
mod threads;
mod time_warp;
mod token_probability;
mod wav2vec2_ops;

use std::sync::Arc;

pub use absorbed_attention_step::EncodedCache;
pub use clip_conv::ClipWeight;
pub use conv2d::Filter;
pub use cross_attention_step::{CrossCache, CrossCacheType};
pub use fbank::FbankPlan;
pub use log_mel::MelPlan;
pub use matrix::{Matrix, WeightType};
pub use self_attention_step::SelfCache;

use self::bounds::{out_of_range, part};
use self::threads::Threads;
use super::ctc::{CtcSegments, CtcSpans, CtcTopology};
use super::decode::DecodeState;
use super::weights::WeightRef;
use super::{Backend, CrossKind, Element, Epilogue, StepRows, Tensor};
use crate::error::{Error, Result};

/// The CPU backend: its thread pool, instruction set, and storage types of weights and cross-attention cache.
#[derive(Clone)]
pub struct Cpu {
    threads: Arc<Threads>,
    level: isa::Level,
    weight_type: WeightType,
    cross_cache_type: CrossCacheType,
}

impl Cpu {
    /// A backend with a pool of `threads` threads; `None` is one per core.
    ///
    /// # Errors
    /// [`Error::Config`] if the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let threads = Threads::start(threads)
            .map_err(|e| Error::config("threads", threads.unwrap_or(0), format!("the threads did not start: {e}")))?;
        Ok(Cpu {
            threads: Arc::new(threads),
            level: isa::Level::detect(),
            weight_type: WeightType::default(),
            cross_cache_type: CrossCacheType::default(),
        })
    }

    /// Stores weights that are loaded from now on as `kind`.
    pub fn with_weights(mut self, kind: WeightType) -> Self {
        self.weight_type = kind;
        self
    }

    /// Sets the type of the cross-attention cache, for models loaded from now on.
    pub fn with_cross_cache(mut self, kind: CrossCacheType) -> Self {
        self.cross_cache_type = kind;
        self
    }

    /// Number of threads in the pool. Concurrent calls share them.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }
}

impl Backend for Cpu {
    type Act = f32;
    type Buffer<T: Element> = Vec<T>;
    type Matrix = Matrix;
    type MelPlan = MelPlan;
    type SelfCache = SelfCache;
    type CrossCache = CrossCache;
    type EncodedCache = EncodedCache;
    type GraphCache = ();
    type HostCopy = Vec<i32>;
    type Fence = ();

    fn describe(&self) -> String {
        format!("CPU, {} threads, {}", self.threads(), self.level.name())
    }

    fn scope<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.threads.run(f)
    }

    fn encoder_batch(&self) -> usize {
        1
    }

    fn zeros<T: Element>(&self, len: usize) -> Result<Vec<T>> {
        Ok(vec![T::default(); len])
    }

    fn write<T: Element>(&self, dst: &mut Vec<T>, at: usize, src: &[T]) -> Result<()> {
        part("write", dst, at, src.len())?;
        dst[at..at + src.len()].copy_from_slice(src);
        Ok(())
    }

    fn read<T: Element>(&self, dst: &mut [T], src: &Vec<T>, at: usize) -> Result<()> {
        dst.copy_from_slice(part("read", src, at, dst.len())?);
        Ok(())
    }

    fn write_act(&self, dst: &mut Vec<f32>, at: usize, src: &[f32]) -> Result<()> {
        self.write(dst, at, src)
    }

    fn read_act(&self, dst: &mut [f32], src: &Vec<f32>, at: usize) -> Result<()> {
        self.read(dst, src, at)
    }

    fn host_copy(&self, len: usize) -> Result<Vec<i32>> {
        Ok(vec![0; len])
    }

    fn start_copy(&self, copy: &mut Vec<i32>, src: &Vec<i32>) -> Result<()> {
        self.read(copy, src, 0)
    }

    fn has_arrived(&self, _: &Vec<i32>) -> Result<bool> {
        Ok(true)
    }

    fn arrived<'c>(&self, copy: &'c mut Vec<i32>) -> Result<&'c [i32]> {
        Ok(copy)
    }

    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        f()
    }

    fn join(&self, _: &()) -> Result<()> {
        Ok(())
    }

    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Matrix> {
        Ok(Matrix::pack(weight.into(), self.weight_type, self.level.panel_width()))
    }

    fn matrix_shape(&self, matrix: &Matrix) -> (usize, usize) {
        (matrix.n, matrix.k)
    }

    fn mel_plan(&self, n_mels: usize) -> Result<MelPlan> {
        Ok(MelPlan::new(n_mels))
    }

    fn log_mel(&self, out: &mut Tensor<Self>, audio: &Tensor<Self, f32>, plan: &MelPlan) -> Result<()> {
        log_mel::log_mel(self, out, audio, plan)
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

    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Matrix,
        positions: &Tensor<Self, f32>,
    ) -> Result<()> {
        embed::embed(out, rows, table, positions)
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

    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Matrix) -> Result<()> {
        logits::logits(self, out, x, table);
        Ok(())
    }

    fn logit_rules(
        &self,
        logits: &mut Tensor<Self, f32>,
        rows: &StepRows<Self>,
        state: &DecodeState<Self>,
    ) -> Result<()> {
        logit_rules::logit_rules(self, logits, rows, state);
        Ok(())
    }

    fn pick_candidates(
        &self,
        state: &mut DecodeState<Self>,
        logits: &Tensor<Self, f32>,
        rows: &StepRows<Self>,
    ) -> Result<()> {
        pick_candidates::pick_candidates(self, state, logits, rows);
        Ok(())
    }

    fn advance_search(&self, rows: &mut StepRows<Self>, state: &mut DecodeState<Self>) -> Result<()> {
        advance_search::advance_search(rows, state);
        Ok(())
    }

    fn list_rows(&self, rows: &mut StepRows<Self>, state: &DecodeState<Self>) -> Result<()> {
        list_rows::list_rows(rows, state)
    }

    fn token_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        slot: &Tensor<Self, i32>,
        token: usize,
    ) -> Result<()> {
        token_probability::token_probability(out, logits, slot, token);
        Ok(())
    }

    fn pack_results(&self, out: &mut Tensor<Self, i32>, state: &DecodeState<Self>) -> Result<()> {
        pack_results::pack_results(out, state);
        Ok(())
    }

    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()> {
        ctc_viterbi::ctc_viterbi(self, out, log_probs, segments, topology);
        Ok(())
    }
}
