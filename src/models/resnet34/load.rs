//! From a checkpoint to the network: sizes are found in the shapes of its tensors, batch norms go into the convolutions.

use super::ResNet34;
use super::block::Block;
use crate::engine::Tensor;
use crate::engine::residual::{self, CHANNEL_STEP, FilterShape, HostFilter, Residual};
use crate::engine::weights::{HostMatrix, Weights};
use crate::error::{Error, Result};
use crate::features::fbank::{Fbank, MOST_BANDS};

/// Stages, each of which but the first halves time and frequency.
const STAGES: usize = 4;
/// Frames and bands of the features for one of the last picture.
const SHRINK: usize = 1 << (STAGES - 1);
/// Most blocks of a stage, and most channels: a checkpoint that has more is damaged.
const MOST_BLOCKS: usize = 128;
const MOST_CHANNELS: usize = 4096;
/// Added to the variance by batch norms: PyTorch's default.
const EPS: f64 = 1e-5;

impl<B: Residual> ResNet34<B> {
    /// The network with these weights.
    ///
    /// # Errors
    /// [`Error::Weights`] for weights that are no such network.
    pub fn load(be: &B, weights: &Weights) -> Result<Self> {
        let reader = Reader { be, weights };
        if let Some(foreign) =
            ["resnet.layer1.0.conv3.weight", "resnet.seg_2.weight"].into_iter().find(|n| weights.contains(n))
        {
            return Err(
                reader.fail(foreign, "belongs to a larger network than ResNet34; use wespeaker-voxceleb-resnet34-LM")
            );
        }
        let mut channels = reader.outputs("resnet.conv1")?;
        let shape = FilterShape { outputs: channels, taps: 3, inputs: 1, stride: 1 };
        let conv1 = reader.convolution("resnet.conv1", "resnet.bn1", shape)?;
        let mut blocks = Vec::new();
        for stage in 1..=STAGES {
            let mut index = 0;
            while index == 0 || weights.contains(&format!("resnet.layer{stage}.{index}.conv1.weight")) {
                let name = format!("resnet.layer{stage}.{index}");
                if index == MOST_BLOCKS {
                    return Err(reader.fail(&name, "is one block too many"));
                }
                let stride = if stage > 1 && index == 0 { 2 } else { 1 };
                blocks.push(reader.block(&name, &mut channels, stride)?);
                index += 1;
            }
        }
        let (seg_1, bias) = reader.last(channels)?;
        let bands = seg_1.cols / (2 * channels) * SHRINK;
        Ok(ResNet34 {
            plan: residual::fbank_plan(be, &Fbank::wespeaker(bands))?,
            bands,
            conv1,
            blocks,
            seg_1: be.exact(&seg_1)?,
            bias_on_device: Tensor::from_host(be, &[bias.len()], &bias)?,
            bias,
        })
    }
}

struct Reader<'a, B: Residual> {
    be: &'a B,
    weights: &'a Weights,
}

