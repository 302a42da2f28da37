//! The ops of a decode step, up to the logits.

use diarist::engine::prelude::*;
use diarist::engine::weights::HostMatrix;
use diarist::engine::{StepRows, Tensor, cuda, ops};

use crate::cases::*;
use crate::driver::machine;

fn rows<B: Backend>(be: &B, token: &[i32], position: &[i32], row: &[i32]) -> StepRows<B> {
    StepRows { token: ints(be, token), position: ints(be, position), row: ints(be, row) }
}

struct Embed {
    vocab: usize,
    width: usize,
}

impl Case for Embed {
    fn name(&self) -> String {
        format!("embed [{}, {}]", self.vocab, self.width)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let values = random(20, self.vocab * self.width);
        let table = be.matrix(&HostMatrix { values, rows: self.vocab, cols: self.width }).unwrap();
        let positions = floats(be, &[7, self.width], &random(21, 7 * self.width));
        let token = [0, self.vocab as i32 - 1, self.vocab as i32 / 2];
        let mut out = Tensor::zeros(be, &[3, self.width]).unwrap();
        ops::embed(be, &mut out, &rows(be, &token, &[6, 0, 3], &[0, 1, 2]), &table, &positions).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn embed() {
    let machine = machine();
    for (vocab, width) in [(1, 1), (33, 31), (1500, 64)] {
        check(&machine, &Embed { vocab, width }, STORED_ONCE);
    }
    let kind = cuda::WeightType::Int8;
    check_on(&machine, &Embed { vocab: 33, width: 64 }, INT8, |c| c.with_weights(kind), |c| c.with_weights(kind));
}

struct GatherRows;

impl Case for GatherRows {
    fn name(&self) -> String {
        "gather_rows".into()
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let x = act(be, &[5, 33], &random(22, 5 * 33));
        let mut out = Tensor::zeros(be, &[4, 33]).unwrap();
        ops::gather_rows(be, &mut out, &x, &ints(be, &[4, 0, 0, 3])).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn gather_rows() {
    let machine = machine();
    check(&machine, &GatherRows, [Tolerance { atol: 0.0, rtol: 0.0 }; 2]);
}

/// Two slots of two beams: prompts of different lengths in one pass, then steps in which beams swap parents.
struct SelfAttention {
    heads: usize,
    head_dim: usize,
}

impl Case for SelfAttention {
    fn name(&self) -> String {
        format!("self_attention_step {} x {}", self.heads, self.head_dim)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        const LENGTH: usize = 40;
        let width = self.heads * self.head_dim;
        let mut cache = be.self_cache(4, LENGTH, width, self.heads).unwrap();
        let mut lineage: Vec<Vec<i32>> = (0..4).map(|row| vec![row / 2 * 2; LENGTH]).collect();
        let mut outputs = Vec::new();
        let mut pass = |position: &[i32], row: &[i32], lineage: &[Vec<i32>], seed: u64| {
            let count = row.len();
            let qkv = act(be, &[count, 3 * width], &random(seed, count * 3 * width));
            let table = Tensor::from_host(be, &[4, LENGTH], &lineage.concat()).unwrap();
            let mut out = Tensor::zeros(be, &[count, width]).unwrap();
            let rows = rows(be, &vec![0; count], position, row);
            ops::self_attention_step(be, &mut out, &qkv, &mut cache, &rows, &table, 0.5).unwrap();
            outputs.extend(host(be, &out));
        };
        // a prompt of 33 tokens in slot 0, one of 3 in slot 1
        let position: Vec<i32> = (0..33).chain(0..3).collect();
        let row: Vec<i32> = std::iter::repeat_n(0, 33).chain(std::iter::repeat_n(2, 3)).collect();
        pass(&position, &row, &lineage, 23);
        for (step, parents) in [[0, 0, 2, 2], [1, 0, 2, 3], [1, 1, 3, 2], [0, 1, 3, 3]].iter().enumerate() {
            lineage = parents.iter().map(|&parent| lineage[parent].clone()).collect();
            let position = [33 + step, 33 + step, 3 + step, 3 + step].map(|p| p as i32);
            for row in 0..4 {
                lineage[row][position[row] as usize] = row as i32;
            }
            pass(&position, &[0, 1, 2, 3], &lineage, 24 + step as u64);
        }
        outputs
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn self_attention_step() {
    let machine = machine();
    for (heads, head_dim) in [(1, 8), (2, 64), (3, 32)] {
        check(&machine, &SelfAttention { heads, head_dim }, ATTENTION);
    }
}

/// Three windows in slots 2, 0 and 3 of four, with rows of some beams of each.
struct CrossAttention {
    frames: usize,
    heads: usize,
    head_dim: usize,
    beams: usize,
}

impl Case for CrossAttention {
    fn name(&self) -> String {
        format!("cross_attention_step {} frames, {} x {}, {} beams", self.frames, self.heads, self.head_dim, self.beams)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let (frames, width) = (self.frames, self.heads * self.head_dim);
        let mut cache = be.cross_cache(4, frames, width, self.heads).unwrap();
        let before = act(be, &[1, frames, 2 * width], &random(30, frames * 2 * width));
        be.cross_store(&mut cache, &[0], &before).unwrap();
        let kv = act(be, &[3, frames, 2 * width], &random(31, 3 * frames * 2 * width));
        be.cross_store(&mut cache, &[2, 0, 3], &kv).unwrap();
        let beams = self.beams as i32;
        // all beams of slot 0, the last of slot 2, all of slot 3
        let row: Vec<i32> = (0..beams).chain([3 * beams - 1]).chain(3 * beams..4 * beams).collect();
        let q = act(be, &[row.len(), width], &random(32, row.len() * width));
        let mut out = Tensor::zeros(be, &[row.len(), width]).unwrap();
        let rows = rows(be, &vec![0; row.len()], &vec![0; row.len()], &row);
        ops::cross_attention_step(be, &mut out, &q, &cache, &rows, self.beams, 0.5).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn cross_attention_step() {
    let machine = machine();
    let sizes = [(1, 1, 8, 1), (33, 2, 64, 2), (257, 1, 64, 5), (300, 2, 32, 7), (1500, 1, 64, 1)];
    for (frames, heads, head_dim, beams) in sizes {
        let case = CrossAttention { frames, heads, head_dim, beams };
        check(&machine, &case, ATTENTION);
        let kind = cuda::CrossCacheType::Int8;
        check_on(&machine, &case, INT8, |c| c.with_cross_cache(kind), |c| c.with_cross_cache(kind));
    }
}

/// The same windows and rows with the encoder output as keys and values, followed by a prompt of nine rows in slot 0
/// alone.
struct AbsorbedAttention {
    frames: usize,
    heads: usize,
    width: usize,
    beams: usize,
}

impl Case for AbsorbedAttention {
    fn name(&self) -> String {
        let AbsorbedAttention { frames, heads, width, beams } = self;
        format!("absorbed_attention_step {frames} frames, {heads} heads of {width}, {beams} beams")
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let (frames, width, wide) = (self.frames, self.width, self.heads * self.width);
        let mut cache = be.encoded_cache(4, frames, width, self.heads).unwrap();
        let before = act(be, &[1, frames, width], &random(35, frames * width));
        be.encoded_store(&mut cache, &[0], &before).unwrap();
        let encoded = act(be, &[3, frames, width], &random(36, 3 * frames * width));
        be.encoded_store(&mut cache, &[2, 0, 3], &encoded).unwrap();
        let beams = self.beams as i32;
        let step: Vec<i32> = (0..beams).chain([3 * beams - 1]).chain(3 * beams..4 * beams).collect();
        let mut outputs = Vec::new();
        // Scores have a magnitude of a few units for every width.
        let scale = 4.0 / (width as f32).sqrt();
        for row in [step, vec![0; 9]] {
            let q = act(be, &[row.len(), wide], &random(37, row.len() * wide));
            let mut out = Tensor::zeros(be, &[row.len(), wide]).unwrap();
            let rows = rows(be, &vec![0; row.len()], &vec![0; row.len()], &row);
            ops::absorbed_attention_step(be, &mut out, &q, &cache, &rows, self.beams, scale).unwrap();
            outputs.extend(host(be, &out));
        }
        outputs
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn absorbed_attention_step() {
    let machine = machine();
    // Sizes around tiles of 16 and splits of 384 frames, pieces of 16 channels and 24 queries; both kernels.
    let sizes = [(1, 1, 8, 1), (17, 3, 24, 2), (33, 6, 384, 5), (385, 2, 40, 1), (400, 8, 520, 1), (18, 20, 1280, 2)];
    for (frames, heads, width, beams) in sizes {
        check(&machine, &AbsorbedAttention { frames, heads, width, beams }, ATTENTION);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn encoded_cache_refuses_a_width_it_cannot_hold() {
    let _machine = machine();
    for width in [4, 12, 1288] {
        let error = open(F16).encoded_cache(1, 3, width, 1).map(|_| ()).expect_err("no kernel for it");
        assert!(error.to_string().contains("width"), "{error}");
    }
}

/// The rows of a decode step, with one product per head.
struct LinearByHead {
    rows: usize,
    heads: usize,
    features: usize,
    width: usize,
}

impl Case for LinearByHead {
    fn name(&self) -> String {
        format!("linear_by_head {} rows, {} heads, {} -> {}", self.rows, self.heads, self.width, self.features)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let (n, k) = (self.heads * self.features, self.heads * self.width);
        let scale = 1.0 / (self.width as f32).sqrt().log2().ceil().exp2();
        let values = random(38, n * self.width).iter().map(|v| v * scale).collect();
        let weight = be.matrix(&HostMatrix { values, rows: n, cols: self.width }).unwrap();
        let x = act(be, &[self.rows, k], &random(39, self.rows * k));
        let bias = floats(be, &[n], &random(40, n));
        let mut outputs = Vec::new();
        for bias in [Some(&bias), None] {
            let mut out = Tensor::zeros(be, &[self.rows, n]).unwrap();
            ops::linear_by_head(be, &mut out, &x, &weight, bias, self.heads).unwrap();
            outputs.extend(host(be, &out));
        }
        outputs
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn linear_by_head() {
    let machine = machine();
    let kind = cuda::WeightType::Int8;
    for (rows, heads, features, width) in
        [(1, 1, 1, 1), (8, 2, 128, 64), (9, 3, 33, 31), (33, 2, 64, 384), (5, 3, 16, 72)]
    {
        let case = LinearByHead { rows, heads, features, width };
        check(&machine, &case, STORED_ONCE);
        check_on(&machine, &case, INT8, |c| c.with_weights(kind), |c| c.with_weights(kind));
    }
}

struct Logits {
    rows: usize,
    vocab: usize,
    width: usize,
}

impl Case for Logits {
    fn name(&self) -> String {
        format!("logits {} x {} -> {}", self.rows, self.width, self.vocab)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let values = random(33, self.vocab * self.width);
        let table = be.matrix(&HostMatrix { values, rows: self.vocab, cols: self.width }).unwrap();
        let x = act(be, &[self.rows, self.width], &random(34, self.rows * self.width));
        let mut out = Tensor::zeros(be, &[self.rows, self.vocab]).unwrap();
        ops::logits(be, &mut out, &x, &table).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn logits() {
    let machine = machine();
    for (rows, vocab, width) in [(1, 1, 8), (3, 51_866, 32), (9, 1031, 64), (33, 31, 31)] {
        check(&machine, &Logits { rows, vocab, width }, F32);
    }
}
