//! What a command line asks to compute on, and models fetched under the eyes of the user.

use std::ops::ControlFlow;

use diarist::api::{self, ComputeType, OpenDevice};
use diarist::hub::{Fetching, Hub, OnProgress, Source};
use diarist::{Error, Result};

use super::console::Bar;
use super::options::{Compute, Model};
use super::values::Device;
use super::{hub, interrupt};

/// Opens the device asked for.
///
/// # Errors
/// [`Error::Config`] saying why the device, or what is asked of it, cannot be had.
pub fn open(compute: &Compute) -> Result<OpenDevice> {
    let index = compute.device_index;
    let device = match compute.device {
        Device::Cuda(number) => api::Device::Cuda(number.unwrap_or(index)),
        Device::Auto if index == 0 => api::Device::Auto,
        Device::Auto => api::Device::Cuda(index),
        Device::Cpu if index == 0 => api::Device::Cpu,
        Device::Cpu => return Err(Error::config("device_index", index, "no such GPU, and the CPU has only 0")),
    };
    let compute_type = match compute.fp16 {
        Some(true) => ComputeType::Float16,
        Some(false) => ComputeType::Float32,
        None => compute.compute_type,
    };
    let threads = (compute.threads > 0).then_some(compute.threads);
    let (memory_limit, cross_cache, gemm) = (compute.gpu_memory_limit, compute.cross_cache, compute.gemm);
    let opened = api::Compute { device, compute_type, threads, memory_limit, cross_cache, gemm }.open();
    opened.map_err(|error| match error {
        // The number alone has asked for a GPU.
        Error::Config { option: "device", rule, .. } if compute.device == Device::Auto => {
            Error::config("device_index", index, format!("{rule}; the CPU has only 0"))
        }
        other => other,
    })
}

/// The model's files, fetched if need be under a progress bar.
///
/// # Errors
/// Those of the hub.
pub fn obtain(model: &Model) -> Result<Source> {
    let hub = hub_of(model);
    under_a_bar(|on_progress| hub.obtain(&model.model, on_progress))
}

/// The hub that the options of a model ask for.
pub fn hub_of(model: &Model) -> Hub {
    hub(model.files.model_dir.clone(), model.files.model_cache_only, model.files.hf_token.clone())
}

/// Runs a download under a progress bar; Ctrl-C stops it.
pub fn under_a_bar<T>(download: impl FnOnce(&mut OnProgress) -> Result<T>) -> Result<T> {
    let bar = Bar::bytes();
    download(&mut |state: &Fetching| {
        bar.set(&state.file, state.done, state.total);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}