impl<B: Residual> Reader<'_, B> {
    fn fail(&self, name: &str, reason: impl Into<String>) -> Error {
        Error::weights(self.weights.origin(), name, reason)
    }

    /// The shape of a tensor that must be there.
    fn shape(&self, name: &str) -> Result<&[usize]> {
        self.weights.shape(name).ok_or_else(|| self.fail(name, "missing; is this pyannote's WeSpeaker ResNet34?"))
    }

    /// The values of a tensor, if it is there in this shape.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let got = self.shape(name)?;
        if got != shape {
            return Err(self.fail(name, format!("has shape {got:?}, expected {shape:?}")));
        }
        self.weights.tensor(name, shape)
    }

    /// A block of `channels` inputs, which become the number of its outputs.
    fn block(&self, name: &str, channels: &mut usize, stride: usize) -> Result<Block<B>> {
        let named = |part: &str| format!("{name}.{part}");
        let (inputs, outputs) = (*channels, self.outputs(&named("conv1"))?);
        let first = FilterShape { outputs, taps: 3, inputs, stride };
        let second = FilterShape { outputs, taps: 3, inputs: outputs, stride: 1 };
        let shortcut = (stride != 1 || inputs != outputs).then_some(FilterShape { taps: 1, ..first });
        *channels = outputs;
        Ok(Block {
            conv1: self.convolution(&named("conv1"), &named("bn1"), first)?,
            conv2: self.convolution(&named("conv2"), &named("bn2"), second)?,
            shortcut: shortcut
                .map(|shape| self.convolution(&named("shortcut.0"), &named("shortcut.1"), shape))
                .transpose()?,
        })
    }

    /// Outputs of a convolution.
    fn outputs(&self, name: &str) -> Result<usize> {
        let name = format!("{name}.weight");
        let outputs = self.shape(&name)?.first().copied().unwrap_or_default();
        if outputs == 0 || !outputs.is_multiple_of(CHANNEL_STEP) || outputs > MOST_CHANNELS {
            let rule = format!("multiples of {CHANNEL_STEP} up to {MOST_CHANNELS} can be computed");
            return Err(self.fail(&name, format!("has {outputs} outputs; {rule}")));
        }
        Ok(outputs)
    }

    /// A convolution with the batch norm behind it.
    fn convolution(&self, name: &str, norm: &str, shape: FilterShape) -> Result<B::Filter> {
        let FilterShape { outputs, taps, inputs, .. } = shape;
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs, taps, taps])?;
        let vector = |kind: &str| self.tensor(&format!("{norm}.{kind}"), &[outputs]);
        let (gamma, beta, mean, variance) =
            (vector("weight")?, vector("bias")?, vector("running_mean")?, vector("running_var")?);
        if let Some(at) = variance.iter().position(|v| *v < 0.0) {
            return Err(self.fail(&format!("{norm}.running_var"), format!("element {at} is below zero")));
        }
        let scale = |o: usize| f64::from(gamma[o]) / (f64::from(variance[o]) + EPS).sqrt();
        let bias = (0..outputs).map(|o| (f64::from(beta[o]) - f64::from(mean[o]) * scale(o)) as f32).collect();
        let mut values = Vec::with_capacity(weight.len());
        for (o, filter) in weight.chunks_exact(inputs * taps * taps).enumerate() {
            // From [C, over frequency, over time] to [over time, over frequency, C].
            for (time, frequency) in (0..taps * taps).map(|tap| (tap / taps, tap % taps)) {
                let each = (0..inputs).map(|c| filter[(c * taps + frequency) * taps + time]);
                values.extend(each.map(|w| (f64::from(w) * scale(o)) as f32));
            }
        }
        residual::filter(self.be, &HostFilter { values, bias, shape })
    }

    /// The last layer, its columns `[2, H, C]` as the statistics lie, rather than `[2, C, H]`.
    fn last(&self, channels: usize) -> Result<(HostMatrix, Vec<f32>)> {
        let name = "resnet.seg_1.weight";
        let &[rows, cols] = self.shape(name)? else { return Err(self.fail(name, "is no matrix")) };
        let height = cols / (2 * channels);
        if rows == 0 || height == 0 || cols != 2 * channels * height || height * SHRINK > MOST_BANDS {
            let reason =
                format!("has shape [{rows}, {cols}]; the columns must be 2 x {channels} channels x bands / {SHRINK}");
            return Err(self.fail(name, reason));
        }
        let weight = self.tensor(name, &[rows, cols])?;
        let mut values = Vec::with_capacity(weight.len());
        for half in weight.chunks_exact(channels * height) {
            values.extend((0..channels * height).map(|at| half[at % channels * height + at / channels]));
        }
        Ok((HostMatrix { values, rows, cols }, self.tensor("resnet.seg_1.bias", &[rows])?))
    }
}
