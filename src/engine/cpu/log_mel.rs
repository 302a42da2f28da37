//! `log_mel`: Whisper's log-mel spectrogram.
//!
//! The Fourier transform is f64: it is a small part of the work, and the logarithm amplifies rounding errors in quiet
//! bins.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::{RealFftPlanner, RealToComplex};

use super::Cpu;
use crate::engine::Tensor;
use crate::engine::backend::MelOps;
use crate::error::{Error, Result};
use crate::features::mel_filterbank;
use crate::units::MelFrame;

/// `N_FFT`: samples per frame, 25 ms.
const WINDOW: usize = 400;
/// Frequency bins per frame.
const BINS: usize = WINDOW / 2 + 1;
/// Frames per task.
const FRAMES_PER_TASK: usize = 100;

/// Constants of the transform.
pub struct MelPlan {
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    bands: Vec<Band>,
}

/// One row of a filterbank, without leading and trailing zeros.
pub(super) struct Band {
    first_bin: usize,
    weights: Vec<f64>,
}

impl Band {
    /// The power of the band, from the power of each bin.
    pub fn of(&self, power: &[f64]) -> f64 {
        self.weights.iter().zip(&power[self.first_bin..]).map(|(w, p)| w * p).sum()
    }
}

/// The rows of `filters` `[M, bins]`.
pub(super) fn bands(filters: &[f32], bins: usize) -> Vec<Band> {
    let rows = filters.chunks_exact(bins).map(|row| {
        let first_bin = row.iter().position(|w| *w != 0.0).unwrap_or(0);
        let end = row.iter().rposition(|w| *w != 0.0).map_or(first_bin, |last| last + 1);
        Band { first_bin, weights: row[first_bin..end].iter().map(|w| f64::from(*w)).collect() }
    });
    rows.collect()
}

impl MelPlan {
    pub(super) fn new(n_mels: usize) -> Self {
        let window = (0..WINDOW).map(|i| {
            let phase = std::f64::consts::TAU * i as f64 / WINDOW as f64;
            // Rounded to f32: torch computes the window in f32, and the checkpoints were trained with it.
            f64::from((0.5 - 0.5 * phase.cos()) as f32)
        });
        MelPlan {
            window: window.collect(),
            fft: RealFftPlanner::new().plan_fft_forward(WINDOW),
            bands: bands(&mel_filterbank(n_mels), BINS),
        }
    }
}

/// See [`MelOps::log_mel`]: `out` `[B, F, M]`, `audio` `[B, 160 F]`.
pub(super) fn log_mel(cpu: &Cpu, out: &mut Tensor<Cpu>, audio: &Tensor<Cpu, f32>, plan: &MelPlan) -> Result<()> {
    let (len, num_bands, samples) = (out.len(), plan.bands.len(), audio.width());
    let frames = samples / MelFrame::SAMPLES;
    if samples <= WINDOW / 2 || out.width() != num_bands {
        return Err(Error::Shape {
            op: "log_mel",
            what: "audio and out",
            expected: format!("more than {} samples, {num_bands} bands", WINDOW / 2),
            got: format!("{samples} samples, {} bands", out.width()),
        });
    }
    let clips = out.buf[..len].par_chunks_exact_mut(frames * num_bands).zip(audio.buf.par_chunks_exact(samples));
    let run = |(out, clip): (&mut [f32], &[f32])| {
        out.par_chunks_mut(FRAMES_PER_TASK * num_bands)
            .enumerate()
            .try_for_each(|(block, out)| plan.block(out, clip, block * FRAMES_PER_TASK))?;
        let floor = out.iter().fold(f32::MIN, |max, v| max.max(*v)) - 8.0;
        out.iter_mut().for_each(|v| *v = (v.max(floor) + 4.0) / 4.0);
        Ok(())
    };
    cpu.threads.run(|| clips.try_for_each(run))
}

impl MelPlan {
    /// `log10` of the band powers, at least 1e-10, of the frames from `first_frame` on; `out` `[frames, M]`.
    fn block(&self, out: &mut [f32], clip: &[f32], first_frame: usize) -> Result<()> {
        let mut samples = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut power = [0.0; BINS];
        for (f, out) in out.chunks_exact_mut(self.bands.len()).enumerate() {
            // Frame f is centred at sample 160 f.
            let start = ((first_frame + f) * MelFrame::SAMPLES).checked_sub(WINDOW / 2);
            match start.and_then(|start| clip.get(start..start + WINDOW)) {
                Some(inside) => samples.iter_mut().zip(inside).for_each(|(s, x)| *s = f64::from(*x)),
                None => reflect(&mut samples, clip, (first_frame + f) * MelFrame::SAMPLES),
            }
            samples.iter_mut().zip(&self.window).for_each(|(s, w)| *s *= w);
            self.fft.process_with_scratch(&mut samples, &mut spectrum, &mut scratch).map_err(|e| Error::Device {
                call: "realfft".into(),
                code: 0,
                text: e.to_string(),
            })?;
            power.iter_mut().zip(&spectrum).for_each(|(p, c)| *p = c.norm_sqr());
            for (o, band) in out.iter_mut().zip(&self.bands) {
                *o = (band.of(&power) as f32).max(1e-10).log10();
            }
        }
        Ok(())
    }
}

/// The frame centred at sample `centre`, with reflect padding at the first and last sample of the clip.
fn reflect(samples: &mut [f64], clip: &[f32], centre: usize) {
    let last = clip.len() - 1;
    for (i, s) in samples.iter_mut().enumerate() {
        let at = (centre + i).abs_diff(WINDOW / 2);
        let at = if at > last { 2 * last - at } else { at };
        *s = f64::from(clip[at]);
    }
}

impl MelOps for Cpu {
    type MelPlan = MelPlan;

    fn mel_plan(&self, n_mels: usize) -> Result<MelPlan> {
        Ok(MelPlan::new(n_mels))
    }

    fn log_mel(&self, out: &mut Tensor<Self>, audio: &Tensor<Self, f32>, plan: &MelPlan) -> Result<()> {
        log_mel(self, out, audio, plan)
    }
}
