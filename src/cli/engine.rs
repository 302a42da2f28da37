//! What a command line asks to compute on and with, ready to run. The one place where a device becomes a type.

use std::ops::ControlFlow;
use std::path::Path;

use diarist::config::Options;
use diarist::diarize::Diarizer;
use diarist::diarize::diarizer::{FindSpeakers, OnDevice};
use diarist::engine::cluster::Cluster;
use diarist::engine::cpu::{self, Cpu};
use diarist::engine::cuda::{self, Activation, Cuda};
use diarist::engine::residual::Residual;
use diarist::engine::waveform::Waveform;
use diarist::hub::{DiarizerSource, Fetching, Hub, OnProgress, Source};
use diarist::pipeline::aligners::{FindAligner, Found};
use diarist::pipeline::{Aligners, Input, Observer, Pipeline, Prepared, Speakers};
use diarist::types::Transcript;
use diarist::vad::{Detector, VadMethod};
use diarist::{Error, Result};
use half::{bf16, f16};

use super::console::Bar;
use super::options::{Compute, Model};
use super::values::{ComputeType, CrossCache, Device, Gemm};
use super::{hub, interrupt};

/// A device, opened.
pub enum Backend {
    /// The processor.
    Cpu(Cpu),
    /// A GPU that computes with float16.
    Half(Cuda<f16>),
    /// A GPU that computes with bfloat16.
    Brain(Cuda<bf16>),
}

/// The models of one run, on some device.
pub enum Engine {
    /// See [`Backend::Cpu`].
    Cpu(Box<Pipeline<Cpu>>),
    /// See [`Backend::Half`].
    Half(Box<Pipeline<Cuda<f16>>>),
    /// See [`Backend::Brain`].
    Brain(Box<Pipeline<Cuda<bf16>>>),
}

impl Engine {
    /// See [`Pipeline::transcribe`].
    pub fn transcribe(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        match self {
            Engine::Cpu(pipeline) => pipeline.transcribe(input, options, observer),
            Engine::Half(pipeline) => pipeline.transcribe(input, options, observer),
            Engine::Brain(pipeline) => pipeline.transcribe(input, options, observer),
        }
    }
}

impl Engine {
    /// See [`Pipeline::prepare`].
    pub fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared> {
        match self {
            Engine::Cpu(pipeline) => pipeline.prepare(input, options, observer),
            Engine::Half(pipeline) => pipeline.prepare(input, options, observer),
            Engine::Brain(pipeline) => pipeline.prepare(input, options, observer),
        }
    }

    /// See [`Pipeline::finish`].
    pub fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        match self {
            Engine::Cpu(pipeline) => pipeline.finish(prepared, options, observer),
            Engine::Half(pipeline) => pipeline.finish(prepared, options, observer),
            Engine::Brain(pipeline) => pipeline.finish(prepared, options, observer),
        }
    }

    /// The engine with other aligners than the built-in one.
    pub fn with_aligners(self, find: Box<FindAligner>) -> Self {
        match self {
            Engine::Cpu(pipeline) => Engine::Cpu(Box::new(Pipeline { aligners: Aligners::new(find), ..*pipeline })),
            Engine::Half(pipeline) => Engine::Half(Box::new(Pipeline { aligners: Aligners::new(find), ..*pipeline })),
            Engine::Brain(pipeline) => Engine::Brain(Box::new(Pipeline { aligners: Aligners::new(find), ..*pipeline })),
        }
    }

    /// The engine with what tells speakers apart.
    pub fn with_speakers(mut self, speakers: Speakers) -> Self {
        match &mut self {
            Engine::Cpu(pipeline) => pipeline.speakers = Some(speakers),
            Engine::Half(pipeline) => pipeline.speakers = Some(speakers),
            Engine::Brain(pipeline) => pipeline.speakers = Some(speakers),
        }
        self
    }

    /// Loads the aligner of a language before it is needed; why there is none, if so.
    ///
    /// # Errors
    /// See [`Aligners::of`].
    pub fn load_aligner(&self, language: &str) -> Result<Option<String>> {
        fn reason<B: Waveform>(pipeline: &Pipeline<B>, language: &str) -> Result<Option<String>> {
            Ok(match pipeline.aligners.of(&pipeline.whisper.be, language)? {
                Found::Aligner(_) => None,
                Found::Nothing(reason) => Some(reason),
            })
        }
        match self {
            Engine::Cpu(pipeline) => reason(pipeline, language),
            Engine::Half(pipeline) => reason(pipeline, language),
            Engine::Brain(pipeline) => reason(pipeline, language),
        }
    }

    /// Whether the processor is idle while the recogniser works.
    pub fn spares_the_processor(&self) -> bool {
        !matches!(self, Engine::Cpu(_))
    }
}

impl Backend {
    /// What finds speech; a network that is large enough to gain from it runs on the device.
    ///
    /// # Errors
    /// As [`Detector::load`].
    pub fn detector(&self, method: VadMethod, network: &Path) -> Result<Detector> {
        match self {
            Backend::Cpu(be) => Detector::load(be, method, network),
            Backend::Half(be) => Detector::load(be, method, network),
            Backend::Brain(be) => Detector::load(be, method, network),
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
            Backend::Cpu(be) => on(be, source),
            Backend::Half(be) => on(be, source),
            Backend::Brain(be) => on(be, source),
        }
    }

    /// Puts a model on the device.
    ///
    /// # Errors
    /// Those of the model's files, and of a device without room for it.
    pub fn load(&self, source: &Source, detector: Detector) -> Result<Engine> {
        Ok(match self {
            Backend::Cpu(be) => Engine::Cpu(Box::new(Pipeline::load(be, source, detector)?)),
            Backend::Half(be) => Engine::Half(Box::new(Pipeline::load(be, source, detector)?)),
            Backend::Brain(be) => Engine::Brain(Box::new(Pipeline::load(be, source, detector)?)),
        })
    }
}

