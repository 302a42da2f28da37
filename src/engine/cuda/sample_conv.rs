//! Convolutions over audio samples, fused with a norm and GELU: `conv1d_channel_norm`, `conv1d_layer_norm`.

use super::Cuda;
use super::activation::Bits;
use super::buffer::Buffer;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::engine::wav2vec2_ops::{Lengths, MAX_SAMPLE_TAPS, SampleConv};
use crate::error::Result;

/// Frames per block of `window_moments`, `conv1d_channel_norm` and `conv1d_layer_norm`.
const FRAMES: [usize; 3] = [2048, 64, 8];
/// Moments of the sample windows: means of the taps, and means of the products of two taps.
const MOMENTS: usize = MAX_SAMPLE_TAPS + MAX_SAMPLE_TAPS * (MAX_SAMPLE_TAPS + 1) / 2;

/// See [`Wav2Vec2Ops::conv1d_channel_norm`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::conv1d_channel_norm).
pub(super) fn channel_norm(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    conv: &SampleConv<Cuda>,
    lengths: &Lengths<Cuda>,
) -> Result<()> {
    let (clips, samples, frames, width) = (lengths.host.len(), x.shape()[1], out.shape()[1], out.width());
    let (taps, len) = (conv.weight.width(), out.len());
    let affine = channel_affine(be, x, conv, lengths, frames)?;
    let mut launch = be.device.launch("conv1d_channel_norm", be.activation.suffix())?;
    launch.grid(frames.div_ceil(FRAMES[1]), clips, 1).block(threads(width));
    launch.output(&mut out.buf, len).input(&x.buf, x.len()).input(&conv.weight.buf, width * taps);
    launch.input(&affine, clips * 2 * width).input(&lengths.device.buf, clips);
    launch.int(samples).int(frames).int(width).int(taps).int(conv.stride);
    // SAFETY: (1) out, x, w, affine, lengths, samples, frames, width, taps, step, as conv1d_channel_norm.cu declares them; (2)
    // it touches out [B, T, N], x [B, F], w [N, W], affine [B, 2, N], lengths [B], with N, W and step as wav2vec2_ops.rs bounds
    // them; (3) blocks of 64 frames for each clip.
    unsafe { launch.run(work(len, x.len())) }
}

/// `[B, 2, N]`: scale and shift of each channel of each clip, which apply the norm.
fn channel_affine(
    be: &Cuda,
    x: &Tensor<Cuda>,
    conv: &SampleConv<Cuda>,
    lengths: &Lengths<Cuda>,
    frames: usize,
) -> Result<Buffer<f32>> {
    let (clips, samples, width, taps) = (lengths.host.len(), x.shape()[1], conv.gamma.len(), conv.weight.width());
    let parts = frames.div_ceil(FRAMES[0]);
    let mut moments = Buffer::<f64>::uninitialised(&be.device, clips * parts * MOMENTS)?;
    let mut launch = be.device.launch("window_moments", be.activation.suffix())?;
    launch.grid(parts, clips, 1).block(160).output(&mut moments, clips * parts * MOMENTS).input(&x.buf, x.len());
    launch.input(&lengths.device.buf, clips).int(samples).int(conv.stride);
    // SAFETY: (1) moments, x, lengths, samples, step, as conv1d_channel_norm.cu declares them; (2) it touches moments
    // [B, P, 152], x [B, F], lengths [B]; (3) a block for each part of each clip, the parts of all frames.
    unsafe { launch.run(Work::bytes(x.len() * size_of::<Bits>())) }?;
    let mut affine = Buffer::uninitialised(&be.device, clips * 2 * width)?;
    let mut launch = be.device.launch("channel_affine", "")?;
    launch.grid(width.div_ceil(128), clips, 1).block(128).output(&mut affine, clips * 2 * width);
    launch.input(&moments, clips * parts * MOMENTS).input(&conv.weight.buf, width * taps);
    launch.input(&conv.gamma.buf, width).input(&conv.beta.buf, width).input(&lengths.device.buf, clips);
    launch.int(width).int(taps).int(parts).float(conv.eps);
    // SAFETY: (1) affine, moments, w, gamma, beta, lengths, width, taps, parts, eps, as conv1d_channel_norm.cu declares them;
    // (2) it touches affine [B, 2, N], moments [B, P, 152], w [N, W], gamma, beta [N], lengths [B]; (3) blocks of 128
    // channels for each clip.
    unsafe { launch.run(Work::bytes(clips * parts * MOMENTS * size_of::<f64>())) }?;
    Ok(affine)
}

/// See [`Wav2Vec2Ops::conv1d_layer_norm`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::conv1d_layer_norm).
pub(super) fn layer_norm(be: &Cuda, out: &mut Tensor<Cuda>, x: &Tensor<Cuda>, conv: &SampleConv<Cuda>) -> Result<()> {
    let (clips, samples, frames, width) = (x.shape()[0], x.shape()[1], out.shape()[1], out.width());
    let (taps, len) = (conv.weight.width(), out.len());
    let mut launch = be.device.launch("conv1d_layer_norm", be.activation.suffix())?;
    launch.grid(frames.div_ceil(FRAMES[2]), clips, 1).block(threads(width));
    launch.output(&mut out.buf, len).input(&x.buf, x.len()).input(&conv.weight.buf, width * taps);
    launch.optional(conv.bias.as_ref().map(|bias| &bias.buf), width);
    launch.input(&conv.gamma.buf, width).input(&conv.beta.buf, width);
    launch.int(samples).int(frames).int(width).int(taps).int(conv.stride).float(conv.eps);
    // SAFETY: (1) out, x, w, bias, gamma, beta, samples, frames, width, taps, step, eps, as conv1d_layer_norm.cu declares
    // them; (2) it touches out [B, T, N], x [B, F], w [N, W], bias, gamma, beta [N], with N, W and step as wav2vec2_ops.rs bounds
    // them; (3) blocks of 8 frames for each clip.
    unsafe { launch.run(work(len, x.len())) }
}

/// Threads per block: each computes two channels; rounded up to whole warps.
fn threads(width: usize) -> usize {
    width.div_ceil(2).next_multiple_of(32)
}

fn work(written: usize, read: usize) -> Work {
    Work { bytes: ((written + read) * size_of::<Bits>()) as u64, flops: (2 * MAX_SAMPLE_TAPS * written) as u64 }
}
