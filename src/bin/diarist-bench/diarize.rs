//! Benchmark of the diarization networks: segmentation and speaker embedding of all windows of a recording. The trunk
//! of the embedding network runs once per window, for all of its speakers.

use std::path::Path;
use std::time::Instant;

use diarist::engine::cpu::Cpu;
use diarist::models::embedding::{self, SpeakerEmbedding, Windows};
use diarist::models::pyannet::{PyanNet, Specification};
use diarist::units::SAMPLE_RATE;
use diarist::{Error, Result};
use serde_json::json;

use crate::align::recording;
use crate::args::Args;
use crate::machine::{Machine, peak_rss_bytes};
use crate::report::{command, median};
use crate::shapes::{self, Diarization};
use crate::stages::{Kernel, summary};

/// Hop between windows, in samples.
const STEP: usize = SAMPLE_RATE;
/// Speakers per window.
const SPEAKERS: usize = 3;
/// Frames of a speaker's mask.
const FRAMES: usize = 589;
/// Tolerance of the segmentation scores (absolute), which are computed in f32 on every device.
const SCORE_TOLERANCE: f32 = 1e-3;
/// Tolerances of the embeddings (1 - cosine similarity) with f16 and bf16.
const EMBEDDING_TOLERANCES: [f64; 2] = [1e-4, 2e-3];

/// Both networks.
struct Networks<B: Machine> {
    segmentation: PyanNet<B>,
    embedding: Box<dyn SpeakerEmbedding<B>>,
}

impl<B: Machine> Networks<B> {
    /// Loads a folder with `segmentation` and `embedding`, or random weights.
    fn load(be: &B, model: &str) -> Result<Self> {
        let Some(sizes) = shapes::diarization(model) else {
            let (segmentation, embedding) = (Path::new(model).join("segmentation"), Path::new(model).join("embedding"));
            let (segmentation, embedding) = (PyanNet::open(be, &segmentation)?, embedding::open(be, &embedding)?);
            return Ok(Networks { segmentation, embedding });
        };
        Self::random(be, &sizes)
    }

    fn random(be: &B, sizes: &Diarization) -> Result<Self> {
        let weights = sizes.segmentation()?;
        let segmentation = PyanNet::load(be, Specification::read(&weights)?, &weights)?;
        Ok(Networks { segmentation, embedding: embedding::load(be, &sizes.embedding()?)? })
    }

    fn window(&self) -> usize {
        self.segmentation.specification().window
    }

    /// Segmentation scores of all windows, with the batch size of the diarization stage.
    fn scores(&self, be: &B, samples: &[f32], windows: usize) -> Result<()> {
        let batch = be.window_batch();
        for first in (0..windows).step_by(batch) {
            let last = windows.min(first + batch) - 1;
            self.segmentation.scores(be, &samples[first * STEP..last * STEP + self.window()], STEP)?;
        }
        be.wait()
    }

    fn embeddings(&self, be: &B, samples: &[f32], windows: usize) -> Result<Vec<f32>> {
        let starts: Vec<usize> = (0..windows).map(|window| window * STEP).collect();
        // The speakers take turns, each a sixth of the window long.
        let speaks = |i: usize| i % FRAMES * 6 / FRAMES % SPEAKERS == i / FRAMES % SPEAKERS;
        let masks: Vec<bool> = (0..windows * SPEAKERS * FRAMES).map(speaks).collect();
        let wanted = Windows { starts: &starts, length: self.window(), masks: &masks, speakers: SPEAKERS };
        self.embedding.embed_windows(be, samples, &wanted)
    }
}

