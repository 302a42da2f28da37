//! The primary context of a GPU, with the account of the memory allocated in it.

use super::account::Account;
use super::driver::{check, sys};
use crate::error::{Error, Result};

/// The primary context of one device, held until dropped.
pub(super) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
    /// Memory allocated in this context by the engine.
    pub account: Account,
}

// SAFETY: (1) a context is a handle of the driver, which any thread may use; (2) it is held until `Drop`; (3) making it
// current concerns one thread only.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Retains the context of `device`, which exists; the engine allocates at most `limit` bytes in it.
    pub fn retain(device: sys::CUdevice, limit: Option<u64>) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `handle` outlives the call; (3) the device exists: it was queried
        // before.
        let code = unsafe { sys::cuDevicePrimaryCtxRetain(&mut handle, device) };
        if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(Error::OutOfMemory { wanted: 0, free: 0, during: "opening the GPU; is it full?".into() });
        }
        check("cuDevicePrimaryCtxRetain", code)?;
        Ok(Context { device, handle, account: Account::new(limit) })
    }

    /// Makes the context current on this thread.
    pub fn bind(&self) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) the context is held; (3) it concerns this thread only.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.handle) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: (1) the signature is cuda.h's; (2) retained once, released once; (3) nothing of ours is left in it.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}
