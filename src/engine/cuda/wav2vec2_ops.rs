//! The primitives of [`Wav2Vec2Ops`] (wav2vec2). Each is one launch, except `positional_conv`, which has two for each
//! group, and `conv1d_channel_norm`, which has three.

use super::activation::Bits;
use super::buffer::Buffer;
use super::linear::{TILE, TILE_SHARED};
use super::matrix::{Matrix, Storage};
use super::{Cuda, attention, conv1d, layer_norm, sample_conv};
use crate::engine::profile::Work;
use crate::engine::wav2vec2_ops::{Lengths, SampleConv, Wav2Vec2Ops};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// Elements per block of the elementwise kernels.
const ELEMENTS: usize = 1024;

impl Wav2Vec2Ops for Cuda {
    fn conv1d_valid(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        conv1d::windows(self, out, x, weight, bias, [stride, 0], epilogue)
    }

    fn conv1d_channel_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        conv: &SampleConv<Self>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        sample_conv::channel_norm(self, out, x, conv, lengths)
    }

    fn conv1d_layer_norm(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, conv: &SampleConv<Self>) -> Result<()> {
        sample_conv::layer_norm(self, out, x, conv)
    }

    fn layer_norm_gelu(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()> {
        layer_norm::run(self, "layer_norm_gelu", out, x, gamma, beta, eps)
    }

    fn positional_conv(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weights: &[Matrix],
        bias: &Tensor<Self, f32>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        let (rows, width) = (x.rows(), x.width() / weights.len().max(1));
        let mut heard = Buffer::<Bits>::uninitialised(&self.device, rows * width)?;
        for (group, weight) in weights.iter().enumerate() {
            group_windows(self, &mut heard, x, weight, bias, lengths, group * width)?;
            add_group(self, out, x, &heard, lengths, [group * width, width])?;
        }
        Ok(())
    }

    fn attention_within(
        &self,
        out: &mut Tensor<Self>,
        qkv: &Tensor<Self>,
        heads: usize,
        scale: f32,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        attention::attention(self, out, qkv, heads, scale, Some(&lengths.device.buf))
    }

    fn log_softmax(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        bias: &Tensor<Self, f32>,
        wildcard: Option<usize>,
    ) -> Result<()> {
        let (rows, classes, columns, len) = (logits.rows(), logits.width(), out.width(), out.len());
        let mut launch = self.device.launch("log_softmax", "")?;
        launch.grid(rows.div_ceil(8), 1, 1).block(256);
        launch.output(&mut out.buf, len).input(&logits.buf, logits.len()).input(&bias.buf, classes);
        launch.int(rows).int(classes).int(columns).int(wildcard.unwrap_or(0));
        // SAFETY: (1) out, logits, bias, rows, classes, columns, blank, as log_softmax.cu declares them; (2) it touches out
        // [R, columns], logits [R, V], bias [V]; (3) blocks of 8 rows cover R.
        unsafe { launch.run(Work::bytes((len + logits.len()) * size_of::<f32>())) }
    }
}

/// The grouped convolution with GELU of one group, whose first channel is `first`; `heard` `[B T, C / G]` is the
/// result.
fn group_windows(
    be: &Cuda,
    heard: &mut Buffer<Bits>,
    x: &Tensor<Cuda>,
    weight: &Matrix,
    bias: &Tensor<Cuda, f32>,
    lengths: &Lengths<Cuda>,
    first: usize,
) -> Result<()> {
    let (rows, n, clips) = (x.rows(), weight.n, lengths.host.len());
    let stem = match &weight.storage {
        Storage::Plain(_) => "positional_conv",
        Storage::Int8 { .. } => "positional_conv_int8",
    };
    let mut launch = be.device.launch(stem, be.activation.suffix())?;
    launch.grid(n.div_ceil(TILE), rows.div_ceil(TILE), 1).block(128).shared(TILE_SHARED);
    launch.output(heard, rows * n).input(&x.buf, x.len());
    match &weight.storage {
        Storage::Plain(values) => launch.input(values, n * weight.stride),
        Storage::Int8 { values, scales } => launch.input(values, n * weight.stride).input(scales, n),
    };
    launch.input_from(&bias.buf, first, n).input(&lengths.device.buf, clips).long(rows).int(x.shape()[1]);
    launch.int(x.width()).int(first).int(n).int(weight.k).int(weight.stride);
    // SAFETY: (1) heard, x, w, [scales,] bias, lengths, rows, frames, channels, first, group, width, stride, as
    // positional_conv.cu declares them; (2) it touches heard [B T, C / G], x [B, T, C], w [C / G, stride], scales and bias
    // [C / G], lengths [B], and no frame past a length, which wav2vec2_ops.rs compared with T; (3) tiles of 128 x 128 cover
    // [C / G, B T].
    unsafe { launch.run(weight.work(rows, rows * n, size_of::<Bits>(), Epilogue::GeluErf)) }
}

/// `out = x + heard` in the channels of one group; `[first, channels]`.
fn add_group(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    heard: &Buffer<Bits>,
    lengths: &Lengths<Cuda>,
    [first, channels]: [usize; 2],
) -> Result<()> {
    let (count, len) = (x.rows() * channels, out.len());
    let mut launch = be.device.launch("positional_conv_add", be.activation.suffix())?;
    launch.grid(count.div_ceil(ELEMENTS), 1, 1).block(256);
    launch.output(&mut out.buf, len).input(&x.buf, len).input(heard, count);
    launch.input(&lengths.device.buf, lengths.host.len()).long(count);
    launch.int(x.shape()[1]).int(x.width()).int(first).int(channels);
    // SAFETY: (1) out, x, heard, lengths, count, frames, channels, first, group, as positional_conv.cu declares them; (2) it
    // touches out, x [B, T, C], heard [B T, C / G], lengths [B]; (3) blocks of 1024 cover them.
    unsafe { launch.run(Work::bytes(3 * count * size_of::<Bits>())) }
}
