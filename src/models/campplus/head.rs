//! The head of CAM++: two-dimensional convolutions over time and frequency, before the layers over time only.

use crate::engine::campplus_ops::{self, ClipConv2dEpilogue, Clips};
use crate::engine::{Backend, Tensor};
use crate::error::Result;

pub(super) struct Head<B: Backend> {
    pub conv1: B::ClipFilter,
    pub blocks: Vec<Block<B>>,
    pub conv2: B::ClipFilter,
}

/// A residual block of two convolutions.
pub(super) struct Block<B: Backend> {
    /// May halve the bands.
    pub conv1: B::ClipFilter,
    pub conv2: B::ClipFilter,
    /// Convolution of the shortcut, if input and output have different shapes.
    pub shortcut: Option<B::ClipFilter>,
}

impl<B: Backend> Head<B> {
    /// Channels of the feature maps.
    pub fn channels(&self, be: &B) -> usize {
        be.clip_filter_shape(&self.conv1).outputs
    }

    /// The first convolution: `out` `[R, M, C]` from `x` `[R, M, 1]`.
    pub fn first(&self, be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B, f32>, clips: &Clips<B>) -> Result<()> {
        out.reshape(&[clips.rows(), x.shape()[1], self.channels(be)])?;
        campplus_ops::clip_conv2d(be, out, x, &self.conv1, ClipConv2dEpilogue::Relu, clips)
    }

    /// The blocks and the last convolution, from the first feature map `x` into `x`; `y` and `z` are scratch.
    pub fn run(&self, be: &B, [x, y, z]: &mut [Tensor<B, f32>; 3], clips: &Clips<B>) -> Result<()> {
        for block in &self.blocks {
            block.run(be, [x, y, z], clips)?;
        }
        y.reshape(&out(be, x, &self.conv2))?;
        campplus_ops::clip_conv2d(be, y, x, &self.conv2, ClipConv2dEpilogue::Relu, clips)?;
        std::mem::swap(x, y);
        Ok(())
    }
}

impl<B: Backend> Block<B> {
    fn run(&self, be: &B, [x, y, z]: [&mut Tensor<B, f32>; 3], clips: &Clips<B>) -> Result<()> {
        let shape = out(be, x, &self.conv1);
        y.reshape(&shape)?;
        z.reshape(&shape)?;
        campplus_ops::clip_conv2d(be, y, x, &self.conv1, ClipConv2dEpilogue::Relu, clips)?;
        match &self.shortcut {
            Some(shortcut) => {
                campplus_ops::clip_conv2d(be, z, x, shortcut, ClipConv2dEpilogue::Store, clips)?;
                x.reshape(&shape)?;
                campplus_ops::clip_conv2d(be, x, y, &self.conv2, ClipConv2dEpilogue::AddRelu(z), clips)
            }
            None => {
                campplus_ops::clip_conv2d(be, z, y, &self.conv2, ClipConv2dEpilogue::AddRelu(x), clips)?;
                std::mem::swap(x, z);
                Ok(())
            }
        }
    }
}

/// The shape of a convolution's output for the input `x`.
fn out<B: Backend>(be: &B, x: &Tensor<B, f32>, filter: &B::ClipFilter) -> [usize; 3] {
    let shape = be.clip_filter_shape(filter);
    let &[rows, bands, _] = x.shape() else { return [0; 3] };
    [rows, shape.out([rows, bands])[1], shape.outputs]
}
