//! Loading the CUDA driver at run time, and its error codes as messages.
//!
//! The program is not linked to CUDA, so it starts on machines without it. Every driver function that the engine calls
//! is listed in [`SYMBOLS`] and looked up once. If the driver lacks one, the error names it before anything is called.

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

pub(super) use cudarc::driver::sys;

use crate::error::{Error, Result};

/// Every function of the driver that the engine requires.
const SYMBOLS: &[&str] = &[
    "cuCtxGetStreamPriorityRange",
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuProfilerStart",
    "cuProfilerStop",
    "cuStreamBeginCapture_v2",
    "cuStreamCreateWithPriority",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// Error code for failures that no driver call reported: the driver cannot be used at all.
const NO_DRIVER: i32 = -1;

/// A device error that no driver call reported.
pub(super) fn refuse(call: impl Into<String>, text: impl Into<String>) -> Error {
    Error::Device { call: call.into(), code: NO_DRIVER, text: text.into() }
}

/// Loads and initialises the driver; later calls return the result of the first.
///
/// # Errors
/// [`Error::Device`] naming what is missing.
pub(super) fn start() -> Result<()> {
    static STARTED: OnceLock<Option<(i32, String)>> = OnceLock::new();
    let failed = STARTED.get_or_init(|| match load() {
        Ok(()) => None,
        Err(Error::Device { code, text, .. }) => Some((code, text)),
        Err(other) => Some((NO_DRIVER, other.to_string())),
    });
    match failed {
        None => Ok(()),
        Some((code, text)) => Err(Error::Device { call: "CUDA driver".into(), code: *code, text: text.clone() }),
    }
}

fn load() -> Result<()> {
    // SAFETY: (1) the library is only opened; (2) its initialisers are the vendor's, which every CUDA program runs; (3) it
    // is never closed, so no symbol can dangle.
    if !unsafe { sys::is_culib_present() } {
        let file = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
        let text = format!("{file} is not on this machine: install the NVIDIA driver, or use the CPU (`device` cpu)");
        return Err(refuse("CUDA driver", text));
    }
    for symbol in SYMBOLS {
        if !has(symbol) {
            let text = format!("the NVIDIA driver is too old: it has no {symbol}; CUDA 11.4 or newer is needed");
            return Err(refuse("CUDA driver", text));
        }
    }
    // SAFETY: (1) the signature is cuda.h's, and the symbol is there; (2) it takes no memory; (3) it may be called from
    // any thread, any number of times.
    check("cuInit", unsafe { sys::cuInit(0) })
}

/// Whether the driver exports `symbol`. May only be called after the library was found.
pub(super) fn has(symbol: &str) -> bool {
    // SAFETY: (1) the symbol's address is looked at and never called through this type; (2) the library was found, so
    // `culib` returns; (3) the lookup has no side effects.
    unsafe { sys::culib().get::<*const ()>(symbol.as_bytes()).is_ok() }
}

/// Milliseconds between two recorded events.
///
/// Looked up by hand: the headers of CUDA 13 call the function `cuEventElapsedTime_v2`, which drivers before 12.8 do
/// not export. `cuEventElapsedTime` is in all of them.
pub(super) fn elapsed_ms(start: sys::CUevent, end: sys::CUevent) -> Result<f32> {
    type ElapsedTime = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
    let mut ms = 0.0;
    // SAFETY: (1) the signature is cuda.h's; (2) `ms` outlives the call; (3) both events were recorded and waited for by
    // the caller, or the call reports that they were not.
    let code = unsafe {
        match sys::culib().get::<ElapsedTime>(b"cuEventElapsedTime") {
            Ok(call) => call(&mut ms, start, end),
            Err(_) => return Err(refuse("cuEventElapsedTime", "the driver does not have it")),
        }
    };
    check("cuEventElapsedTime", code)?;
    Ok(ms)
}

/// Converts a driver return code to a result. `call` is the name of the driver function or of the kernel.
pub(super) fn check(call: &str, code: sys::CUresult) -> Result<()> {
    if code == sys::CUresult::CUDA_SUCCESS { Ok(()) } else { Err(failure(call, code)) }
}

/// The error for a return code other than success.
pub(super) fn failure(call: &str, code: sys::CUresult) -> Error {
    let mut text = words(code, sys::cuGetErrorName);
    let described = words(code, sys::cuGetErrorString);
    if !described.is_empty() {
        text = format!("{text}: {described}");
    }
    if let Some(cure) = cure(code) {
        text = format!("{text}; {cure}");
    }
    Error::Device { call: call.into(), code: code as i32, text }
}

type Describe = unsafe fn(sys::CUresult, *mut *const c_char) -> sys::CUresult;

/// The driver's name or description of a code.
fn words(code: sys::CUresult, describe: Describe) -> String {
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: (1) both functions have this signature in cuda.h and were found by `load`; (2) `text` outlives the call;
    // (3) they look up a table and need no context.
    let known = unsafe { describe(code, &mut text) } == sys::CUresult::CUDA_SUCCESS && !text.is_null();
    if !known {
        return String::new();
    }
    // SAFETY: (1) on success the driver gives a C string; (2) it lies in the driver's constants, and outlives this
    // program; (3) it is never written.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What the user can do about an error code, if known.
fn cure(code: sys::CUresult) -> Option<&'static str> {
    use sys::CUresult as C;
    Some(match code {
        C::CUDA_ERROR_NO_DEVICE => {
            "the driver sees no GPU: is one there, and does CUDA_VISIBLE_DEVICES or the container hide it?"
        }
        C::CUDA_ERROR_NOT_INITIALIZED | C::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "the driver's library and its kernel module do not match: restart the machine after an update"
        }
        C::CUDA_ERROR_SYSTEM_NOT_READY => "the GPUs are not ready: is nvidia-fabricmanager running?",
        C::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
            "the compatibility library of another CUDA version is in the way: take it off LD_LIBRARY_PATH"
        }
        C::CUDA_ERROR_DEVICE_UNAVAILABLE => "another process holds this GPU for itself alone",
        C::CUDA_ERROR_NO_BINARY_FOR_GPU => {
            "the kernels were compiled for other cards: build with an nvcc that knows this one"
        }
        C::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => "the driver is older than the kernels: update it",
        C::CUDA_ERROR_ILLEGAL_ADDRESS
        | C::CUDA_ERROR_MISALIGNED_ADDRESS
        | C::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | C::CUDA_ERROR_INVALID_PC
        | C::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | C::CUDA_ERROR_HARDWARE_STACK_ERROR
        | C::CUDA_ERROR_LAUNCH_FAILED
        | C::CUDA_ERROR_ASSERT => {
            "a kernel faulted, and nothing more can be computed in this process; DIARIST_SYNC=1 names the kernel"
        }
        C::CUDA_ERROR_LAUNCH_TIMEOUT => "the display's watchdog stopped a kernel: use a smaller `batch_size`",
        C::CUDA_ERROR_ECC_UNCORRECTABLE => "the GPU's memory is damaged: nothing it computes can be trusted",
        _ => return None,
    })
}

/// Calls a driver function that writes one C `int`.
pub(super) fn query(call: &str, ask: impl FnOnce(*mut c_int) -> sys::CUresult) -> Result<i32> {
    let mut value: c_int = 0;
    check(call, ask(&mut value))?;
    Ok(value)
}
