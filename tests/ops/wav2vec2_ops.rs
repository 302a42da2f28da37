//! The primitives of `engine/backend/wav2vec2_ops.rs` against references in f64, with clips of different lengths in one batch.

use diarist::engine::cpu::Cpu;
use diarist::engine::prelude::*;
use diarist::engine::wav2vec2_ops::{self, Lengths, SampleConv};
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Epilogue, Tensor};

use crate::common::{assert_close, assert_same, cpus, gelu, host, random, tensor};

/// Value of padding frames; it must not influence any result.
const PADDING: f32 = 1e6;

/// Random values `[B, T, C]`, with padding after each clip's length.
fn ragged(seed: u64, lengths: &[usize], frames: usize, width: usize) -> Vec<f32> {
    let mut values = random(seed, lengths.len() * frames * width);
    for (clip, length) in values.chunks_exact_mut(frames * width).zip(lengths) {
        clip[length * width..].fill(PADDING);
    }
    values
}

#[test]
fn conv1d_valid() {
    for (frames, width, outputs, taps, stride) in
        [(10, 1, 3, 10, 5), (33, 5, 7, 3, 2), (8, 2, 17, 2, 2), (70, 8, 4, 4, 3)]
    {
        let (batch, k) = (2, taps * width);
        let (x, weight) = (random(1, batch * frames * width), random(2, outputs * k));
        let bias = random(3, outputs);
        let out_frames = (frames - taps) / stride + 1;
        let want: Vec<f64> = (0..batch * out_frames * outputs)
            .map(|i| {
                let (b, t, n) = (i / outputs / out_frames, i / outputs % out_frames, i % outputs);
                let window = &x[(b * frames + t * stride) * width..][..k];
                let products = window.iter().zip(&weight[n * k..]).map(|(a, w)| f64::from(*a) * f64::from(*w));
                gelu(products.sum::<f64>() + f64::from(bias[n]))
            })
            .collect();
        for cpu in cpus() {
            let matrix = cpu.matrix(&HostMatrix { values: weight.clone(), rows: outputs, cols: k }).unwrap();
            let (x, bias) = (tensor(&cpu, &[batch, frames, width], &x), tensor(&cpu, &[outputs], &bias));
            let mut out = Tensor::zeros(&cpu, &[batch, out_frames, outputs]).unwrap();
            wav2vec2_ops::conv1d_valid(&cpu, &mut out, &x, &matrix, Some(&bias), stride, Epilogue::GeluErf).unwrap();
            assert_close("conv1d_valid", &host(&cpu, &out), &want, 1e-5, 1e-5);
            let mut wrong = Tensor::zeros(&cpu, &[batch, out_frames + 1, outputs]).unwrap();
            assert!(wav2vec2_ops::conv1d_valid(&cpu, &mut wrong, &x, &matrix, None, stride, Epilogue::Store).is_err());
        }
    }
}

/// Reference of the convolution over samples in f64: `[B * T]` frames of `[N]`.
fn convolved(x: &[f32], samples: usize, weight: &[f32], [width, taps, stride]: [usize; 3]) -> Vec<Vec<f64>> {
    let frames = (samples - taps) / stride + 1;
    let frame = |clip: &[f32], t: usize| -> Vec<f64> {
        let window = &clip[t * stride..][..taps];
        let dot = |w: &[f32]| w.iter().zip(window).map(|(w, v)| f64::from(*w) * f64::from(*v)).sum::<f64>();
        (0..width).map(|c| dot(&weight[c * taps..][..taps])).collect()
    };
    x.chunks_exact(samples).flat_map(|clip| (0..frames).map(move |t| frame(clip, t))).collect()
}

/// Normalises to mean 0 and variance 1.
fn unit(values: &[f64], eps: f64) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    values.iter().map(|v| (v - mean) / (variance + eps).sqrt()).collect()
}

fn sample_conv(cpu: &Cpu, [width, taps, stride]: [usize; 3], bias: bool) -> SampleConv<Cpu> {
    SampleConv {
        weight: tensor(cpu, &[width, taps], &random(5, width * taps)),
        bias: bias.then(|| tensor(cpu, &[width], &random(8, width))),
        gamma: tensor(cpu, &[width], &random(6, width)),
        beta: tensor(cpu, &[width], &random(7, width)),
        stride,
        eps: 1e-5,
    }
}

