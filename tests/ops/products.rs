//! `linear`, `logits`, `conv1d`, `layer_norm`, `add_positions`, `gather_rows` and `embed` against references in f64.

use diarist::engine::cpu::{Cpu, WeightType};
use diarist::engine::prelude::*;
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Epilogue, StepRows, Tensor, ops};

use crate::common::*;

/// `(R, N, K)`: sizes below, at and above tiles of 6 rows, panels of 64 outputs and blocks of 128 inputs.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 31, 33),
    (5, 64, 128),
    (6, 65, 129),
    (7, 33, 257),
    (13, 130, 31),
    (40, 257, 64),
    (193, 70, 80),
    (409, 96, 131),
];

fn host_matrix(seed: u64, rows: usize, cols: usize) -> HostMatrix {
    HostMatrix { values: random(seed, rows * cols), rows, cols }
}

fn linear_f64(x: &[f32], w: &HostMatrix, bias: Option<&[f32]>) -> Vec<f64> {
    let mut out = Vec::new();
    for x in x.chunks_exact(w.cols) {
        for (n, w) in w.values.chunks_exact(w.cols).enumerate() {
            let sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            out.push(sum + bias.map_or(0.0, |b| f64::from(b[n])));
        }
    }
    out
}

fn linear(cpu: &Cpu, x: &[f32], w: &HostMatrix, bias: Option<&[f32]>, before: &[f32], epilogue: Epilogue) -> Vec<f32> {
    let rows = x.len() / w.cols;
    let mut out = tensor(cpu, &[rows, w.rows], before);
    let bias = bias.map(|b| tensor(cpu, &[b.len()], b));
    let matrix = cpu.matrix(w).unwrap();
    assert_eq!(cpu.matrix_shape(&matrix), (w.rows, w.cols));
    ops::linear(cpu, &mut out, &tensor(cpu, &[rows, w.cols], x), &matrix, bias.as_ref(), epilogue).unwrap();
    host(cpu, &out)
}

#[test]
fn linear_matches_f64() {
    for (rows, n, k) in SHAPES {
        let (x, w, bias, before) = (random(1, rows * k), host_matrix(2, n, k), random(3, n), random(4, rows * n));
        let sums = linear_f64(&x, &w, Some(&bias));
        for cpu in cpus() {
            let case = format!("{rows}x{n}x{k}, {} threads", cpu.threads());
            let run = |epilogue| linear(&cpu, &x, &w, Some(&bias), &before, epilogue);
            // Rounding errors of sums of K products below 1 grow like sqrt(K) 2^-24.
            assert_close(&case, &run(Epilogue::Store), &sums, 1e-5, 1e-6);
            let want: Vec<f64> = sums.iter().map(|s| gelu(*s)).collect();
            assert_close(&format!("gelu {case}"), &run(Epilogue::GeluErf), &want, 1e-5, 1e-6);
            let want: Vec<f64> = sums.iter().zip(&before).map(|(s, b)| s + f64::from(*b)).collect();
            assert_close(&format!("add {case}"), &run(Epilogue::Add), &want, 1e-5, 1e-6);
            let plain = linear(&cpu, &x, &w, None, &before, Epilogue::Store);
            assert_close(&format!("no bias {case}"), &plain, &linear_f64(&x, &w, None), 1e-5, 1e-6);
        }
    }
}

#[test]
fn linear_rows_do_not_depend_on_their_batch() {
    for (rows, n, k) in SHAPES {
        let (x, w, bias, before) = (random(1, rows * k), host_matrix(2, n, k), random(3, n), random(4, rows * n));
        for kind in [WeightType::F32, WeightType::F16, WeightType::Int8] {
            let [one, two] = cpus().map(|cpu| cpu.with_weights(kind));
            let all = linear(&one, &x, &w, Some(&bias), &before, Epilogue::Add);
            let threaded = linear(&two, &x, &w, Some(&bias), &before, Epilogue::Add);
            assert_same(&format!("threads {rows}x{n}x{k} {kind:?}"), &threaded, &all);
            for r in [0, rows / 2, rows - 1] {
                let (x, before) = (&x[r * k..(r + 1) * k], &before[r * n..(r + 1) * n]);
                let alone = linear(&two, x, &w, Some(&bias), before, Epilogue::Add);
                assert_same(&format!("row {r} of {rows}x{n}x{k} {kind:?}"), &alone, &all[r * n..(r + 1) * n]);
            }
        }
    }
}

