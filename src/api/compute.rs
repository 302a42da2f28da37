//! Which device, and how numbers are held on it. The one place where a device becomes a type.

use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};

use super::Engine;
use super::stages::Stages;
use crate::diarize::Diarizer;
use crate::diarize::diarizer::{FindSpeakers, OnDevice};
use crate::engine::Backend;
use crate::engine::cluster::Cluster;
use crate::engine::cpu::{self, Cpu};
use crate::engine::cuda::{self, Activation, Cuda};
use crate::engine::residual::Residual;
use crate::engine::waveform::Waveform;
use crate::error::{Error, Result};
use crate::hub::{DiarizerSource, Source};
use crate::pipeline::aligners::FindAligner;
use crate::pipeline::{Aligners, Pipeline, Speakers};
use crate::vad::{Detector, VadMethod};

/// What to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// A GPU if there is one that can be used, else the CPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

/// How numbers are held in memory: CTranslate2's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[cfg_attr(feature = "cli", value(rename_all = "snake_case"))]
pub enum ComputeType {
    /// What is best on the device: on the CPU float16 where the file has no more, else float32; float16 on a GPU. Weights
    /// that the file has in int8 stay int8.
    #[default]
    Default,
    /// Four bytes a weight: exact. Only on the CPU.
    Float32,
    /// Two bytes a weight; on a GPU also for what lies between two layers.
    Float16,
    /// The same with the range of float32 and less precision. Only on a GPU.
    Bfloat16,
    /// One byte a weight.
    Int8,
    /// Weights in int8, the rest in float16. Only on a GPU.
    Int8Float16,
    /// Weights in int8, the rest in bfloat16. Only on a GPU.
    Int8Bfloat16,
    /// Weights in int8, the rest in float32. Only on the CPU.
    Int8Float32,
}

/// What of the encoder's output is held for the decoder, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum CrossCache {
    /// What is quickest without changing the arithmetic: absorbed on the CPU for greedy decoding with up to 16 heads, else
    /// float32; as everything else on a GPU.
    #[default]
    Default,
    /// Keys and values of every layer, four bytes a number. Only on the CPU.
    F32,
    /// Two bytes a number.
    F16,
    /// One byte a number.
    Int8,
    /// The output itself, once for all layers: the least memory, and more arithmetic.
    Absorbed,
}

/// A device and what is asked of it. The defaults leave every choice to the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compute {
    /// What to compute on.
    pub device: Device,
    /// How numbers are held.
    pub compute_type: ComputeType,
    /// Threads of the CPU; `None` is one per core, which more than there are cores is, too.
    pub threads: Option<usize>,
    /// Most bytes of a GPU's memory to use; `None` is all of it.
    pub memory_limit: Option<u64>,
    /// What of the encoder's output is held for the decoder.
    pub cross_cache: CrossCache,
}

/// A device, opened.
pub enum OpenDevice {
    /// The processor.
    Cpu(Cpu),
    /// A GPU that computes with float16.
    Half(Cuda<f16>),
    /// A GPU that computes with bfloat16.
    Brain(Cuda<bf16>),
}

/// The models of an engine beside the recogniser.
#[derive(Default)]
pub struct Beside {
    /// What finds the aligner of each language; unless given, the built-in one for English.
    pub aligners: Option<Box<FindAligner>>,
    /// What tells speakers apart.
    pub speakers: Option<Speakers>,
}

/// A recogniser on its device, to be completed with other models.
pub struct Recogniser {
    complete: Box<Complete>,
    device: String,
    gpu: bool,
}

/// Makes a pipeline of a loaded recogniser.
type Complete = dyn FnOnce(Detector, Beside) -> Arc<dyn Stages>;

impl Recogniser {
    /// The engine with the other models.
    pub fn with(self, detector: Detector, beside: Beside) -> Engine {
        Engine { stages: (self.complete)(detector, beside), device: self.device.into(), gpu: self.gpu }
    }
}

