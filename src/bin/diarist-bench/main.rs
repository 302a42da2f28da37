//! The benchmark binary: speed end to end, time per stage and kernel, and comparison with the machine's roofline. The
//! amount of work is fixed, so that engines can be compared.
//!
//! | file | contents |
//! |---|---|
//! | `args.rs` | command-line options |
//! | `shapes.rs` | published model sizes, filled with random weights |
//! | `job.rs` | fixed work: windows, and exactly `--tokens` tokens for each. End-of-text is suppressed, since random weights would end at random lengths |
//! | `end_to_end.rs` | a recording to tokens or text, with the time of each stage |
//! | `stages.rs`, `floor.rs` | single stages by kernel, and lower bounds on their operations and memory traffic |
//! | `ceilings.rs`, `machine.rs` | measured peak rates of the machine, and the trait of backends that can be benchmarked |
//! | `align.rs` | forced alignment: audio and segments to word times |
//! | `diarize.rs` | the diarization networks on all windows of a recording |
//! | `check.rs` | correctness checks, which run before any time is printed |
//! | `report.rs` | output as a table and as JSON |

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod align;
mod args;
mod ceilings;
mod check;
mod diarize;
mod end_to_end;
mod floor;
mod job;
mod machine;
mod report;
mod shapes;
mod stages;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use diarist::asr::prompt::{Prompt, PromptParts};
use diarist::engine::cpu::{self, Cpu};
use diarist::engine::cuda::{self, Cuda};
use diarist::engine::weights::Weights;
use diarist::models::whisper::{Checkpoint, GenerationConfig, Whisper};
use diarist::pipeline::Pipeline;
use diarist::vad::Detector;
use diarist::{Error, Result};

use args::Args;
use ceilings::Ceilings;
use end_to_end::EndToEnd;
use job::Job;
use machine::Machine;
use report::Report;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            // The same exit statuses as `diarist`: 2 is an invalid command line.
            if matches!(error, Error::Config { .. }) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let index = match args.device.split_once(':') {
        None if args.device == "cpu" => return bench(args, &open_cpu(args)?, 40),
        None if args.device == "cuda" => Some(0),
        Some(("cuda", index)) => index.parse().ok(),
        _ => None,
    };
    let index = index.ok_or_else(|| Error::config("device", &args.device, "cpu, cuda or cuda:N"))?;
    bench(args, &open_gpu(args, index)?, 1)
}

fn open_cpu(args: &Args) -> Result<Cpu> {
    if args.compute_type != "float16" {
        return Err(Error::config("compute_type", &args.compute_type, "only on a GPU; add --device cuda"));
    }
    let kind = match args.weights.as_str() {
        "f32" => cpu::WeightType::F32,
        "f16" => cpu::WeightType::F16,
        "int8" => cpu::WeightType::Int8,
        _ => cpu::WeightType::Auto,
    };
    let cross_cache = match args.cross_cache.as_str() {
        "f32" => cpu::CrossCacheType::F32,
        "f16" => cpu::CrossCacheType::F16,
        "int8" => cpu::CrossCacheType::Int8,
        "absorbed" => cpu::CrossCacheType::Absorbed,
        _ => cpu::CrossCacheType::Auto,
    };
    let cpu = Cpu::new((args.threads > 0).then_some(args.threads))?;
    Ok(cpu.with_weights(kind).with_cross_cache(cross_cache))
}

fn open_gpu(args: &Args, index: usize) -> Result<Cuda> {
    let activation = match args.compute_type.as_str() {
        "bfloat16" => cuda::ActivationType::Bf16,
        _ => cuda::ActivationType::F16,
    };
    let mut be = Cuda::new(index, activation, args.gpu_memory_limit)?;
    if args.weights == "int8" {
        be = be.with_weights(cuda::WeightType::Int8);
    }
    let cross_cache = match args.cross_cache.as_str() {
        "int8" => cuda::CrossCacheType::Int8,
        "absorbed" => cuda::CrossCacheType::Absorbed,
        "f32" => return Err(Error::config("cross_cache", "f32", "only on the CPU")),
        _ => cuda::CrossCacheType::Activation,
    };
    Ok(be.with_cross_cache(cross_cache))
}

