//! Separate timing of the stages: features, encoder, cross-attention cache and decode step, with their roofline time
//! and kernels.

use std::collections::BTreeMap;
use std::time::Instant;

use diarist::asr::AsrOptions;
use diarist::asr::slots::{Decode, Slots};
use diarist::engine::prelude::*;
use diarist::engine::profile::{TimedLaunch, Work};
use diarist::engine::{Tensor, ops};
use diarist::models::whisper::{EncoderScratch, Whisper};
use diarist::{Error, Result};

use crate::args::Args;
use crate::ceilings::{Ceilings, random};
use crate::floor;
use crate::job::Job;
use crate::machine::Machine;

/// The measurement of one stage.
pub struct Stage {
    pub name: &'static str,
    /// The work of one run: "8 clips", "8 chunks x 5 rows".
    pub unit: String,
    /// Median time of one run, in seconds.
    pub seconds: f64,
    /// Lower bound on the work of one run.
    pub floor: Work,
    /// The time of that bound at this machine's ceilings (roofline time).
    pub floor_seconds: f64,
    /// Its kernels, slowest first.
    pub kernels: Vec<Kernel>,
}

/// All launches of one kernel within one run of a stage.
pub struct Kernel {
    pub name: String,
    pub launches: usize,
    pub seconds: f64,
    pub work: Work,
}

/// Times the stages of `--stage`, over at least five runs.
pub fn measure<B: Machine>(model: &Whisper<B>, job: &Job, args: &Args, ceilings: &Ceilings) -> Result<Vec<Stage>> {
    let runs = args.runs.max(5) as usize;
    let mut stages = Vec::new();
    if args.wants("features") {
        stages.push(features(model, job, runs, ceilings)?);
    }
    if args.wants("encode") {
        stages.push(encode(model, job, runs, ceilings)?);
        stages.push(cross(model, job, runs, ceilings)?);
    }
    if args.wants("decode") {
        stages.push(decode(model, job, runs, ceilings)?);
    }
    Ok(stages)
}

/// Clips encoded in one batch.
fn clips_at_once<B: Machine>(model: &Whisper<B>, job: &Job) -> usize {
    model.be.encoder_batch().clamp(1, job.batch)
}

/// Log-mel spectrogram of one batch of clips: input, output and plan.
struct Spectrogram<B: Machine> {
    out: Tensor<B>,
    audio: Tensor<B, f32>,
    plan: B::MelPlan,
}

impl<B: Machine> Spectrogram<B> {
    fn new(model: &Whisper<B>, clips: usize) -> Result<Self> {
        let (be, samples, bands) = (&model.be, model.config.window_samples(), model.config.num_mel_bins);
        Ok(Spectrogram {
            out: Tensor::zeros(be, &[clips, 2 * model.config.max_source_positions, bands])?,
            audio: Tensor::from_host(be, &[clips, samples], &random(4, clips * samples))?,
            plan: be.mel_plan(bands)?,
        })
    }

    fn run(&mut self, be: &B) -> Result<()> {
        ops::log_mel(be, &mut self.out, &self.audio, &self.plan)
    }
}

fn features<B: Machine>(model: &Whisper<B>, job: &Job, runs: usize, ceilings: &Ceilings) -> Result<Stage> {
    let (be, clips) = (&model.be, clips_at_once(model, job));
    let mut spectrogram = Spectrogram::new(model, clips)?;
    let floor = floor::features(&model.config, clips, size_of::<B::Act>());
    Ok(Stage {
        name: "features",
        unit: format!("{clips} clips"),
        seconds: median(be, runs, || spectrogram.run(be))?,
        kernels: summary(be.kernels(|| spectrogram.run(be))?),
        floor_seconds: ceilings.seconds(floor),
        floor,
    })
}

fn encode<B: Machine>(model: &Whisper<B>, job: &Job, runs: usize, ceilings: &Ceilings) -> Result<Stage> {
    let (be, clips) = (&model.be, clips_at_once(model, job));
    let mut encoder = filled(model, clips)?;
    let floor = floor::encode(&model.config, clips, size_of::<B::Act>());
    Ok(Stage {
        name: "encode",
        unit: format!("{clips} clips"),
        seconds: median(be, runs, || model.encode_mel(&mut encoder, clips))?,
        kernels: summary(be.kernels(|| model.encode_mel(&mut encoder, clips))?),
        floor_seconds: ceilings.seconds(floor),
        floor,
    })
}

/// Filling of the cross-attention cache. It is reported with the encoder; the peers count it as part of their first
/// decode step.
fn cross<B: Machine>(model: &Whisper<B>, job: &Job, runs: usize, ceilings: &Ceilings) -> Result<Stage> {
    let (be, clips) = (&model.be, clips_at_once(model, job));
    let mut encoder = filled(model, clips)?;
    model.encode_mel(&mut encoder, clips)?;
    let kind = model.cross_kind(job.beam);
    let mut caches = model.caches(clips, 1, kind)?;
    let slots: Vec<usize> = (0..clips).collect();
    let floor = floor::cross(&model.config, kind, clips, size_of::<B::Act>());
    Ok(Stage {
        name: "cross",
        unit: format!("{clips} clips"),
        seconds: median(be, runs, || model.fill_slots(&mut caches, &slots, &mut encoder))?,
        kernels: summary(be.kernels(|| model.fill_slots(&mut caches, &slots, &mut encoder))?),
        floor_seconds: ceilings.seconds(floor),
        floor,
    })
}