/// Runs the benchmark and prints the report.
///
/// # Errors
/// Also if the device's results differ from the CPU's, or if two runs differ.
pub fn run<B: Machine>(args: &Args, be: &B, model: &str) -> Result<()> {
    let error = compare_with_cpu(args, be)?;
    let start = Instant::now();
    let networks = Networks::load(be, model)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let samples = recording(args)?;
    let windows = samples.len().checked_sub(networks.window()).map_or(0, |rest| rest / STEP + 1);
    if windows == 0 {
        return Err(Error::config("hours", samples.len(), "is less than one window; nothing is timed"));
    }
    let (mut segmentation, mut embedding, mut before) = (Vec::new(), Vec::new(), None);
    for run in 0..=args.runs {
        let start = Instant::now();
        networks.scores(be, &samples, windows)?;
        let scored = start.elapsed().as_secs_f64();
        let voices = networks.embeddings(be, &samples, windows)?;
        be.wait()?;
        if run > 0 {
            segmentation.push(scored);
            embedding.push(start.elapsed().as_secs_f64() - scored);
        }
        if before.as_ref().is_some_and(|before| *before != voices) {
            return Err(Error::config("runs", args.runs, "the same work gave other voices; nothing is timed"));
        }
        before = Some(voices);
    }
    let mut kernels = summary(be.kernels(|| networks.scores(be, &samples, windows))?);
    kernels.extend(summary(be.kernels(|| networks.embeddings(be, &samples, windows).map(drop))?));
    let (segmentation_seconds, embedding_seconds) =
        (median(segmentation.iter().copied()), median(embedding.iter().copied()));
    let audio = samples.len() as f64 / SAMPLE_RATE as f64;
    let speed = audio / (segmentation_seconds + embedding_seconds);
    if args.json {
        let size = networks.embedding.size();
        let voices = before.iter().flatten().copied().collect::<Vec<f32>>();
        let first: Vec<&[f32]> = voices.chunks_exact(size).take(SPEAKERS).collect();
        let report = json!({
            "command": command(), "version": env!("CARGO_PKG_VERSION"), "device": be.describe(), "diarize_model": model,
            "checked": { "voices_error": error }, "load_seconds": load_seconds, "windows": windows, "speakers": SPEAKERS, "voice": first,
            "seconds": segmentation_seconds + embedding_seconds, "segmentation_seconds": segmentation_seconds, "all_segmentation_seconds": segmentation,
            "embedding_seconds": embedding_seconds, "all_embedding_seconds": embedding, "audio_seconds": audio,
            "times_real_time": speed, "kernels": kernels.iter().map(kernel_json).collect::<Vec<_>>(), "threads": args.threads,
            "compute_type": args.compute_type, "peak_rss_bytes": peak_rss_bytes(), "peak_device_bytes": be.peak_bytes(),
        });
        println!("{report}");
        return Ok(());
    }
    println!("{}\nchecked: voices of a small network, 1 - cosine {error:.1e} from the processor's", be.describe());
    println!("segmentation {segmentation_seconds:>9.3} s\nembedding    {embedding_seconds:>9.3} s");
    for kernel in &kernels {
        let (name, launches, seconds) = (&kernel.name, kernel.launches, kernel.seconds);
        let (flops, bytes) = (kernel.work.flops as f64 / 1e12 / seconds, kernel.work.bytes as f64 / 1e9 / seconds);
        println!("{name:<24} {launches:>5} launches {seconds:>9.4} s {flops:>7.1} TFLOP/s {bytes:>7.0} GB/s");
    }
    println!("\n{audio:.0} s of audio, {windows} windows: {speed:.1} times real time");
    Ok(())
}

fn kernel_json(kernel: &Kernel) -> serde_json::Value {
    json!({ "name": kernel.name, "launches": kernel.launches, "seconds": kernel.seconds,
            "flops": kernel.work.flops, "bytes": kernel.work.bytes })
}

/// Runs small networks on the device and on the CPU. Returns the largest cosine distance (1 - cosine similarity)
/// between their embeddings.
fn compare_with_cpu<B: Machine>(args: &Args, be: &B) -> Result<f64> {
    let ((scores, voices), (got_scores, got_voices)) = (small_run(&Cpu::new(None)?)?, small_run(be)?);
    let wrong = |what: &str, error: f64| {
        let rule = format!("computes other {what} than the processor, by {error:.1e}; nothing is timed");
        Err(Error::config("device", be.describe(), rule))
    };
    let difference = scores.iter().zip(&got_scores).map(|(want, got)| (want - got).abs());
    // Written so that NaN fails the comparison; f32::max would drop it.
    let difference = difference.fold(0f32, |max, difference| if difference <= max { max } else { difference });
    if scores.len() != got_scores.len() || !(difference <= SCORE_TOLERANCE) {
        return wrong("scores", f64::from(difference));
    }
    let size = voices.len() / SPEAKERS;
    let cosines = voices.chunks_exact(size).zip(got_voices.chunks_exact(size)).map(|(want, got)| cosine(want, got));
    let error = cosines.fold(0f64, |max, cosine| if 1.0 - cosine <= max { max } else { 1.0 - cosine });
    let tolerance = EMBEDDING_TOLERANCES[usize::from(args.compute_type == "bfloat16")];
    if voices.len() != got_voices.len() || !(error <= tolerance) {
        return wrong("voices", error);
    }
    Ok(error)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Segmentation scores and embeddings of one window.
fn small_run<B: Machine>(be: &B) -> Result<(Vec<f32>, Vec<f32>)> {
    let networks = Networks::random(be, &shapes::SMALL_DIARIZATION)?;
    let samples = crate::ceilings::random(6, networks.window());
    let scores = networks.segmentation.scores(be, &samples, STEP)?.to_host(be)?;
    Ok((scores, networks.embeddings(be, &samples, 1)?))
}
