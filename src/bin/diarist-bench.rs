//! The benchmark binary: how fast this machine transcribes, with the work fixed so that engines can be compared.
//!
//! Every chunk is one full window of seeded noise and exactly `--tokens` tokens are decoded for it (end-of-text is
//! suppressed): a ratio between engines then measures speed, not how talkative random weights are. A time is printed
//! only after the token counts were checked.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use diarist::asr::{self, AsrOptions, Chunks, Tokenizer};
use diarist::engine::cpu::Cpu;
use diarist::models::whisper::Whisper;
use diarist::types::{Chunk, Segment, Span};
use diarist::{Error, Result};

/// Times the recogniser on a fixed amount of work.
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
    /// Timed runs, after one that is not counted; the median is reported.
    #[arg(long, default_value_t = 5)]
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
    let be = Cpu::new((args.threads > 0).then_some(args.threads))?;
    let model = Whisper::open(&be, &args.model)?;
    let tokenizer = Tokenizer::open(&args.model, asr::is_multilingual(&model))?;
    let samples = noise(args.chunks * model.config.window_samples());
    let window = model.config.window().0;
    let chunks: Vec<Chunk> = (0..args.chunks)
        .map(|i| Span::new(i as f64 * window, (i + 1) as f64 * window))
        .map(|span| Chunk { span, segments: vec![span] })
        .collect();
    let options = forced(args, &tokenizer);
    let mut seconds = Vec::new();
    for i in 0..=args.runs {
        let start = Instant::now();
        let found = asr::transcribe(&model, &tokenizer, &samples, Chunks::Speech(&chunks), &options, &mut ())?;
        let took = start.elapsed().as_secs_f64();
        check(&found.segments, args)?;
        if i > 0 || args.runs == 0 {
            seconds.push(took);
        }
    }
    report(args, &seconds, args.chunks as f64 * window);
    Ok(())
}

/// Options that make every chunk take exactly `--tokens` steps.
fn forced(args: &Args, tokenizer: &Tokenizer) -> AsrOptions {
    AsrOptions {
        language: tokenizer.is_multilingual().then(|| "en".to_owned()),
        batch_size: args.chunks,
        beam_size: args.beam,
        temperatures: vec![0.0],
        compression_ratio_threshold: None,
        log_prob_threshold: None,
        no_speech_threshold: None,
        suppress_tokens: vec![-1, i64::from(tokenizer.special.eot)],
        max_new_tokens: Some(args.tokens),
        ..AsrOptions::default()
    }
}

fn check(segments: &[Segment], args: &Args) -> Result<()> {
    let counts: Vec<usize> = segments.iter().map(|s| s.tokens.len()).collect();
    if counts.len() == args.chunks && counts.iter().all(|n| *n == args.tokens) {
        return Ok(());
    }
    Err(Error::config("tokens", args.tokens, format!("the chunks gave {counts:?} tokens; nothing is timed")))
}

fn report(args: &Args, seconds: &[f64], audio: f64) {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let peak = peak_rss_bytes();
    if args.json {
        let json = serde_json::json!({
            "seconds": median, "all_seconds": seconds, "audio_seconds": audio, "times_real_time": audio / median,
            "peak_rss_bytes": peak, "chunks": args.chunks, "tokens": args.tokens, "beam": args.beam,
            "threads": args.threads,
        });
        return println!("{json}");
    }
    let memory = peak.map_or_else(String::new, |bytes| format!(", peak memory {} MB", bytes / 1_000_000));
    println!("{audio:.0} s of audio in {median:.2} s: {:.1} times real time{memory}", audio / median);
}

/// Seeded white noise in [-0.1, 0.1): the work does not depend on what is heard.
fn noise(samples: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32
    };
    (0..samples).map(|_| (next() - 0.5) * 0.2).collect()
}

/// The most memory this process ever held, where the system tells.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
