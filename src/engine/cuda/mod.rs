//! The CUDA backend: our own kernels on NVIDIA GPUs of compute capability 8.0 (Ampere) and newer. It needs only the driver.
//!
//! Activations and weights are f16 or bf16; sums are f32. Each op is one file here and one file of the same name in
//! `kernels/`. The function of an op checks what only the device can check, assembles the launch and returns before the
//! kernel has run. All `unsafe` code of the crate is in this folder, except the memory map of the weights: `driver`,
//! `device`, `memory`, `buffer`, `module`, `launch` and `graph` call the driver, and each op guarantees that the arguments of its kernels are valid.

#![allow(unsafe_code)]

mod absorbed_attention_step;
mod activation;
mod add_positions;
mod advance_search;
mod attention;
mod average_linkage;
mod bands;
mod buffer;
mod cluster;
mod conv1d;
mod conv2d;
mod cross_attention_step;
mod ctc_viterbi;
mod dense;
mod device;
mod driver;
mod embed;
mod embedding_ops;
mod event;
mod fbank;
mod gather_rows;
mod graph;
mod host_copy;
mod inspect;
mod launch;
mod layer_norm;
mod linear;
mod linear_by_head;
mod list_rows;
mod log_mel;
mod logit_rules;
mod logits;
mod matrix;
mod memory;
mod module;
pub(super) mod nvtx;
mod open;
mod pack_results;
mod pick_candidates;
mod queue;
mod read_rate;
mod sample_conv;
mod search;
mod segmentation_ops;
mod self_attention_step;
mod time_warp;
mod token_probability;
mod wav2vec2_ops;

use std::marker::PhantomData;
use std::sync::Arc;

pub use absorbed_attention_step::EncodedCache;
pub use activation::Activation;
use attention::head_dim;
pub use buffer::Buffer;
pub use conv2d::Filter;
pub use cross_attention_step::{CrossCache, CrossCacheType};
use device::Device;
pub use fbank::FbankPlan;
pub use graph::GraphCache;
pub use host_copy::HostCopy;
pub use log_mel::MelPlan;
pub use matrix::{Matrix, WeightType};
pub use memory::MemoryUse;
pub use open::device_count;
pub use queue::Fence;
pub use segmentation_ops::F32Matrix;
pub use self_attention_step::SelfCache;

use super::ctc::{CtcSegments, CtcSpans, CtcTopology};
use super::decode::DecodeState;
use super::weights::WeightRef;
use super::{Backend, CrossKind, Element, Epilogue, StepRows, Tensor};
use crate::error::Result;

/// Decode steps between two readbacks of the finished flags. The readback is asynchronous and overlaps the following
/// steps, so the device never waits for the host. A slot that has finished is recomputed until the host has read its
/// flag: on average one and a half times this many steps are wasted for each window.
const STEPS_PER_LOOK: usize = 2;
/// Windows encoded in one pass: 12 000 frames, which fill the tensor cores of any GPU; about 0.5 GB for large models.
const ENCODER_BATCH: usize = 8;

/// A GPU whose activations are stored as `A`: [`half::f16`] or [`half::bf16`].
pub struct Cuda<A: Activation> {
    device: Arc<Device>,
    weight_type: WeightType,
    cross_cache_type: CrossCacheType,
    activation: PhantomData<A>,
}

impl<A: Activation> Clone for Cuda<A> {
    fn clone(&self) -> Self {
        Cuda { device: self.device.clone(), ..*self }
    }
}

impl<A: Activation> Backend for Cuda<A> {
    type Act = A;
    type Buffer<T: Element> = Buffer<T>;
    type Matrix = Matrix<A>;
    type MelPlan = MelPlan;
    type SelfCache = SelfCache<A>;
    type CrossCache = CrossCache<A>;
    type EncodedCache = EncodedCache<A>;
    type GraphCache = GraphCache;
    type HostCopy = HostCopy;
    type Fence = Fence;

    fn describe(&self) -> String {
        format!("{}, {}", self.device.describe(), A::SUFFIX)
    }

    fn encoder_batch(&self) -> usize {
        ENCODER_BATCH
    }

    fn available_memory(&self) -> Result<Option<u64>> {
        // A sixteenth is left free: the driver's own memory grows with captured graphs, and memory fragments.
        let free = self.free_memory()? / 16 * 15;
        let MemoryUse { used, limit, .. } = self.memory_use();
        Ok(Some(free.min(limit.saturating_sub(used))))
    }

    fn replay(&self, recorded: &mut GraphCache, key: usize, f: impl FnMut() -> Result<()>) -> Result<()> {
        recorded.replay(&self.device, key, f)
    }

    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<Fence> {
        queue::fork(&self.device, f)
    }

    fn join(&self, fence: &Fence) -> Result<()> {
        queue::join(&self.device, fence)
    }

    fn runs_beside(&self) -> bool {
        true
    }

    fn host_copy(&self, len: usize) -> Result<HostCopy> {
        HostCopy::new(&self.device, len)
    }

    fn start_copy(&self, copy: &mut HostCopy, src: &Buffer<i32>) -> Result<()> {
        copy.start(src)
    }

    fn has_arrived(&self, copy: &HostCopy) -> Result<bool> {
        copy.has_arrived()
    }

