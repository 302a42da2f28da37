//! The CUDA backend: our own kernels on NVIDIA GPUs of compute capability 8.0 (Ampere) and newer. It needs only the
//! driver.
//!
//! Activations and weights are f16 or bf16; sums are f32. Each op is one file here and one file of the same name in
//! `kernels/`. The function of an op checks what only the device can check, assembles the launch and returns before the
//! kernel has run. All `unsafe` code of the crate is in this folder, except the memory map of the weights: the modules
//! below that call the driver, and the ops, which guarantee that the arguments of their kernels are valid.
//!
//! The modules that call the driver, each using only those above it: `driver`, `context`, `event` and `memory`, `queue`
//! (a stream with its staging and scratch memory), `module` and `kernels`, `device`, `buffer`, `launch`, `graph`,
//! `fork`.

#![allow(unsafe_code)]

mod absorbed_attention_step;
mod account;
mod activation;
mod add_positions;
mod advance_search;
mod attention;
mod average_linkage;
mod bands;
mod buffer;
mod campplus_ops;
mod cluster;
mod context;
mod conv1d;
mod conv2d;
mod cross_attention_step;
mod ctc_viterbi;
mod current;
mod decoder_ops;
mod device;
mod driver;
mod embed;
mod embedding_ops;
mod event;
mod fbank;
mod fork;
mod gather_rows;
mod graph;
mod host_copy;
mod inspect;
mod kernels;
mod launch;
mod layer_norm;
mod linear;
mod linear_by_head;
mod list_rows;
mod log_mel;
mod logit_rules;
mod logits;
mod matrix;
mod matrix_ops;
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
mod search_ops;
mod segmentation_ops;
mod self_attention_step;
mod time_warp;
mod timer;
mod token_probability;
mod transformer_ops;
mod wav2vec2_ops;

use std::sync::Arc;

pub use absorbed_attention_step::EncodedCache;
pub use account::MemoryUse;
pub use activation::ActivationType;
use activation::Bits;
use attention::head_dim;
pub use buffer::Buffer;
pub use conv2d::Filter;
pub use cross_attention_step::{CrossCache, CrossCacheType};
pub use fbank::FbankPlan;
pub use fork::Fence;
pub use graph::GraphCache;
pub use host_copy::HostCopy;
pub use log_mel::MelPlan;
pub use matrix::{Matrix, WeightType};
pub use open::device_count;
pub use segmentation_ops::F32Matrix;
pub use self_attention_step::SelfCache;

use super::backend::{Device, Element};
use crate::error::Result;

/// Decode steps between two readbacks of the finished flags. The readback is asynchronous and overlaps the following
/// steps, so the device never waits for the host. A slot that has finished is recomputed until the host has read its
/// flag: on average one and a half times this many steps are wasted for each window.
const STEPS_PER_READBACK: usize = 2;
/// Windows encoded in one pass: 12 000 frames, which fill the tensor cores of any GPU; about 0.5 GB for large models.
const ENCODER_BATCH: usize = 8;

/// A GPU, and the storage types of activations, weights and cross-attention cache.
#[derive(Clone)]
pub struct Cuda {
    device: Arc<device::Device>,
    weight_type: WeightType,
    cross_cache_type: CrossCacheType,
    activation: ActivationType,
}

impl Device for Cuda {
    type Act = Bits;
    type Buffer<T: Element> = Buffer<T>;
    type GraphCache = GraphCache;
    type HostCopy = HostCopy;
    type Fence = Fence;
    type Host = Self;

    fn host(&self) -> &Self {
        self
    }

    fn describe(&self) -> String {
        format!("{}, {}", self.device.describe(), self.activation.suffix())
    }

    fn replay(&self, recorded: &mut GraphCache, key: usize, f: impl FnMut() -> Result<()>) -> Result<()> {
        recorded.replay(&self.device, key, f)
    }

    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<Fence> {
        fork::fork(&self.device, f)
    }

    fn join(&self, fence: &Fence) -> Result<()> {
        fork::join(&self.device, fence)
    }

    fn has_concurrent_streams(&self) -> bool {
        true
    }

    fn available_memory(&self) -> Result<Option<u64>> {
        // A sixteenth is left free: the driver's own memory grows with captured graphs, and memory fragments.
        let free = self.free_memory()? / 16 * 15;
        let MemoryUse { used, limit, .. } = self.memory_use();
        Ok(Some(free.min(limit.saturating_sub(used))))
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

    fn host_copy(&self, len: usize) -> Result<HostCopy> {
        HostCopy::new(&self.device, len)
    }

    fn start_copy(&self, copy: &mut HostCopy, src: &Buffer<i32>) -> Result<()> {
        copy.start(src)
    }

    fn is_copy_complete(&self, copy: &HostCopy) -> Result<bool> {
        copy.is_copy_complete()
    }

    fn finish_copy<'c>(&self, copy: &'c mut HostCopy) -> Result<&'c [i32]> {
        copy.values()
    }

    fn write_act(&self, dst: &mut Buffer<Bits>, at: usize, src: &[f32]) -> Result<()> {
        dst.write_with(at, src.len(), |staged, from| self.activation.narrow(staged, &src[from..from + staged.len()]))
    }

    fn read_act(&self, dst: &mut [f32], src: &Buffer<Bits>, at: usize) -> Result<()> {
        let mut bits = vec![0; dst.len()];
        src.read(&mut bits, at)?;
        self.activation.widen(dst, &bits);
        Ok(())
    }
}
