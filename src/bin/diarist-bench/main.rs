//! The benchmark binary: how fast this machine transcribes, where the time goes, and how far that is from what the
//! machine can do. The work is fixed, so that engines can be compared.
//!
//! Every chunk is one full window of seeded features and exactly `--tokens` tokens are decoded for it (end-of-text is
//! suppressed): a ratio between engines then measures speed, not how talkative random weights are. A time is printed
//! only after the token counts were checked, and `benches/peers/asr.py` compares the tokens themselves.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod floor;
mod job;
mod machine;
mod report;
mod shapes;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use diarist::asr::prompt::{Prompt, PromptParts};
use diarist::asr::{self, Tokenizer};
use diarist::engine::cpu::{self, Cpu};
use diarist::engine::cuda::{self, Cuda};
use diarist::engine::weights::Weights;
use diarist::models::whisper::{GenerationConfig, Whisper};
use diarist::{Error, Result};

use job::Job;
use machine::{Ceilings, Machine};
use report::Report;

/// Times the recogniser, encoder and decoder, on a fixed amount of work.
#[derive(Parser)]
#[command(name = "diarist-bench", version)]
struct Args {
    /// A Whisper folder in the Hugging Face layout.
    #[arg(long, required_unless_present = "shape", conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// Random weights in a published size instead: tiny, base, small, medium, large-v2, large-v3, turbo, distil-large-v3.
    #[arg(long)]
    shape: Option<String>,
    /// Where to compute: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// How activations are stored on a GPU: float16 or bfloat16.
    #[arg(long, default_value = "float16", value_parser = ["float16", "bfloat16"])]
    compute_type: String,
    /// What is kept of the audio: auto, f32 (on the CPU), f16, int8 keys and values, or absorbed, the encoder's output.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8", "absorbed"])]
    cross_cache: String,
    /// Most bytes of GPU memory to use.
    #[arg(long)]
    gpu_memory_limit: Option<u64>,
    /// Windows in all [default: one batch].
    #[arg(long)]
    chunks: Option<usize>,
    /// Hours of audio, instead of a number of windows.
    #[arg(long, conflicts_with = "chunks")]
    hours: Option<f64>,
    /// Windows decoded at once [default: all, at most 32].
    #[arg(long)]
    batch: Option<usize>,
    /// Tokens decoded for each.
    #[arg(long, default_value_t = 120)]
    tokens: usize,
    /// Beams; 1 is greedy.
    #[arg(long, default_value_t = 1)]
    beam: usize,
    /// CPU threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How weights are held on the CPU: auto (f16 where that loses nothing, else f32), f32, f16; on both devices: int8.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8"])]
    weights: String,
    /// Timed runs, after one that is not counted; the median is reported.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Also time encoder and decode step by themselves, and compare them with this machine's ceilings.
    #[arg(long)]
    stages: bool,
    /// Run this stage alone between the profiler's start and stop marks: encode or decode.
    #[arg(long, value_parser = ["encode", "decode"])]
    profile: Option<String>,
    /// Print one JSON object instead of a table for people.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn window_count(&self, window: f64) -> Result<usize> {
        let count = match self.hours {
            Some(hours) => (hours * 3600.0 / window).round() as usize,
            None => self.chunks.unwrap_or(self.batch.unwrap_or(8)),
        };
        if count == 0 {
            return Err(Error::config("chunks", count, "at least one window is needed"));
        }
        Ok(count)
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let index = match args.device.split_once(':') {
        None if args.device == "cpu" => {
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
            return bench(args, &cpu.with_weights(kind).with_cross_cache(cross_cache), 40);
        }
        None if args.device == "cuda" => Some(0),
        Some(("cuda", index)) => index.parse().ok(),
        _ => None,
    };
    let index = index.ok_or_else(|| Error::config("device", &args.device, "cpu, cuda or cuda:N"))?;
    if args.compute_type == "bfloat16" {
        bench(args, &gpu::<half::bf16>(args, index)?, 1)
    } else {
        bench(args, &gpu::<half::f16>(args, index)?, 1)
    }
}

fn gpu<A: cuda::Activation>(args: &Args, index: usize) -> Result<Cuda<A>> {
    let mut be = Cuda::new(index, args.gpu_memory_limit)?;
    if args.weights == "int8" {
        be = be.with_weights(cuda::WeightType::Int8);
    }
    let cross_cache = match args.cross_cache.as_str() {
        "int8" => cuda::CrossCacheType::Int8,
        "absorbed" => cuda::CrossCacheType::Absorbed,
        "f32" => return Err(Error::config("cross-cache", "f32", "only on the CPU")),
        _ => cuda::CrossCacheType::Activation,
    };
    Ok(be.with_cross_cache(cross_cache))
}

/// `scale` shrinks the work the ceilings are measured with.
fn bench<B: Machine>(args: &Args, be: &B, scale: usize) -> Result<()> {
    let (model, mut job) = prepare(args, be)?;
    job.chunks = args.window_count(model.config.window().0)?;
    job.batch = args.batch.unwrap_or(job.chunks.min(32)).min(job.chunks);
    if let Some(stage) = &args.profile {
        return stages::profile(&model, &job, stage);
    }
    let mut report = Report { device: be.describe(), ..Report::default() };
    if args.stages {
        let ceilings = Ceilings::measure(be, scale)?;
        report.stages = stages::measure(&model, &job, args.runs.max(5), &ceilings)?;
        report.ceilings = Some(ceilings);
    }
    let clips = job::clips(&model, job.chunks)?;
    for run in 0..=args.runs {
        let start = Instant::now();
        let tokens = job.run(&model, &clips)?;
        let took = start.elapsed().as_secs_f64();
        if run > 0 || args.runs == 0 {
            report.seconds.push(took);
        }
        report.first = tokens.into_iter().next().unwrap_or_default();
    }
    report.audio_seconds = job.chunks as f64 * model.config.window().0;
    report.peak_device_bytes = be.peak_bytes();
    report.print(args, &job);
    Ok(())
}

/// The model, and what to tell its decoder.
fn prepare<B: Machine>(args: &Args, be: &B) -> Result<(Whisper<B>, Job)> {
    let job = |special, prompt| Job { special, prompt, chunks: 0, batch: 0, tokens: args.tokens, beam: args.beam };
    if let Some(folder) = &args.model {
        let model = Whisper::open(be, folder)?;
        let tokenizer = Tokenizer::open(folder, asr::is_multilingual(&model))?;
        let language = tokenizer.language_token("en");
        let parts = PromptParts { language, without_timestamps: true, ..PromptParts::default() };
        let prompt = Prompt::new(&tokenizer, &parts, model.config.max_target_positions)?;
        return Ok((model, job(tokenizer.special, prompt)));
    }
    let config = shapes::config(args.shape.as_deref().unwrap_or_default())?;
    let special = shapes::special(config.vocab_size);
    let english = special.sot + 1;
    let tokens = [Some(special.sot), Some(english), special.transcribe, Some(special.no_timestamps)];
    let tokens: Vec<u32> = tokens.into_iter().flatten().collect();
    let prompt = Prompt { len: tokens.len(), tokens, sot: 0 };
    let model = Whisper::load(be, config, GenerationConfig::default(), &Weights::random(2024))?;
    Ok((model, job(special, prompt)))
}
