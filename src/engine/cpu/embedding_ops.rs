//! ResNet speaker embeddings: the [`EmbeddingOps`] primitives on the CPU.

use super::{Cpu, FbankPlan, Filter, conv2d, fbank, masked_statistics};
use crate::engine::Tensor;
use crate::engine::embedding_ops::{Conv2dEpilogue, EmbeddingOps, FilterShape, HostFilter};
use crate::error::Result;
use crate::features::fbank::Fbank;

/// Largest batch in windows: more would only cost memory, 30 MB each for WeSpeaker.
const MAX_WINDOWS: usize = 32;

impl EmbeddingOps for Cpu {
    type FbankPlan = FbankPlan;
    type Filter = Filter;

    fn fbank_plan(&self, options: &Fbank) -> Result<FbankPlan> {
        Ok(FbankPlan::new(options))
    }

    fn fbank_bands(&self, plan: &FbankPlan) -> usize {
        plan.bands.len()
    }

    fn filter(&self, filter: &HostFilter) -> Result<Filter> {
        Ok(Filter::new(self, filter))
    }

    fn filter_shape(&self, filter: &Filter) -> FilterShape {
        filter.shape
    }

    fn embedding_batch(&self) -> usize {
        self.threads().clamp(1, MAX_WINDOWS)
    }

    fn fbank(&self, out: &mut Tensor<Self, f32>, samples: &Tensor<Self, f32>, plan: &FbankPlan) -> Result<()> {
        fbank::fbank(self, out, samples, plan)
    }

    fn centre_windows(&self, out: &mut Tensor<Self>, features: &Tensor<Self, f32>, first: &[usize]) -> Result<()> {
        fbank::centre_windows(self, out, features, first);
        Ok(())
    }

    fn conv2d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        filter: &Filter,
        after: Conv2dEpilogue<Self>,
    ) -> Result<()> {
        conv2d::conv2d(self, out, x, filter, &after);
        Ok(())
    }

    fn masked_statistics(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self>,
        masks: &Tensor<Self, f32>,
    ) -> Result<()> {
        masked_statistics::masked_statistics(self, out, x, masks);
        Ok(())
    }
}
