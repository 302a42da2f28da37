//! Finding a GPU, and what a caller may choose of how it computes.

use std::marker::PhantomData;
use std::sync::Arc;

use super::cublaslt::CublasLt;
use super::device::Device;
use super::{Activation, CrossCacheType, Cuda, Gemm, WeightType, gemm};
use crate::error::Result;

/// Number of GPUs the driver shows; those too old for the kernels count too.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) saying why there is no driver to ask.
pub fn device_count() -> Result<usize> {
    Device::count()
}

impl<A: Activation> Cuda<A> {
    /// Opens GPU `index`. Buffers may take at most `memory_limit` bytes of its memory together.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) saying what is missing: the driver, a GPU, kernels for this GPU;
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

    /// The same backend, multiplying by `gemm`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if cuBLASLt is asked for and not there, and whatever it reports.
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

    /// The same backend, storing weights loaded from now on as `kind`.
    pub fn with_weights(mut self, kind: WeightType) -> Self {
        self.weight_type = kind;
        self
    }

    /// The same backend, keeping of the encoder's output what `kind` says, for models loaded from now on.
    pub fn with_cross_cache(mut self, kind: CrossCacheType) -> Self {
        self.cross_cache_type = kind;
        self
    }

    /// Who multiplies.
    pub fn gemm(&self) -> Gemm {
        self.gemm
    }
}