    fn arrived<'c>(&self, copy: &'c mut HostCopy) -> Result<&'c [i32]> {
        copy.values()
    }

    fn zeros<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::zeros(&self.device, len)
    }

    fn write<T: Element>(&self, dst: &mut Buffer<T>, at: usize, src: &[T]) -> Result<()> {
        dst.write(at, src)
    }

    fn read<T: Element>(&self, dst: &mut [T], src: &Buffer<T>, at: usize) -> Result<()> {
        src.read(dst, at)
    }

    fn write_act(&self, dst: &mut Buffer<A>, at: usize, src: &[f32]) -> Result<()> {
        dst.write_with(at, src.len(), |staged, from| A::narrow(staged, &src[from..from + staged.len()]))
    }

    fn read_act(&self, dst: &mut [f32], src: &Buffer<A>, at: usize) -> Result<()> {
        let mut values = vec![A::default(); dst.len()];
        src.read(&mut values, at)?;
        dst.iter_mut().zip(values).for_each(|(wide, value)| *wide = value.to_f32());
        Ok(())
    }

    fn matrix<'w>(&self, weight: impl Into<WeightRef<'w>>) -> Result<Matrix<A>> {
        Matrix::upload(&self.device, weight.into(), self.weight_type)
    }

    fn matrix_shape(&self, matrix: &Matrix<A>) -> (usize, usize) {
        (matrix.n, matrix.k)
    }

    fn mel_plan(&self, n_mels: usize) -> Result<MelPlan> {
        MelPlan::new(&self.device, n_mels)
    }

    fn log_mel(&self, out: &mut Tensor<Self>, audio: &Tensor<Self, f32>, plan: &MelPlan) -> Result<()> {
        log_mel::log_mel(self, out, audio, plan)
    }

    fn linear(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix<A>,
        bias: Option<&Tensor<Self, f32>>,
        epilogue: Epilogue,
    ) -> Result<()> {
        linear::linear(self, out, x, weight, bias, epilogue)
    }

    fn linear_by_head(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix<A>,
        bias: Option<&Tensor<Self, f32>>,
        heads: usize,
    ) -> Result<()> {
        linear_by_head::linear_by_head(self, out, x, weight, bias, heads)
    }

    fn conv1d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix<A>,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        conv1d::conv1d(self, out, x, weight, bias, stride, epilogue)
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

    fn cross_kind(&self, _heads: usize, _rows: usize) -> CrossKind {
        match self.cross_cache_type {
            CrossCacheType::Absorbed => CrossKind::Absorbed,
            CrossCacheType::Activation | CrossCacheType::Int8 => CrossKind::Projected,
        }
    }

    fn self_cache(&self, rows: usize, positions: usize, width: usize, heads: usize) -> Result<SelfCache<A>> {
        SelfCache::new(&self.device, rows, positions, width, heads)
    }

    fn cross_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<CrossCache<A>> {
        CrossCache::new(&self.device, self.cross_cache_type, slots, frames, width, heads)
    }

    fn cross_store(&self, cache: &mut CrossCache<A>, slots: &[usize], kv: &Tensor<Self>) -> Result<()> {
        cross_attention_step::cross_store(self, cache, slots, kv)
    }

    fn encoded_cache(&self, slots: usize, frames: usize, width: usize, heads: usize) -> Result<EncodedCache<A>> {
        EncodedCache::new(&self.device, slots, frames, width, heads)
    }

    fn encoded_store(&self, cache: &mut EncodedCache<A>, slots: &[usize], encoded: &Tensor<Self>) -> Result<()> {
        absorbed_attention_step::encoded_store(self, cache, slots, encoded)
    }

    fn embed(
        &self,
        out: &mut Tensor<Self>,
        rows: &StepRows<Self>,
        table: &Matrix<A>,
        positions: &Tensor<Self, f32>,
    ) -> Result<()> {
        embed::embed(self, out, rows, table, positions)
    }

    fn self_attention_step(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        cache: &mut SelfCache<A>,
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
        cache: &CrossCache<A>,
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
        cache: &EncodedCache<A>,
        rows: &StepRows<Self>,
        beams: usize,
        scale: f32,
    ) -> Result<()> {
        absorbed_attention_step::absorbed_attention_step(self, out, q, cache, rows, beams, scale)
    }

    fn logits(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self>, table: &Matrix<A>) -> Result<()> {
        logits::logits(self, out, x, table)
    }

    fn logit_rules(
        &self,
        logits: &mut Tensor<Self, f32>,
        rows: &StepRows<Self>,
        state: &DecodeState<Self>,
    ) -> Result<()> {
        logit_rules::logit_rules(self, logits, rows, state)
    }

    fn token_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        slot: &Tensor<Self, i32>,
        token: usize,
    ) -> Result<()> {
        token_probability::token_probability(self, out, logits, slot, token)
    }

    fn list_rows(&self, rows: &mut StepRows<Self>, state: &DecodeState<Self>) -> Result<()> {
        list_rows::list_rows(self, rows, state)
    }

    fn pack_results(&self, out: &mut Tensor<Self, i32>, state: &DecodeState<Self>) -> Result<()> {
        pack_results::pack_results(self, out, state)
    }

    fn steps_per_readback(&self) -> usize {
        STEPS_PER_LOOK
    }

    fn pick_candidates(
        &self,
        state: &mut DecodeState<Self>,
        logits: &Tensor<Self, f32>,
        rows: &StepRows<Self>,
    ) -> Result<()> {
        pick_candidates::pick_candidates(self, state, logits, rows)
    }

    fn advance_search(&self, rows: &mut StepRows<Self>, state: &mut DecodeState<Self>) -> Result<()> {
        advance_search::advance_search(self, rows, state)
    }

    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()> {
        ctc_viterbi::ctc_viterbi(self, out, log_probs, segments, topology)
    }
}