/// Runs the benchmark on an open device. `scale` is the default of `--scale`.
fn bench<B: Machine>(args: &Args, be: &B, scale: usize) -> Result<()> {
    let scale = args.scale.map_or(scale, |scale| scale as usize);
    if let Some(model) = &args.align_model {
        return align::run(args, be, model);
    }
    if let Some(model) = &args.diarize_model {
        return diarize::run(args, be, model);
    }
    let checked = check::against_the_processor(args, be)?;
    let start = Instant::now();
    let subject = Subject::load(args, be)?;
    let mut report =
        Report { device: be.describe(), checked, load_seconds: start.elapsed().as_secs_f64(), ..Report::default() };
    let mut job = subject.job(args)?;
    if let Some(stage) = &args.profile {
        return stages::profile(subject.model(), &job, stage);
    }
    if !args.stage.is_empty() {
        let ceilings = Ceilings::measure(be, scale)?;
        report.stages = stages::measure(subject.model(), &job, args, &ceilings)?;
        report.ceilings = Some(ceilings);
    }
    if args.is_end_to_end() {
        let measured = EndToEnd::measure(args, &subject, &mut job)?;
        report.seconds = measured.runs.iter().map(|run| run.iter().map(|(_, seconds)| seconds).sum()).collect();
        report.audio_seconds = measured.audio_seconds;
        report.end_to_end = Some(measured);
    } else {
        fixed_work(args, &subject, &mut job, &mut report)?;
    }
    report.peak_device_bytes = be.peak_bytes();
    report.print(args, &job);
    Ok(())
}

/// Times encoder and decoder on windows of synthetic features.
fn fixed_work<B: Machine>(args: &Args, subject: &Subject<B>, job: &mut Job, report: &mut Report) -> Result<()> {
    let model = subject.model();
    let clips = job::clips(model, job.windows.len())?;
    let warm = job.run(model, &clips)?;
    check::alone(model, job, &clips, &warm)?;
    for _ in 0..args.runs {
        let start = Instant::now();
        let tokens = job.run(model, &clips)?;
        report.seconds.push(start.elapsed().as_secs_f64());
        check::repeated(&warm, &tokens)?;
    }
    report.audio_seconds = job.windows.len() as f64 * model.config.window().0;
    report.first = warm.into_iter().next().unwrap_or_default();
    Ok(())
}

/// The model under test.
pub enum Subject<B: Machine> {
    /// A checkpoint with its tokenizer.
    Real(Box<Pipeline<B>>),
    /// A published size with random weights.
    Random(Box<Whisper<B>>),
}

impl<B: Machine> Subject<B> {
    fn load(args: &Args, be: &B) -> Result<Self> {
        Ok(match &args.model {
            Some(name) if name == Path::new("builtin") => {
                Subject::Real(Box::new(Pipeline::builtin(be, Detector::Energy)?))
            }
            Some(path) => {
                let checkpoint = Checkpoint::recognise(path)?;
                Subject::Real(Box::new(Pipeline::open_checkpoint(be, &checkpoint, Detector::Energy)?))
            }
            None => {
                let config = shapes::config(args.shape.as_deref().unwrap_or_default())?;
                let weights = Weights::random(2024);
                Subject::Random(Box::new(Whisper::load(be, config, GenerationConfig::default(), &weights)?))
            }
        })
    }

    /// The recogniser.
    pub fn model(&self) -> &Whisper<B> {
        match self {
            Subject::Real(pipeline) => &pipeline.recognizer.whisper,
            Subject::Random(model) => model,
        }
    }

    /// The prompt, the decoding parameters and the windows of synthetic features.
    fn job(&self, args: &Args) -> Result<Job> {
        let config = &self.model().config;
        let (special, prompt) = match self {
            Subject::Real(pipeline) => {
                let language = pipeline.recognizer.tokenizer.language_token("en");
                let parts = PromptParts { language, without_timestamps: true, ..PromptParts::default() };
                (
                    pipeline.recognizer.tokenizer.special,
                    Prompt::new(&pipeline.recognizer.tokenizer, &parts, config.max_target_positions)?,
                )
            }
            Subject::Random(_) => {
                let special = shapes::special(config.vocab_size);
                let multilingual = config.vocab_size >= 51_865;
                let (english, task) =
                    (multilingual.then_some(special.sot + 1), special.transcribe.filter(|_| multilingual));
                let tokens = [Some(special.sot), english, task, Some(special.no_timestamps)];
                let tokens: Vec<u32> = tokens.into_iter().flatten().collect();
                (special, Prompt { len: tokens.len(), tokens, sot: 0 })
            }
        };
        let windows = job::side_by_side(args.window_count(), 2 * config.max_source_positions);
        let batch = args.batch(windows.len());
        Ok(Job { special, prompt, windows, batch, tokens: args.tokens(config)?, beam: args.beam as usize })
    }
}
