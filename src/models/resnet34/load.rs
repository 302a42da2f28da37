//! Loading ResNet34 from a checkpoint: sizes are taken from the shapes of tensors; batch norms are folded into the
//! convolutions.

use super::ResNet34;
use super::block::Block;
use crate::engine::embedding_ops::{self, FilterShape};
use crate::engine::weights::{HostMatrix, Weights};
use crate::engine::{Backend, Tensor};
use crate::error::Result;
use crate::features::fbank::{Fbank, MOST_BANDS};
use crate::models::checkpoint::Checkpoint;

/// Stages; each but the first halves time and frequency.
const STAGES: usize = 4;
/// Input frames per output frame, and mel bands per output band.
const SHRINK: usize = 1 << (STAGES - 1);
/// Maximum blocks of a stage; a checkpoint with more is damaged.
const MOST_BLOCKS: usize = 128;

impl<B: Backend> ResNet34<B> {
    /// Loads the network from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) for weights of another network, or damaged ones.
    pub fn load(be: &B, weights: &Weights) -> Result<Self> {
        let checkpoint = Checkpoint { weights, network: "pyannote's WeSpeaker ResNet34" };
        let reader = Reader { be, checkpoint: &checkpoint };
        if let Some(foreign) =
            ["resnet.layer1.0.conv3.weight", "resnet.seg_2.weight"].into_iter().find(|n| weights.contains(n))
        {
            return Err(checkpoint
                .fail(foreign, "belongs to a larger network than ResNet34; use wespeaker-voxceleb-resnet34-LM"));
        }
        let mut channels = checkpoint.picture_outputs("resnet.conv1")?;
        let shape = FilterShape { outputs: channels, taps: 3, inputs: 1, stride: [1; 2] };
        let conv1 = reader.convolution("resnet.conv1", "resnet.bn1", shape)?;
        let mut blocks = Vec::new();
        for stage in 1..=STAGES {
            let mut index = 0;
            while index == 0 || weights.contains(&format!("resnet.layer{stage}.{index}.conv1.weight")) {
                let name = format!("resnet.layer{stage}.{index}");
                if index == MOST_BLOCKS {
                    return Err(checkpoint.fail(&name, "is one block too many"));
                }
                let stride = if stage > 1 && index == 0 { 2 } else { 1 };
                blocks.push(reader.block(&name, &mut channels, stride)?);
                index += 1;
            }
        }
        let (seg_1, bias) = reader.last(channels)?;
        let bands = seg_1.cols / (2 * channels) * SHRINK;
        Ok(ResNet34 {
            plan: embedding_ops::fbank_plan(be, &Fbank::wespeaker(bands))?,
            bands,
            conv1,
            blocks,
            seg_1: be.f32_matrix(&seg_1)?,
            bias_on_device: Tensor::from_host(be, &[bias.len()], &bias)?,
            bias,
        })
    }
}

/// The weights under the names of pyannote's checkpoint, which prefixes WeSpeaker's names with `resnet.`.
pub(crate) fn named_by_pyannote(weights: Weights) -> Weights {
    let is_wespeaker = weights.contains("seg_1.weight") && weights.contains("conv1.weight");
    if is_wespeaker { weights.renamed(|name| format!("resnet.{name}")) } else { weights }
}

struct Reader<'a, B: Backend> {
    be: &'a B,
    checkpoint: &'a Checkpoint<'a>,
}

impl<B: Backend> Reader<'_, B> {
    /// A residual block. `channels` are its input channels, and its output channels afterwards.
    fn block(&self, name: &str, channels: &mut usize, stride: usize) -> Result<Block<B>> {
        let named = |part: &str| format!("{name}.{part}");
        let (inputs, outputs) = (*channels, self.checkpoint.picture_outputs(&named("conv1"))?);
        let first = FilterShape { outputs, taps: 3, inputs, stride: [stride; 2] };
        let second = FilterShape { outputs, taps: 3, inputs: outputs, stride: [1; 2] };
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

    /// A convolution with the following batch norm folded in.
    fn convolution(&self, name: &str, norm: &str, shape: FilterShape) -> Result<B::Filter> {
        embedding_ops::filter(self.be, &self.checkpoint.filter(name, norm, shape)?)
    }

    /// The last layer, with its columns transposed from `[2, C, H]` to `[2, H, C]`, the layout of the statistics.
    fn last(&self, channels: usize) -> Result<(HostMatrix, Vec<f32>)> {
        let name = "resnet.seg_1.weight";
        let &[rows, cols] = self.checkpoint.shape(name)? else {
            return Err(self.checkpoint.fail(name, "is no matrix"));
        };
        let height = cols / (2 * channels);
        if rows == 0 || height == 0 || cols != 2 * channels * height || height * SHRINK > MOST_BANDS {
            let reason =
                format!("has shape [{rows}, {cols}]; the columns must be 2 x {channels} channels x bands / {SHRINK}");
            return Err(self.checkpoint.fail(name, reason));
        }
        let weight = self.checkpoint.tensor(name, &[rows, cols])?;
        let mut values = Vec::with_capacity(weight.len());
        for half in weight.chunks_exact(channels * height) {
            values.extend((0..channels * height).map(|at| half[at % channels * height + at / channels]));
        }
        Ok((HostMatrix { values, rows, cols }, self.checkpoint.tensor("resnet.seg_1.bias", &[rows])?))
    }
}
