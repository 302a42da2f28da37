//! `conv2d`: 2-D convolutions over time and frequency, fused with the bias, residual addition and ReLU of a residual
//! block.
//!
//! There are three kernels, which add in the same order, so the choice between them does not change results: one for 3
//! x 3 taps without stride, which keeps the input of a tile in shared memory; one that loads each tap separately; and
//! one for a single input channel.

use super::Cuda;
use super::activation::Bits;
use super::buffer::Buffer;
use super::driver::refuse;
use crate::engine::Tensor;
use crate::engine::embedding_ops::{Conv2dEpilogue, FilterShape, HostFilter};
use crate::engine::profile::Work;
use crate::error::Result;

/// As in `kernels/conv2d.cu`: pixels of a tile, pipeline stages, channels of a stage and their bytes for one pixel.
const PIXELS: usize = 256;
const STAGES: usize = 3;
const CHANNELS: usize = 32;
const CHUNK_BYTES: usize = 2 * CHANNELS;
/// Pixels per block of the kernel for a single input channel.
const FIRST_PIXELS: usize = 1024;
/// Most pixels of an operand: their indices, including those of a partial tile, fit in 32 bits.
const MOST_PIXELS: usize = 1 << 30;

/// The weights of a convolution on the GPU.
pub struct Filter {
    pub(super) shape: FilterShape,
    weights: Weights,
    /// `[O]`
    bias: Buffer<f32>,
}

enum Weights {
    /// `[ceil(C / 32), taps * taps, O, 32]`, zero beyond the last channel.
    Tiles(Buffer<Bits>),
    /// `[9, O]`, for a single input channel.
    First(Buffer<f32>),
}

/// `Sizes` of `kernels/conv2d.cu`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Sizes {
    pixels: i32,
    frames: i32,
    bands: i32,
    channels: i32,
    outputs: i32,
    out_frames: i32,
    out_bands: i32,
    stride: i32,
    taps: i32,
    relu: i32,
}

impl Filter {
    pub(super) fn new(be: &Cuda, filter: &HostFilter) -> Result<Self> {
        let FilterShape { outputs, taps, inputs, .. } = filter.shape;
        let taps = taps * taps;
        let value = |output: usize, tap: usize, input: usize| filter.values[(output * taps + tap) * inputs + input];
        let weights = if inputs == 1 {
            let values: Vec<f32> = (0..taps * outputs).map(|i| value(i % outputs, i / outputs, 0)).collect();
            Weights::First(Buffer::upload(&be.device, &values)?)
        } else {
            let mut values = vec![0; inputs.div_ceil(CHANNELS) * taps * outputs * CHANNELS];
            for (at, row) in values.chunks_exact_mut(CHANNELS).enumerate() {
                let (output, tap, first) = (at % outputs, at / outputs % taps, at / outputs / taps * CHANNELS);
                let count = CHANNELS.min(inputs - first);
                let from = (output * taps + tap) * inputs + first;
                be.activation.narrow(&mut row[..count], &filter.values[from..from + count]);
            }
            Weights::Tiles(Buffer::upload(&be.device, &values)?)
        };
        Ok(Filter { shape: filter.shape, weights, bias: Buffer::upload(&be.device, &filter.bias)? })
    }

    fn sizes(&self, out: &[usize], x: &[usize], relu: bool) -> Result<Sizes> {
        let pixels = |shape: &[usize]| shape[..3].iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let (Some(written), Some(read)) = (pixels(out), pixels(x)) else {
            return Err(refuse("conv2d", "has more pixels than can be counted"));
        };
        if written.max(read).max(x[3]).max(out[3]) > MOST_PIXELS {
            return Err(refuse(
                "conv2d",
                format!("takes {MOST_PIXELS} pixels at a time, was given {read}; run fewer windows"),
            ));
        }
        Ok(Sizes {
            pixels: written as i32,
            frames: x[1] as i32,
            bands: x[2] as i32,
            channels: x[3] as i32,
            outputs: out[3] as i32,
            out_frames: out[1] as i32,
            out_bands: out[2] as i32,
            stride: self.shape.stride[0] as i32,
            taps: self.shape.taps as i32,
            relu: i32::from(relu),
        })
    }
}

