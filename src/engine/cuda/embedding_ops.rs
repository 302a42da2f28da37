//! The primitives of [`EmbeddingOps`] (ResNet34 speaker embeddings). Each is one launch.

use super::Cuda;
use super::activation::Bits;
use super::buffer::Buffer;
use super::conv2d::{self, Filter};
use super::fbank::{self, FbankPlan};
use crate::engine::Tensor;
use crate::engine::embedding_ops::{Conv2dEpilogue, EmbeddingOps, FilterShape, HostFilter, MASK_EPS};
use crate::engine::profile::Work;
use crate::error::{Error, Result};
use crate::features::fbank::Fbank;

/// Windows of 10 s per batch. The last layers of ResNet34 have 1250 pixels and 256 features for each window, which
/// fills the 132 multiprocessors of an H100 nearly five times over; the feature maps of the first layer take 1.3 GB.
const WINDOWS: usize = 64;

impl EmbeddingOps for Cuda {
    type FbankPlan = FbankPlan;
    type Filter = Filter;

    fn fbank_plan(&self, options: &Fbank) -> Result<FbankPlan> {
        FbankPlan::new(&self.device, options)
    }

    fn fbank_bands(&self, plan: &FbankPlan) -> usize {
        plan.bands.count
    }

    fn filter(&self, filter: &HostFilter) -> Result<Filter> {
        Filter::new(self, filter)
    }

    fn filter_shape(&self, filter: &Filter) -> FilterShape {
        filter.shape
    }

    fn embedding_batch(&self) -> usize {
        WINDOWS
    }

    fn fbank(&self, out: &mut Tensor<Self, f32>, samples: &Tensor<Self, f32>, plan: &FbankPlan) -> Result<()> {
        fbank::fbank(self, out, samples, plan)
    }

    fn centre_windows(&self, out: &mut Tensor<Self>, features: &Tensor<Self, f32>, first: &[usize]) -> Result<()> {
        let &[windows, frames, bands, _] = out.shape() else { return Ok(()) };
        let first: std::result::Result<Vec<i32>, _> = first.iter().map(|row| i32::try_from(*row)).collect();
        let too_far = |_| Error::config("samples", features.rows(), "so many rows of features fit no 32-bit index");
        let first = Buffer::upload(&self.device, &first.map_err(too_far)?)?;
        let len = out.len();
        let mut launch = self.device.launch("centre_windows", self.activation.suffix())?;
        launch.grid(bands.div_ceil(32), windows, 1).block(256);
        launch.output(&mut out.buf, len).input(&features.buf, features.len()).input(&first, windows);
        launch.int(frames).int(bands);
        // SAFETY: (1) out, features, first, frames, bands, as centre_windows.cu declares them; (2) it touches out [N, T, M],
        // first [N], and the windows of features [R, M], which embedding_ops.rs compared with R; (3) blocks of 32 bands of a window
        // cover [N, M].
        unsafe { launch.run(Work::bytes(len * (size_of::<Bits>() + size_of::<f32>()))) }
    }

    fn conv2d(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        filter: &Filter,
        after: Conv2dEpilogue<Self>,
    ) -> Result<()> {
        conv2d::conv2d(self, out, x, filter, after)
    }

    fn masked_statistics(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self>,
        masks: &Tensor<Self, f32>,
    ) -> Result<()> {
        let &[windows, speakers, frames] = masks.shape() else { return Ok(()) };
        let (width, len) = (out.width(), out.len());
        let mut launch = self.device.launch("masked_statistics", self.activation.suffix())?;
        launch.grid(width.div_ceil(64), windows, 1).block(256);
        launch.output(&mut out.buf, len).input(&x.buf, x.len()).input(&masks.buf, masks.len());
        launch.int(frames).int(width).int(speakers).float(MASK_EPS);
        let bytes = x.len() * size_of::<Bits>() + (len + masks.len()) * size_of::<f32>();
        // SAFETY: (1) out, x, masks, frames, width, speakers, eps, as masked_statistics.cu declares them; (2) it touches out
        // [N, S, 2, K], x [N, T, K], masks [N, S, T], whose shapes embedding_ops.rs compared; (3) blocks of 64 columns of a window
        // cover [N, K].
        unsafe { launch.run(Work { bytes: bytes as u64, flops: 6 * (x.len() * speakers) as u64 }) }
    }
}
