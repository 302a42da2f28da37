//! Loading tensors of a checkpoint with shape checks, and folding batch norms into the preceding convolution or linear
//! layer.

use crate::engine::embedding_ops::{CHANNEL_STEP, FilterShape, HostFilter};
use crate::engine::weights::Weights;
use crate::error::{Error, Result};

/// Maximum channels of a layer; a checkpoint with more is damaged.
const MOST_CHANNELS: usize = 4096;
/// Added to the variance by batch norms: PyTorch's default.
const EPS: f64 = 1e-5;

/// The weights of a checkpoint, and the name of the expected network.
pub(super) struct Checkpoint<'a> {
    pub weights: &'a Weights,
    /// For messages: `pyannote's WeSpeaker ResNet34`.
    pub network: &'static str,
}

/// A batch norm as scale and shift of each channel.
pub(super) struct Norm {
    /// `[C]`
    pub scale: Vec<f64>,
    /// `[C]`
    pub shift: Vec<f64>,
}

impl Norm {
    /// Scale and shift as f32.
    pub fn narrow(&self) -> [Vec<f32>; 2] {
        [&self.scale, &self.shift].map(|values| values.iter().map(|v| *v as f32).collect())
    }
}

impl Checkpoint<'_> {
    pub fn fail(&self, name: &str, reason: impl Into<String>) -> Error {
        Error::weights(self.weights.origin(), name, reason)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// The shape of a tensor; an error if the tensor is missing.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        let missing = || self.fail(name, format!("missing; is this {}?", self.network));
        self.weights.shape(name).ok_or_else(missing)
    }

    /// The values of a tensor; an error if the tensor is missing or has another shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let got = self.shape(name)?;
        if got != shape {
            return Err(self.fail(name, format!("has shape {got:?}, expected {shape:?}")));
        }
        self.weights.tensor(name, shape)
    }

    /// Output channels of a layer, checked against [`MOST_CHANNELS`].
    pub fn outputs(&self, name: &str) -> Result<usize> {
        let name = format!("{name}.weight");
        let outputs = self.shape(&name)?.first().copied().unwrap_or_default();
        if !(1..=MOST_CHANNELS).contains(&outputs) {
            return Err(self.fail(&name, format!("has {outputs} outputs; 1 to {MOST_CHANNELS} can be computed")));
        }
        Ok(outputs)
    }

    /// Output channels of a two-dimensional convolution, checked to be a multiple of [`CHANNEL_STEP`].
    pub fn picture_outputs(&self, name: &str) -> Result<usize> {
        let outputs = self.outputs(name)?;
        if !outputs.is_multiple_of(CHANNEL_STEP) {
            let reason = format!("has {outputs} outputs; multiples of {CHANNEL_STEP} can be computed");
            return Err(self.fail(&format!("{name}.weight"), reason));
        }
        Ok(outputs)
    }

    /// A batch norm over `channels`, with or without learned scale (`weight`) and shift (`bias`).
    pub fn norm(&self, name: &str, channels: usize) -> Result<Norm> {
        let vector = |kind: &str| self.tensor(&format!("{name}.{kind}"), &[channels]);
        let has_affine = ["weight", "bias"].iter().any(|kind| self.contains(&format!("{name}.{kind}")));
        let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
        let (gamma, beta) = match has_affine {
            true => (vector("weight")?, vector("bias")?),
            false => (vec![1.0; channels], vec![0.0; channels]),
        };
        if let Some(at) = variance.iter().position(|v| *v < 0.0) {
            return Err(self.fail(&format!("{name}.running_var"), format!("element {at} is below zero")));
        }
        let scale: Vec<f64> =
            gamma.iter().zip(&variance).map(|(gamma, v)| f64::from(*gamma) / (f64::from(*v) + EPS).sqrt()).collect();
        let shift = beta.iter().zip(&mean).zip(&scale);
        let shift = shift.map(|((beta, mean), scale)| f64::from(*beta) - f64::from(*mean) * scale).collect();
        Ok(Norm { scale, shift })
    }

    /// A convolution or linear layer with the following batch norm folded into it: weight in the checkpoint's layout,
    /// and bias `[O]`. If the layer has a bias and the checkpoint has no norm, the norm is already folded.
    pub fn folded(&self, name: &str, norm: &str, shape: &[usize]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (weight_name, bias_name) = (format!("{name}.weight"), format!("{name}.bias"));
        let mut values = self.tensor(&weight_name, shape)?;
        let outputs = shape[0];
        let has_bias = self.contains(&bias_name);
        let mut bias = if has_bias { self.tensor(&bias_name, &[outputs])? } else { vec![0.0; outputs] };
        if has_bias && !self.contains(&format!("{norm}.running_mean")) {
            return Ok((values, bias));
        }
        let Norm { scale, shift } = self.norm(norm, outputs)?;
        for (values, scale) in values.chunks_exact_mut((shape[1..].iter().product::<usize>()).max(1)).zip(&scale) {
            values.iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
        }
        for ((bias, scale), shift) in bias.iter_mut().zip(&scale).zip(&shift) {
            *bias = (f64::from(*bias) * scale + shift) as f32;
        }
        Ok((values, bias))
    }

    /// A two-dimensional convolution with the following batch norm folded into it, transposed from
    /// `[O, C, frequency taps, time taps]` to `[O, time taps, frequency taps, C]`.
    pub fn filter(&self, name: &str, norm: &str, shape: FilterShape) -> Result<HostFilter> {
        let FilterShape { outputs, taps, inputs, .. } = shape;
        let (weight, bias) = self.folded(name, norm, &[outputs, inputs, taps, taps])?;
        let mut values = Vec::with_capacity(weight.len());
        for filter in weight.chunks_exact(inputs * taps * taps) {
            for (time, frequency) in (0..taps * taps).map(|tap| (tap / taps, tap % taps)) {
                values.extend((0..inputs).map(|c| filter[(c * taps + frequency) * taps + time]));
            }
        }
        Ok(HostFilter { values, bias, shape })
    }
}
