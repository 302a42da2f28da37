//! `fbank`: Kaldi's log-mel features; and `centre_windows`. The Fourier transform is f64, as in `log_mel`.

use std::sync::Arc;

use rayon::prelude::*;
use realfft::{RealFftPlanner, RealToComplex};

use super::Cpu;
use super::log_mel::{Band, bands};
use crate::engine::Tensor;
use crate::error::{Error, Result};
use crate::features::fbank::{FFT, FLOOR, FRAME, Fbank, PREEMPHASIS, SHIFT, SPECTRUM};

/// Frames per task.
const FRAMES_PER_TASK: usize = 100;

/// Constants of `fbank`.
pub struct FbankPlan {
    gain: f64,
    /// `[FRAME]`
    taper: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    pub(super) bands: Vec<Band>,
}

impl FbankPlan {
    pub(super) fn new(options: &Fbank) -> Self {
        FbankPlan {
            gain: options.gain.into(),
            taper: options.taper().into_iter().map(f64::from).collect(),
            fft: RealFftPlanner::new().plan_fft_forward(FFT),
            bands: bands(&options.filters(), SPECTRUM),
        }
    }

    /// The features `out` `[R, M]` of the first `R` frames of `samples`.
    fn block(&self, out: &mut [f32], samples: &[f32]) -> Result<()> {
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut power = [0.0; SPECTRUM];
        for (out, window) in out.chunks_exact_mut(self.bands.len()).zip(samples.windows(FRAME).step_by(SHIFT)) {
            frame.fill(0.0);
            let mean = window.iter().map(|v| f64::from(*v)).sum::<f64>() / FRAME as f64;
            let level = |at: usize| self.gain * (f64::from(window[at]) - mean);
            for (at, (value, taper)) in frame.iter_mut().zip(&self.taper).enumerate() {
                *value = (level(at) - f64::from(PREEMPHASIS) * level(at.saturating_sub(1))) * taper;
            }
            self.fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).map_err(|e| Error::Device {
                call: "realfft".into(),
                code: 0,
                text: e.to_string(),
            })?;
            power.iter_mut().zip(&spectrum).for_each(|(p, c)| *p = c.norm_sqr());
            for (out, band) in out.iter_mut().zip(&self.bands) {
                *out = band.of(&power).max(f64::from(FLOOR)).ln() as f32;
            }
        }
        Ok(())
    }
}

/// See [`EmbeddingOps::fbank`](crate::engine::embedding_ops::EmbeddingOps::fbank).
pub(super) fn fbank(cpu: &Cpu, out: &mut Tensor<Cpu, f32>, samples: &Tensor<Cpu, f32>, plan: &FbankPlan) -> Result<()> {
    let len = out.len();
    let samples = &samples.buf[..samples.len()];
    cpu.threads.run(|| {
        let blocks = out.buf[..len].par_chunks_mut(FRAMES_PER_TASK * plan.bands.len()).with_max_len(1);
        blocks.enumerate().try_for_each(|(i, out)| plan.block(out, &samples[i * FRAMES_PER_TASK * SHIFT..]))
    })
}

/// See [`EmbeddingOps::centre_windows`](crate::engine::embedding_ops::EmbeddingOps::centre_windows).
pub(super) fn centre_windows(cpu: &Cpu, out: &mut Tensor<Cpu>, features: &Tensor<Cpu, f32>, first: &[usize]) {
    let &[_, frames, bands, _] = out.shape() else { return };
    let len = out.len();
    cpu.threads.run(|| {
        out.buf[..len].par_chunks_exact_mut(frames * bands).zip(first).for_each(|(out, first)| {
            let window = &features.buf[first * bands..][..out.len()];
            let mut mean = vec![0.0f64; bands];
            for row in window.chunks_exact(bands) {
                mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
            }
            mean.iter_mut().for_each(|sum| *sum /= frames as f64);
            for (out, row) in out.chunks_exact_mut(bands).zip(window.chunks_exact(bands)) {
                for ((out, v), mean) in out.iter_mut().zip(row).zip(&mean) {
                    *out = (f64::from(*v) - mean) as f32;
                }
            }
        });
    });
}
