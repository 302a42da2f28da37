//! `log_mel`: Whisper's log-mel spectrogram (Radford et al. 2022, section 2.2).

use std::sync::Arc;

use super::Cuda;
use super::activation::Bits;
use super::bands::Bands;
use super::buffer::Buffer;
use super::device::Device;
use crate::engine::Tensor;
use crate::engine::backend::MelOps;
use crate::engine::profile::Work;
use crate::error::{Error, Result};
use crate::features::mel::{N_BINS, N_FFT};
use crate::features::mel_filterbank;
use crate::units::MelFrame;

/// Frames per block.
const FRAMES: usize = 8;

/// Tables of the transform: window, cosines, sines, and the mel filterbank.
pub struct MelPlan {
    bands: Bands,
    /// `[400]` each: the Hann window, and one period of cosine and sine.
    window: Buffer<f32>,
    cosines: Buffer<f32>,
    sines: Buffer<f32>,
}

impl MelPlan {
    pub(super) fn new(device: &Arc<Device>, n_mels: usize) -> Result<Self> {
        let turn = |i: usize| std::f64::consts::TAU * i as f64 / N_FFT as f64;
        let table = |f: &dyn Fn(f64) -> f64| (0..N_FFT).map(|i| f(turn(i)) as f32).collect::<Vec<f32>>();
        Ok(MelPlan {
            bands: Bands::new(device, &mel_filterbank(n_mels), N_BINS)?,
            // torch computes the window in f32 and the checkpoints were trained on that.
            window: Buffer::upload(device, &table(&|phase| 0.5 - 0.5 * phase.cos()))?,
            cosines: Buffer::upload(device, &table(&f64::cos))?,
            sines: Buffer::upload(device, &table(&f64::sin))?,
        })
    }
}

/// See [`MelOps::log_mel`]: `out` `[B, F, M]`, `audio` `[B, 160 F]`.
pub(super) fn log_mel(be: &Cuda, out: &mut Tensor<Cuda>, audio: &Tensor<Cuda, f32>, plan: &MelPlan) -> Result<()> {
    let (len, samples, bands, clips) = (out.len(), audio.width(), plan.bands.count, audio.rows());
    let frames = samples / MelFrame::SAMPLES;
    if samples <= N_FFT / 2 || out.width() != bands {
        return Err(Error::Shape {
            op: "log_mel",
            what: "audio and out",
            expected: format!("more than {} samples, {bands} bands", N_FFT / 2),
            got: format!("{samples} samples, {} bands", out.width()),
        });
    }
    let (logs_bytes, max_bytes) = (len * size_of::<f32>(), clips * size_of::<u32>());
    let scratch = be.device.scratch(logs_bytes + max_bytes)?;
    // `clip_max` starts at 0: the kernel maps floats to positive integers in the same order.
    be.device.clear_scratch(&scratch, logs_bytes, max_bytes)?;

    let mut launch = be.device.launch("log_mel_power", "")?;
    launch.grid(frames.div_ceil(FRAMES), clips, 1).block(256);
    launch.scratch(&scratch, 0, logs_bytes).scratch(&scratch, logs_bytes, max_bytes).input(&audio.buf, audio.len());
    launch.input(&plan.window, N_FFT).input(&plan.cosines, N_FFT).input(&plan.sines, N_FFT);
    plan.bands.arguments(&mut launch);
    launch.int(frames).int(bands);
    // The frame is folded by symmetry, so it takes two products of 201 x 199.
    let flops = (clips * frames) as u64 * (4 * N_BINS * (N_BINS - 2)) as u64;
    let work = Work { bytes: (audio.len() * size_of::<f32>() + logs_bytes) as u64, flops };
    // SAFETY: (1) logs, clip_max, audio, window, cosines, sines, first, count, offset, weights, frames, bands, as log_mel.cu
    // declares them; (2) it touches logs [B, F, M], clip_max [B], audio [B, 160 F], the tables [400], first, count and
    // offset [M], and the weights these lead to, which `Bands::new` made; (3) blocks of 8 frames, for each clip.
    unsafe { launch.run(work) }?;

    let per_clip = frames * bands;
    let mut launch = be.device.launch("log_mel_normalize", be.activation.suffix())?;
    launch.grid(per_clip.div_ceil(1024), clips, 1).block(256);
    launch.output(&mut out.buf, len).scratch(&scratch, 0, logs_bytes).scratch(&scratch, logs_bytes, max_bytes);
    launch.long(per_clip);
    // SAFETY: (1) out, logs, clip_max, per_clip, as log_mel.cu declares them; (2) it touches out and logs [B, F, M],
    // clip_max [B]; (3) blocks of 1024 elements cover a clip. The scratch memory is held until here, so no other
    // thread's launch can overwrite it in between.
    unsafe { launch.run(Work::bytes(logs_bytes + len * size_of::<Bits>())) }
}

impl MelOps for Cuda {
    type MelPlan = MelPlan;

    fn mel_plan(&self, n_mels: usize) -> Result<MelPlan> {
        MelPlan::new(&self.device, n_mels)
    }

    fn log_mel(&self, out: &mut Tensor<Self>, audio: &Tensor<Self, f32>, plan: &MelPlan) -> Result<()> {
        log_mel(self, out, audio, plan)
    }
}
