//! Benchmarks of the ops of the CPU backend, at the sizes of Whisper base and small.
//!
//! `cargo bench --bench ops` reports time and throughput: operations per second where arithmetic is the limit (2 per
//! multiply-add), bytes per second where memory is the limit. Compare with `peak`, which is measured in the same run.

#![allow(missing_docs)] // criterion's macro generates an undocumented function

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use diarist::engine::cpu::{Cpu, CrossCacheType, WeightType};
use diarist::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use diarist::engine::prelude::*;
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Epilogue, StepRows, Tensor, ops};
use diarist::units::MelFrame;

/// Encoder frames of a 30 s window.
const FRAMES: usize = 1500;

fn cpu() -> Cpu {
    Cpu::new(None).expect("threads start")
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 2003) as f32 - 1001.0) / 8192.0).collect()
}

fn tensor(cpu: &Cpu, shape: &[usize]) -> Tensor<Cpu> {
    Tensor::from_host(cpu, shape, &values(shape.iter().product())).expect("the values fit the shape")
}

fn matrix(cpu: &Cpu, rows: usize, cols: usize) -> <Cpu as MatrixOps>::Matrix {
    cpu.matrix(&HostMatrix { values: values(rows * cols), rows, cols }).expect("the values fit the shape")
}

fn step_rows(cpu: &Cpu, num_rows: usize, position: i32) -> StepRows<Cpu> {
    let mut rows = StepRows::zeros(cpu, num_rows).expect("memory");
    let all: Vec<i32> = (0..num_rows as i32).collect();
    cpu.write(&mut rows.row.buf, 0, &all).expect("the values fit");
    cpu.write(&mut rows.position.buf, 0, &vec![position; num_rows]).expect("the values fit");
    rows
}

/// Peak performance of the CPU on all threads: multiply-adds in registers, and reading 256 MB of memory.
fn peak(c: &mut Criterion) {
    struct Fma(u64);
    impl pulp::WithSimd for Fma {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, s: S) -> f32 {
            let mut sums = [s.splat_f32s(0.0); 24];
            let (x, y) = (s.splat_f32s(black_box(1.0)), s.splat_f32s(black_box(0.5)));
            for _ in 0..self.0 {
                for sum in &mut sums {
                    *sum = s.mul_add_f32s(x, y, *sum);
                }
            }
            sums.iter().map(|sum| s.reduce_sum_f32s(*sum)).sum()
        }
    }
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = u64;
        fn with_simd<S: pulp::Simd>(self, _: S) -> u64 {
            S::F32_LANES as u64
        }
    }
    let arch = pulp::Arch::new();
    let threads = rayon::current_num_threads() as u64;
    let mut group = c.benchmark_group("peak");
    group.throughput(Throughput::Elements(threads * 1_000_000 * 24 * 2 * arch.dispatch(Lanes)));
    group.bench_function("multiply-add", |b| b.iter(|| rayon::broadcast(|_| arch.dispatch(Fma(1_000_000)))));
    let data = vec![1u64; 32 << 20];
    group.throughput(Throughput::Bytes(8 * data.len() as u64));
    group.bench_function("read", |b| {
        b.iter(|| {
            rayon::broadcast(|at| {
                let part = data.len() / at.num_threads();
                data[at.index() * part..(at.index() + 1) * part].iter().fold(0, |a, v| a ^ v)
            })
        });
    });
}

fn linear(c: &mut Criterion) {
    let cpu = cpu();
    let mut group = c.benchmark_group("linear");
    for (rows, k, n) in [(FRAMES, 512, 512), (FRAMES, 512, 2048), (FRAMES, 768, 3072), (FRAMES, 3072, 768)] {
        for kind in [WeightType::F32, WeightType::F16] {
            let cpu = cpu.clone().with_weights(kind);
            let (w, x, bias) = (matrix(&cpu, n, k), tensor(&cpu, &[rows, k]), tensor(&cpu, &[n]));
            let mut out = tensor(&cpu, &[rows, n]);
            group.throughput(Throughput::Elements((2 * rows * k * n) as u64));
            group.bench_function(BenchmarkId::new(format!("{kind:?}"), format!("{rows}x{k}x{n}")), |b| {
                b.iter(|| ops::linear(&cpu, &mut out, &x, &w, Some(&bias), Epilogue::GeluErf));
            });
        }
    }
}