/// An encoder with random features as input, since zeros can be faster.
fn filled<B: Machine>(model: &Whisper<B>, clips: usize) -> Result<EncoderScratch<B>> {
    let mut encoder = model.encoder_scratch(clips)?;
    let values = random(5, encoder.mel.len());
    model.be.write_act(&mut encoder.mel.buf, 0, &values)?;
    Ok(encoder)
}

fn decode<B: Machine>(model: &Whisper<B>, job: &Job, runs: usize, ceilings: &Ceilings) -> Result<Stage> {
    let be = &model.be;
    // Two steps less than `--tokens`, so that no slot finishes within a run.
    let steps = job.tokens.saturating_sub(2).max(1);
    let mut decoding = Decoding::start(model, job)?;
    let mut times = Vec::new();
    for run in 0..=runs {
        decoding.restart(model, job)?;
        let start = Instant::now();
        for _ in 0..steps {
            decoding.slots.step()?;
        }
        be.wait()?;
        if run > 0 {
            times.push(start.elapsed().as_secs_f64() / steps as f64);
        }
    }
    times.sort_by(f64::total_cmp);
    decoding.restart(model, job)?;
    let position = job.prompt.len + steps / 2;
    let floor =
        floor::step(&model.config, model.cross_kind(job.beam), job.batch, job.beam, position, size_of::<B::Act>());
    Ok(Stage {
        name: "decode step",
        unit: format!("{} chunks x {} rows", job.batch, job.beam),
        seconds: times[times.len() / 2],
        kernels: summary(be.kernels(|| decoding.slots.step())?),
        floor_seconds: ceilings.seconds(floor),
        floor,
    })
}

/// Runs one stage between the profiler's marks, after a warm-up run.
pub fn profile<B: Machine>(model: &Whisper<B>, job: &Job, stage: &str) -> Result<()> {
    let (be, clips) = (&model.be, clips_at_once(model, job));
    if stage == "features" {
        let mut spectrogram = Spectrogram::new(model, clips)?;
        spectrogram.run(be)?;
        return be.marked(|| spectrogram.run(be));
    }
    if stage == "encode" {
        let mut encoder = filled(model, clips)?;
        model.encode_mel(&mut encoder, clips)?;
        return be.marked(|| model.encode_mel(&mut encoder, clips));
    }
    let mut decoding = Decoding::start(model, job)?;
    for _ in 0..3 {
        decoding.slots.step()?;
    }
    be.marked(|| decoding.slots.step())
}

/// Slots with a running hypothesis each.
struct Decoding<'m, B: Backend> {
    slots: Slots<'m, B>,
    options: AsrOptions,
}

impl<'m, B: Machine> Decoding<'m, B> {
    fn start(model: &'m Whisper<B>, job: &Job) -> Result<Self> {
        let options = job.options();
        let mut slots = Slots::new(model, job.special, &options, &job.suppressed(), job.batch)?;
        let clips = clips_at_once(model, job);
        let mut encoder = filled(model, clips)?;
        for first in (0..job.batch).step_by(clips) {
            let group: Vec<usize> = (first..job.batch.min(first + clips)).collect();
            model.encode_mel(&mut encoder, group.len())?;
            slots.load(&group, &mut encoder)?;
        }
        let mut decoding = Decoding { slots, options };
        decoding.restart(model, job)?;
        Ok(decoding)
    }

    /// Restarts decoding in all slots.
    fn restart(&mut self, model: &Whisper<B>, job: &Job) -> Result<()> {
        let decode = |slot| Decode { prompt: job.prompt.clone(), temperature: 0.0, stream: [slot as u32, 0] };
        let searches: Vec<Decode> = (0..job.batch).map(decode).collect();
        let searches: Vec<_> =
            searches.iter().enumerate().map(|(slot, decode)| (slot, decode, &self.options)).collect();
        self.slots.start(&searches)?;
        model.be.wait()
    }
}

fn median<B: Machine>(be: &B, runs: usize, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for run in 0..=runs {
        let start = Instant::now();
        f()?;
        be.wait()?;
        if run > 0 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().ok_or_else(|| Error::config("runs", runs, "at least one"))
}

/// Adds up the launches of each kernel; slowest first.
pub fn summary(launched: Vec<TimedLaunch>) -> Vec<Kernel> {
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    for launch in launched {
        let kernel = kernels.entry(launch.kernel.clone()).or_insert_with(|| Kernel {
            name: launch.kernel,
            launches: 0,
            seconds: 0.0,
            work: Work::default(),
        });
        kernel.launches += 1;
        kernel.seconds += launch.took.as_secs_f64();
        kernel.work = kernel.work + launch.work;
    }
    let mut kernels: Vec<Kernel> = kernels.into_values().collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kernels
}
