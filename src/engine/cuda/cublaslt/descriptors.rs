//! RAII wrappers for cuBLASLt descriptors, and its status codes as messages.

use cudarc::cublaslt::sys as lt;

use crate::error::{Error, Result};

/// The operation descriptor (`cublasLtMatmulDesc_t`): f32 sums and scalars.
pub struct Description(pub lt::cublasLtMatmulDesc_t);

impl Description {
    pub fn new() -> Result<Self> {
        let mut description = Description(std::ptr::null_mut());
        let (sums, scalars) = (lt::cublasComputeType_t::CUBLAS_COMPUTE_32F, lt::cudaDataType_t::CUDA_R_32F);
        // SAFETY: (1) the signature is cublasLt.h's; (2) the handle outlives the call; (3) it needs no context.
        check("cublasLtMatmulDescCreate", unsafe { lt::cublasLtMatmulDescCreate(&mut description.0, sums, scalars) })?;
        Ok(description)
    }

    pub fn set(&self, attribute: lt::cublasLtMatmulDescAttributes_t, value: &[u8]) -> Result<()> {
        // SAFETY: (1) the signature is cublasLt.h's; (2) the value has the bytes said, which are copied; (3) the
        // description is whole.
        check("cublasLtMatmulDescSetAttribute", unsafe {
            lt::cublasLtMatmulDescSetAttribute(self.0, attribute, value.as_ptr().cast(), value.len())
        })
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: (1) the signature is cublasLt.h's; (2) ours, destroyed once; (3) queued products keep what they need.
            let _ = unsafe { lt::cublasLtMatmulDescDestroy(self.0) };
        }
    }
}

/// A column-major matrix layout.
pub struct Layout(pub lt::cublasLtMatrixLayout_t);

impl Layout {
    pub fn new(kind: lt::cudaDataType, rows: usize, cols: usize, between_cols: usize) -> Result<Self> {
        let mut layout = Layout(std::ptr::null_mut());
        // SAFETY: (1) the signature is cublasLt.h's; (2) the handle outlives the call; (3) it needs no context.
        check("cublasLtMatrixLayoutCreate", unsafe {
            lt::cublasLtMatrixLayoutCreate(&mut layout.0, kind, rows as u64, cols as u64, between_cols as i64)
        })?;
        Ok(layout)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: (1) the signature is cublasLt.h's; (2) ours, destroyed once; (3) queued products keep what they need.
            let _ = unsafe { lt::cublasLtMatrixLayoutDestroy(self.0) };
        }
    }
}

/// Search preferences for algorithms: the workspace limit, and no split-K reductions.
pub struct Preference(pub lt::cublasLtMatmulPreference_t);

impl Preference {
    pub fn new(workspace: usize) -> Result<Self> {
        use lt::cublasLtMatmulPreferenceAttributes_t as P;
        let mut preference = Preference(std::ptr::null_mut());
        // SAFETY: (1) the signature is cublasLt.h's; (2) the handle outlives the call; (3) it needs no context.
        check("cublasLtMatmulPreferenceCreate", unsafe { lt::cublasLtMatmulPreferenceCreate(&mut preference.0) })?;
        let schemes = lt::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        let values: [(P, &[u8]); 2] = [
            (P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace.to_ne_bytes()),
            (P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes.to_ne_bytes()),
        ];
        for (attribute, value) in values {
            // SAFETY: (1) the signature is cublasLt.h's; (2) the value has the bytes said, which are copied; (3) the
            // preference is whole.
            check("cublasLtMatmulPreferenceSetAttribute", unsafe {
                let (bytes, len) = (value.as_ptr().cast(), value.len());
                lt::cublasLtMatmulPreferenceSetAttribute(preference.0, attribute, bytes, len)
            })?;
        }
        Ok(preference)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: (1) the signature is cublasLt.h's; (2) ours, destroyed once; (3) queued products do not use it.
            let _ = unsafe { lt::cublasLtMatmulPreferenceDestroy(self.0) };
        }
    }
}

/// Converts a cuBLASLt status to a result.
pub fn check(call: &'static str, code: lt::cublasStatus_t) -> Result<()> {
    use lt::cublasStatus_t as S;
    let cure = match code {
        S::CUBLAS_STATUS_SUCCESS => return Ok(()),
        S::CUBLAS_STATUS_ALLOC_FAILED => "cuBLASLt has no memory left; use a smaller batch, or `gemm` own",
        S::CUBLAS_STATUS_ARCH_MISMATCH => {
            "this cuBLASLt does not know this GPU; install a newer one, or use `gemm` own"
        }
        S::CUBLAS_STATUS_NOT_INITIALIZED => "does its version fit the driver? `gemm` own does without it",
        _ => "`gemm` own does without it",
    };
    Err(Error::Device { call: call.into(), code: code as i32, text: format!("{code:?}; {cure}") })
}
