//! `absorbed_attention_step` and `linear_by_head` against references in f64.

use diarist::engine::cpu::{Cpu, CrossCacheType, WeightType};
use diarist::engine::prelude::*;
use diarist::engine::weights::HostMatrix;
use diarist::engine::{CrossKind, StepRows, Tensor, ops};

use crate::attention::attend_f64;
use crate::common::*;

/// Three chunks, stored in [`SLOTS`], with five rows each.
struct Absorbed {
    frames: usize,
    heads: usize,
    width: usize,
    /// `[3, T, C]`
    encoded: Vec<f32>,
}

/// The slots of the three chunks, of four slots.
const SLOTS: [usize; 3] = [2, 0, 3];
const BEAMS: usize = 5;
const SCALE: f32 = 0.75;

impl Absorbed {
    fn new(frames: usize, heads: usize, width: usize) -> Self {
        Absorbed { frames, heads, width, encoded: random(60, 3 * frames * width) }
    }

    fn run(&self, cpu: &Cpu, q: &[f32], row: &[i32]) -> Vec<f32> {
        let (frames, width) = (self.frames, self.width);
        let mut cache = cpu.encoded_cache(4, frames, width, self.heads).unwrap();
        // Slot 0 is stored twice: a slot can be reused.
        let before = tensor(cpu, &[1, frames, width], &random(61, frames * width));
        cpu.encoded_store(&mut cache, &[0], &before).unwrap();
        cpu.encoded_store(&mut cache, &SLOTS, &tensor(cpu, &[3, frames, width], &self.encoded)).unwrap();
        let shape = [row.len(), self.heads * width];
        let mut out = Tensor::zeros(cpu, &shape).unwrap();
        let none = indices(cpu, &vec![0; row.len()]);
        let position = indices(cpu, &vec![0; row.len()]);
        let rows = StepRows { token: none, position, row: indices(cpu, row) };
        let q = tensor(cpu, &shape, q);
        ops::absorbed_attention_step(cpu, &mut out, &q, &cache, &rows, BEAMS, SCALE).unwrap();
        host(cpu, &out)
    }

    fn f64(&self, q: &[f32], row: &[i32]) -> Vec<f64> {
        let mut want = Vec::new();
        for (i, q) in q.chunks_exact(self.width).enumerate() {
            let slot = row[i / self.heads] as usize / BEAMS;
            let chunk = SLOTS.iter().position(|s| *s == slot).unwrap();
            let clip = &self.encoded[chunk * self.frames * self.width..][..self.frames * self.width];
            let frames: Vec<&[f32]> = clip.chunks_exact(self.width).collect();
            want.extend(attend_f64(q, &frames, &frames, f64::from(SCALE)));
        }
        want
    }
}

#[test]
fn absorbed_attention_step_matches_f64() {
    // Sizes around tiles of 4 and 128 frames, splits of 384, blocks of 32 values, tiles of 6 and 12 queries.
    for (frames, heads, width) in [(1, 1, 1), (33, 2, 16), (131, 3, 33), (385, 1, 64), (515, 7, 40), (1500, 1, 96)] {
        let absorbed = Absorbed::new(frames, heads, width);
        // Beams of three slots, then a prompt of eleven rows. With few frames also more runs than are computed at once.
        let extra_runs = if frames < 40 { 20 } else { 0 };
        let row = [0, 2, 4, 10, 11, 12, 13, 14, 15].into_iter().chain([3; 11]);
        let row: Vec<i32> = row.chain((0..extra_runs).map(|i| [10, 1][i % 2])).collect();
        let q = random(62, row.len() * heads * width);
        let [one, two] = cpus();
        let all = absorbed.run(&one, &q, &row);
        let case = format!("{frames} frames, {heads} heads of {width}");
        assert_close(&case, &all, &absorbed.f64(&q, &row), 1e-5, 1e-5);
        assert_same("threads", &absorbed.run(&two, &q, &row), &all);
        let of_row = heads * width;
        for r in [0, 4, 8, 9, 17, 19] {
            let span = r * of_row..(r + 1) * of_row;
            assert_same("row alone", &absorbed.run(&two, &q[span.clone()], &row[r..=r]), &all[span]);
        }
    }
}

