//! What a command line asks to compute on, and models fetched under the eyes of the user.

use std::ops::ControlFlow;

use diarist::api::{self, ComputeType, CrossCache, OpenDevice};
use diarist::hub::{Fetching, Hub, OnProgress, Source};
use diarist::{Error, Result};

use super::console::{self, Bar};
use super::options::{Compute, Model};
use super::values::Device;
use super::{hub, interrupt};

/// Opens the device asked for; `cross_cache` is what of the encoder's output a recogniser keeps.
///
/// # Errors
/// [`Error::Config`] saying why the device, or what is asked of it, cannot be had.
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
    let opened = api::Compute { device, compute_type, threads, memory_limit, cross_cache }.open();
    opened.map_err(|error| match error {
        // What has asked for a GPU is the option to name.
        Error::Config { option: "device", rule, .. } if compute.device == Device::Auto => {
            Error::config("device_index", index, format!("{rule}; the CPU has only 0"))
        }
        other => other,
    })
}

/// Loads the model, fetched if need be under a progress bar.
///
/// # Errors
/// Those of the hub and of `load`.
pub fn load<T>(model: &Model, load: impl FnMut(&Source) -> Result<T>) -> Result<T> {
    let hub = hub_of(model);
    under_a_bar(|on_progress| hub.obtain_and_load(&model.model, on_progress, load))
}

/// The hub that the options of a model ask for.
pub fn hub_of(model: &Model) -> Hub {
    hub(model.files.model_dir.clone(), model.files.model_cache_only, model.files.hf_token.clone())
}

/// Runs a download under a progress bar; Ctrl-C stops it. That another process is waited for is said once, on a terminal or not.
pub fn under_a_bar<T>(download: impl FnOnce(&mut OnProgress) -> Result<T>) -> Result<T> {
    let bar = Bar::bytes();
    let mut told = false;
    download(&mut |state: &Fetching| {
        if state.waiting {
            let text = format!("waiting for another process that is fetching {}", state.file);
            if !std::mem::replace(&mut told, true) {
                console::error(&text);
            }
        } else {
            bar.set(&state.file, state.done, state.total);
        }
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}
