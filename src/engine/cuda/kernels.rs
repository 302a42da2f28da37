//! The kernels of a module, looked up by name.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use super::driver::{self, check, sys};
use super::module::Module;
use crate::error::Result;

/// Dynamic shared memory that a block may use without a request, in bytes.
const PLAIN_SHARED: usize = 48 << 10;

/// The kernels looked up so far, by stem and suffix. The symbol of a kernel is its stem, plus the suffix of the
/// activation type if there is one kernel for each type.
pub(super) struct Kernels {
    module: Module,
    found: Mutex<HashMap<(&'static str, &'static str), Arc<Kernel>>>,
}

pub(super) struct Kernel {
    pub name: String,
    pub function: sys::CUfunction,
    /// Bytes of each parameter; `None` if the driver cannot report them (before CUDA 12.4).
    pub parameters: Option<Vec<usize>>,
    /// Largest dynamic shared memory requested so far, in bytes.
    pub shared: Mutex<usize>,
}

// SAFETY: (1) a function is a handle of the driver, which any thread may use; (2) its module is unloaded only with the
// device; (3) only an attribute is changed through it, behind a mutex.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

impl Kernels {
    pub fn new(module: Module) -> Self {
        Kernels { module, found: Mutex::new(HashMap::new()) }
    }

    /// The kernel `stem_suffix`, or `stem` if the suffix is empty.
    pub fn get(&self, stem: &'static str, suffix: &'static str) -> Result<Arc<Kernel>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = found.get(&(stem, suffix)) {
            return Ok(kernel.clone());
        }
        let name = if suffix.is_empty() { stem.to_string() } else { format!("{stem}_{suffix}") };
        let function = self.module.function(&name)?;
        let parameters = parameters(function);
        let kernel = Arc::new(Kernel { name, function, parameters, shared: Mutex::new(PLAIN_SHARED) });
        found.insert((stem, suffix), kernel.clone());
        Ok(kernel)
    }

    /// Unloads the module. All launches must have finished, and the context must be bound.
    pub fn unload(&mut self) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.module.unload();
    }
}

/// Sizes of a kernel's parameters, if the driver can report them (CUDA 12.4 and newer).
fn parameters(function: sys::CUfunction) -> Option<Vec<usize>> {
    if !driver::has("cuFuncGetParamInfo") {
        return None;
    }
    let mut sizes = Vec::new();
    loop {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: (1) the signature is cuda.h's, and the symbol is there; (2) both numbers outlive the call; (3) the
        // query has no side effects. An index past the last parameter is an error, which ends the loop.
        let code = unsafe { sys::cuFuncGetParamInfo(function, sizes.len(), &mut offset, &mut size) };
        match code {
            sys::CUresult::CUDA_SUCCESS => sizes.push(size),
            sys::CUresult::CUDA_ERROR_INVALID_VALUE => return Some(sizes),
            _ => return None,
        }
    }
}

impl Module {
    fn function(&self, name: &str) -> Result<sys::CUfunction> {
        let symbol = CString::new(name).map_err(|_| driver::refuse(name, "a kernel's name has no zero byte"))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `function` and `symbol` outlive the call; (3) the module is loaded in
        // the bound context.
        let code = unsafe { sys::cuModuleGetFunction(&mut function, self.handle(), symbol.as_ptr()) };
        if code == sys::CUresult::CUDA_ERROR_NOT_FOUND {
            return Err(driver::refuse(
                name,
                "this program's kernels do not include it; build again from clean sources",
            ));
        }
        check(name, code)?;
        Ok(function)
    }
}
