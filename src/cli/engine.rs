//! Opens the device that the options name, and downloads models with a progress bar.

use std::ops::ControlFlow;

use diarist::api::{self, ComputeType, CrossCache, OpenDevice};
use diarist::hub::{Fetching, Hub, OnProgress, Source};
use diarist::{Error, Result};

use super::console::{self, Bar};
use super::options::{Compute, Model};
use super::values::Device;
use super::{hub, interrupt};

/// Opens the device that the options name. `cross_cache` is the form of the recogniser's cross-attention cache.
///
/// # Errors
/// [`Error::Config`] if the device does not exist or does not support the options.
pub fn open(compute: &Compute, cross_cache: CrossCache) -> Result<OpenDevice> {
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
    let memory_limit = compute.gpu_memory_limit;
    let limited = memory_limit.is_some();
    let opened = api::Compute { device, compute_type, threads, memory_limit, cross_cache }.open();
    if limited && matches!(opened, Ok(OpenDevice::Cpu(_))) {
        console::error("--gpu-memory-limit has no effect: the CPU is used");
    }
    opened.map_err(|error| match error {
        // With `--device auto`, only `--device-index` has asked for this GPU, so the error names that option.
        Error::Config { option: "device", rule, .. } if compute.device == Device::Auto => {
            Error::config("device_index", index, format!("{rule}; the CPU has only 0"))
        }
        other => other,
    })
}

/// Loads the recogniser, downloading it with a progress bar if it is not cached.
///
/// # Errors
/// Those of the hub and of `load`.
pub fn load<T>(model: &Model, load: impl FnMut(&Source) -> Result<T>) -> Result<T> {
    let hub = hub_of(model);
    under_a_bar(|on_progress| hub.obtain_and_load(&model.model, on_progress, load))
}

/// The hub with the options of `--model-dir`, `--model-cache-only` and `--hf-token`.
pub fn hub_of(model: &Model) -> Hub {
    hub(model.files.model_dir.clone(), model.files.model_cache_only, model.files.hf_token.clone())
}

/// Runs a download with a progress bar; Ctrl-C stops it. If another process is downloading the same file, a message
/// says once that this one waits, also without a terminal.
pub fn under_a_bar<T>(download: impl FnOnce(&mut OnProgress) -> Result<T>) -> Result<T> {
    let bar = Bar::bytes();
    let mut announced = false;
    download(&mut |state: &Fetching| {
        if state.waiting {
            let text = format!("waiting for another process that is fetching {}", state.file);
            if !std::mem::replace(&mut announced, true) {
                console::error(&text);
            }
        } else {
            bar.set(&state.file, state.done, state.total);
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}
