//! `self_attention_step` and `cross_attention_step` against references in f64.

use diarist::engine::cpu::{Cpu, CrossCacheType};
use diarist::engine::prelude::*;
use diarist::engine::{StepRows, Tensor, ops};

use crate::attention::attend_f64;
use crate::common::*;

fn step_rows(cpu: &Cpu, position: &[i32], row: &[i32]) -> StepRows<Cpu> {
    StepRows { token: indices(cpu, &vec![0; row.len()]), position: indices(cpu, position), row: indices(cpu, row) }
}

struct Cross {
    frames: usize,
    heads: usize,
    head_dim: usize,
    /// `[3, T, 2 C]` keys and values of three chunks, stored in [`SLOTS`].
    kv: Vec<f32>,
}

/// The slots of the three chunks, of four slots.
const SLOTS: [usize; 3] = [2, 0, 3];
const BEAMS: usize = 5;

impl Cross {
    fn new(frames: usize, heads: usize, head_dim: usize) -> Self {
        Cross { frames, heads, head_dim, kv: random(30, 3 * frames * 2 * heads * head_dim) }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn run(&self, cpu: &Cpu, q: &[f32], row: &[i32]) -> Vec<f32> {
        let width = self.width();
        let mut cache = cpu.cross_cache(4, self.frames, width, self.heads).unwrap();
        let kv = tensor(cpu, &[3, self.frames, 2 * width], &self.kv);
        // Slot 0 is stored twice: a slot can be reused.
        let overwritten = tensor(cpu, &[1, self.frames, 2 * width], &random(31, self.frames * 2 * width));
        cpu.cross_store(&mut cache, &[0], &overwritten).unwrap();
        cpu.cross_store(&mut cache, &SLOTS, &kv).unwrap();
        let mut out = Tensor::zeros(cpu, &[row.len(), width]).unwrap();
        let rows = step_rows(cpu, &vec![0; row.len()], row);
        let q = tensor(cpu, &[row.len(), width], q);
        ops::cross_attention_step(cpu, &mut out, &q, &cache, &rows, BEAMS, 2.0).unwrap();
        host(cpu, &out)
    }

    fn f64(&self, q: &[f32], row: &[i32]) -> Vec<f64> {
        let width = self.width();
        let mut want = Vec::new();
        for (q, row) in q.chunks_exact(width).zip(row) {
            let chunk = SLOTS.iter().position(|s| *s == *row as usize / BEAMS).unwrap();
            for (h, q) in q.chunks_exact(self.head_dim).enumerate() {
                let part = |which: usize| -> Vec<&[f32]> {
                    let first = chunk * self.frames * 2 * width + which * width + h * self.head_dim;
                    (0..self.frames).map(|t| &self.kv[first + t * 2 * width..][..self.head_dim]).collect()
                };
                want.extend(attend_f64(q, &part(0), &part(1), 2.0));
            }
        }
        want
    }
}

#[test]
fn cross_attention_step_matches_f64() {
    for (frames, heads, head_dim) in [(1, 1, 1), (33, 2, 8), (257, 2, 64), (1500, 1, 64)] {
        let cross = Cross::new(frames, heads, head_dim);
        let row = [0, 2, 4, 10, 11, 12, 13, 14, 15];
        let q = random(32, row.len() * cross.width());
        let [one, two] = cpus();
        let all = cross.run(&one, &q, &row);
        let case = format!("{frames} frames, {heads} x {head_dim}");
        assert_close(&case, &all, &cross.f64(&q, &row), 1e-5, 1e-5);
        assert_same("threads", &cross.run(&two, &q, &row), &all);
        for r in [0, 4, 8] {
            let span = r * cross.width()..(r + 1) * cross.width();
            assert_same("row alone", &cross.run(&two, &q[span.clone()], &row[r..=r]), &all[span]);
        }
        let narrow = cross.run(&two.clone().with_cross_cache(CrossCacheType::F16), &q, &row);
        assert_close(&format!("f16 {case}"), &narrow, &cross.f64(&q, &row), 5e-3, 5e-3);
        let narrow = cross.run(&two.clone().with_cross_cache(CrossCacheType::Int8), &q, &row);
        assert_close(&format!("int8 {case}"), &narrow, &cross.f64(&q, &row), 5e-2, 5e-2);
    }
}

#[test]
fn cross_store_refuses_slots_out_of_range() {
    let cpu = Cpu::new(Some(1)).unwrap();
    let mut cache = cpu.cross_cache(2, 3, 4, 1).unwrap();
    let kv = tensor(&cpu, &[1, 3, 8], &[0.0; 24]);
    assert!(cpu.cross_store(&mut cache, &[2], &kv).is_err());
    assert!(cpu.cross_store(&mut cache, &[0, 1], &kv).is_err());
}

/// Three rows decoded for some steps, of which two swap or share parents, against attention over the true history of
/// each row.
#[test]
fn self_attention_step_follows_the_lineage() {
    for (heads, head_dim) in [(1, 1), (2, 8), (3, 64), (1, 33)] {
        let (width, positions, num_rows) = (heads * head_dim, 7, 3);
        // Parent of each row before each step: rows 0 and 1 swap or share parents, row 2 is independent.
        let parents = [[0, 1, 2], [0, 0, 2], [1, 0, 2], [1, 1, 2], [0, 1, 2]];
        let runs = cpus().map(|cpu| {
            let mut cache = cpu.self_cache(num_rows, positions, width, heads).unwrap();
            let mut lineage = vec![vec![0i32; positions]; num_rows];
            let mut history: Vec<Vec<Vec<f32>>> = vec![Vec::new(); num_rows];
            let mut outputs = Vec::new();
            for (position, parent) in parents.iter().enumerate() {
                lineage = parent.iter().map(|p| lineage[*p].clone()).collect();
                history = parent.iter().map(|p| history[*p].clone()).collect();
                let qkv = random(40 + position as u64, num_rows * 3 * width);
                for r in 0..num_rows {
                    lineage[r][position] = r as i32;
                    history[r].push(qkv[r * 3 * width..(r + 1) * 3 * width].to_vec());
                }
                let table = Tensor::from_host(&cpu, &[num_rows, positions], &lineage.concat()).unwrap();
                let rows = step_rows(&cpu, &[position as i32; 3], &[0, 1, 2]);
                let mut out = Tensor::zeros(&cpu, &[num_rows, width]).unwrap();
                let qkv = tensor(&cpu, &[num_rows, 3 * width], &qkv);
                ops::self_attention_step(&cpu, &mut out, &qkv, &mut cache, &rows, &table, 1.5).unwrap();
                let got = host(&cpu, &out);
                let want: Vec<f64> = history.iter().flat_map(|h| attend_history(h, heads, head_dim)).collect();
                assert_close(&format!("{heads} x {head_dim}, step {position}"), &got, &want, 1e-5, 1e-5);
                outputs.push(got);
            }
            outputs.concat()
        });
        assert_same("threads", &runs[1], &runs[0]);
    }
}

/// Attention of the last `[3 C]` row of a history over all rows.
fn attend_history(history: &[Vec<f32>], heads: usize, head_dim: usize) -> Vec<f64> {
    let width = heads * head_dim;
    let part = |which: usize, h: usize| -> Vec<&[f32]> {
        history.iter().map(|qkv| &qkv[which * width + h * head_dim..][..head_dim]).collect()
    };
    let head = |h: usize| attend_f64(part(0, h)[history.len() - 1], &part(1, h), &part(2, h), 1.5);
    (0..heads).flat_map(head).collect()
}

/// Prefilling a prompt in one pass is bit-identical to decoding it token by token.
#[test]
fn prefill_equals_steps() {
    let (heads, head_dim, prompt) = (2, 64, 6);
    let width = heads * head_dim;
    let qkv = random(50, prompt * 3 * width);
    let [one, two] = cpus();
    let run = |cpu: &Cpu, passes: &[std::ops::Range<usize>]| {
        let mut cache = cpu.self_cache(2, 10, width, heads).unwrap();
        let lineage = Tensor::from_host(cpu, &[2, 10], &[[0i32; 10], [1; 10]].concat()).unwrap();
        let mut outputs = Vec::new();
        for pass in passes {
            let position: Vec<i32> = pass.clone().map(|p| p as i32).collect();
            let rows = step_rows(cpu, &position, &vec![1; position.len()]);
            let mut out = Tensor::zeros(cpu, &[position.len(), width]).unwrap();
            let qkv = tensor(cpu, &[position.len(), 3 * width], &qkv[pass.start * 3 * width..pass.end * 3 * width]);
            ops::self_attention_step(cpu, &mut out, &qkv, &mut cache, &rows, &lineage, 0.125).unwrap();
            outputs.push(host(cpu, &out));
        }
        outputs.concat()
    };
    let steps: Vec<std::ops::Range<usize>> = (0..prompt).map(|p| p..p + 1).collect();
    let whole = std::slice::from_ref(&(0..prompt)).to_vec();
    assert_same("prefill", &run(&two, &whole), &run(&one, &steps));
}

#[test]
fn steps_refuse_rows_outside_of_the_cache() {
    let cpu = Cpu::new(Some(1)).unwrap();
    let mut cache = cpu.self_cache(2, 4, 8, 1).unwrap();
    let lineage = Tensor::from_host(&cpu, &[2, 4], &[0i32; 8]).unwrap();
    let qkv = tensor(&cpu, &[1, 24], &[0.0; 24]);
    let mut out = Tensor::zeros(&cpu, &[1, 8]).unwrap();
    for (position, row) in [(0, 2), (4, 0), (-1, 0)] {
        let rows = step_rows(&cpu, &[position], &[row]);
        assert!(ops::self_attention_step(&cpu, &mut out, &qkv, &mut cache, &rows, &lineage, 1.0).is_err());
    }
}
