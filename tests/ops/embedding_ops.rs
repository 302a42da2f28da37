//! The primitives of `engine/backend/embedding_ops.rs` against references in f64.

use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::embedding_ops::{self, Conv2dEpilogue, FilterShape, HostFilter, MASK_EPS};

use crate::common::{assert_close, assert_same, cpus, host, random, tensor};

/// Reference of the 2-D convolution in f64: `[T', H', O]` from one feature map `[T, H, C]`.
pub fn convolved(x: &[f32], [frames, bands]: [usize; 2], filter: &HostFilter) -> Vec<f64> {
    let FilterShape { outputs, taps, inputs, stride } = filter.shape;
    let value = |t: usize, h: usize, o: usize| {
        let mut sum = f64::from(filter.bias[o]);
        for (a, b) in (0..taps * taps).map(|tap| (tap / taps, tap % taps)) {
            let (t, h) = ((t * stride[0] + a).wrapping_sub(taps / 2), (h * stride[1] + b).wrapping_sub(taps / 2));
            if t < frames && h < bands {
                for c in 0..inputs {
                    let w = filter.values[((o * taps + a) * taps + b) * inputs + c];
                    sum += f64::from(w) * f64::from(x[(t * bands + h) * inputs + c]);
                }
            }
        }
        sum
    };
    let [rows, columns] = filter.shape.out([frames, bands]);
    (0..rows * columns * outputs)
        .map(|at| value(at / outputs / columns, at / outputs % columns, at % outputs))
        .collect()
}

fn filter(outputs: usize, taps: usize, inputs: usize, stride: usize) -> HostFilter {
    let values = random(2, outputs * taps * taps * inputs);
    HostFilter { values, bias: random(3, outputs), shape: FilterShape { outputs, taps, inputs, stride: [stride; 2] } }
}

#[test]
fn conv2d() {
    for ([frames, bands], [outputs, taps, inputs, stride]) in [
        ([9, 80], [32, 3, 1, 1]),
        ([1, 1], [16, 3, 1, 1]),
        ([12, 8], [16, 3, 16, 1]),
        ([1, 1], [16, 3, 32, 1]),
        ([6, 5], [48, 3, 32, 1]),
        ([31, 10], [80, 3, 48, 1]),
        ([70, 23], [64, 3, 64, 1]),
        ([130, 3], [32, 3, 16, 1]),
        ([7, 10], [48, 3, 32, 2]),
        ([8, 27], [80, 3, 16, 2]),
        ([1, 2], [16, 3, 16, 2]),
        ([11, 33], [48, 1, 32, 2]),
        ([4, 3], [32, 1, 16, 1]),
    ] {
        let (batch, filter) = (3, filter(outputs, taps, inputs, stride));
        let map = frames * bands * inputs;
        let x = random(1, batch * map);
        let want: Vec<f64> = x.chunks_exact(map).flat_map(|x| convolved(x, [frames, bands], &filter)).collect();
        let added = random(4, want.len());
        let name = format!("conv2d {frames} x {bands}, {:?}", filter.shape);
        // For sums of products below 1. Winograd's transformed values are up to 100 times as large as the inputs and
        // cancel, so its rounding errors are larger.
        let is_transformed = taps == 3 && stride == 1 && inputs > 1;
        let atol = if is_transformed { 1.2e-5 } else { 2e-6 } * ((taps * taps * inputs) as f64).sqrt();
        for cpu in cpus() {
            let prepared = embedding_ops::filter(&cpu, &filter).unwrap();
            let shape = [batch, frames.div_ceil(stride), bands.div_ceil(stride), outputs];
            let added_there = tensor(&cpu, &shape, &added);
            let run = |x: &[f32], batch: usize, after: Conv2dEpilogue<Cpu>| {
                let x = tensor(&cpu, &[batch, frames, bands, inputs], x);
                let mut out = tensor(&cpu, &[batch, shape[1], shape[2], outputs], &vec![9.0; want.len() / 3 * batch]);
                embedding_ops::conv2d(&cpu, &mut out, &x, &prepared, after).unwrap();
                host(&cpu, &out)
            };
            let plain = run(&x, batch, Conv2dEpilogue::Store);
            assert_close(&name, &plain, &want, atol, 1e-6);
            let relu: Vec<f64> = want.iter().map(|v| v.max(0.0)).collect();
            assert_close(&name, &run(&x, batch, Conv2dEpilogue::Relu), &relu, atol, 1e-6);
            let sums: Vec<f64> = want.iter().zip(&added).map(|(v, a)| (v + f64::from(*a)).max(0.0)).collect();
            assert_close(&name, &run(&x, batch, Conv2dEpilogue::AddRelu(&added_there)), &sums, atol, 1e-6);
            // One feature map alone.
            let alone = run(&x[map..2 * map], 1, Conv2dEpilogue::Store);
            assert_same(&name, &alone, &plain[alone.len()..2 * alone.len()]);
        }
    }
}

