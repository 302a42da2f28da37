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
mod campplus_ops;
mod clip_conv;
mod conv1d;
mod conv2d;
mod cross_attention_step;
mod ctc_viterbi;
mod decoder_ops;
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
mod matrix_ops;
mod pack_results;
mod pick_candidates;
mod pool_norm;
mod sample_conv;
mod search_ops;
mod segmentation_ops;
mod self_attention_step;
mod softmax;
mod stored;
mod threads;
mod time_warp;
mod token_probability;
mod transformer_ops;
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
use super::backend::{Device, Element};
use super::cluster::Cluster;
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

/// The default bodies run on the host.
impl Cluster for Cpu {}

impl Device for Cpu {
    type Act = f32;
    type Buffer<T: Element> = Vec<T>;
    type GraphCache = ();
    type HostCopy = Vec<i32>;
    type Fence = ();
    type Host = Self;

    fn host(&self) -> &Self {
        self
    }

    fn describe(&self) -> String {
        format!("CPU, {} threads, {}", self.threads(), self.level.name())
    }

    fn scope<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.threads.run(f)
    }

    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        f()
    }

    fn join(&self, _: &()) -> Result<()> {
        Ok(())
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

    fn host_copy(&self, len: usize) -> Result<Vec<i32>> {
        Ok(vec![0; len])
    }

    fn start_copy(&self, copy: &mut Vec<i32>, src: &Vec<i32>) -> Result<()> {
        self.read(copy, src, 0)
    }

    fn is_copy_complete(&self, _: &Vec<i32>) -> Result<bool> {
        Ok(true)
    }

    fn finish_copy<'c>(&self, copy: &'c mut Vec<i32>) -> Result<&'c [i32]> {
        Ok(copy)
    }

    fn write_act(&self, dst: &mut Vec<f32>, at: usize, src: &[f32]) -> Result<()> {
        self.write(dst, at, src)
    }

    fn read_act(&self, dst: &mut [f32], src: &Vec<f32>, at: usize) -> Result<()> {
        self.read(dst, src, at)
    }
}
