//! The head of CAM++: two-dimensional convolutions over time and frequency, before the layers over time only.

use crate::engine::Tensor;
use crate::engine::dense::{self, ClipAfter, Clips};
use crate::engine::embedding_ops::EmbeddingOps;
use crate::error::Result;

pub(super) struct Head<B: EmbeddingOps> {
    pub conv1: B::ClipFilter,
    pub blocks: Vec<Block<B>>,
    pub conv2: B::ClipFilter,
}

/// A residual block of two convolutions.
pub(super) struct Block<B: EmbeddingOps> {
    /// May halve the bands.
    pub conv1: B::ClipFilter,
    pub conv2: B::ClipFilter,
    /// Convolution of the shortcut, if input and output have different shapes.
    pub shortcut: Option<B::ClipFilter>,
}

impl<B: EmbeddingOps> Head<B> {
    /// Channels of the feature maps.
    pub fn channels(&self, be: &B) -> usize {
        be.clip_filter_shape(&self.conv1).outputs
    }

    /// The first convolution: `out` `[R, M, C]` from `x` `[R, M, 1]`.
    pub fn first(&self, be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B, f32>, clips: &Clips<B>) -> Result<()> {
        out.reshape(&[clips.rows(), x.shape()[1], self.channels(be)])?;
        dense::clip_conv2d(be, out, x, &self.conv1, ClipAfter::Relu, clips)
    }

    /// The blocks and the last convolution, from the first feature map `x` into `x`; `y` and `z` are scratch.
    pub fn run(&self, be: &B, [x, y, z]: &mut [Tensor<B, f32>; 3], clips: &Clips<B>) -> Result<()> {
        for block in &self.blocks {
            block.run(be, [x, y, z], clips)?;
        }
        y.reshape(&out(be, x, &self.conv2))?;
        dense::clip_conv2d(be, y, x, &self.conv2, ClipAfter::Relu, clips)?;
        std::mem::swap(x, y);
        Ok(())
    }
}

impl<B: EmbeddingOps> Block<B> {
    fn run(&self, be: &B, [x, y, z]: [&mut Tensor<B, f32>; 3], clips: &Clips<B>) -> Result<()> {
        let shape = out(be, x, &self.conv1);
        y.reshape(&shape)?;
        z.reshape(&shape)?;
        dense::clip_conv2d(be, y, x, &self.conv1, ClipAfter::Relu, clips)?;
        match &self.shortcut {
            Some(shortcut) => {
                dense::clip_conv2d(be, z, x, shortcut, ClipAfter::Store, clips)?;
                x.reshape(&shape)?;
                dense::clip_conv2d(be, x, y, &self.conv2, ClipAfter::AddRelu(z), clips)
            }
            None => {
                dense::clip_conv2d(be, z, y, &self.conv2, ClipAfter::AddRelu(x), clips)?;
                std::mem::swap(x, z);
                Ok(())
            }
        }
    }
}

/// The shape of a convolution's output for the input `x`.
fn out<B: EmbeddingOps>(be: &B, x: &Tensor<B, f32>, filter: &B::ClipFilter) -> [usize; 3] {
    let shape = be.clip_filter_shape(filter);
    let &[rows, bands, _] = x.shape() else { return [0; 3] };
    [rows, shape.out([rows, bands])[1], shape.outputs]
}