impl Compute {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Config`] saying why the device, or what is asked of it, cannot be had.
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
                    // Nobody has asked for the option that the error names.
                    let reason = match error {
                        Error::Config { rule, .. } => rule,
                        other => other.to_string(),
                    };
                    // Most machines have none, and need not hear of it; one that cannot be used is worth a warning.
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
            ComputeType::Bfloat16 => Ok(OpenDevice::Brain(self.cuda(number, cuda::WeightType::Activation)?)),
            ComputeType::Int8Bfloat16 => Ok(OpenDevice::Brain(self.cuda(number, cuda::WeightType::Int8)?)),
            ComputeType::Default => Ok(OpenDevice::Half(self.cuda(number, cuda::WeightType::Auto)?)),
            ComputeType::Float16 => Ok(OpenDevice::Half(self.cuda(number, cuda::WeightType::Activation)?)),
            ComputeType::Int8 | ComputeType::Int8Float16 => {
                Ok(OpenDevice::Half(self.cuda(number, cuda::WeightType::Int8)?))
            }
        }
    }

    fn cuda<A: Activation>(&self, number: usize, weights: cuda::WeightType) -> Result<Cuda<A>> {
        let cross_cache = match self.cross_cache {
            CrossCache::Default | CrossCache::F16 => cuda::CrossCacheType::Activation,
            CrossCache::Int8 => cuda::CrossCacheType::Int8,
            CrossCache::Absorbed => cuda::CrossCacheType::Absorbed,
            CrossCache::F32 => {
                return Err(Error::config("cross_cache", "f32", "only on the CPU; a GPU has f16, int8 and absorbed"));
            }
        };
        let device = Cuda::new(number, self.memory_limit).map_err(|error| match error {
            // What the caller asks for cannot be honoured, and nothing has been done.
            Error::Device { text, .. } => Error::config("device", format!("cuda:{number}"), text),
            other => other,
        })?;
        Ok(device.with_weights(weights).with_cross_cache(cross_cache))
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

/// More threads than cores gain nothing, and many more wait for each other: 11 s of sound took 0.2 s with 2 threads on two cores,
/// 11 s with 1000, and with 4000 was not done after a minute.
fn threads(asked: Option<usize>) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    asked.filter(|asked| (1..cores).contains(asked))
}

impl OpenDevice {
    /// What finds speech; a network that is large enough to gain from it runs on the device.
    ///
    /// # Errors
    /// As [`Detector::load`].
    pub fn detector(&self, method: VadMethod, network: &Path) -> Result<Detector> {
        match self {
            OpenDevice::Cpu(be) => Detector::load(be, method, network),
            OpenDevice::Half(be) => Detector::load(be, method, network),
            OpenDevice::Brain(be) => Detector::load(be, method, network),
        }
    }

    /// What tells speakers apart, on the device.
    ///
    /// # Errors
    /// As [`Diarizer::load`].
    pub fn diarizer(&self, source: &DiarizerSource) -> Result<Box<dyn FindSpeakers>> {
        fn on<B: Residual + Cluster>(be: &B, source: &DiarizerSource) -> Result<Box<dyn FindSpeakers>> {
            let diarizer = match source {
                DiarizerSource::Recipe(recipe) => Diarizer::load(be, recipe),
                DiarizerSource::Builtin => Diarizer::builtin(be),
            }?;
            Ok(Box::new(OnDevice { be: be.clone(), diarizer }))
        }
        match self {
            OpenDevice::Cpu(be) => on(be, source),
            OpenDevice::Half(be) => on(be, source),
            OpenDevice::Brain(be) => on(be, source),
        }
    }

    /// Puts a recogniser on the device, beside the other models.
    ///
    /// # Errors
    /// Those of the model's files, and of a device without room for it.
    pub fn engine(&self, source: &Source, detector: Detector, beside: Beside) -> Result<Engine> {
        Ok(self.recogniser(source)?.with(detector, beside))
    }

    /// Puts a recogniser on the device, alone.
    ///
    /// # Errors
    /// As [`engine`](Self::engine).
    pub fn recogniser(&self, source: &Source) -> Result<Recogniser> {
        fn on<B: Waveform>(be: &B, source: &Source) -> Result<Box<Complete>> {
            // It is replaced with the other models.
            let pipeline = Pipeline::load(be, source, Detector::Energy)?;
            Ok(Box::new(move |detector, beside| {
                let aligners = beside.aligners.map_or(pipeline.aligners, Aligners::new);
                Arc::new(Pipeline { detector, aligners, speakers: beside.speakers, ..pipeline })
            }))
        }
        let complete = match self {
            OpenDevice::Cpu(be) => on(be, source),
            OpenDevice::Half(be) => on(be, source),
            OpenDevice::Brain(be) => on(be, source),
        }?;
        let gpu = !matches!(self, OpenDevice::Cpu(_));
        Ok(Recogniser { complete, device: self.describe(), gpu })
    }

    /// One line for people: device, threads or memory.
    pub fn describe(&self) -> String {
        match self {
            OpenDevice::Cpu(be) => be.describe(),
            OpenDevice::Half(be) => be.describe(),
            OpenDevice::Brain(be) => be.describe(),
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