#[test]
fn invalid_filters_and_shapes_are_refused() {
    let [cpu, _] = cpus();
    for sizes in
        [[8, 3, 16, 1], [16, 3, 8, 1], [16, 5, 16, 1], [16, 3, 16, 3], [16, 3, 1, 2], [16, 1, 1, 1], [0, 3, 16, 1]]
    {
        let [outputs, taps, inputs, stride] = sizes;
        assert!(embedding_ops::filter(&cpu, &filter(outputs, taps, inputs, stride)).is_err(), "{sizes:?}");
    }
    let mut short = filter(16, 3, 16, 1);
    short.values.pop();
    assert!(embedding_ops::filter(&cpu, &short).is_err());
    let prepared = embedding_ops::filter(&cpu, &filter(32, 3, 16, 2)).unwrap();
    let try_shapes = |x: [usize; 4], out: [usize; 4]| {
        let (x, mut out) = (Tensor::zeros(&cpu, &x).unwrap(), Tensor::zeros(&cpu, &out).unwrap());
        embedding_ops::conv2d(&cpu, &mut out, &x, &prepared, Conv2dEpilogue::Relu)
    };
    assert!(try_shapes([2, 5, 4, 16], [2, 3, 2, 32]).is_ok());
    assert!(try_shapes([2, 5, 4, 32], [2, 3, 2, 32]).is_err());
    assert!(try_shapes([2, 5, 4, 16], [2, 2, 2, 32]).is_err());
    assert!(try_shapes([2, 5, 4, 16], [1, 3, 2, 32]).is_err());
    let x = Tensor::zeros(&cpu, &[1, 5, 4, 16]).unwrap();
    let (mut out, other) = (Tensor::zeros(&cpu, &[1, 3, 2, 32]).unwrap(), Tensor::zeros(&cpu, &[1, 3, 2, 16]).unwrap());
    assert!(embedding_ops::conv2d(&cpu, &mut out, &x, &prepared, Conv2dEpilogue::AddRelu(&other)).is_err());
}

#[test]
fn centre_windows() {
    let (rows, bands, frames, first) = (20, 7, 6, [3, 0, 14, 4]);
    let features: Vec<f32> = random(5, rows * bands).iter().map(|v| v * 10.0 - 7.0).collect();
    let mut want = vec![0.0; first.len() * frames * bands];
    for (n, first) in first.iter().enumerate() {
        for band in 0..bands {
            let at = |t: usize| f64::from(features[(first + t) * bands + band]);
            let mean = (0..frames).map(at).sum::<f64>() / frames as f64;
            (0..frames).for_each(|t| want[(n * frames + t) * bands + band] = at(t) - mean);
        }
    }
    for cpu in cpus() {
        let features = tensor(&cpu, &[rows, bands], &features);
        let mut out = Tensor::zeros(&cpu, &[first.len(), frames, bands, 1]).unwrap();
        embedding_ops::centre_windows(&cpu, &mut out, &features, &first).unwrap();
        assert_close("centre_windows", &host(&cpu, &out), &want, 1e-6, 1e-6);
        assert!(embedding_ops::centre_windows(&cpu, &mut out, &features, &[0, 0, 15, 0]).is_err());
        assert!(embedding_ops::centre_windows(&cpu, &mut out, &features, &[0, 0, 0]).is_err());
        let mut long = Tensor::zeros(&cpu, &[1, rows + 1, bands, 1]).unwrap();
        assert!(embedding_ops::centre_windows(&cpu, &mut long, &features, &[0]).is_err());
    }
}