#[test]
fn weights_in_f16_and_int8() {
    let (rows, n, k) = (7, 97, 131);
    let (x, w) = (random(1, rows * k), host_matrix(2, n, k));
    let run = |kind, w: &HostMatrix| {
        let cpu = Cpu::new(Some(1)).unwrap().with_weights(kind);
        linear(&cpu, &x, w, None, &vec![0.0; rows * n], Epilogue::Store)
    };
    let rounded: Vec<f32> = w.values.iter().map(|v| half::f16::from_f32(*v).to_f32()).collect();
    let rounded = HostMatrix { values: rounded, ..w };
    let exact = run(WeightType::F32, &rounded);
    assert_same("f16 weights", &run(WeightType::F16, &w), &exact);
    assert_same("auto of f16 values", &run(WeightType::Auto, &rounded), &exact);
    assert_same("auto of f32 values", &run(WeightType::Auto, &w), &run(WeightType::F32, &w));

    let mut quantised = w.values.clone();
    for row in quantised.chunks_exact_mut(k) {
        let scale = row.iter().fold(0f32, |max, v| max.max(v.abs())) / 127.0;
        row.iter_mut().for_each(|v| *v = (*v / scale).round() * scale);
    }
    let quantised = HostMatrix { values: quantised, ..w };
    assert_close("int8", &run(WeightType::Int8, &w), &linear_f64(&x, &quantised, None), 1e-5, 1e-6);
}

#[test]
fn conv1d_matches_f64() {
    // (B, F, C, N, W, stride)
    for (batch, frames, width, n, taps, stride) in [
        (1, 1, 3, 5, 3, 1),
        (2, 31, 8, 33, 3, 2),
        (3, 8, 5, 17, 5, 3),
        (2, 2, 4, 7, 5, 1),
        (1, 257, 80, 65, 3, 1),
        (2, 30, 9, 16, 1, 1),
    ] {
        let k = taps * width;
        let (x, w, bias) = (random(5, batch * frames * width), host_matrix(6, n, k), random(7, n));
        let out_frames = frames.div_ceil(stride);
        let mut windows = Vec::new();
        for b in 0..batch {
            for t in 0..out_frames {
                for tap in 0..taps {
                    let frame = (t * stride + tap).wrapping_sub(taps / 2);
                    for c in 0..width {
                        windows.push(if frame < frames { x[(b * frames + frame) * width + c] } else { 0.0 });
                    }
                }
            }
        }
        let want: Vec<f64> = linear_f64(&windows, &w, Some(&bias)).into_iter().map(gelu).collect();
        for cpu in cpus() {
            let mut out = Tensor::zeros(&cpu, &[batch, out_frames, n]).unwrap();
            let (x, bias) = (tensor(&cpu, &[batch, frames, width], &x), tensor(&cpu, &[n], &bias));
            let matrix = cpu.matrix(&w).unwrap();
            ops::conv1d(&cpu, &mut out, &x, &matrix, Some(&bias), stride, Epilogue::GeluErf).unwrap();
            assert_close(&format!("{frames} frames, {taps}/{stride}"), &host(&cpu, &out), &want, 1e-5, 1e-6);
        }
    }
}

