//! Encoder and decode step by themselves: their time against their floor, and their kernels.

use std::collections::BTreeMap;
use std::time::Instant;

use diarist::asr::AsrOptions;
use diarist::asr::slots::{Decode, Slots, Suppressed};
use diarist::engine::Backend;
use diarist::engine::profile::{Launched, Work};
use diarist::models::whisper::{EncoderScratch, Whisper};
use diarist::{Error, Result};

use crate::floor;
use crate::job::Job;
use crate::machine::{Ceilings, Machine};

/// One stage, measured.
pub struct Stage {
    pub name: &'static str,
    /// What one run of it is: "8 clips", "32 rows at position 64".
    pub unit: String,
    /// Median time of one run, in seconds.
    pub seconds: f64,
    /// What one run must do at least.
    pub floor: Work,
    /// The time that would take at this machine's ceilings.
    pub floor_seconds: f64,
    /// Its kernels, those that took longest first.
    pub kernels: Vec<Kernel>,
}

/// All launches of one kernel within one run of a stage.
pub struct Kernel {
    pub name: String,
    pub launches: usize,
    pub seconds: f64,
    pub work: Work,
}

/// Times the stages of a job.
pub fn measure<B: Machine>(model: &Whisper<B>, job: &Job, runs: usize, ceilings: &Ceilings) -> Result<Vec<Stage>> {
    let be = &model.be;
    let bytes = size_of::<B::Act>();
    let clips = be.encoder_batch().clamp(1, job.batch);
    let mut encoder = model.encoder_scratch(clips)?;
    let encode_floor = floor::encode(&model.config, clips, bytes);
    let encode = Stage {
        name: "encode",
        unit: format!("{clips} clips"),
        seconds: median(be, runs, || model.encode_mel(&mut encoder, clips))?,
        kernels: summary(be.kernels(|| model.encode_mel(&mut encoder, clips))?),
        floor_seconds: ceilings.seconds(encode_floor),
        floor: encode_floor,
    };

    // The slots need every step of every run, and one search must not end before.
    let steps = job.tokens.saturating_sub(2).max(1);
    let mut slots = Decoding::start(model, job, &mut encoder)?;
    let mut times = Vec::new();
    for run in 0..=runs {
        slots.restart(model, job)?;
        let start = Instant::now();
        for _ in 0..steps {
            slots.slots.step()?;
        }
        be.wait()?;
        if run > 0 {
            times.push(start.elapsed().as_secs_f64() / steps as f64);
        }
    }
    times.sort_by(f64::total_cmp);
    slots.restart(model, job)?;
    let position = job.prompt.len + steps / 2;
    let step_floor = floor::step(&model.config, job.batch, job.beam, position, bytes);
    let decode = Stage {
        name: "decode step",
        unit: format!("{} chunks x {} rows", job.batch, job.beam),
        seconds: times[times.len() / 2],
        kernels: summary(be.kernels(|| slots.slots.step())?),
        floor_seconds: ceilings.seconds(step_floor),
        floor: step_floor,
    };
    Ok(vec![encode, decode])
}

/// One run of one stage, after one to warm up: what a profiler is to look at.
pub fn profile<B: Machine>(model: &Whisper<B>, job: &Job, stage: &str) -> Result<()> {
    let be = &model.be;
    let clips = be.encoder_batch().clamp(1, job.batch);
    let mut encoder = model.encoder_scratch(clips)?;
    if stage == "encode" {
        model.encode_mel(&mut encoder, clips)?;
        return be.marked(|| model.encode_mel(&mut encoder, clips));
    }
    let mut decoding = Decoding::start(model, job, &mut encoder)?;
    for _ in 0..3 {
        decoding.slots.step()?;
    }
    be.marked(|| decoding.slots.step())
}

/// Slots that all hold a search.
struct Decoding<'m, B: Backend> {
    slots: Slots<'m, B>,
    options: AsrOptions,
}

impl<'m, B: Machine> Decoding<'m, B> {
    fn start(model: &'m Whisper<B>, job: &Job, encoder: &mut EncoderScratch<B>) -> Result<Self> {
        let options = AsrOptions {
            batch_size: job.batch,
            beam_size: job.beam,
            temperatures: vec![0.0],
            suppress_blank: false,
            max_new_tokens: Some(job.tokens),
            ..AsrOptions::default()
        };
        let never = Suppressed { always: vec![job.special.eot], begin: Vec::new() };
        let mut slots = Slots::new(model, job.special, &options, &never, job.batch)?;
        let clips = model.be.encoder_batch().clamp(1, job.batch);
        for first in (0..job.batch).step_by(clips) {
            let group: Vec<usize> = (first..job.batch.min(first + clips)).collect();
            model.encode_mel(encoder, group.len())?;
            slots.load(&group, encoder)?;
        }
        let mut decoding = Decoding { slots, options };
        decoding.restart(model, job)?;
        Ok(decoding)
    }

    /// Begins all searches anew.
    fn restart(&mut self, model: &Whisper<B>, job: &Job) -> Result<()> {
        let decode = |slot| Decode { prompt: job.prompt.clone(), temperature: 0.0, stream: [slot as u32, 0] };
        let searches: Vec<Decode> = (0..job.batch).map(decode).collect();
        let searches: Vec<(usize, &Decode)> = searches.iter().enumerate().collect();
        self.slots.start(&searches, &self.options)?;
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

fn summary(launched: Vec<Launched>) -> Vec<Kernel> {
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