#[test]
fn masked_statistics() {
    for [frames, bands, channels] in [[1, 1, 16], [125, 10, 16], [40, 3, 32]] {
        let (batch, speakers, width) = (2, 5, bands * channels);
        let x: Vec<f32> = random(6, batch * frames * width).iter().map(|v| v * 2.0 + 3.0).collect();
        // Masks: all frames, one frame, some frames, weights between 0 and 1, no frame.
        let weight = |s: usize, t: usize, random: f32| match s {
            0 => 1.0,
            1 => f32::from(u8::from(t == frames / 2)),
            2 => f32::from(u8::from(random > 0.3)),
            3 => random.abs(),
            _ => 0.0,
        };
        let drawn = random(7, batch * speakers * frames);
        let masks: Vec<f32> =
            drawn.iter().enumerate().map(|(i, v)| weight(i / frames % speakers, i % frames, *v)).collect();
        let mut want = Vec::new();
        for (row, mask) in masks.chunks_exact(frames).enumerate() {
            let at = |t: usize, k: usize| f64::from(x[(row / speakers * frames + t) * width + k]);
            let sum = |f: &dyn Fn(usize) -> f64| (0..frames).map(|t| f64::from(mask[t]) * f(t)).sum::<f64>();
            let total = mask.iter().sum::<f32>() + MASK_EPS;
            let divisor = total - mask.iter().map(|w| w * w).sum::<f32>() / total + MASK_EPS;
            let mean: Vec<f64> = (0..width).map(|k| sum(&|t| at(t, k)) / f64::from(total)).collect();
            want.extend(&mean);
            // The deviation of a single frame is 0. The reference would divide its rounding error by the epsilon.
            let single = mask.iter().filter(|w| **w > 0.0).count() == 1;
            let deviation = |k: usize| (sum(&|t| (at(t, k) - mean[k]).powi(2)) / f64::from(divisor)).sqrt();
            want.extend((0..width).map(|k| if single { 0.0 } else { deviation(k) }));
        }
        for cpu in cpus() {
            let (x, masks) =
                (tensor(&cpu, &[batch, frames, bands, channels], &x), tensor(&cpu, &[batch, speakers, frames], &masks));
            let mut out = Tensor::zeros(&cpu, &[batch, speakers, 2, width]).unwrap();
            embedding_ops::masked_statistics(&cpu, &mut out, &x, &masks).unwrap();
            let got = host(&cpu, &out);
            // With one frame in all, the mask of weights also has a single frame, but of a weight other than 1.
            if frames > 1 {
                assert_close("masked_statistics", &got, &want, 1e-5, 1e-5);
            } else {
                assert!(got.iter().all(|v| v.is_finite()));
                assert_close("masked_statistics", &got[..width], &want[..width], 1e-6, 1e-6);
            }
            let mut wrong = Tensor::zeros(&cpu, &[batch, speakers, 2, width + 1]).unwrap();
            assert!(embedding_ops::masked_statistics(&cpu, &mut wrong, &x, &masks).is_err());
            let few = Tensor::zeros(&cpu, &[1, speakers, frames]).unwrap();
            assert!(embedding_ops::masked_statistics(&cpu, &mut out, &x, &few).is_err());
        }
    }
}