/// The samples have an offset, so that the variance is a small difference of large second moments.
#[test]
fn conv1d_channel_norm() {
    for sizes in [[3, 10, 5], [17, 3, 1], [512, 16, 16], [33, 1, 2]] {
        let ([width, taps, stride], lengths, frames) = (sizes, [600, 30, 0, 513], 600);
        let samples = (frames - 1) * stride + taps;
        let x: Vec<f32> = random(4, lengths.len() * samples).iter().map(|v| v + 2.0).collect();
        let all = convolved(&x, samples, &random(5, width * taps), sizes);
        let (gamma, beta) = (random(6, width), random(7, width));
        let mut want = vec![0.0; lengths.len() * frames * width];
        for (b, c) in (0..lengths.len()).flat_map(|b| (0..width).map(move |c| (b, c))) {
            let values: Vec<f64> = (0..lengths[b]).map(|t| all[b * frames + t][c]).collect();
            for (t, v) in unit(&values, 1e-5).into_iter().enumerate() {
                want[(b * frames + t) * width + c] = gelu(v * f64::from(gamma[c]) + f64::from(beta[c]));
            }
        }
        for cpu in cpus() {
            let conv = sample_conv(&cpu, sizes, false);
            let x = tensor(&cpu, &[lengths.len(), samples, 1], &x);
            let mut out = tensor(&cpu, &[lengths.len(), frames, width], &vec![PADDING; want.len()]);
            let lengths = Lengths::new(&cpu, lengths.to_vec()).unwrap();
            wav2vec2_ops::conv1d_channel_norm(&cpu, &mut out, &x, &conv, &lengths).unwrap();
            assert_close(&format!("conv1d_channel_norm {sizes:?}"), &host(&cpu, &out), &want, 1e-4, 1e-4);
            let short = Lengths::new(&cpu, vec![1, 2]).unwrap();
            assert!(wav2vec2_ops::conv1d_channel_norm(&cpu, &mut out, &x, &conv, &short).is_err());
            let wide = sample_conv(&cpu, [width, 17, stride], false);
            assert!(wav2vec2_ops::conv1d_channel_norm(&cpu, &mut out, &x, &wide, &lengths).is_err());
        }
    }
}

#[test]
fn conv1d_layer_norm() {
    for (sizes, has_bias) in [([3, 10, 5], true), ([17, 3, 1], false), ([512, 16, 16], true), ([33, 1, 2], true)] {
        let ([width, taps, stride], frames) = (sizes, 517);
        let samples = (frames - 1) * stride + taps;
        let x = random(4, 2 * samples);
        let (gamma, beta, bias) = (random(6, width), random(7, width), random(8, width));
        let mut want = Vec::new();
        for frame in convolved(&x, samples, &random(5, width * taps), sizes) {
            let biased = frame.iter().zip(&bias).map(|(v, b)| if has_bias { v + f64::from(*b) } else { *v });
            let units = unit(&biased.collect::<Vec<_>>(), 1e-5);
            let finished = |c: usize| gelu(units[c] * f64::from(gamma[c]) + f64::from(beta[c]));
            want.extend((0..width).map(finished));
        }
        for cpu in cpus() {
            let conv = sample_conv(&cpu, sizes, has_bias);
            let x = tensor(&cpu, &[2, samples, 1], &x);
            let mut out = Tensor::zeros(&cpu, &[2, frames, width]).unwrap();
            wav2vec2_ops::conv1d_layer_norm(&cpu, &mut out, &x, &conv).unwrap();
            assert_close(&format!("conv1d_layer_norm {sizes:?}"), &host(&cpu, &out), &want, 1e-4, 1e-4);
            let mut wrong = Tensor::zeros(&cpu, &[2, frames + 1, width]).unwrap();
            assert!(wav2vec2_ops::conv1d_layer_norm(&cpu, &mut wrong, &x, &conv).is_err());
        }
    }
}

#[test]
fn layer_norm_gelu() {
    for (rows, width) in [(3, 5), (700, 128), (2, 33)] {
        let (x, gamma, beta) = (random(7, rows * width), random(8, width), random(9, width));
        let row = |row: &[f32]| unit(&row.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), 1e-5);
        let finished = |(i, v): (usize, f64)| gelu(v * f64::from(gamma[i % width]) + f64::from(beta[i % width]));
        let want: Vec<f64> = x.chunks_exact(width).flat_map(row).enumerate().map(finished).collect();
        for cpu in cpus() {
            let (gamma, beta) = (tensor(&cpu, &[width], &gamma), tensor(&cpu, &[width], &beta));
            let mut out = Tensor::zeros(&cpu, &[1, rows, width]).unwrap();
            let x = tensor(&cpu, &[1, rows, width], &x);
            wav2vec2_ops::layer_norm_gelu(&cpu, &mut out, &x, &gamma, &beta, 1e-5).unwrap();
            assert_close("layer_norm_gelu", &host(&cpu, &out), &want, 2e-5, 1e-5);
        }
    }
}

