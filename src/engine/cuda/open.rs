//! Opening a GPU, and its options: memory limit, storage of weights, cross-attention cache.

use std::sync::Arc;

use super::device::Device;
use super::{ActivationType, CrossCacheType, Cuda, WeightType};
use crate::error::Result;

/// Number of GPUs that the driver reports, including GPUs that are too old for the kernels.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) if the driver cannot be used, with the reason.
pub fn device_count() -> Result<usize> {
    Device::count()
}

impl Cuda {
    /// Opens GPU `index`, with activations stored as `activation`. All buffers together may take at most `memory_limit`
    /// bytes of its memory.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) naming what is missing: the driver, a GPU, or kernels for this GPU;
    /// [`Error::Config`](crate::Error::Config) for an index that does not exist.
    pub fn new(index: usize, activation: ActivationType, memory_limit: Option<u64>) -> Result<Self> {
        Ok(Cuda {
            device: Arc::new(Device::open(index, memory_limit)?),
            weight_type: WeightType::default(),
            cross_cache_type: CrossCacheType::default(),
            activation,
        })
    }

    /// Returns the backend with `kind` as the storage of weights that are loaded from now on.
    pub fn with_weights(mut self, kind: WeightType) -> Self {
        self.weight_type = kind;
        self
    }

    /// Returns the backend with `kind` as the cross-attention cache of models that are loaded from now on.
    pub fn with_cross_cache(mut self, kind: CrossCacheType) -> Self {
        self.cross_cache_type = kind;
        self
    }
}
