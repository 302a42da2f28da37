//! The primitives of [`CampplusOps`] (CAM++). Each is one launch, all in f32.

use super::Cuda;
use super::buffer::Buffer;
use super::driver::refuse;
use super::launch::Launch;
use super::segmentation_ops::F32Matrix;
use crate::engine::Tensor;
use crate::engine::campplus_ops::{Affine, CampplusOps, ClipConv, ClipConv2dEpilogue, ClipConvEpilogue, Clips};
use crate::engine::embedding_ops::{FilterShape, HostFilter};
use crate::engine::profile::Work;
use crate::engine::segmentation_ops::SegmentationOps;
use crate::engine::weights::HostMatrix;
use crate::error::Result;

/// Frames per batch: 64 clips of 10 s. Feature maps take 0.7 GB each, and the last layers have rows for every
/// multiprocessor.
const FRAMES: usize = 64_000;
/// Most rows of a result: their indices, including those of a partial tile, fit in 32 bits.
const MAX_ROWS: usize = 1 << 30;

/// The weights of a 2-D convolution on the GPU.
pub struct ClipFilter {
    shape: FilterShape,
    /// `[O, taps * taps * C]`
    weights: F32Matrix,
    /// `[O]`
    bias: Buffer<f32>,
}

/// `Sizes` of `kernels/clip_conv.cu`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Sizes {
    rows: i32,
    features: i32,
    channels: i32,
    depth: i32,
    x_width: i32,
    out_width: i32,
    bands: i32,
    out_bands: i32,
    frame_stride: i32,
    band_stride: i32,
    dilation: i32,
    frame_taps: i32,
    band_taps: i32,
    finish: i32,
}