#[test]
fn layer_norm_matches_f64() {
    for (rows, width) in [(1, 1), (3, 31), (7, 64), (5, 257), (123, 384)] {
        let (x, gamma, beta) = (random(8, rows * width), random(9, width), random(10, width));
        // One case has a variance below epsilon, so that epsilon matters.
        let (gain, offset) = if width == 31 { (3e-3, 0.0) } else { (3.0, 2.0) };
        let x: Vec<f32> = x.iter().map(|v| gain * v + offset).collect();
        let mut want = Vec::new();
        for x in x.chunks_exact(width) {
            let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            let mean = x.iter().sum::<f64>() / width as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            let parameters = gamma.iter().zip(&beta);
            want.extend(
                x.iter()
                    .zip(parameters)
                    .map(|(v, (g, b))| (v - mean) / (variance + 1e-5).sqrt() * f64::from(*g) + f64::from(*b)),
            );
        }
        let run = |cpu: &Cpu, x: &[f32]| {
            let mut out = Tensor::zeros(cpu, &[x.len() / width, width]).unwrap();
            let (gamma, beta) = (tensor(cpu, &[width], &gamma), tensor(cpu, &[width], &beta));
            let x = tensor(cpu, &[x.len() / width, width], x);
            ops::layer_norm(cpu, &mut out, &x, &gamma, &beta, 1e-5).unwrap();
            host(cpu, &out)
        };
        let [one, two] = cpus();
        let all = run(&one, &x);
        assert_close(&format!("{rows}x{width}"), &all, &want, 2e-6, 2e-6);
        assert_same("threads", &run(&two, &x), &all);
        assert_same("last row", &run(&two, &x[(rows - 1) * width..]), &all[(rows - 1) * width..]);
    }
}

#[test]
fn small_ops() {
    let (batch, frames, width) = (2, 5, 7);
    let (x, table) = (random(11, batch * frames * width), random(12, (frames + 2) * width));
    let cpu = Cpu::new(Some(2)).unwrap();
    let mut t = tensor(&cpu, &[batch, frames, width], &x);
    ops::add_positions(&cpu, &mut t, &tensor(&cpu, &[frames + 2, width], &table)).unwrap();
    let want: Vec<f64> =
        x.iter().enumerate().map(|(i, v)| f64::from(*v) + f64::from(table[i % (frames * width)])).collect();
    assert_close("add_positions", &host(&cpu, &t), &want, 1e-6, 0.0);

    let x = tensor(&cpu, &[10, width], &x);
    let mut out = Tensor::zeros(&cpu, &[3, width]).unwrap();
    ops::gather_rows(&cpu, &mut out, &x, &indices(&cpu, &[9, 0, 9])).unwrap();
    let all = host(&cpu, &x);
    let row = |r: usize| &all[r * width..(r + 1) * width];
    assert_same("gather_rows", &host(&cpu, &out), &[row(9), row(0), row(9)].concat());
    assert!(ops::gather_rows(&cpu, &mut out, &x, &indices(&cpu, &[0, 10, 1])).is_err());
}

#[test]
fn embed_and_logits() {
    let (vocab, width, positions) = (131, 33, 9);
    let (table, places) = (host_matrix(13, vocab, width), random(14, positions * width));
    for kind in [WeightType::F32, WeightType::F16] {
        let cpu = Cpu::new(Some(2)).unwrap().with_weights(kind);
        let matrix = cpu.matrix(&table).unwrap();
        let mut rows = StepRows::zeros(&cpu, 3).unwrap();
        fill(&cpu, &mut rows.token, &[0, 130, 65]);
        fill(&cpu, &mut rows.position, &[8, 0, 3]);
        let mut x = Tensor::zeros(&cpu, &[3, width]).unwrap();
        ops::embed(&cpu, &mut x, &rows, &matrix, &tensor(&cpu, &[positions, width], &places)).unwrap();
        let mut want = Vec::new();
        for (token, position) in [(0, 8), (130, 0), (65, 3)] {
            for c in 0..width {
                let w = table.values[token * width + c];
                let w = if kind == WeightType::F16 { half::f16::from_f32(w).to_f32() } else { w };
                want.push(f64::from(w) + f64::from(places[position * width + c]));
            }
        }
        assert_close("embed", &host(&cpu, &x), &want, 1e-6, 0.0);

        let mut out = Tensor::zeros(&cpu, &[3, vocab]).unwrap();
        ops::logits(&cpu, &mut out, &x, &matrix).unwrap();
        let atol = if kind == WeightType::F16 { 1e-2 } else { 1e-5 };
        assert_close("logits", &host(&cpu, &out), &linear_f64(&host(&cpu, &x), &table, None), atol, 1e-6);
        fill(&cpu, &mut rows.token, &[0, 131, 65]);
        assert!(ops::embed(&cpu, &mut x, &rows, &matrix, &tensor(&cpu, &[positions, width], &places)).is_err());
    }
}