#[test]
fn positional_conv() {
    for (groups, width, taps) in [(1, 4, 3), (3, 6, 8), (4, 8, 1), (2, 34, 16)] {
        let (lengths, frames, channels) = ([9, 0, 4], 9, width / groups);
        let x = ragged(8, &lengths, frames, width);
        let (weight, bias) = (random(9, width * taps * channels), random(10, width));
        let mut want = vec![0.0; x.len()];
        for (b, length) in lengths.iter().enumerate() {
            for (t, n) in (0..*length).flat_map(|t| (0..width).map(move |n| (t, n))) {
                let mut sum = f64::from(bias[n]);
                for (tap, c) in (0..taps).flat_map(|tap| (0..channels).map(move |c| (tap, c))) {
                    if let Some(from) = (t + tap).checked_sub(taps / 2).filter(|from| from < length) {
                        let value = x[(b * frames + from) * width + n / channels * channels + c];
                        sum += f64::from(value) * f64::from(weight[(n * taps + tap) * channels + c]);
                    }
                }
                want[(b * frames + t) * width + n] = f64::from(x[(b * frames + t) * width + n]) + gelu(sum);
            }
        }
        for cpu in cpus() {
            let part = |values: &[f32]| HostMatrix { values: values.to_vec(), rows: channels, cols: taps * channels };
            let parts = weight.chunks_exact(channels * taps * channels);
            let weights: Vec<_> = parts.map(|values| cpu.matrix(&part(values)).unwrap()).collect();
            let (x, bias) = (tensor(&cpu, &[3, frames, width], &x), tensor(&cpu, &[width], &bias));
            let mut out = tensor(&cpu, &[3, frames, width], &vec![PADDING; 3 * frames * width]);
            let lengths = Lengths::new(&cpu, lengths.to_vec()).unwrap();
            wav2vec2_ops::positional_conv(&cpu, &mut out, &x, &weights, &bias, &lengths).unwrap();
            assert_close(&format!("positional_conv {groups} x {taps}"), &host(&cpu, &out), &want, 1e-4, 1e-5);
            assert!(
                wav2vec2_ops::positional_conv(&cpu, &mut out, &x, &weights[..groups - 1], &bias, &lengths).is_err()
            );
        }
    }
}

/// Compared with `attention` of each clip alone, without padding.
#[test]
fn attention_within() {
    let (lengths, frames, width, heads) = ([50, 1, 0, 33], 50, 12, 2);
    let qkv = ragged(11, &lengths, frames, 3 * width);
    for cpu in cpus() {
        let mut out = tensor(&cpu, &[4, frames, width], &vec![PADDING; 4 * frames * width]);
        let all = tensor(&cpu, &[4, frames, 3 * width], &qkv);
        let real = Lengths::new(&cpu, lengths.to_vec()).unwrap();
        wav2vec2_ops::attention_within(&cpu, &mut out, &all, heads, 0.5, &real).unwrap();
        for ((got, qkv), length) in
            host(&cpu, &out).chunks(frames * width).zip(qkv.chunks(frames * 3 * width)).zip(lengths)
        {
            let mut alone = Tensor::zeros(&cpu, &[1, length, width]).unwrap();
            let qkv = tensor(&cpu, &[1, length, 3 * width], &qkv[..length * 3 * width]);
            diarist::engine::ops::attention(&cpu, &mut alone, &qkv, heads, 0.5).unwrap();
            assert_same("attention_within", &got[..length * width], &host(&cpu, &alone));
            assert!(got[length * width..].iter().all(|v| *v == 0.0));
        }
    }
}

#[test]
fn log_softmax() {
    let (rows, classes, blank) = (130, 7, 3);
    let logits: Vec<f32> = random(12, rows * classes).iter().map(|v| v * 30.0 + 100.0).collect();
    let bias = random(13, classes);
    let mut want = Vec::new();
    for row in logits.chunks_exact(classes) {
        let values: Vec<f64> = row.iter().zip(&bias).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
        let normaliser = values.iter().map(|v| (v - 100.0).exp()).sum::<f64>().ln() + 100.0;
        want.extend(values.iter().map(|v| v - normaliser));
        let others = values.iter().enumerate().filter(|(class, _)| *class != blank);
        want.push(others.map(|(_, v)| v - normaliser).fold(f64::MIN, f64::max));
    }
    for cpu in cpus() {
        let (logits, bias) = (tensor(&cpu, &[rows, classes], &logits), tensor(&cpu, &[classes], &bias));
        let mut out = Tensor::zeros(&cpu, &[rows, classes + 1]).unwrap();
        wav2vec2_ops::log_softmax(&cpu, &mut out, &logits, &bias, Some(blank)).unwrap();
        assert_close("log_softmax", &host(&cpu, &out), &want, 2e-5, 1e-6);
        assert!(wav2vec2_ops::log_softmax(&cpu, &mut out, &logits, &bias, None).is_err());
    }
}
