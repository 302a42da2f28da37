//! `conv1d`: convolution over time, as a matrix product over windows of the input.

use super::Cuda;
use super::activation::Bits;
use super::linear::{TILE, TILE_SHARED};
use super::matrix::{Matrix, Storage, epilogue_code};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// See [`MatrixOps::conv1d`](crate::engine::backend::MatrixOps::conv1d): `out` `[B, T, N]`, `x` `[B, F, C]`.
pub(super) fn conv1d(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    weight: &Matrix,
    bias: Option<&Tensor<Cuda, f32>>,
    stride: usize,
    epilogue: Epilogue,
) -> Result<()> {
    let padding = weight.k / x.width().max(1) / 2;
    windows(be, out, x, weight, bias, [stride, padding], epilogue)
}

/// `conv1d` with `padding` zeros before the first frame and as many output frames as `out` has.
pub(super) fn windows(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    weight: &Matrix,
    bias: Option<&Tensor<Cuda, f32>>,
    [stride, padding]: [usize; 2],
    epilogue: Epilogue,
) -> Result<()> {
    let (rows, n, channels) = (out.rows(), weight.n, x.width());
    let (frames, out_frames) = (x.shape()[1], out.shape()[1]);
    let (len, bias) = (out.len(), bias.map(|bias| &bias.buf));
    let stem = match &weight.storage {
        Storage::Plain(_) => "conv1d",
        Storage::Int8 { .. } => "conv1d_int8",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(n.div_ceil(TILE), rows.div_ceil(TILE), 1).block(128).shared(TILE_SHARED);
    launch.output(&mut out.buf, len).input(&x.buf, x.len());
    match &weight.storage {
        Storage::Plain(values) => launch.input(values, n * weight.stride),
        Storage::Int8 { values, scales } => launch.input(values, n * weight.stride).input(scales, n),
    };
    launch.optional(bias, n).long(rows).int(n).int(frames).int(channels).int(weight.k).int(weight.stride);
    launch.int(out_frames).int(stride).int(padding).int(epilogue_code(epilogue));
    // SAFETY: (1) out, x, w, [scales,] bias, rows, features, frames, channels, width, stride, out_frames, step, padding,
    // epilogue, as conv1d.cu declares them; (2) it touches out [B, T, N], x [B, F, C], w [N, stride], scales and bias [N], and no
    // frame outside of its clip; (3) tiles of 128 x 128 cover [N, B T].
    unsafe { launch.run(weight.work(rows, x.len(), size_of::<Bits>(), epilogue)) }
}
