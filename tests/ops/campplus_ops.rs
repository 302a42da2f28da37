//! The primitives of `engine/backend/campplus_ops.rs` against references in f64.

use diarist::engine::Tensor;
use diarist::engine::campplus_ops::{self, Affine, ClipConv, ClipConv2dEpilogue, ClipConvEpilogue, Clips, SEGMENT};
use diarist::engine::cpu::Cpu;
use diarist::engine::embedding_ops::{FilterShape, HostFilter};
use diarist::engine::prelude::*;
use diarist::engine::weights::HostMatrix;

use crate::common::{assert_close, assert_same, cpus, host, random, tensor};
use crate::embedding_ops::convolved;

/// Sizes of a 1-D convolution.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    outputs: usize,
    taps: usize,
    inputs: usize,
    stride: usize,
    dilation: usize,
    /// Columns of `x`, columns of `out`, first output column of the convolution.
    columns: [usize; 3],
}

/// Reference in f64 for one clip: `[T', N]` from `x` `[T, width]`.
fn sums(x: &[f64], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f64> {
    let Sizes { outputs, taps, inputs, stride, dilation, columns: [width, ..] } = sizes;
    let frames = x.len() / width;
    let value = |t: usize, n: usize| {
        let mut sum = f64::from(bias[n]);
        for tap in 0..taps {
            let at = (t * stride + tap * dilation).wrapping_sub(taps / 2 * dilation);
            if at < frames {
                for k in 0..inputs {
                    sum += f64::from(weight[(n * taps + tap) * inputs + k]) * x[at * width + k];
                }
            }
        }
        sum
    };
    (0..frames.div_ceil(stride) * outputs).map(|at| value(at / outputs, at % outputs)).collect()
}

/// The output columns of the convolution.
fn columns(out: &[f32], sizes: Sizes) -> Vec<f32> {
    let [_, width, first] = sizes.columns;
    out.chunks_exact(width).flat_map(|row| row[first..first + sizes.outputs].to_vec()).collect()
}

#[test]
fn clip_conv() {
    let lengths = [1, 2, 7, 130, 1, 215, 96];
    for sizes in [
        Sizes { outputs: 32, taps: 3, inputs: 128, stride: 1, dilation: 2, columns: [128, 80, 48] },
        Sizes { outputs: 16, taps: 3, inputs: 32, stride: 1, dilation: 1, columns: [32, 16, 0] },
        Sizes { outputs: 128, taps: 5, inputs: 40, stride: 2, dilation: 1, columns: [40, 512, 0] },
        Sizes { outputs: 128, taps: 1, inputs: 288, stride: 1, dilation: 1, columns: [512, 128, 0] },
        Sizes { outputs: 7, taps: 5, inputs: 3, stride: 3, dilation: 3, columns: [5, 9, 1] },
        Sizes { outputs: 72, taps: 3, inputs: 20, stride: 1, dilation: 1, columns: [24, 100, 3] },
    ] {
        let name = format!("clip_conv {sizes:?}");
        let Sizes { outputs, taps, inputs, stride, dilation, columns: [width, out_width, column] } = sizes;
        let (x, weight, bias) =
            (random(1, lengths.iter().sum::<usize>() * width), random(2, outputs * taps * inputs), random(3, outputs));
        let by_clip = |x: &[f64]| {
            let mut first = 0;
            let clips = lengths.iter().map(|length| {
                first += length;
                sums(&x[(first - length) * width..first * width], &weight, &bias, sizes)
            });
            clips.collect::<Vec<Vec<f64>>>()
        };
        let plain = by_clip(&x.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>());
        let want = plain.concat();
        let atol = 2e-6 * ((taps * inputs) as f64).sqrt();
        for cpu in cpus() {
            let prepared = campplus_ops::clip_weight(
                &cpu,
                &HostMatrix { values: weight.clone(), rows: outputs, cols: taps * inputs },
            )
            .unwrap();
            let bias = tensor(&cpu, &[outputs], &bias);
            let run = |x: &[f32], lengths: &[usize], finish: ClipConvEpilogue<Cpu>, before: Option<&Affine<Cpu>>| {
                let clips = Clips::new(&cpu, lengths).unwrap();
                let result = clips.strided(&cpu, stride).unwrap();
                let x = tensor(&cpu, &[clips.rows(), width], x);
                let mut out = tensor(&cpu, &[result.rows(), out_width], &vec![9.0; result.rows() * out_width]);
                let conv =
                    ClipConv { weight: &prepared, taps, stride, dilation, before, bias: Some(&bias), finish, column };
                campplus_ops::clip_conv(&cpu, &mut out, &x, &conv, [&clips, &result]).unwrap();
                let out = host(&cpu, &out);
                let others =
                    out.chunks_exact(out_width).flat_map(|row| row[..column].iter().chain(&row[column + outputs..]));
                assert!(others.into_iter().all(|v| *v == 9.0), "{name}: other columns");
                columns(&out, sizes)
            };
            let got = run(&x, &lengths, ClipConvEpilogue::Store, None);
            assert_close(&name, &got, &want, atol, 1e-6);
            let relu: Vec<f64> = want.iter().map(|v| v.max(0.0)).collect();
            assert_close(&name, &run(&x, &lengths, ClipConvEpilogue::Relu, None), &relu, atol, 1e-6);
            // One gate per segment of the output.
            let segments: usize = lengths.iter().map(|length| length.div_ceil(stride).div_ceil(SEGMENT)).sum();
            let gates = random(4, segments * outputs);
            let mut first = 0;
            let mut gated = Vec::new();
            for clip in &plain {
                for (t, row) in clip.chunks_exact(outputs).enumerate() {
                    let gates = &gates[(first + t / SEGMENT) * outputs..][..outputs];
                    gated.extend(row.iter().zip(gates).map(|(v, gate)| v * f64::from(*gate)));
                }
                first += (clip.len() / outputs).div_ceil(SEGMENT);
            }
            let gates = tensor(&cpu, &[segments, outputs], &gates);
            assert_close(&name, &run(&x, &lengths, ClipConvEpilogue::Gate(&gates), None), &gated, atol, 1e-6);
            if taps == 1 {
                let (scale, shift) = (random(5, inputs), random(6, inputs));
                let scaled = |at: usize| {
                    let k = at % width;
                    let (scale, shift) = (scale.get(k).copied().unwrap_or(1.0), shift.get(k).copied().unwrap_or(0.0));
                    (f64::from(x[at]) * f64::from(scale) + f64::from(shift)).max(0.0)
                };
                let before = Affine { scale: tensor(&cpu, &[inputs], &scale), shift: tensor(&cpu, &[inputs], &shift) };
                let want = by_clip(&(0..x.len()).map(scaled).collect::<Vec<f64>>()).concat();
                assert_close(&name, &run(&x, &lengths, ClipConvEpilogue::Store, Some(&before)), &want, atol, 1e-6);
            }
            // One clip alone.
            let rows = |clips: std::ops::Range<usize>| clips.map(|i| lengths[i].div_ceil(stride)).sum::<usize>();
            let alone = run(&x[10 * width..140 * width], &lengths[3..4], ClipConvEpilogue::Store, None);
            assert_same(&name, &alone, &got[rows(0..3) * outputs..rows(0..4) * outputs]);
        }
    }
}

#[test]
fn clip_conv2d() {
    let lengths = [1, 9, 2, 33];
    for (bands, outputs, taps, inputs, stride) in [
        (80, 32, 3, 1, 1),
        (40, 32, 3, 32, 2),
        (20, 32, 3, 32, 1),
        (7, 48, 3, 16, 1),
        (9, 16, 1, 32, 2),
        (1, 16, 3, 16, 2),
    ] {
        let shape = FilterShape { outputs, taps, inputs, stride: [1, stride] };
        let filter = HostFilter { values: random(2, outputs * taps * taps * inputs), bias: random(3, outputs), shape };
        let row = bands * inputs;
        let x = random(1, lengths.iter().sum::<usize>() * row);
        let mut first = 0;
        let want: Vec<f64> = lengths
            .iter()
            .flat_map(|length| {
                first += length;
                convolved(&x[(first - length) * row..first * row], [*length, bands], &filter)
            })
            .collect();
        let added = random(4, want.len());
        let name = format!("clip_conv2d of {bands} bands, {shape:?}");
        let is_transformed = taps == 3 && stride == 1 && inputs > 1;
        let atol = if is_transformed { 1.2e-5 } else { 2e-6 } * ((taps * taps * inputs) as f64).sqrt();
        for cpu in cpus() {
            let clips = Clips::new(&cpu, &lengths).unwrap();
            let prepared = campplus_ops::clip_filter(&cpu, &filter).unwrap();
            let out_shape = [clips.rows(), bands.div_ceil(stride), outputs];
            let x = tensor(&cpu, &[clips.rows(), bands, inputs], &x);
            let added_there = tensor(&cpu, &out_shape, &added);
            let run = |after: ClipConv2dEpilogue<Cpu>| {
                let mut out = tensor(&cpu, &out_shape, &vec![9.0; want.len()]);
                campplus_ops::clip_conv2d(&cpu, &mut out, &x, &prepared, after, &clips).unwrap();
                host(&cpu, &out)
            };
            assert_close(&name, &run(ClipConv2dEpilogue::Store), &want, atol, 1e-6);
            let relu: Vec<f64> = want.iter().map(|v| v.max(0.0)).collect();
            assert_close(&name, &run(ClipConv2dEpilogue::Relu), &relu, atol, 1e-6);
            let sums: Vec<f64> = want.iter().zip(&added).map(|(v, a)| (v + f64::from(*a)).max(0.0)).collect();
            assert_close(&name, &run(ClipConv2dEpilogue::AddRelu(&added_there)), &sums, atol, 1e-6);
        }
    }
}

#[test]
fn means_of_clips() {
    let (lengths, width) = ([1, 100, 101, 250, 7], 33);
    let rows: usize = lengths.iter().sum();
    let x: Vec<f32> = random(1, rows * width).iter().map(|v| 2.0 * v + 5.0).collect();
    // Mean of a column over rows.
    let mean = |rows: std::ops::Range<usize>, k: usize| {
        rows.clone().map(|r| f64::from(x[r * width + k])).sum::<f64>() / rows.len() as f64
    };
    let (mut contexts, mut statistics, mut centred, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for length in lengths {
        let clip = first..first + length;
        for segment in clip.clone().step_by(SEGMENT) {
            let segment = segment..clip.end.min(segment + SEGMENT);
            contexts.extend((0..width).map(|k| mean(segment.clone(), k) + mean(clip.clone(), k)));
        }
        statistics.extend((0..width).map(|k| mean(clip.clone(), k)));
        statistics.extend((0..width).map(|k| {
            let squares = clip.clone().map(|r| (f64::from(x[r * width + k]) - mean(clip.clone(), k)).powi(2));
            (squares.sum::<f64>() / (length as f64 - 1.0)).sqrt()
        }));
        centred.extend(
            clip.clone()
                .flat_map(|r| (0..width).map(move |k| (r, k)))
                .map(|(r, k)| f64::from(x[r * width + k]) - mean(clip.clone(), k)),
        );
        first += length;
    }
    for cpu in cpus() {
        let clips = Clips::new(&cpu, &lengths).unwrap();
        let there = tensor(&cpu, &[rows, width], &x);
        let mut out = Tensor::zeros(&cpu, &[clips.num_segments(), width]).unwrap();
        campplus_ops::segment_context(&cpu, &mut out, &there, &clips).unwrap();
        assert_close("segment_context", &host(&cpu, &out), &contexts, 1e-5, 1e-6);
        let mut out = Tensor::zeros(&cpu, &[lengths.len(), 2, width]).unwrap();
        campplus_ops::clip_statistics(&cpu, &mut out, &there, &clips).unwrap();
        let got = host(&cpu, &out);
        // The deviations of a clip of one frame are NaN.
        assert!(got[width..2 * width].iter().all(|v| v.is_nan()));
        assert_close("clip_statistics", &got[..width], &statistics[..width], 1e-6, 1e-6);
        assert_close("clip_statistics", &got[2 * width..], &statistics[2 * width..], 1e-6, 1e-6);
        // The same rows, permuted and gathered by the index.
        let permuted = |r: usize| (r * 17 + 3) % (rows + 5);
        let mut features = vec![f32::NAN; (rows + 5) * width];
        (0..rows).for_each(|r| features[permuted(r) * width..][..width].copy_from_slice(&x[r * width..][..width]));
        let features = tensor(&cpu, &[rows + 5, width], &features);
        let index: Vec<usize> = (0..rows).map(permuted).collect();
        let mut out = Tensor::zeros(&cpu, &[rows, width, 1]).unwrap();
        campplus_ops::centre_clips(&cpu, &mut out, &features, &index, &clips).unwrap();
        assert_close("centre_clips", &host(&cpu, &out), &centred, 1e-6, 1e-6);
        assert!(campplus_ops::centre_clips(&cpu, &mut out, &features, &index[1..], &clips).is_err());
        let beyond: Vec<usize> = index.iter().map(|row| row + 1).collect();
        assert!(
            beyond.contains(&(rows + 5))
                && campplus_ops::centre_clips(&cpu, &mut out, &features, &beyond, &clips).is_err()
        );
    }
}

#[test]
fn invalid_clips_and_shapes_are_refused() {
    let [cpu, _] = cpus();
    assert!(Clips::new(&cpu, &[3, 0, 2]).is_err());
    assert!(Clips::<Cpu>::new(&cpu, &[]).unwrap().rows() == 0);
    for (outputs, taps, inputs, stride) in
        [(8, 3, 16, [1, 1]), (16, 3, 16, [2, 1]), (16, 3, 16, [2, 2]), (16, 3, 1, [1, 2]), (16, 5, 16, [1, 1])]
    {
        let shape = FilterShape { outputs, taps, inputs, stride };
        let filter = HostFilter { values: random(2, outputs * taps * taps * inputs), bias: random(3, outputs), shape };
        assert!(campplus_ops::clip_filter(&cpu, &filter).is_err(), "{shape:?}");
    }
    assert!(campplus_ops::clip_weight(&cpu, &HostMatrix { values: vec![], rows: 0, cols: 4 }).is_err());
    assert!(campplus_ops::clip_weight(&cpu, &HostMatrix { values: vec![1.0; 7], rows: 2, cols: 4 }).is_err());
    let weight = campplus_ops::clip_weight(&cpu, &HostMatrix { values: random(1, 2 * 12), rows: 2, cols: 12 }).unwrap();
    let clips = Clips::new(&cpu, &[5, 6]).unwrap();
    let halved = clips.strided(&cpu, 2).unwrap();
    let before = Affine { scale: tensor(&cpu, &[4], &[1.0; 4]), shift: tensor(&cpu, &[4], &[0.0; 4]) };
    let plain = || ClipConv {
        weight: &weight,
        taps: 3,
        stride: 1,
        dilation: 1,
        before: None,
        bias: None,
        finish: ClipConvEpilogue::Store,
        column: 1,
    };
    let attempt = |x: [usize; 2], out: [usize; 2], conv: ClipConv<Cpu>, clips: [&Clips<Cpu>; 2]| {
        let (x, mut out) = (Tensor::zeros(&cpu, &x).unwrap(), Tensor::zeros(&cpu, &out).unwrap());
        campplus_ops::clip_conv(&cpu, &mut out, &x, &conv, clips)
    };
    assert!(attempt([11, 4], [11, 3], plain(), [&clips; 2]).is_ok());
    assert!(attempt([11, 4], [6, 3], ClipConv { stride: 2, ..plain() }, [&clips, &halved]).is_ok());
    let (bias, gates) = (tensor(&cpu, &[3], &[0.0; 3]), tensor(&cpu, &[3, 2], &[0.0; 6]));
    for (x, out, conv, result) in [
        ([10, 4], [11, 3], plain(), &clips),
        ([11, 3], [11, 3], plain(), &clips),
        ([11, 4], [10, 3], plain(), &clips),
        ([11, 4], [11, 2], plain(), &clips),
        ([11, 4], [6, 3], plain(), &halved),
        ([11, 4], [11, 3], ClipConv { column: usize::MAX, ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { taps: 2, ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { taps: 5, ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { stride: 0, ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { dilation: 0, ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { before: Some(&before), ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { bias: Some(&bias), ..plain() }, &clips),
        ([11, 4], [11, 3], ClipConv { finish: ClipConvEpilogue::Gate(&gates), ..plain() }, &clips),
    ] {
        assert!(attempt(x, out, conv, [&clips, result]).is_err(), "{x:?}, {out:?}");
    }
    assert!(cpu.clip_frames() > 0);
}
