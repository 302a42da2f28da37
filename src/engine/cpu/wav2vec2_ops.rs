//! wav2vec2: the [`Wav2Vec2Ops`] primitives on the CPU. Convolutions are matrix products over windows of the input,
//! except those over samples (`sample_conv`).

use rayon::prelude::*;

use super::{Cpu, Matrix, attention, gemm, layer_norm, sample_conv};
use crate::engine::wav2vec2_ops::{Lengths, SampleConv, Wav2Vec2Ops};
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

impl Wav2Vec2Ops for Cpu {
    fn conv1d_valid(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        epilogue: Epilogue,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let (out_frames, k, len, rows) = (out.shape()[1], weight.k, out.len(), out.rows());
        let row = |r: usize| &x.buf[(r / out_frames * frames + r % out_frames * stride) * width..][..k];
        let bias = bias.map(|b| &b.buf[..weight.n]);
        gemm::gemm(self, row, rows, weight.panels(), bias, epilogue, &mut out.buf[..len]);
        Ok(())
    }

    fn conv1d_channel_norm(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        conv: &SampleConv<Self>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        sample_conv::channel_norm(self, out, x, conv, lengths);
        Ok(())
    }

    fn conv1d_layer_norm(&self, out: &mut Tensor<Self>, x: &Tensor<Self>, conv: &SampleConv<Self>) -> Result<()> {
        sample_conv::layer_norm(self, out, x, conv);
        Ok(())
    }

    fn layer_norm_gelu(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        gamma: &Tensor<Self, f32>,
        beta: &Tensor<Self, f32>,
        eps: f32,
    ) -> Result<()> {
        layer_norm::layer_norm(self, out, x, gamma, beta, eps, true);
        Ok(())
    }

    fn positional_conv(
        &self,
        out: &mut Tensor<Self>,
        x: &Tensor<Self>,
        weights: &[Matrix],
        bias: &Tensor<Self, f32>,
        lengths: &Lengths<Self>,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let len = out.len();
        out.buf[..len].fill(0.0);
        let Some(first) = weights.first() else { return Ok(()) };
        let (group_width, taps) = (first.n, first.k / first.n);
        for (clip, length) in lengths.host.iter().enumerate() {
            let x = &x.buf[clip * frames * width..][..length * width];
            let out = &mut out.buf[clip * frames * width..][..length * width];
            // Group by group: a copy with contiguous channels and zero padding, in which every window is contiguous.
            let mut padded = vec![0.0; (length + taps) * group_width];
            let mut activated = vec![0.0; length * group_width];
            for (group, weight) in weights.iter().enumerate() {
                let channels = group * group_width..(group + 1) * group_width;
                let inner = padded[taps / 2 * group_width..].chunks_exact_mut(group_width);
                for (to, from) in inner.zip(x.chunks_exact(width)) {
                    to.copy_from_slice(&from[channels.clone()]);
                }
                let row = |t: usize| &padded[t * group_width..][..weight.k];
                let bias = Some(&bias.buf[channels.clone()]);
                gemm::gemm(self, row, *length, weight.panels(), bias, Epilogue::GeluErf, &mut activated);
                let pairs = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for ((out, x), activated) in pairs.zip(activated.chunks_exact(group_width)) {
                    let sums = out[channels.clone()].iter_mut().zip(&x[channels.clone()]).zip(activated);
                    sums.for_each(|((out, x), activated)| *out = x + activated);
                }
            }
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
        attention::attention(self, out, qkv, heads, scale, Some(&lengths.host));
        Ok(())
    }

    fn log_softmax(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        bias: &Tensor<Self, f32>,
        wildcard: Option<usize>,
    ) -> Result<()> {
        let (classes, columns, len) = (logits.width(), out.width(), out.len());
        let (logits, bias) = (&logits.buf[..logits.len()], &bias.buf[..classes]);
        self.threads.run(|| {
            let rows = out.buf[..len].par_chunks_exact_mut(columns).zip(logits.par_chunks_exact(classes));
            rows.with_min_len(64).for_each(|(out, logits)| log_softmax(out, logits, bias, wildcard));
        });
        Ok(())
    }
}

fn log_softmax(out: &mut [f32], logits: &[f32], bias: &[f32], wildcard: Option<usize>) {
    let classes = logits.len();
    for ((out, logit), bias) in out.iter_mut().zip(logits).zip(bias) {
        *out = logit + bias;
    }
    let largest = out[..classes].iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let sum: f64 = out[..classes].iter().map(|value| f64::from(value - largest).exp()).sum();
    let normaliser = largest + sum.ln() as f32;
    out[..classes].iter_mut().for_each(|value| *value -= normaliser);
    if let Some(blank) = wildcard {
        let others = out[..classes].iter().enumerate().filter(|(class, _)| *class != blank);
        out[classes] = others.fold(f32::NEG_INFINITY, |a, (_, b)| a.max(*b));
    }
}
