//! The numbers as a table for people, or as one JSON object.

use diarist::engine::profile::Work;
use serde_json::{Value, json};

use crate::Args;
use crate::job::Job;
use crate::machine::{Ceilings, peak_rss_bytes};
use crate::stages::Stage;

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    pub device: String,
    pub ceilings: Option<Ceilings>,
    pub stages: Vec<Stage>,
    /// Of each run, encoder and decoder.
    pub seconds: Vec<f64>,
    pub audio_seconds: f64,
    pub peak_device_bytes: Option<u64>,
    /// Tokens of the first chunk.
    pub first: Vec<u32>,
}

impl Report {
    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Prints to standard output.
    pub fn print(&self, args: &Args, job: &Job) {
        if args.json {
            println!("{}", self.json(args, job));
        } else {
            self.table(job);
        }
    }

    fn json(&self, args: &Args, job: &Job) -> Value {
        let median = self.median();
        let milliseconds = |name: &str| self.stages.iter().find(|s| s.name == name).map(|s| s.seconds * 1e3);
        json!({
            "command": std::env::args().collect::<Vec<_>>().join(" "),
            "device": self.device, "seconds": median, "all_seconds": self.seconds, "audio_seconds": self.audio_seconds,
            "times_real_time": self.audio_seconds / median, "peak_rss_bytes": peak_rss_bytes(),
            "peak_device_bytes": self.peak_device_bytes, "chunks": job.chunks, "batch": job.batch,
            "tokens": job.tokens, "beam": job.beam, "threads": args.threads, "weights": args.weights,
            "compute_type": args.compute_type, "cross_cache": args.cross_cache,
            "ceilings": self.ceilings.map(|c| json!({ "flops": c.flops, "bytes_per_second": c.bandwidth })),
            "encoder_ms": milliseconds("encode"), "step_ms": milliseconds("decode step"),
            "stages": self.stages.iter().map(stage_json).collect::<Vec<_>>(), "first": self.first,
        })
    }

    fn table(&self, job: &Job) {
        println!("{}", self.device);
        if let Some(ceilings) = self.ceilings {
            let (tera, giga) = (ceilings.flops / 1e12, ceilings.bandwidth / 1e9);
            println!("ceilings: product {tera:.2} TFLOP/s, memory {giga:.1} GB/s, both measured just now");
        }
        for stage in &self.stages {
            let share = 100.0 * stage.floor_seconds / stage.seconds;
            println!(
                "\n{} ({}): {:.3} ms, {:.0} % of the floor ({:.1} GFLOP, {:.3} GB)",
                stage.name,
                stage.unit,
                stage.seconds * 1e3,
                share,
                stage.floor.flops as f64 / 1e9,
                stage.floor.bytes as f64 / 1e9,
            );
            for kernel in &stage.kernels {
                let (tera, giga) = rates(kernel.work, kernel.seconds);
                println!(
                    "  {:<36} {:>5} x {:>9.3} ms  {giga:>8.1} GB/s {tera:>8.2} TFLOP/s",
                    kernel.name,
                    kernel.launches,
                    kernel.seconds * 1e3
                );
            }
        }
        let median = self.median();
        let memory = self.peak_device_bytes.map_or_else(String::new, |b| format!(", peak memory {} MB", b / 1_000_000));
        println!(
            "\n{:.0} s of audio, {} tokens for each window, in {median:.2} s: {:.1} times real time{memory}",
            self.audio_seconds,
            job.tokens,
            self.audio_seconds / median
        );
    }
}

fn rates(work: Work, seconds: f64) -> (f64, f64) {
    (work.flops as f64 / seconds / 1e12, work.bytes as f64 / seconds / 1e9)
}

fn stage_json(stage: &Stage) -> Value {
    let kernels: Vec<Value> = stage
        .kernels
        .iter()
        .map(|k| {
            json!({ "name": k.name, "launches": k.launches, "ms": k.seconds * 1e3, "bytes": k.work.bytes, "flops": k.work.flops })
        })
        .collect();
    json!({
        "name": stage.name, "unit": stage.unit, "ms": stage.seconds * 1e3, "floor_ms": stage.floor_seconds * 1e3,
        "floor_share": stage.floor_seconds / stage.seconds, "bytes": stage.floor.bytes, "flops": stage.floor.flops,
        "kernels": kernels,
    })
}
