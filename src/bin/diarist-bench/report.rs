//! Output of the measurements, as a table or as one JSON object.

use diarist::engine::profile::Work;
use serde_json::{Value, json};

use crate::args::Args;
use crate::ceilings::Ceilings;
use crate::check::Checked;
use crate::end_to_end::EndToEnd;
use crate::job::Job;
use crate::machine::peak_rss_bytes;
use crate::stages::{Kernel, Stage};

/// All measurements.
#[derive(Default)]
pub struct Report {
    pub device: String,
    pub checked: Checked,
    /// Time to generate or read the weights and upload them.
    pub load_seconds: f64,
    pub ceilings: Option<Ceilings>,
    pub stages: Vec<Stage>,
    /// Seconds of each run: encoder and decoder, or end to end.
    pub seconds: Vec<f64>,
    pub end_to_end: Option<EndToEnd>,
    pub audio_seconds: f64,
    pub peak_device_bytes: Option<u64>,
    /// Tokens of the first chunk.
    pub first: Vec<u32>,
}

impl Report {
    fn median(&self) -> f64 {
        median(self.seconds.iter().copied())
    }

    /// Prints to stdout.
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
            "command": command(), "version": env!("CARGO_PKG_VERSION"),
            "device": self.device, "shape": args.shape, "model": args.model,
            "checked": {
                "logits_error": self.checked.logits_error, "equal_tokens": self.checked.equal_tokens,
                "tokens": self.checked.tokens,
            },
            "load_seconds": self.load_seconds, "seconds": median, "all_seconds": self.seconds,
            "audio_seconds": self.audio_seconds, "times_real_time": self.audio_seconds / median,
            "peak_rss_bytes": peak_rss_bytes(), "peak_device_bytes": self.peak_device_bytes,
            "chunks": job.windows.len(), "batch": job.batch, "tokens": job.tokens, "beam": job.beam,
            "threads": args.threads, "weights": args.weights, "compute_type": args.compute_type,
            "cross_cache": args.cross_cache, "ceilings": self.ceilings.as_ref().map(ceilings_json),
            "features_ms": milliseconds("features"), "encoder_ms": milliseconds("encode"),
            "cross_ms": milliseconds("cross"), "step_ms": milliseconds("decode step"),
            "stages": self.stages.iter().map(|stage| self.stage_json(stage)).collect::<Vec<_>>(),
            "end_to_end": self.end_to_end.as_ref().map(end_to_end_json), "first": self.first,
        })
    }

    /// Roofline time divided by measured time.
    fn share(&self, kernel: &Kernel) -> Option<f64> {
        self.ceilings.as_ref().map(|ceilings| ceilings.seconds(kernel.work) / kernel.seconds)
    }

    fn stage_json(&self, stage: &Stage) -> Value {
        let kernel = |k: &Kernel| {
            let (tera, giga) = rates(k.work, k.seconds);
            json!({
                "name": k.name, "launches": k.launches, "ms": k.seconds * 1e3, "bytes": k.work.bytes, "flops": k.work.flops,
                "gb_per_second": giga, "tflops": tera, "floor_share": self.share(k),
            })
        };
        json!({
            "name": stage.name, "unit": stage.unit, "ms": stage.seconds * 1e3, "floor_ms": stage.floor_seconds * 1e3,
            "floor_share": stage.floor_seconds / stage.seconds, "bytes": stage.floor.bytes, "flops": stage.floor.flops,
            "launches": stage.kernels.iter().map(|k| k.launches).sum::<usize>(),
            "kernels": stage.kernels.iter().map(kernel).collect::<Vec<_>>(),
        })
    }

    fn table(&self, job: &Job) {
        println!("{}", self.device);
        println!(
            "checked: logits of a small model within {:.1e} of the processor's, {} of {} tokens the same",
            self.checked.logits_error, self.checked.equal_tokens, self.checked.tokens
        );
        if let Some(ceilings) = &self.ceilings {
            let (tera, giga) = (ceilings.flops / 1e12, ceilings.bandwidth / 1e9);
            println!("ceilings, measured just now: product {tera:.2} TFLOP/s, reading {giga:.1} GB/s");
        }
        for stage in &self.stages {
            self.stage(stage);
        }
        let median = self.median();
        let memory = self.peak_device_bytes.map_or_else(String::new, |b| format!(", peak memory {} MB", b / 1_000_000));
        let work = match &self.end_to_end {
            Some(measured) => {
                println!();
                for (name, seconds) in measured.medians() {
                    println!("{name:<8} {seconds:>9.3} s  {:>10.1} times real time", self.audio_seconds / seconds);
                }
                format!("{} chunks, {} tokens", measured.chunks, measured.tokens)
            }
            None => format!("{} tokens for each window", job.tokens),
        };
        println!(
            "\n{:.0} s of audio, {work}, in {median:.2} s: {:.1} times real time{memory}",
            self.audio_seconds,
            self.audio_seconds / median
        );
    }

    fn stage(&self, stage: &Stage) {
        println!(
            "\n{} ({}): {:.3} ms, {:.0} % of the floor ({:.1} GFLOP, {:.3} GB)",
            stage.name,
            stage.unit,
            stage.seconds * 1e3,
            100.0 * stage.floor_seconds / stage.seconds,
            stage.floor.flops as f64 / 1e9,
            stage.floor.bytes as f64 / 1e9,
        );
        for kernel in &stage.kernels {
            let (tera, giga) = rates(kernel.work, kernel.seconds);
            let share = self.share(kernel).map_or_else(String::new, |share| format!("{:>5.0} %", 100.0 * share));
            println!(
                "  {:<36} {:>5} x {:>9.3} ms  {giga:>8.1} GB/s {tera:>8.2} TFLOP/s {share}",
                kernel.name,
                kernel.launches,
                kernel.seconds * 1e3
            );
        }
    }
}

impl EndToEnd {
    /// Median seconds of each stage.
    fn medians(&self) -> Vec<(&'static str, f64)> {
        let names = self.runs.first().map_or(&[][..], |run| &run[..]);
        let of = |i: usize| median(self.runs.iter().map(|run| run[i].1));
        names.iter().enumerate().map(|(i, (name, _))| (*name, of(i))).collect()
    }
}

/// The median (of an even number of values the upper one).
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn rates(work: Work, seconds: f64) -> (f64, f64) {
    (work.flops as f64 / seconds / 1e12, work.bytes as f64 / seconds / 1e9)
}

/// The command line, without the path of the program.
pub fn command() -> String {
    let arguments = std::env::args().skip(1);
    std::iter::once("diarist-bench".to_string()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn ceilings_json(ceilings: &Ceilings) -> Value {
    json!({ "flops": ceilings.flops, "bytes_per_second": ceilings.bandwidth })
}

fn end_to_end_json(measured: &EndToEnd) -> Value {
    let stages: Vec<Value> =
        measured.medians().iter().map(|(name, seconds)| json!({ "name": name, "seconds": seconds })).collect();
    json!({ "chunks": measured.chunks, "tokens": measured.tokens, "stages": stages, "text": measured.text })
}