/// The largest weight of a decode step, read once for all rows.
fn logits(c: &mut Criterion) {
    let cpu = cpu();
    let (vocab, width) = (51_865, 512);
    let mut group = c.benchmark_group("logits");
    for rows in [1, 5, 8, 40] {
        for (kind, bytes) in [(WeightType::F32, 4), (WeightType::F16, 2), (WeightType::Int8, 1)] {
            let cpu = cpu.clone().with_weights(kind);
            let (w, x) = (matrix(&cpu, vocab, width), tensor(&cpu, &[rows, width]));
            let mut out = tensor(&cpu, &[rows, vocab]);
            group.throughput(Throughput::Bytes((vocab * width * bytes) as u64));
            group.bench_function(BenchmarkId::new(format!("{kind:?}"), rows), |b| {
                b.iter(|| ops::logits(&cpu, &mut out, &x, &w));
            });
        }
    }
}

fn conv1d(c: &mut Criterion) {
    let cpu = cpu();
    let mut group = c.benchmark_group("conv1d");
    for (width, n, stride) in [(80, 512, 1), (512, 512, 2)] {
        let (w, bias) = (matrix(&cpu, n, 3 * width), tensor(&cpu, &[n]));
        let (x, mut out) = (tensor(&cpu, &[1, 2 * FRAMES, width]), tensor(&cpu, &[1, 2 * FRAMES / stride, n]));
        group.throughput(Throughput::Elements((2 * 2 * FRAMES / stride * 3 * width * n) as u64));
        group.bench_function(format!("{width} to {n}, stride {stride}"), |b| {
            b.iter(|| ops::conv1d(&cpu, &mut out, &x, &w, Some(&bias), stride, Epilogue::GeluErf));
        });
    }
}

fn attention(c: &mut Criterion) {
    let cpu = cpu();
    let mut group = c.benchmark_group("attention");
    for heads in [6, 8, 12] {
        let width = heads * 64;
        let (qkv, mut out) = (tensor(&cpu, &[1, FRAMES, 3 * width]), tensor(&cpu, &[1, FRAMES, width]));
        group.throughput(Throughput::Elements((4 * FRAMES * FRAMES * width) as u64));
        group.bench_function(format!("{heads} heads"), |b| {
            b.iter(|| ops::attention(&cpu, &mut out, &qkv, heads, 0.125));
        });
    }
}

fn cross_attention_step(c: &mut Criterion) {
    let cpu = cpu();
    let (heads, width) = (8, 512);
    let mut group = c.benchmark_group("cross_attention_step");
    for (slots, beams) in [(1, 1), (8, 1), (8, 5)] {
        for (kind, bytes) in [(CrossCacheType::F32, 4), (CrossCacheType::F16, 2), (CrossCacheType::Int8, 1)] {
            let cpu = cpu.clone().with_cross_cache(kind);
            let mut cache = cpu.cross_cache(slots, FRAMES, width, heads).expect("memory");
            let all: Vec<usize> = (0..slots).collect();
            cpu.cross_store(&mut cache, &all, &tensor(&cpu, &[slots, FRAMES, 2 * width])).expect("slots exist");
            let rows = step_rows(&cpu, slots * beams, 0);
            let (q, mut out) = (tensor(&cpu, &[slots * beams, width]), tensor(&cpu, &[slots * beams, width]));
            group.throughput(Throughput::Bytes((slots * 2 * FRAMES * width * bytes) as u64));
            group.bench_function(BenchmarkId::new(format!("{kind:?}"), format!("{slots}x{beams}")), |b| {
                b.iter(|| ops::cross_attention_step(&cpu, &mut out, &q, &cache, &rows, beams, 0.125));
            });
        }
    }
}

/// Cross-attention to the encoder output itself, without projected keys and values.
fn absorbed_attention_step(c: &mut Criterion) {
    let cpu = cpu();
    let (heads, width) = (8, 512);
    let mut group = c.benchmark_group("absorbed_attention_step");
    for (slots, beams) in [(1, 1), (8, 1), (8, 2)] {
        let mut cache = cpu.encoded_cache(slots, FRAMES, width, heads).expect("memory");
        let all: Vec<usize> = (0..slots).collect();
        cpu.encoded_store(&mut cache, &all, &tensor(&cpu, &[slots, FRAMES, width])).expect("slots exist");
        let num_rows = slots * beams;
        let rows = step_rows(&cpu, num_rows, 0);
        let (q, mut out) = (tensor(&cpu, &[num_rows, heads * width]), tensor(&cpu, &[num_rows, heads * width]));
        group.throughput(Throughput::Elements((4 * num_rows * heads * FRAMES * width) as u64));
        group.bench_function(format!("{slots}x{beams}"), |b| {
            b.iter(|| ops::absorbed_attention_step(&cpu, &mut out, &q, &cache, &rows, beams, 0.125));
        });
    }
}

