//! Selection of the device and its data types. Dispatches from a device chosen at run time to the generic backend
//! types.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::stages::Stages;
use crate::diarize::Diarizer;
use crate::diarize::diarizer::{DynDiarizer, OnDevice};
use crate::engine::Backend;
use crate::engine::backend::Device as _;

use crate::engine::cpu::{self, Cpu};
use crate::engine::cuda::{self, ActivationType, Cuda};
use crate::error::{Error, Result};
use crate::hub::{DiarizerSource, Source};
use crate::pipeline::aligners::FindAligner;
use crate::pipeline::{Aligners, Pipeline, Speakers};
use crate::vad::{Detector, VadMethod};

/// The device to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first GPU if it is usable, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this CUDA device index.
    Cuda(usize),
}

/// Data type of weights and activations, with CTranslate2's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum ComputeType {
    /// CPU: float16 if the file's weights are float16, else float32. GPU: float16. Weights that are int8 in the file
    /// stay int8.
    #[default]
    Default,
    /// Weights in float32. Only on the CPU.
    Float32,
    /// Weights in float16; on a GPU also activations.
    Float16,
    /// Weights and activations in bfloat16. Only on a GPU.
    Bfloat16,
    /// Weights in int8.
    Int8,
    /// Weights in int8, activations in float16. Only on a GPU.
    Int8Float16,
    /// Weights in int8, activations in bfloat16. Only on a GPU.
    Int8Bfloat16,
    /// Weights in int8, activations in float32. Only on the CPU.
    Int8Float32,
}

/// Contents and data type of the decoder's cross-attention cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum CrossCache {
    /// The fastest without loss of precision: on the CPU absorbed for greedy decoding with up to 16 heads, else
    /// float32; on a GPU the type of the activations.
    #[default]
    Default,
    /// Keys and values of every layer in float32. Only on the CPU.
    F32,
    /// Keys and values of every layer in 16 bits.
    F16,
    /// Keys and values of every layer in int8.
    Int8,
    /// The encoder output itself, once for all layers. The key projection is applied to the queries and the value
    /// projection to the attention-weighted mean. Least memory, more arithmetic.
    Absorbed,
}

/// Options of the device. The defaults leave every choice to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compute {
    /// The device.
    pub device: Device,
    /// Data type of weights and activations.
    pub compute_type: ComputeType,
    /// Number of CPU threads; `None`, 0, or more than there are cores: one per core.
    pub threads: Option<usize>,
    /// Limit on the GPU memory to use, in bytes; `None`: all of it.
    pub memory_limit: Option<u64>,
    /// The decoder's cross-attention cache.
    pub cross_cache: CrossCache,
}

/// An opened device.
pub enum OpenDevice {
    /// The CPU.
    Cpu(Cpu),
    /// A GPU, with float16 or bfloat16 activations.
    Cuda(Cuda),
}

/// The models of an engine other than the recogniser.
#[derive(Default)]
pub struct OtherModels {
    /// Finds the aligner of a language. Default: the built-in aligner for English.
    pub aligners: Option<Box<FindAligner>>,
    /// Diarizer and gallery.
    pub speakers: Option<Speakers>,
}

/// A recogniser loaded on its device, before the other models are added.
pub struct Recogniser {
    complete: Box<Complete>,
    device: String,
    gpu: bool,
}

/// Builds a pipeline from a loaded recogniser and the other models.
type Complete = dyn FnOnce(Detector, OtherModels) -> Arc<dyn Stages>;

impl Recogniser {
    /// Adds the other models and returns the engine.
    pub fn with(self, detector: Detector, beside: OtherModels) -> Engine {
        Engine { stages: (self.complete)(detector, beside), device: self.device.into(), gpu: self.gpu }
    }
}