/// Optional array arguments of `clip_conv`.
struct Extras<'a> {
    bias: Option<&'a Buffer<f32>>,
    /// Scale and shift, applied to the input.
    before: Option<[&'a Buffer<f32>; 2]>,
    /// Gates or a residual, and the number of its elements.
    other: Option<(&'a Buffer<f32>, usize)>,
}

impl Cuda {
    /// Launches `clip_conv`; results are written from element `column` of `out` on.
    fn launch_clip_conv(
        &self,
        [out, x]: [&Tensor<Self, f32>; 2],
        column: usize,
        weight: &F32Matrix,
        extras: &Extras<'_>,
        [inputs, outputs]: [&Clips<Self>; 2],
        sizes: Sizes,
    ) -> Result<()> {
        let rows = out.len() / sizes.out_width as usize;
        if rows > MAX_ROWS {
            return Err(refuse(
                "clip_conv",
                format!("takes {MAX_ROWS} rows at a time, was given {rows}; run fewer clips"),
            ));
        }
        let (stem, features, tile) =
            if sizes.features <= 32 { ("clip_conv_32", 32, 256) } else { ("clip_conv_64", 64, 128) };
        let (n, k, channels) = (sizes.features as usize, sizes.depth as usize, sizes.channels as usize);
        let mut launch: Launch<'_> = self.device.launch(stem, "")?;
        launch.grid(rows.div_ceil(tile), n.div_ceil(features), 1).block(256);
        launch.input_from(&out.buf, column, out.len() - column).input(&x.buf, x.len()).input(&weight.values, n * k);
        launch.optional(extras.bias, n);
        launch.optional(extras.before.map(|before| before[0]), channels);
        launch.optional(extras.before.map(|before| before[1]), channels);
        launch.optional(extras.other.map(|other| other.0), extras.other.map_or(0, |other| other.1));
        for starts in [&inputs.starts_on_device, &outputs.starts_on_device, &outputs.segments_on_device] {
            launch.input(&starts.buf, starts.len());
        }
        launch.input(&outputs.clip_of_row.buf, outputs.rows()).record(&sizes);
        let bytes = (x.len() + rows * n + n * k) * size_of::<f32>();
        let work = Work { bytes: bytes as u64, flops: 2 * (rows * n * k) as u64 };
        // SAFETY: (1) out, x, w, bias, scale, shift, other, in_starts, out_starts, segments, clip_of_row, sizes, as clip_conv.cu
        // declares them; (2) it touches N columns of out [R' H', _] from `column` on, C columns of x [R H, _] within a clip, w
        // [N, W V C], bias [N], scale and shift [C], gates [S, N] or a picture like out, and the tables of both clips, whose sizes
        // campplus_ops.rs compared; (3) tiles of `tile` rows x `features` cover [R' H', N].
        unsafe { launch.run(work) }
    }
}

impl CampplusOps for Cuda {
    type ClipFilter = ClipFilter;
    type ClipWeight = F32Matrix;

    fn clip_frames(&self) -> usize {
        FRAMES
    }

    fn clip_filter(&self, filter: &HostFilter) -> Result<ClipFilter> {
        let FilterShape { outputs, taps, inputs, .. } = filter.shape;
        let weights = HostMatrix { values: filter.values.clone(), rows: outputs, cols: taps * taps * inputs };
        let bias = Buffer::upload(&self.device, &filter.bias)?;
        Ok(ClipFilter { shape: filter.shape, weights: self.f32_matrix(&weights)?, bias })
    }

    fn clip_filter_shape(&self, filter: &ClipFilter) -> FilterShape {
        filter.shape
    }

    fn clip_weight(&self, weight: &HostMatrix) -> Result<F32Matrix> {
        self.f32_matrix(weight)
    }

    fn clip_weight_shape(&self, weight: &F32Matrix) -> (usize, usize) {
        self.f32_matrix_shape(weight)
    }

    fn centre_clips(
        &self,
        out: &mut Tensor<Self, f32>,
        features: &Tensor<Self, f32>,
        index: &Tensor<Self, i32>,
        clips: &Clips<Self>,
    ) -> Result<()> {
        let (bands, len) = (features.width(), out.len());
        let mut launch = self.device.launch("centre_clips", "")?;
        launch.grid(bands.div_ceil(32), clips.count(), 1).block(256);
        launch.output(&mut out.buf, len).input(&features.buf, features.len()).input(&index.buf, clips.rows());
        launch.input(&clips.starts_on_device.buf, clips.count() + 1).int(bands);
        // SAFETY: (1) out, features, index, starts, bands, as centre_clips.cu declares them; (2) it touches out [R, M], index
        // [R], starts [N + 1], and rows of features that campplus_ops.rs compared with F; (3) blocks of 32 bands of a clip cover
        // [N, M].
        unsafe { launch.run(Work::bytes(2 * len * size_of::<f32>())) }
    }

    fn clip_conv2d(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        filter: &ClipFilter,
        after: ClipConv2dEpilogue<Self>,
        clips: &Clips<Self>,
    ) -> Result<()> {
        let FilterShape { outputs, taps, inputs, stride } = filter.shape;
        let (&[_, bands, _], &[_, out_bands, _]) = (x.shape(), out.shape()) else { return Ok(()) };
        let (finish, added) = match after {
            ClipConv2dEpilogue::Store => (0, None),
            ClipConv2dEpilogue::Relu => (1, None),
            ClipConv2dEpilogue::AddRelu(added) => (3, Some(added)),
        };
        let sizes = Sizes {
            rows: out.rows() as i32,
            features: outputs as i32,
            channels: inputs as i32,
            depth: (taps * taps * inputs) as i32,
            x_width: inputs as i32,
            out_width: outputs as i32,
            bands: bands as i32,
            out_bands: out_bands as i32,
            frame_stride: stride[0] as i32,
            band_stride: stride[1] as i32,
            dilation: 1,
            frame_taps: taps as i32,
            band_taps: taps as i32,
            finish,
        };
        let other = added.map(|added| (&added.buf, added.len()));
        let extras = Extras { bias: Some(&filter.bias), before: None, other };
        self.launch_clip_conv([out, x], 0, &filter.weights, &extras, [clips, clips], sizes)
    }

    fn clip_conv(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        conv: &ClipConv<Self>,
        clips: [&Clips<Self>; 2],
    ) -> Result<()> {
        let (features, depth) = self.f32_matrix_shape(conv.weight);
        let (finish, gates) = match conv.finish {
            ClipConvEpilogue::Store => (0, None),
            ClipConvEpilogue::Relu => (1, None),
            ClipConvEpilogue::Gate(gates) => (2, Some(gates)),
        };
        let sizes = Sizes {
            rows: out.rows() as i32,
            features: features as i32,
            channels: (depth / conv.taps) as i32,
            depth: depth as i32,
            x_width: x.width() as i32,
            out_width: out.width() as i32,
            bands: 1,
            out_bands: 1,
            frame_stride: conv.stride as i32,
            band_stride: 1,
            dilation: conv.dilation as i32,
            frame_taps: conv.taps as i32,
            band_taps: 1,
            finish,
        };
        let before = conv.before.map(|Affine { scale, shift }| [&scale.buf, &shift.buf]);
        let other = gates.map(|gates| (&gates.buf, gates.len()));
        let extras = Extras { bias: conv.bias.map(|bias| &bias.buf), before, other };
        self.launch_clip_conv([out, x], conv.column, conv.weight, &extras, clips, sizes)
    }

    fn segment_context(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()> {
        let (width, len) = (x.width(), out.len());
        let mut launch = self.device.launch("segment_context", "")?;
        launch.grid(width.div_ceil(32), clips.count(), 1).block(256);
        launch.output(&mut out.buf, len).input(&x.buf, x.len());
        launch.input(&clips.starts_on_device.buf, clips.count() + 1);
        launch.input(&clips.segments_on_device.buf, clips.count() + 1).int(width);
        // SAFETY: (1) out, x, starts, segments, width, as segment_context.cu declares them; (2) it touches out [S, K], x [R, K],
        // starts and segments [N + 1], whose shapes campplus_ops.rs compared; (3) blocks of 32 columns of a clip cover [N, K].
        unsafe { launch.run(Work::bytes((x.len() + 2 * len) * size_of::<f32>())) }
    }

    fn clip_statistics(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()> {
        let (width, len) = (x.width(), out.len());
        let mut launch = self.device.launch("clip_statistics", "")?;
        launch.grid(width.div_ceil(32), clips.count(), 1).block(256);
        launch.output(&mut out.buf, len).input(&x.buf, x.len());
        launch.input(&clips.starts_on_device.buf, clips.count() + 1).int(width);
        // SAFETY: (1) out, x, starts, width, as clip_statistics.cu declares them; (2) it touches out [N, 2, K], x [R, K], starts
        // [N + 1], whose shapes campplus_ops.rs compared; (3) blocks of 32 columns of a clip cover [N, K].
        unsafe { launch.run(Work::bytes((x.len() + len) * size_of::<f32>())) }
    }
}
