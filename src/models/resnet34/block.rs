//! Residual block of ResNet34: two convolutions and a shortcut.

use crate::engine::embedding_ops::{self, Conv2dEpilogue};
use crate::engine::{Backend, Tensor};
use crate::error::Result;

pub(super) struct Block<B: Backend> {
    /// May have stride 2 over time and frequency.
    pub conv1: B::Filter,
    pub conv2: B::Filter,
    /// Convolution of the shortcut, if input and output have different shapes.
    pub shortcut: Option<B::Filter>,
}

impl<B: Backend> Block<B> {
    /// Computes the block in place, from the feature map `x` `[N, T, H, C]` into `x`; `y` and `z` are scratch.
    pub fn run(&self, be: &B, [x, y, z]: [&mut Tensor<B>; 3]) -> Result<()> {
        let &[windows, frames, bands, _] = x.shape() else { return Ok(()) };
        let shape = be.filter_shape(&self.conv1);
        let [frames, bands] = shape.out([frames, bands]);
        let shape = [windows, frames, bands, shape.outputs];
        y.reshape(&shape)?;
        z.reshape(&shape)?;
        embedding_ops::conv2d(be, y, x, &self.conv1, Conv2dEpilogue::Relu)?;
        match &self.shortcut {
            Some(shortcut) => {
                embedding_ops::conv2d(be, z, x, shortcut, Conv2dEpilogue::Store)?;
                x.reshape(&shape)?;
                embedding_ops::conv2d(be, x, y, &self.conv2, Conv2dEpilogue::AddRelu(z))
            }
            None => {
                embedding_ops::conv2d(be, z, y, &self.conv2, Conv2dEpilogue::AddRelu(x))?;
                std::mem::swap(x, z);
                Ok(())
            }
        }
    }
}