#[test]
fn encoded_store_and_rows_refuse_slots_out_of_range() {
    let cpu = Cpu::new(Some(1)).unwrap();
    let mut cache = cpu.encoded_cache(2, 3, 4, 1).unwrap();
    let encoded = tensor(&cpu, &[1, 3, 4], &[0.0; 12]);
    assert!(cpu.encoded_store(&mut cache, &[2], &encoded).is_err());
    assert!(cpu.encoded_store(&mut cache, &[0, 1], &encoded).is_err());
    for row in [-1, 4] {
        let rows = StepRows { token: indices(&cpu, &[0]), position: indices(&cpu, &[0]), row: indices(&cpu, &[row]) };
        let q = tensor(&cpu, &[1, 4], &[0.0; 4]);
        let mut out = Tensor::zeros(&cpu, &[1, 4]).unwrap();
        assert!(ops::absorbed_attention_step(&cpu, &mut out, &q, &cache, &rows, 2, 1.0).is_err(), "row {row}");
    }
}

#[test]
fn linear_by_head_matches_f64() {
    // Heads that fill panels of 64 outputs, share them, and straddle them.
    for (rows, heads, features, k) in [(1, 1, 1, 1), (3, 2, 64, 33), (8, 6, 128, 64), (5, 3, 33, 7), (13, 5, 100, 31)] {
        let (n, width) = (heads * features, heads * k);
        let (x, bias) = (random(63, rows * width), random(64, n));
        let weight = HostMatrix { values: random(65, n * k), rows: n, cols: k };
        let sum = |r: usize, n: usize| -> f64 {
            let (x, w) = (&x[r * width + n / features * k..][..k], &weight.values[n * k..][..k]);
            x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
        };
        let sums: Vec<f64> = (0..rows * n).map(|i| sum(i / n, i % n)).collect();
        let with_bias: Vec<f64> = sums.iter().enumerate().map(|(i, s)| s + f64::from(bias[i % n])).collect();
        for kind in [WeightType::F32, WeightType::F16, WeightType::Int8] {
            let run = |cpu: &Cpu, first: usize, count: usize, bias: Option<&[f32]>| {
                let cpu = cpu.clone().with_weights(kind);
                let mut out = Tensor::zeros(&cpu, &[count, n]).unwrap();
                let x = tensor(&cpu, &[count, width], &x[first * width..(first + count) * width]);
                let bias = bias.map(|b| tensor(&cpu, &[n], b));
                let weight = cpu.matrix(&weight).unwrap();
                ops::linear_by_head(&cpu, &mut out, &x, &weight, bias.as_ref(), heads).unwrap();
                host(&cpu, &out)
            };
            let [one, two] = cpus();
            let case = format!("{rows} rows, {heads} heads, {k} to {features}, {kind:?}");
            let tolerance = [1e-5, 5e-3, 1e-1][kind as usize - 1];
            let all = run(&one, 0, rows, Some(&bias));
            assert_close(&case, &all, &with_bias, tolerance, 1e-5);
            assert_close(&format!("{case}, no bias"), &run(&one, 0, rows, None), &sums, tolerance, 1e-5);
            assert_same("threads", &run(&two, 0, rows, Some(&bias)), &all);
            assert_same("row alone", &run(&two, rows - 1, 1, Some(&bias)), &all[(rows - 1) * n..]);
        }
    }
}

/// The kind depends only on heads and rows. If it is absorbed for some number of rows, it is absorbed for every smaller
/// one.
#[test]
fn few_heads_are_absorbed() {
    let cpu = Cpu::new(Some(1)).unwrap();
    for (heads, rows, kind) in [
        (6, 1, CrossKind::Absorbed),
        (16, 1, CrossKind::Absorbed),
        (20, 1, CrossKind::Projected),
        (6, 5, CrossKind::Projected),
        (1, usize::MAX, CrossKind::Projected),
    ] {
        assert_eq!(cpu.cross_kind(heads, rows), kind, "{heads} heads, {rows} rows");
        let always = cpu.clone().with_cross_cache(CrossCacheType::Absorbed);
        assert_eq!(always.cross_kind(heads, rows), CrossKind::Absorbed);
        let never = cpu.clone().with_cross_cache(CrossCacheType::F32);
        assert_eq!(never.cross_kind(heads, rows), CrossKind::Projected);
    }
}
