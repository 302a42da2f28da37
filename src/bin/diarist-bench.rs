//! The benchmark binary: how fast this machine transcribes, with the work fixed so that engines can be compared.
//!
//! Every chunk is one full window of seeded features and exactly `--tokens` tokens are decoded for it (end-of-text is
//! suppressed): a ratio between engines then measures speed, not how talkative random weights are. A time is printed
//! only after the token counts were checked, and `benches/peers/asr.py` compares the tokens themselves.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use diarist::asr::clips::Clips;
use diarist::asr::prompt::{Prompt, PromptParts};
use diarist::asr::scheduler::{Clip, Scheduler, Source};
use diarist::asr::slots::{Decode, Decoded, Slots, Suppressed};
use diarist::asr::{self, AsrOptions, Tokenizer};
use diarist::engine::cpu::{Cpu, WeightType};
use diarist::engine::{Backend, Tensor};
use diarist::models::whisper::Whisper;
use diarist::{Error, Result};

/// Times the recogniser, encoder and decoder, on a fixed amount of work.
#[derive(Parser)]
#[command(name = "diarist-bench", version)]
struct Args {
    /// A Whisper folder in the Hugging Face layout.
    #[arg(long)]
    model: PathBuf,
    /// Windows decoded at once.
    #[arg(long, default_value_t = 8)]
    chunks: usize,
    /// Tokens decoded for each.
    #[arg(long, default_value_t = 120)]
    tokens: usize,
    /// Beams; 1 is greedy.
    #[arg(long, default_value_t = 1)]
    beam: usize,
    /// CPU threads; 0 for one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// How weights are held: auto (f16 where that loses nothing, else f32), f32, f16 or int8.
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "f16", "int8"])]
    weights: String,
    /// Timed runs, after one that is not counted; the median is reported.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Print one JSON object instead of a line for people.
    #[arg(long)]
    json: bool,
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
    let kind = match args.weights.as_str() {
        "f32" => WeightType::F32,
        "f16" => WeightType::F16,
        "int8" => WeightType::Int8,
        _ => WeightType::Auto,
    };
    let be = Cpu::new((args.threads > 0).then_some(args.threads))?.with_weights(kind);
    let model = Whisper::open(&be, &args.model)?;
    let tokenizer = Tokenizer::open(&args.model, asr::is_multilingual(&model))?;
    let clips = clips(&model, args.chunks)?;
    let mut seconds = Vec::new();
    let mut first = Vec::new();
    for run in 0..=args.runs {
        let start = Instant::now();
        let tokens = decode(args, &model, &tokenizer, &clips)?;
        let took = start.elapsed().as_secs_f64();
        if run > 0 || args.runs == 0 {
            seconds.push(took);
        }
        first = tokens.into_iter().next().unwrap_or_default();
    }
    report(args, &seconds, args.chunks as f64 * model.config.window().0, &first);
    Ok(())
}

/// Encodes and decodes all chunks; the tokens of each.
fn decode(args: &Args, model: &Whisper<Cpu>, tokenizer: &Tokenizer, clips: &Clips<Cpu>) -> Result<Vec<Vec<u32>>> {
    let options = AsrOptions {
        batch_size: args.chunks,
        beam_size: args.beam,
        temperatures: vec![0.0],
        suppress_blank: false,
        max_new_tokens: Some(args.tokens),
        ..AsrOptions::default()
    };
    let never = Suppressed { always: vec![tokenizer.special.eot], begin: Vec::new() };
    let slots = Slots::new(model, tokenizer.special, &options, &never, args.chunks)?;
    let mut scheduler = Scheduler::new(model, slots, &options, tokenizer.special.sot)?;
    let parts =
        PromptParts { language: tokenizer.language_token("en"), without_timestamps: true, ..PromptParts::default() };
    let mut work = Work {
        prompt: Prompt::new(tokenizer, &parts, model.config.max_target_positions)?,
        window: 2 * model.config.max_source_positions,
        next: 0,
        tokens: vec![Vec::new(); args.chunks],
    };
    scheduler.run(clips, &mut work)?;
    let counts: Vec<usize> = work.tokens.iter().map(Vec::len).collect();
    if counts.iter().any(|n| *n != args.tokens) {
        return Err(Error::config(
            "tokens",
            args.tokens,
            format!("the chunks gave {counts:?} tokens; nothing is timed"),
        ));
    }
    Ok(work.tokens)
}

/// Every chunk once, with the same prompt, greedy or by beams.
struct Work {
    prompt: Prompt,
    /// Mel frames of a chunk.
    window: usize,
    next: usize,
    tokens: Vec<Vec<u32>>,
}

impl Source for Work {
    fn next(&mut self) -> Option<Clip> {
        let id = self.next;
        self.next += 1;
        let range = id * self.window..(id + 1) * self.window;
        (id < self.tokens.len()).then_some(Clip { id, range, detect_language: false })
    }

    fn begin(&mut self, id: usize, _: Option<&[f32]>) -> Result<Decode> {
        Ok(Decode { prompt: self.prompt.clone(), temperature: 0.0, stream: [id as u32, 0] })
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        self.tokens[id] = decoded.tokens;
        Ok(None)
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

fn report(args: &Args, seconds: &[f64], audio: f64, first: &[u32]) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let peak = peak_rss_bytes();
    if args.json {
        let json = serde_json::json!({
            "seconds": median, "all_seconds": seconds, "audio_seconds": audio, "times_real_time": audio / median,
            "peak_rss_bytes": peak, "chunks": args.chunks, "tokens": args.tokens, "beam": args.beam,
            "threads": args.threads, "weights": args.weights, "first": first,
        });
        return println!("{json}");
    }
    let memory = peak.map_or_else(String::new, |bytes| format!(", peak memory {} MB", bytes / 1_000_000));
    println!("{audio:.0} s of audio in {median:.2} s: {:.1} times real time{memory}", audio / median);
}

/// Features of all chunks one after another, constant over 8 frames: those of `tests/reference/seeded.py` with the seeds
/// 2024, 2025, ..., which the peers get too.
fn clips(model: &Whisper<Cpu>, chunks: usize) -> Result<Clips<'static, Cpu>> {
    let (mels, window) = (model.config.num_mel_bins, 2 * model.config.max_source_positions);
    let blocks = window.div_ceil(8);
    let frames = chunks * window;
    let mut values = Vec::with_capacity((frames + 1) * mels);
    for chunk in 0..chunks {
        let base = fnv1a("features") ^ (2024 + chunk as u64);
        for frame in 0..window {
            values.extend((0..mels).map(|mel| seeded(base, (mel * blocks + frame / 8) as u64)));
        }
    }
    values.resize((frames + 1) * mels, 0.0);
    let mut mel = Tensor::zeros(&model.be, &[frames + 1, mels])?;
    model.be.write_act(&mut mel.buf, 0, &values)?;
    Ok(Clips::Recording { mel, frames })
}

fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The splitmix64 generator at `index`, as an f16-exact number in [-1, 1).
fn seeded(base: u64, index: u64) -> f32 {
    let mut z = base.wrapping_add((index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    half::f16::from_f32((z >> 40) as f32 / (1u32 << 24) as f32 * 2.0 - 1.0).to_f32()
}

/// The most memory this process ever held, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
