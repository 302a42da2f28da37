//! Loading CAM++ from a checkpoint: sizes are taken from the shapes of tensors; batch norms after a layer are folded
//! into it.

use super::CamPlus;
use super::head::{Block, Head};
use super::layer::{DenseBlock, GateLinear, Layer, Linear};
use crate::engine::campplus_ops::{self, Affine, MAX_TAPS};
use crate::engine::embedding_ops::{self, FilterShape};
use crate::engine::weights::{HostMatrix, Weights};
use crate::engine::{Backend, Tensor};
use crate::error::Result;
use crate::features::fbank::{Fbank, MOST_BANDS};
use crate::models::checkpoint::{Checkpoint, Norm};

/// Stages of the head. Each halves the bands, as does the last convolution of the head.
const STAGES: usize = 2;
/// Mel bands per output band of the head.
const SHRINK: usize = 1 << (STAGES + 1);
/// Dilation of each dense block: `CAMPPlus.__init__`.
const DILATIONS: [usize; 3] = [1, 2, 2];
/// Maximum blocks of a stage, and layers of a dense block; a checkpoint with more is damaged.
const MOST_LAYERS: usize = 256;

impl<B: Backend> CamPlus<B> {
    /// Loads the network from `weights`.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) for weights of another network, or damaged ones.
    pub fn load(be: &B, weights: &Weights) -> Result<Self> {
        let checkpoint = Checkpoint { weights, network: "3D-Speaker's CAM++" };
        let reader = Reader { be, checkpoint: &checkpoint };
        let (head, head_channels) = reader.head()?;
        let (tdnn, taps, bands, mut channels) = reader.tdnn(head_channels)?;
        let mut blocks = Vec::new();
        for (i, dilation) in DILATIONS.into_iter().enumerate() {
            blocks.push(reader.dense_block(i + 1, dilation, &mut channels)?);
        }
        let name = "xvector.dense.linear";
        let size = checkpoint.outputs(name)?;
        let (values, bias) = checkpoint.folded(name, "xvector.dense.nonlinear.batchnorm", &[size, 2 * channels, 1])?;
        Ok(CamPlus {
            plan: embedding_ops::fbank_plan(be, &Fbank::three_d_speaker(bands))?,
            bands,
            head,
            tdnn,
            taps,
            blocks,
            dense: be.f32_matrix(&HostMatrix { values, rows: size, cols: 2 * channels })?,
            bias: Tensor::from_host(be, &[size], &bias)?,
        })
    }
}

struct Reader<'a, B: Backend> {
    be: &'a B,
    checkpoint: &'a Checkpoint<'a>,
}