impl Compute {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Config`] if the device is not available or does not support an option.
    pub fn open(&self) -> Result<OpenDevice> {
        match self.device {
            Device::Cpu => self.open_cpu(),
            Device::Cuda(number) => self.open_gpu(number),
            Device::Auto if matches!(self.compute_type, ComputeType::Float32 | ComputeType::Int8Float32) => {
                self.open_cpu()
            }
            Device::Auto => match self.open_gpu(0) {
                Ok(device) => Ok(device),
                Err(error) => {
                    // The error names `device`, an option that the caller did not set: log only the reason.
                    let reason = match error {
                        Error::Config { rule, .. } => rule,
                        other => other.to_string(),
                    };
                    // A machine without a GPU is normal; a GPU that cannot be used deserves a warning.
                    if cuda::device_count().is_ok_and(|count| count > 0) {
                        tracing::warn!(reason, "the GPU is not used");
                    } else {
                        tracing::info!(reason, "no GPU; computing on the CPU");
                    }
                    self.open_cpu()
                }
            },
        }
    }

    fn open_cpu(&self) -> Result<OpenDevice> {
        let weights = match self.compute_type {
            ComputeType::Default => cpu::WeightType::Auto,
            ComputeType::Float32 => cpu::WeightType::F32,
            ComputeType::Float16 => cpu::WeightType::F16,
            ComputeType::Int8 | ComputeType::Int8Float32 => cpu::WeightType::Int8,
            ComputeType::Bfloat16 | ComputeType::Int8Float16 | ComputeType::Int8Bfloat16 => {
                let rule = "only on a GPU; the CPU has float32, float16 and int8";
                return Err(Error::config("compute_type", self.compute_type.name(), rule));
            }
        };
        let cross_cache = match self.cross_cache {
            CrossCache::Default => cpu::CrossCacheType::Auto,
            CrossCache::F32 => cpu::CrossCacheType::F32,
            CrossCache::F16 => cpu::CrossCacheType::F16,
            CrossCache::Int8 => cpu::CrossCacheType::Int8,
            CrossCache::Absorbed => cpu::CrossCacheType::Absorbed,
        };
        let cpu = Cpu::new(threads(self.threads))?;
        Ok(OpenDevice::Cpu(cpu.with_weights(weights).with_cross_cache(cross_cache)))
    }

    fn open_gpu(&self, number: usize) -> Result<OpenDevice> {
        match self.compute_type {
            ComputeType::Float32 | ComputeType::Int8Float32 => {
                let rule = "only on the CPU; a GPU has float16, bfloat16, int8_float16 and int8_bfloat16";
                Err(Error::config("compute_type", self.compute_type.name(), rule))
            }
            ComputeType::Bfloat16 => self.cuda(number, ActivationType::Bf16, cuda::WeightType::Activation),
            ComputeType::Int8Bfloat16 => self.cuda(number, ActivationType::Bf16, cuda::WeightType::Int8),
            ComputeType::Default => self.cuda(number, ActivationType::F16, cuda::WeightType::Auto),
            ComputeType::Float16 => self.cuda(number, ActivationType::F16, cuda::WeightType::Activation),
            ComputeType::Int8 | ComputeType::Int8Float16 => {
                self.cuda(number, ActivationType::F16, cuda::WeightType::Int8)
            }
        }
    }

    fn cuda(&self, number: usize, activation: ActivationType, weights: cuda::WeightType) -> Result<OpenDevice> {
        let cross_cache = match self.cross_cache {
            CrossCache::Default | CrossCache::F16 => cuda::CrossCacheType::Activation,
            CrossCache::Int8 => cuda::CrossCacheType::Int8,
            CrossCache::Absorbed => cuda::CrossCacheType::Absorbed,
            CrossCache::F32 => {
                return Err(Error::config("cross_cache", "f32", "only on the CPU; a GPU has f16, int8 and absorbed"));
            }
        };
        let device = Cuda::new(number, activation, self.memory_limit).map_err(|error| match error {
            // No work has started: report the failure to open the device as an unsupported option.
            Error::Device { text, .. } => Error::config("device", format!("cuda:{number}"), text),
            other => other,
        })?;
        Ok(OpenDevice::Cuda(device.with_weights(weights).with_cross_cache(cross_cache)))
    }
}

impl ComputeType {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ComputeType::Default => "default",
            ComputeType::Float32 => "float32",
            ComputeType::Float16 => "float16",
            ComputeType::Bfloat16 => "bfloat16",
            ComputeType::Int8 => "int8",
            ComputeType::Int8Float16 => "int8_float16",
            ComputeType::Int8Bfloat16 => "int8_bfloat16",
            ComputeType::Int8Float32 => "int8_float32",
        }
    }
}

/// Limits the number of threads to the number of cores. More threads than cores spend their time waiting for each
/// other: on two cores 11 s of audio took 0.2 s with 2 threads, 11 s with 1000 threads, and over a minute with 4000.
fn threads(requested: Option<usize>) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    requested.filter(|requested| (1..cores).contains(requested))
}

impl OpenDevice {
    /// Loads voice activity detection. Its network runs on the device if it is large enough to be faster there.
    ///
    /// # Errors
    /// As [`Detector::load`].
    pub fn detector(&self, method: VadMethod, network: &Path) -> Result<Detector> {
        match self {
            OpenDevice::Cpu(be) => Detector::load(be, method, network),
            OpenDevice::Cuda(be) => Detector::load(be, method, network),
        }
    }

    /// Loads a diarization pipeline onto the device.
    ///
    /// # Errors
    /// As [`Diarizer::load`].
    pub fn diarizer(&self, source: &DiarizerSource) -> Result<Box<dyn DynDiarizer>> {
        fn on<B: Backend>(be: &B, source: &DiarizerSource) -> Result<Box<dyn DynDiarizer>> {
            let diarizer = match source {
                DiarizerSource::Recipe(recipe) => Diarizer::load(be, recipe),
                DiarizerSource::Builtin => Diarizer::builtin(be),
            }?;
            Ok(Box::new(OnDevice { be: be.clone(), diarizer }))
        }
        match self {
            OpenDevice::Cpu(be) => on(be, source),
            OpenDevice::Cuda(be) => on(be, source),
        }
    }

    /// Loads a recogniser onto the device and builds an engine with the other models.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] for invalid files, [`Error::OutOfMemory`] and other errors of the device.
    pub fn engine(&self, source: &Source, detector: Detector, beside: OtherModels) -> Result<Engine> {
        Ok(self.recogniser(source)?.with(detector, beside))
    }

    /// Loads a recogniser onto the device.
    ///
    /// # Errors
    /// As [`engine`](Self::engine).
    pub fn recogniser(&self, source: &Source) -> Result<Recogniser> {
        fn on<B: Backend>(be: &B, source: &Source) -> Result<Box<Complete>> {
            // The detector is a placeholder, replaced below.
            let pipeline = Pipeline::load(be, source, Detector::Energy)?;
            Ok(Box::new(move |detector, beside| {
                let aligners = beside.aligners.map_or(pipeline.aligners, Aligners::new);
                Arc::new(Pipeline { detector, aligners, speakers: beside.speakers, ..pipeline })
            }))
        }
        let complete = match self {
            OpenDevice::Cpu(be) => on(be, source),
            OpenDevice::Cuda(be) => on(be, source),
        }?;
        let gpu = !matches!(self, OpenDevice::Cpu(_));
        Ok(Recogniser { complete, device: self.describe(), gpu })
    }

    /// One-line description for people: device, threads or memory.
    pub fn describe(&self) -> String {
        match self {
            OpenDevice::Cpu(be) => be.describe(),
            OpenDevice::Cuda(be) => be.describe(),
        }
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for compute_type in ComputeType::value_variants() {
            let value = compute_type.to_possible_value().unwrap();
            assert_eq!(compute_type.name(), value.get_name());
        }
    }
}
