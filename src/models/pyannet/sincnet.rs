//! SincNet: learned band-pass filters over samples, then two convolutions, each followed by pooling and instance norm.

use super::Specification;
use crate::engine::segmentation_ops::{self, Activation, InstanceNorm, Overlap, POOL};
use crate::engine::weights::{HostMatrix, Weights};
use crate::engine::{Backend, Tensor};
use crate::error::Result;
use crate::units::SAMPLE_RATE;

/// Taps of the band-pass filters.
const TAPS: usize = 251;
/// Frequency bands; each has an even and an odd filter.
const BANDS: usize = 40;
const FILTERS: usize = 2 * BANDS;
/// Output channels of the other convolutions, which are the inputs of the LSTM.
pub(super) const FEATURES: usize = 60;
/// Taps of the other convolutions.
const WIDTH: usize = 5;
/// Minimum cut-off frequency and minimum bandwidth of a filter, in Hz.
const LOWEST_HZ: f32 = 50.0;

pub(super) struct SincNet<B: Backend> {
    /// Scale and shift of the norm of windows (`wav_norm1d`).
    wave: [f32; 2],
    /// `[80, 251]`
    filters: B::F32Matrix,
    /// `[80]` sum of the taps of each filter, by which the norm of a window is applied after the filters.
    sums: Tensor<B, f32>,
    convs: [B::F32Matrix; 2],
    norms: [InstanceNorm<B>; 3],
}

/// Frames after each convolution and each pooling, for a number of samples; `None` if the samples are too few for one
/// frame.
pub(super) fn frames(samples: usize, stride: usize) -> Option<[usize; 6]> {
    let mut found = [0; 6];
    let mut frames = (samples.checked_sub(TAPS)?) / stride + 1;
    for (i, found) in found.iter_mut().enumerate() {
        if i > 0 {
            frames = if i % 2 == 1 { frames / POOL } else { (frames + 1).checked_sub(WIDTH)? };
        }
        *found = frames;
    }
    (frames > 0).then_some(found)
}

/// Receptive field and hop of a frame, in samples.
pub(super) fn field(stride: usize) -> [usize; 2] {
    let (mut field, mut step) = (1, 1);
    for (taps, stride) in [(TAPS, stride), (POOL, POOL), (WIDTH, 1), (POOL, POOL), (WIDTH, 1), (POOL, POOL)] {
        field += (taps - 1) * step;
        step *= stride;
    }
    [field, step]
}

impl<B: Backend> SincNet<B> {
    pub fn load(be: &B, weights: &Weights) -> Result<Self> {
        let tensor = |name: &str, shape: &[usize]| weights.tensor(&format!("sincnet.{name}"), shape);
        let norm = |i: usize, width: usize| -> Result<InstanceNorm<B>> {
            let vector =
                |name: &str| Tensor::from_host(be, &[width], &tensor(&format!("norm1d.{i}.{name}"), &[width])?);
            Ok(InstanceNorm { gamma: vector("weight")?, beta: vector("bias")? })
        };
        let conv = |i: usize, inputs: usize| -> Result<B::F32Matrix> {
            let weight = tensor(&format!("conv1d.{i}.weight"), &[FEATURES, inputs, WIDTH])?;
            // The following instance norm cancels the bias; it is read only to check that the checkpoint has it.
            tensor(&format!("conv1d.{i}.bias"), &[FEATURES])?;
            be.f32_matrix(&tap_by_tap(&weight, FEATURES, inputs))
        };
        // Exports may contain the filters instead of their parameters.
        let filters = match weights.contains("sincnet.conv1d.0.weight") {
            true => tensor("conv1d.0.weight", &[FILTERS, 1, TAPS])?,
            false => filters(&tensor)?,
        };
        let sums: Vec<f32> =
            filters.chunks_exact(TAPS).map(|filter| filter.iter().map(|v| f64::from(*v)).sum::<f64>() as f32).collect();
        Ok(SincNet {
            wave: [tensor("wav_norm1d.weight", &[1])?[0], tensor("wav_norm1d.bias", &[1])?[0]],
            filters: be.f32_matrix(&HostMatrix { values: filters, rows: FILTERS, cols: TAPS })?,
            sums: Tensor::from_host(be, &[FILTERS], &sums)?,
            convs: [conv(1, FILTERS)?, conv(2, FEATURES)?],
            norms: [norm(0, FILTERS)?, norm(1, FEATURES)?, norm(2, FEATURES)?],
        })
    }