impl<B: Backend> Reader<'_, B> {
    /// The head, and its output channels.
    fn head(&self) -> Result<(Head<B>, usize)> {
        let mut channels = self.checkpoint.picture_outputs("head.conv1")?;
        let shape = FilterShape { outputs: channels, taps: 3, inputs: 1, stride: [1; 2] };
        let conv1 = self.filter("head.conv1", "head.bn1", shape)?;
        let mut blocks = Vec::new();
        for stage in 1..=STAGES {
            let mut index = 0;
            while index == 0 || self.checkpoint.contains(&format!("head.layer{stage}.{index}.conv1.weight")) {
                let name = format!("head.layer{stage}.{index}");
                if index == MOST_LAYERS {
                    return Err(self.checkpoint.fail(&name, "is one block too many"));
                }
                blocks.push(self.block(&name, &mut channels, if index == 0 { 2 } else { 1 })?);
                index += 1;
            }
        }
        let outputs = self.checkpoint.picture_outputs("head.conv2")?;
        let shape = FilterShape { outputs, taps: 3, inputs: channels, stride: [1, 2] };
        Ok((Head { conv1, blocks, conv2: self.filter("head.conv2", "head.bn2", shape)? }, outputs))
    }

    /// A residual block. `channels` are its input channels, and its output channels afterwards; `stride` is over the
    /// bands.
    fn block(&self, name: &str, channels: &mut usize, stride: usize) -> Result<Block<B>> {
        let named = |part: &str| format!("{name}.{part}");
        let (inputs, outputs) = (*channels, self.checkpoint.picture_outputs(&named("conv1"))?);
        let first = FilterShape { outputs, taps: 3, inputs, stride: [1, stride] };
        let second = FilterShape { outputs, taps: 3, inputs: outputs, stride: [1; 2] };
        let shortcut = (stride != 1 || inputs != outputs).then_some(FilterShape { taps: 1, ..first });
        *channels = outputs;
        Ok(Block {
            conv1: self.filter(&named("conv1"), &named("bn1"), first)?,
            conv2: self.filter(&named("conv2"), &named("bn2"), second)?,
            shortcut: shortcut
                .map(|shape| self.filter(&named("shortcut.0"), &named("shortcut.1"), shape))
                .transpose()?,
        })
    }

    fn filter(&self, name: &str, norm: &str, shape: FilterShape) -> Result<B::ClipFilter> {
        campplus_ops::clip_filter(self.be, &self.checkpoint.filter(name, norm, shape)?)
    }

    /// The time-delay layer after a head with `channels` output channels. Returns the layer, its taps, the mel bands of
    /// the network, and the layer's output channels.
    fn tdnn(&self, channels: usize) -> Result<(Linear<B>, usize, usize, usize)> {
        let name = "xvector.tdnn.linear";
        let weight = format!("{name}.weight");
        let &[_, inputs, taps] = self.checkpoint.shape(&weight)? else {
            return Err(self.checkpoint.fail(&weight, "is no convolution over time"));
        };
        let outputs = self.checkpoint.outputs(name)?;
        let height = inputs / channels;
        if inputs != channels * height || height == 0 || height > MOST_BANDS / SHRINK {
            let reason = format!("has {inputs} inputs; expected {channels} channels x bands / {SHRINK}");
            return Err(self.checkpoint.fail(&weight, reason));
        }
        let taps = self.odd(&weight, taps)?;
        let shape = [outputs, inputs, taps];
        let (values, bias) = self.checkpoint.folded(name, "xvector.tdnn.nonlinear.batchnorm", &shape)?;
        // The checkpoint orders the inputs `[channel, band]`, feature maps `[band, channel]`.
        let input = |at: usize| at % channels * height + at / channels;
        Ok((self.linear(&values, shape, input, Some(&bias))?, taps, height * SHRINK, outputs))
    }

    /// Checks that a number of taps is supported.
    fn odd(&self, name: &str, taps: usize) -> Result<usize> {
        let known = taps % 2 == 1 && taps <= MAX_TAPS;
        known.then_some(taps).ok_or_else(|| {
            self.checkpoint.fail(name, format!("has {taps} taps; odd numbers up to {MAX_TAPS} can be computed"))
        })
    }

    /// A linear layer or convolution from values `[N, K, W]`, transposed to `[N, W, K]`; column `k` of each tap is
    /// input `input(k)`.
    fn linear(
        &self,
        values: &[f32],
        [outputs, inputs, taps]: [usize; 3],
        input: impl Fn(usize) -> usize,
        bias: Option<&[f32]>,
    ) -> Result<Linear<B>> {
        let mut transposed = Vec::with_capacity(values.len());
        for row in values.chunks_exact(inputs * taps) {
            transposed.extend((0..taps * inputs).map(|at| row[input(at % inputs) * taps + at / inputs]));
        }
        let weight = HostMatrix { values: transposed, rows: outputs, cols: taps * inputs };
        let bias = bias.map(|bias| Tensor::from_host(self.be, &[bias.len()], bias)).transpose()?;
        Ok(Linear { weight: campplus_ops::clip_weight(self.be, &weight)?, bias })
    }

    fn affine(&self, norm: &Norm) -> Result<Affine<B>> {
        let [scale, shift] = norm.narrow();
        let vector = |values: &[f32]| Tensor::from_host(self.be, &[values.len()], values);
        Ok(Affine { scale: vector(&scale)?, shift: vector(&shift)? })
    }

    /// Dense block `number` with its transit layer. `channels` are the input channels, and the output channels of the
    /// transit layer afterwards.
    fn dense_block(&self, number: usize, dilation: usize, channels: &mut usize) -> Result<DenseBlock<B>> {
        let mut layers = Vec::new();
        while layers.is_empty() || self.contains_layer(number, layers.len() + 1) {
            let name = format!("xvector.block{number}.tdnnd{}", layers.len() + 1);
            if layers.len() == MOST_LAYERS {
                return Err(self.checkpoint.fail(&name, "is one layer too many"));
            }
            layers.push(self.layer(&name, channels)?);
        }
        let width = *channels;
        let name = format!("xvector.transit{number}");
        let norm = self.affine(&self.checkpoint.norm(&format!("{name}.nonlinear.batchnorm"), width)?)?;
        let linear = format!("{name}.linear");
        let shape = [self.checkpoint.outputs(&linear)?, width, 1];
        let is_last = number == DILATIONS.len();
        let transit = if is_last {
            let (values, bias) = self.checkpoint.folded(&linear, "xvector.out_nonlinear.batchnorm", &shape)?;
            self.linear(&values, shape, |at| at, Some(&bias))?
        } else {
            let (values, bias) = self.plain(&linear, &shape)?;
            self.linear(&values, shape, |at| at, bias.as_deref())?
        };
        *channels = shape[0];
        Ok(DenseBlock { layers, dilation, width, norm, transit, is_last })
    }

    fn contains_layer(&self, block: usize, layer: usize) -> bool {
        self.checkpoint.contains(&format!("xvector.block{block}.tdnnd{layer}.linear1.weight"))
    }

    /// The weight of a layer that no batch norm follows, and its bias if there is one.
    fn plain(&self, name: &str, shape: &[usize]) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let bias = self.checkpoint.contains(&bias).then(|| self.checkpoint.tensor(&bias, &shape[..1])).transpose()?;
        Ok((self.checkpoint.tensor(&weight, shape)?, bias))
    }

    /// A layer of a dense block with `channels` inputs; its output channels are added to `channels`.
    fn layer(&self, name: &str, channels: &mut usize) -> Result<Layer<B>> {
        let named = |part: &str| format!("{name}.{part}");
        let inputs = *channels;
        let norm = self.affine(&self.checkpoint.norm(&named("nonlinear1.batchnorm"), inputs)?)?;
        let linear = named("linear1");
        let shape = [self.checkpoint.outputs(&linear)?, inputs, 1];
        let (values, bias) = self.checkpoint.folded(&linear, &named("nonlinear2.batchnorm"), &shape)?;
        let local = named("cam_layer.linear_local");
        let weight = format!("{local}.weight");
        let taps = self.checkpoint.shape(&weight)?.get(2).copied().unwrap_or_default();
        let local_shape = [self.checkpoint.outputs(&local)?, shape[0], self.odd(&weight, taps)?];
        let (local_values, local_bias) = self.plain(&local, &local_shape)?;
        let small = |name: &str, shape: [usize; 2]| -> Result<GateLinear<B>> {
            let values = self.checkpoint.tensor(&format!("{name}.weight"), &[shape[0], shape[1], 1])?;
            let bias = self.checkpoint.tensor(&format!("{name}.bias"), &shape[..1])?;
            let weight = self.be.f32_matrix(&HostMatrix { values, rows: shape[0], cols: shape[1] })?;
            Ok(GateLinear { weight, bias: Tensor::from_host(self.be, &shape[..1], &bias)? })
        };
        let [first, second] = [named("cam_layer.linear1"), named("cam_layer.linear2")];
        let hidden = self.checkpoint.outputs(&first)?;
        *channels += local_shape[0];
        Ok(Layer {
            norm,
            linear: self.linear(&values, shape, |at| at, Some(&bias))?,
            local: self.linear(&local_values, local_shape, |at| at, local_bias.as_deref())?,
            taps,
            gates: [small(&first, [hidden, shape[0]])?, small(&second, [local_shape[0], hidden])?],
        })
    }
}
