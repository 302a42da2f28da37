//! Opening a GPU, and its options: memory limit, storage of weights, cross-attention cache, matrix-product library.

use std::marker::PhantomData;
use std::sync::Arc;

use super::cublaslt::CublasLt;
use super::device::Device;
use super::{Activation, CrossCacheType, Cuda, Gemm, WeightType, gemm};
use crate::error::Result;

/// Number of GPUs that the driver reports, including GPUs that are too old for the kernels.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) if the driver cannot be used, with the reason.
pub fn device_count() -> Result<usize> {
    Device::count()
}

impl<A: Activation> Cuda<A> {
    /// Opens GPU `index`. All buffers together may take at most `memory_limit` bytes of its memory.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) naming what is missing: the driver, a GPU, or kernels for this GPU;
    /// [`Error::Config`](crate::Error::Config) for an index that does not exist.
    pub fn new(index: usize, memory_limit: Option<u64>) -> Result<Self> {
        let cuda = Cuda {
            device: Arc::new(Device::open(index, memory_limit)?),
            weight_type: WeightType::default(),
            cross_cache_type: CrossCacheType::default(),
            gemm: Gemm::Own,
            cublaslt: None,
            activation: PhantomData,
        };
        cuda.with_gemm(Gemm::default())
    }

    /// Returns the backend with matrix products computed by `gemm`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if cuBLASLt is selected but not installed, and errors of cuBLASLt.
    pub fn with_gemm(mut self, gemm: Gemm) -> Result<Self> {
        self.gemm = gemm;
        self.cublaslt = match gemm {
            Gemm::CublasLt => Some(Arc::new(CublasLt::open(&self.device)?)),
            Gemm::Auto if gemm::has_measurements(self.device.capability()) => match CublasLt::open(&self.device) {
                Ok(library) => Some(Arc::new(library)),
                Err(error) => {
                    tracing::info!(%error, "our own kernels multiply");
                    None
                }
            },
            Gemm::Auto | Gemm::Own => None,
        };
        Ok(self)
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

    /// Which implementation computes matrix products.
    pub fn gemm(&self) -> Gemm {
        self.gemm
    }
}