    /// Features `[B, T, 60]` of `windows` windows of `samples` `[1, S, 1]`, one every `step` samples. If there are several
    /// windows, `step` must be a multiple of the stride. The filters run once over the samples, whatever the overlap of
    /// the windows.
    pub fn run(
        &self,
        be: &B,
        specification: &Specification,
        samples: &Tensor<B, f32>,
        [windows, step]: [usize; 2],
    ) -> Result<Tensor<B, f32>> {
        let Specification { window, stride, .. } = *specification;
        let frames = frames(window, stride).unwrap_or_default();
        let mut affine = Tensor::zeros(be, &[windows, 2])?;
        segmentation_ops::window_affine(be, &mut affine, samples, window, step, self.wave)?;
        let rows = (samples.len() - TAPS) / stride + 1;
        let mut filtered = Tensor::zeros(be, &[1, rows, FILTERS])?;
        segmentation_ops::conv1d_f32(be, &mut filtered, samples, &self.filters, None, stride, Activation::None)?;
        let mut x = Tensor::zeros(be, &[windows, frames[1], FILTERS])?;
        let overlap = Overlap { affine: &affine, sums: &self.sums, hop: step / stride, frames: frames[0] };
        segmentation_ops::overlap_pool_norm(be, &mut x, &filtered, &self.norms[0], &overlap)?;
        drop(filtered);
        for (i, (conv, norm)) in self.convs.iter().zip(&self.norms[1..]).enumerate() {
            let mut convolved = Tensor::zeros(be, &[windows, frames[2 * i + 2], FEATURES])?;
            segmentation_ops::conv1d_f32(be, &mut convolved, &x, conv, None, 1, Activation::None)?;
            x = Tensor::zeros(be, &[windows, frames[2 * i + 3], FEATURES])?;
            segmentation_ops::pool_norm(be, &mut x, &convolved, norm)?;
        }
        Ok(x)
    }
}

/// Transposes a convolution from `[N, C, W]` to `[N, W, C]`, the layout of frames in memory.
fn tap_by_tap(weight: &[f32], outputs: usize, inputs: usize) -> HostMatrix {
    let cols = inputs * WIDTH;
    let source = |i: usize| (i / cols * inputs + i % inputs) * WIDTH + i % cols / inputs;
    HostMatrix { values: (0..outputs * cols).map(|i| weight[source(i)]).collect(), rows: outputs, cols }
}

/// The filters `[80, 251]`: the even filters of all bands, then the odd ones. They are computed in f64 from the
/// checkpoint's parameters, except for the angles. These are rounded to f32, as when pyannote's networks were trained;
/// since they reach 400 radians, the rounding changes scores by 1e-4.
///
/// Source: Ravanelli & Bengio 2018 (arXiv:1808.00158); odd filters and formulas: asteroid-filterbanks
/// `param_sinc_fb.py::ParamSincFB`.
fn filters(tensor: &impl Fn(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
    const HALF: usize = TAPS / 2;
    let parameter = |name: &str, shape: &[usize]| tensor(&format!("conv1d.0.filterbank.{name}"), shape);
    let low_hz = parameter("low_hz_", &[BANDS, 1])?;
    let band_hz = parameter("band_hz_", &[BANDS, 1])?;
    let window = parameter("window_", &[HALF])?;
    // 2 pi n / 16000 for n = -125 .. -1
    let angle = parameter("n_", &[1, HALF])?;
    let mut out = vec![0.0; FILTERS * TAPS];
    for band in 0..BANDS {
        let low = LOWEST_HZ + low_hz[band].abs();
        let high = (low + LOWEST_HZ + band_hz[band].abs()).clamp(LOWEST_HZ, SAMPLE_RATE as f32 / 2.0);
        let width = 2.0 * f64::from(high - low);
        let (even, odd) = (band * TAPS, (BANDS + band) * TAPS);
        for i in 0..HALF {
            let [low, high] = [low, high].map(|hz| f64::from(hz * angle[i]));
            let scale = f64::from(window[i]) / (f64::from(angle[i]) / 2.0) / width;
            let cosine = ((high.sin() - low.sin()) * scale) as f32;
            let sine = ((low.cos() - high.cos()) * scale) as f32;
            (out[even + i], out[even + TAPS - 1 - i]) = (cosine, cosine);
            (out[odd + i], out[odd + TAPS - 1 - i]) = (sine, -sine);
        }
        out[even + HALF] = 1.0;
    }
    Ok(out)
}