/// The per-head products of absorbed attention: queries before it, weighted means after it.
fn linear_by_head(c: &mut Criterion) {
    let cpu = cpu();
    let (heads, width) = (8, 512);
    let mut group = c.benchmark_group("linear_by_head");
    for (name, features, k) in [("queries", width, width / heads), ("means", width / heads, width)] {
        let weight = matrix(&cpu, heads * features, k);
        let (x, mut out) = (tensor(&cpu, &[8, heads * k]), tensor(&cpu, &[8, heads * features]));
        group.throughput(Throughput::Elements((2 * 8 * heads * features * k) as u64));
        group.bench_function(name, |b| b.iter(|| ops::linear_by_head(&cpu, &mut out, &x, &weight, None, heads)));
    }
}

fn self_attention_step(c: &mut Criterion) {
    let cpu = cpu();
    let (heads, width, positions) = (8, 512, 448);
    let mut group = c.benchmark_group("self_attention_step");
    for (num_rows, position) in [(1, 100), (8, 100), (40, 100)] {
        let mut cache = cpu.self_cache(num_rows, positions, width, heads).expect("memory");
        let rows = step_rows(&cpu, num_rows, position);
        let own: Vec<i32> = (0..num_rows * positions).map(|i| (i / positions) as i32).collect();
        let lineage = Tensor::from_host(&cpu, &[num_rows, positions], &own).expect("the values fit");
        let (qkv, mut out) = (tensor(&cpu, &[num_rows, 3 * width]), tensor(&cpu, &[num_rows, width]));
        group.throughput(Throughput::Bytes(num_rows as u64 * (position as u64 + 1) * width as u64 * 8));
        group.bench_function(format!("{num_rows} rows at {position}"), |b| {
            b.iter(|| ops::self_attention_step(&cpu, &mut out, &qkv, &mut cache, &rows, &lineage, 0.125));
        });
    }
}

fn layer_norm(c: &mut Criterion) {
    let cpu = cpu();
    let mut group = c.benchmark_group("layer_norm");
    for rows in [40, 8 * FRAMES] {
        let (x, gamma) = (tensor(&cpu, &[rows, 512]), tensor(&cpu, &[512]));
        let mut out = tensor(&cpu, &[rows, 512]);
        group.throughput(Throughput::Bytes((8 * rows * 512) as u64));
        group.bench_function(format!("{rows}x512"), |b| {
            b.iter(|| ops::layer_norm(&cpu, &mut out, &x, &gamma, &gamma, 1e-5));
        });
    }
}

fn log_mel(c: &mut Criterion) {
    let cpu = cpu();
    let plan = cpu.mel_plan(80).expect("80 bands exist");
    let samples = 2 * FRAMES * MelFrame::SAMPLES;
    let (audio, mut out) = (tensor(&cpu, &[1, samples]), tensor(&cpu, &[1, 2 * FRAMES, 80]));
    let mut group = c.benchmark_group("log_mel");
    group.throughput(Throughput::Elements(samples as u64));
    group.bench_function("30 s", |b| b.iter(|| ops::log_mel(&cpu, &mut out, &audio, &plan)));
}

/// Two minutes of speech in eight segments: 15 letters per second, 32 classes.
fn ctc_viterbi(c: &mut Criterion) {
    const SEGMENTS: usize = 8;
    const ROWS: usize = 749;
    const LABELS: usize = 225;
    let cpu = cpu();
    let log_probs = tensor(&cpu, &[SEGMENTS * ROWS, 32]);
    let labels: Vec<i32> = (0..LABELS as i32).map(|i| 1 + i * 7 % 31).collect();
    let segments: Vec<_> = (0..SEGMENTS).map(|i| (i * ROWS..(i + 1) * ROWS, labels.as_slice())).collect();
    let segments = CtcSegments::new(&cpu, &segments, 32, 0).expect("labels are classes");
    let mut out = CtcSpans::zeros(&cpu, &segments).expect("memory");
    let mut group = c.benchmark_group("ctc_viterbi");
    group.throughput(Throughput::Elements((SEGMENTS * ROWS * LABELS) as u64));
    for topology in [CtcTopology::Ctc, CtcTopology::Trellis] {
        group.bench_function(BenchmarkId::from_parameter(format!("{topology:?}")), |b| {
            b.iter(|| ops::ctc_viterbi(&cpu, &mut out, &log_probs, &segments, topology).expect("shapes fit"));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = peak, linear, logits, conv1d, attention, cross_attention_step, absorbed_attention_step,
        linear_by_head, self_attention_step, layer_norm, log_mel, ctc_viterbi
}
criterion_main!(benches);
