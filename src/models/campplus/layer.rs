//! Dense blocks of CAM++: layers that append their output to the channels of their input, and the transit layers
//! between blocks.

use crate::engine::campplus_ops::{self, Affine, ClipConv, ClipConvEpilogue, Clips};
use crate::engine::segmentation_ops::{self, Activation};
use crate::engine::{Backend, Tensor};
use crate::error::Result;

/// A weight of a linear layer or a convolution over time.
pub(super) struct Linear<B: Backend> {
    /// `[N, W * K]`
    pub weight: B::ClipWeight,
    /// `[N]`
    pub bias: Option<Tensor<B, f32>>,
}

impl<B: Backend> Linear<B> {
    /// The convolution with stride and dilation 1.
    pub fn conv<'a>(&'a self, taps: usize, finish: ClipConvEpilogue<'a, B>) -> ClipConv<'a, B> {
        let bias = self.bias.as_ref();
        ClipConv { weight: &self.weight, taps, stride: 1, dilation: 1, before: None, bias, finish, column: 0 }
    }
}

/// A linear layer with few rows, in f32.
pub(super) struct GateLinear<B: Backend> {
    /// `[N, K]`
    pub weight: B::F32Matrix,
    /// `[N]`
    pub bias: Tensor<B, f32>,
}

/// A layer of a dense block.
pub(super) struct Layer<B: Backend> {
    /// Batch norm over `K` channels: those of the block's input and of the preceding layers.
    pub norm: Affine<B>,
    /// `[128, K]`, with the following norm folded in.
    pub linear: Linear<B>,
    /// `[32, W * 128]`
    pub local: Linear<B>,
    /// `W`: taps of `local`.
    pub taps: usize,
    /// The two linear layers of the gates: `[64, 128]` and `[32, 64]`.
    pub gates: [GateLinear<B>; 2],
}

/// A dense block and the following transit layer.
pub(super) struct DenseBlock<B: Backend> {
    pub layers: Vec<Layer<B>>,
    pub dilation: usize,
    /// Output channels of the block, before the transit layer.
    pub width: usize,
    /// Batch norm before the transit layer.
    pub norm: Affine<B>,
    pub transit: Linear<B>,
    /// Whether this is the last block: its transit layer is followed by the network's last norm (folded in) and a ReLU.
    pub is_last: bool,
}

impl<B: Backend> DenseBlock<B> {
    /// Output channels of the block, before the transit layer.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Output channels of the transit layer.
    pub fn outputs(&self, be: &B) -> usize {
        be.clip_weight_shape(&self.transit.weight).0
    }

    /// Maximum channels between the two convolutions of a layer.
    pub fn narrow(&self, be: &B) -> usize {
        self.layers.iter().map(|layer| be.clip_weight_shape(&layer.linear.weight).0).max().unwrap_or_default()
    }

    /// Appends the outputs of the layers to `x` `[R, C]`, whose first columns are the block's input; `narrow` is
    /// scratch.
    pub fn run(&self, be: &B, x: &mut Tensor<B, f32>, narrow: &mut Tensor<B, f32>, clips: &Clips<B>) -> Result<()> {
        for layer in &self.layers {
            layer.run(be, x, narrow, self.dilation, clips)?;
        }
        Ok(())
    }

    /// The transit layer, which halves the channels, into the first columns of `out`.
    pub fn transit(&self, be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B, f32>, clips: &Clips<B>) -> Result<()> {
        let finish = if self.is_last { ClipConvEpilogue::Relu } else { ClipConvEpilogue::Store };
        let conv = ClipConv { before: Some(&self.norm), ..self.transit.conv(1, finish) };
        campplus_ops::clip_conv(be, out, x, &conv, [clips; 2])
    }
}

impl<B: Backend> Layer<B> {
    fn run(
        &self,
        be: &B,
        x: &mut Tensor<B, f32>,
        narrow: &mut Tensor<B, f32>,
        dilation: usize,
        clips: &Clips<B>,
    ) -> Result<()> {
        narrow.reshape(&[clips.rows(), be.clip_weight_shape(&self.linear.weight).0])?;
        let conv = ClipConv { before: Some(&self.norm), ..self.linear.conv(1, ClipConvEpilogue::Relu) };
        campplus_ops::clip_conv(be, narrow, x, &conv, [clips; 2])?;
        let segments = clips.num_segments();
        let mut context = Tensor::zeros(be, &[segments, narrow.width()])?;
        campplus_ops::segment_context(be, &mut context, narrow, clips)?;
        context.reshape(&[1, segments, narrow.width()])?;
        for (gate, activation) in self.gates.iter().zip([Activation::Relu, Activation::Sigmoid]) {
            let mut out = Tensor::zeros(be, &[1, segments, gate.bias.len()])?;
            segmentation_ops::conv1d_f32(be, &mut out, &context, &gate.weight, Some(&gate.bias), 1, activation)?;
            context = out;
        }
        context.reshape(&[segments, self.gates[1].bias.len()])?;
        let column = self.norm.scale.len();
        let conv = ClipConv { dilation, column, ..self.local.conv(self.taps, ClipConvEpilogue::Gate(&context)) };
        campplus_ops::clip_conv(be, x, narrow, &conv, [clips; 2])
    }
}