/// Opens the device asked for.
///
/// # Errors
/// [`Error::Config`] saying why the device, or what is asked of it, cannot be had.
pub fn open(compute: &Compute) -> Result<Backend> {
    let compute_type = match compute.fp16 {
        Some(true) => ComputeType::Float16,
        Some(false) => ComputeType::Float32,
        None => compute.compute_type,
    };
    match compute.device {
        Device::Cpu => open_cpu(compute, compute_type),
        Device::Cuda(number) => open_gpu(compute, number.unwrap_or(compute.device_index), compute_type),
        // Only a GPU can do what is asked for, so that its error is the one to hear of.
        Device::Auto if compute.gemm == Gemm::CublasLt => open_gpu(compute, compute.device_index, compute_type),
        Device::Auto if matches!(compute_type, ComputeType::Float32 | ComputeType::Int8Float32) => {
            open_cpu(compute, compute_type)
        }
        Device::Auto => match open_gpu(compute, compute.device_index, compute_type) {
            Ok(backend) => Ok(backend),
            Err(error) => {
                // Most machines have none, and need not hear of it; one that cannot be used is worth a warning.
                if cuda::device_count().is_ok_and(|count| count > 0) {
                    tracing::warn!(%error, "the GPU is not used");
                } else {
                    tracing::info!(%error, "no GPU; computing on the CPU");
                }
                open_cpu(compute, compute_type)
            }
        },
    }
}

fn open_cpu(compute: &Compute, compute_type: ComputeType) -> Result<Backend> {
    if compute.device_index != 0 {
        return Err(Error::config("device_index", compute.device_index, "no such GPU, and the CPU has only 0"));
    }
    if compute.gemm == Gemm::CublasLt {
        return Err(Error::config("gemm", "cublaslt", "only on a GPU; the CPU has own"));
    }
    let weights = match compute_type {
        ComputeType::Default => cpu::WeightType::Auto,
        ComputeType::Float32 => cpu::WeightType::F32,
        ComputeType::Float16 => cpu::WeightType::F16,
        ComputeType::Int8 | ComputeType::Int8Float32 => cpu::WeightType::Int8,
        ComputeType::Bfloat16 | ComputeType::Int8Float16 | ComputeType::Int8Bfloat16 => {
            let rule = "only on a GPU; the CPU has float32, float16 and int8";
            return Err(Error::config("compute_type", name(compute_type), rule));
        }
    };
    let cross_cache = match compute.cross_cache {
        CrossCache::Default => cpu::CrossCacheType::Auto,
        CrossCache::F32 => cpu::CrossCacheType::F32,
        CrossCache::F16 => cpu::CrossCacheType::F16,
        CrossCache::Int8 => cpu::CrossCacheType::Int8,
        CrossCache::Absorbed => cpu::CrossCacheType::Absorbed,
    };
    let cpu = Cpu::new(threads(compute.threads))?;
    Ok(Backend::Cpu(cpu.with_weights(weights).with_cross_cache(cross_cache)))
}

fn open_gpu(compute: &Compute, number: usize, compute_type: ComputeType) -> Result<Backend> {
    match compute_type {
        ComputeType::Float32 | ComputeType::Int8Float32 => {
            let rule = "only on the CPU; a GPU has float16, bfloat16, int8_float16 and int8_bfloat16";
            Err(Error::config("compute_type", name(compute_type), rule))
        }
        ComputeType::Bfloat16 | ComputeType::Int8Bfloat16 => {
            Ok(Backend::Brain(cuda(compute, number, compute_type == ComputeType::Int8Bfloat16)?))
        }
        ComputeType::Default | ComputeType::Float16 | ComputeType::Int8 | ComputeType::Int8Float16 => {
            let quantised = matches!(compute_type, ComputeType::Int8 | ComputeType::Int8Float16);
            Ok(Backend::Half(cuda(compute, number, quantised)?))
        }
    }
}

fn cuda<A: Activation>(compute: &Compute, number: usize, quantised: bool) -> Result<Cuda<A>> {
    let weights = if quantised { cuda::WeightType::Int8 } else { cuda::WeightType::Activation };
    let cross_cache = match compute.cross_cache {
        CrossCache::Default | CrossCache::F16 => cuda::CrossCacheType::Activation,
        CrossCache::Int8 => cuda::CrossCacheType::Int8,
        CrossCache::Absorbed => cuda::CrossCacheType::Absorbed,
        CrossCache::F32 => {
            return Err(Error::config("cross_cache", "f32", "only on the CPU; a GPU has f16, int8 and absorbed"));
        }
    };
    let device = Cuda::new(number, compute.gpu_memory_limit).map_err(|error| match error {
        // What the command line asks for cannot be honoured, and nothing has been done.
        Error::Device { text, .. } => Error::config("device", format!("cuda:{number}"), text),
        other => other,
    })?;
    let gemm = match compute.gemm {
        Gemm::Auto => cuda::Gemm::Auto,
        Gemm::Own => cuda::Gemm::Own,
        Gemm::CublasLt => cuda::Gemm::CublasLt,
    };
    device.with_weights(weights).with_cross_cache(cross_cache).with_gemm(gemm)
}

fn name(compute_type: ComputeType) -> String {
    use clap::ValueEnum;
    compute_type.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

/// `None` is one per core. More than that gain nothing, and many more wait for each other: 11 s of sound took 0.2 s with 2
/// threads on two cores, 11 s with 1000, and with 4000 was not done after a minute.
fn threads(asked: usize) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (1..cores).contains(&asked).then_some(asked)
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