/// For a number of output channels: features of a tile, threads of a block, and the names of the two kernels.
fn tile(outputs: usize) -> (usize, usize, [&'static str; 2]) {
    match outputs {
        0..=32 => (32, 128, ["conv2d_3x3_32", "conv2d_any_32"]),
        33..=64 => (64, 128, ["conv2d_3x3_64", "conv2d_any_64"]),
        _ => (128, 256, ["conv2d_3x3_128", "conv2d_any_128"]),
    }
}

/// See [`EmbeddingOps::conv2d`](crate::engine::embedding_ops::EmbeddingOps::conv2d): `out` `[N, T', H', O]`, `x` `[N,
/// T, H, C]`.
pub(super) fn conv2d(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    filter: &Filter,
    after: Conv2dEpilogue<Cuda>,
) -> Result<()> {
    let (added, relu) = match after {
        Conv2dEpilogue::Store => (None, false),
        Conv2dEpilogue::Relu => (None, true),
        Conv2dEpilogue::AddRelu(added) => (Some(added), true),
    };
    let sizes = filter.sizes(out.shape(), x.shape(), relu)?;
    let (FilterShape { outputs, taps, inputs, stride }, len) = (filter.shape, out.len());
    let values = len * if added.is_some() { 2 } else { 1 } + x.len() + outputs * taps * taps * inputs;
    let work = Work { bytes: (values * size_of::<Bits>()) as u64, flops: 2 * (len * taps * taps * inputs) as u64 };
    let weights = match &filter.weights {
        Weights::Tiles(weights) => weights,
        Weights::First(weights) => return first(be, out, x, [weights, &filter.bias], added, (sizes, work)),
    };
    let (features, threads, [stem_3x3, stem_any]) = tile(outputs);
    let stage = features * CHUNK_BYTES;
    let patches = if inputs > CHANNELS { 2 } else { 1 };
    let seen = patches * (PIXELS + 2 * (x.shape()[2] + 1));
    let (shared_3x3, shared_any) = (CHUNK_BYTES * (1 + seen) + STAGES * stage, STAGES * (stage + PIXELS * CHUNK_BYTES));
    // Images too wide for the shared memory use the kernel that loads each tap separately.
    let (stem, shared) = if taps == 3 && stride == [1, 1] && shared_3x3 <= be.device.max_shared {
        (stem_3x3, shared_3x3)
    } else {
        (stem_any, shared_any)
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(outputs.div_ceil(features) * out.rows().div_ceil(PIXELS), 1, 1).block(threads).shared(shared);
    launch.output(&mut out.buf, len).input(&x.buf, x.len()).input(weights, weights.len()).input(&filter.bias, outputs);
    launch.optional(added.map(|added| &added.buf), len).record(&sizes);
    // SAFETY: (1) out, x, w, bias, added, sizes, as conv2d.cu declares them; (2) it touches out and added [N, T', H', O], x
    // [N, T, H, C], w [ceil(C / 32), taps taps, O, 32], bias [O], whose shapes embedding_ops.rs compared, channels in steps of 8; (3)
    // tiles of 256 pixels x `features` cover [N T' H', O], and the shared memory is what the kernel's constants add up to.
    unsafe { launch.run(work) }
}

/// `conv2d` for a single input channel; `[weights, bias]`.
fn first(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    [weights, bias]: [&Buffer<f32>; 2],
    added: Option<&Tensor<Cuda>>,
    (sizes, work): (Sizes, Work),
) -> Result<()> {
    let (pixels, outputs, len) = (out.rows(), out.width(), out.len());
    let groups = outputs / 8;
    if added.is_some() || groups > 256 {
        return Err(refuse("conv2d", "of one channel has at most 2048 outputs and adds no other picture"));
    }
    let mut launch = be.device.launch("conv2d_first", be.activation.suffix())?;
    launch.grid(pixels.div_ceil(FIRST_PIXELS), 1, 1).block(256 / groups * groups);
    launch
        .output(&mut out.buf, len)
        .input(&x.buf, x.len())
        .input(weights, 9 * outputs)
        .input(bias, outputs)
        .record(&sizes);
    // SAFETY: (1) out, x, w, bias, sizes, as conv2d.cu declares them; (2) it touches out [N, T, H, O], x [N, T, H, 1], w [9, O],
    // bias [O], whose shapes embedding_ops.rs compared; (3) blocks of 1024 pixels, a thread for every eight features of one at a time.
    unsafe { launch.run(work) }
}
