//! The ops of encoders.

use diarist::engine::prelude::*;
use diarist::engine::weights::{HostInt8, HostMatrix, HostWeight};
use diarist::engine::{Epilogue, Tensor, cuda, ops};

use crate::cases::*;
use crate::driver::machine;

struct LogMel {
    clips: usize,
    frames: usize,
    bands: usize,
}

impl Case for LogMel {
    fn name(&self) -> String {
        format!("log_mel [{}, {}, {}]", self.clips, self.frames, self.bands)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let samples = 160 * self.frames;
        let mut audio = random(1, self.clips * samples);
        // each clip at its own level, so that a maximum over the wrong clip is detected
        for (clip, audio) in audio.chunks_exact_mut(samples).enumerate() {
            audio
                .iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x *= (i as f32 / 40.0).sin() * 0.5f32.powi(4 * clip as i32));
        }
        let plan = be.mel_plan(self.bands).unwrap();
        let mut out = Tensor::zeros(be, &[self.clips, self.frames, self.bands]).unwrap();
        ops::log_mel(be, &mut out, &floats(be, &[self.clips, samples], &audio), &plan).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn log_mel() {
    let machine = machine();
    for (clips, frames, bands) in [(1, 3, 80), (2, 9, 128), (3, 33, 80)] {
        check(&machine, &LogMel { clips, frames, bands }, LOG_MEL);
    }
}

/// `[1, R, K]` like the frames of an encoder, or `[R, K]` like the rows of a decode step.
pub struct Linear {
    pub shape: Vec<usize>,
    pub features: usize,
    pub epilogue: Epilogue,
}

impl Case for Linear {
    fn name(&self) -> String {
        format!("linear {:?} -> {}, {:?}", self.shape, self.features, self.epilogue)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let (&width, len) = (self.shape.last().unwrap(), self.shape.iter().product());
        let scale = 1.0 / (width as f32).sqrt().log2().ceil().exp2();
        let values = random(2, self.features * width).iter().map(|v| v * scale).collect();
        let weight = be.matrix(&HostMatrix { values, rows: self.features, cols: width }).unwrap();
        let bias = floats(be, &[self.features], &random(3, self.features));
        let mut shape = self.shape.clone();
        *shape.last_mut().unwrap() = self.features;
        let out_len = shape.iter().product();
        let mut out = act(be, &shape, &random(4, out_len));
        ops::linear(be, &mut out, &act(be, &self.shape, &random(5, len)), &weight, Some(&bias), self.epilogue).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn linear_over_many_rows() {
    let machine = machine();
    let sizes = [(1, 1, 1), (31, 8, 33), (33, 64, 31), (129, 96, 130), (64, 240, 128), (130, 31, 8)];
    for ((rows, width, features), epilogue) in
        sizes.into_iter().zip([Epilogue::Store, Epilogue::GeluErf, Epilogue::Add].into_iter().cycle())
    {
        let shape = vec![1, rows, width];
        check(&machine, &Linear { shape, features, epilogue }, STORED_ONCE);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn linear_over_few_rows() {
    let machine = machine();
    let sizes = [(1, 1, 1), (8, 64, 33), (9, 1500, 31), (17, 31, 16), (33, 520, 130), (5, 384, 1536)];
    for ((rows, width, features), epilogue) in
        sizes.into_iter().zip([Epilogue::Store, Epilogue::GeluErf, Epilogue::Add].into_iter().cycle())
    {
        let shape = vec![rows, width];
        check(&machine, &Linear { shape, features, epilogue }, STORED_ONCE);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn linear_with_int8_weights() {
    let machine = machine();
    for shape in [vec![1, 33, 96], vec![9, 96], vec![3, 31]] {
        let case = Linear { shape, features: 34, epilogue: Epilogue::Store };
        let kind = cuda::WeightType::Int8;
        check_on(&machine, &case, INT8, |c| c.with_weights(kind), |c| c.with_weights(kind));
    }
}

/// The integers of a quantised checkpoint, none as large as 127: quantising them again would change them.
struct StoredIntegers;

impl Case for StoredIntegers {
    fn name(&self) -> String {
        "linear with the integers of a checkpoint".into()
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let (rows, cols) = (34, 40);
        let values = (0..rows * cols).map(|i| (i * 7 % 41) as i8 - 20).collect();
        let scales = (0..rows).map(|row| 0.25 + row as f32 / 64.0).collect();
        let weight = be.matrix(&HostWeight::Int8(HostInt8 { values, scales, rows, cols })).unwrap();
        let units: Vec<f32> = (0..cols * cols).map(|i| if i / cols == i % cols { 1.0 } else { 0.0 }).collect();
        let mut out = Tensor::zeros(be, &[cols, rows]).unwrap();
        ops::linear(be, &mut out, &act(be, &[cols, cols], &units), &weight, None, Epilogue::Store).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn linear_with_the_integers_of_a_checkpoint() {
    let machine = machine();
    check(&machine, &StoredIntegers, STORED_ONCE);
    let int8 = cuda::WeightType::Int8;
    check_on(&machine, &StoredIntegers, STORED_ONCE, |c| c.with_weights(int8), |c| c.with_weights(int8));
    let float = cuda::WeightType::Activation;
    check_on(&machine, &StoredIntegers, STORED_ONCE, |c| c.with_weights(float), |c| c.with_weights(float));
}

/// A row is bit-equal whether it is computed in a batch or alone.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_row_does_not_depend_on_the_batch() {
    let _machine = machine();
    let be = open(F16);
    let (width, features, rows) = (160, 48, 37);
    let (x, values) = sensitive_to_order(rows, features, width);
    let weight = be.matrix(&HostMatrix { values, rows: features, cols: width }).unwrap();
    let run = |lead: &[usize], x: &[f32]| {
        let mut shape = lead.to_vec();
        shape.push(width);
        let input = act(&be, &shape, x);
        *shape.last_mut().unwrap() = features;
        let mut out = Tensor::zeros(&be, &shape).unwrap();
        ops::linear(&be, &mut out, &input, &weight, None, Epilogue::Store).unwrap();
        host(&be, &out)
    };
    for lead in [vec![rows], vec![1, rows]] {
        let all = run(&lead, &x);
        for r in [0, 8, 31, 36] {
            let mut one = lead.clone();
            *one.last_mut().unwrap() = 1;
            let alone = run(&one, &x[r * width..(r + 1) * width]);
            assert_eq!(alone, all[r * features..(r + 1) * features], "row {r} of {lead:?}");
        }
    }
}

struct Conv1d {
    clips: usize,
    frames: usize,
    channels: usize,
    features: usize,
    stride: usize,
}

impl Case for Conv1d {
    fn name(&self) -> String {
        format!(
            "conv1d [{}, {}, {}] -> {}, stride {}",
            self.clips, self.frames, self.channels, self.features, self.stride
        )
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let width = 3 * self.channels;
        let scale = 1.0 / (width as f32).sqrt().log2().ceil().exp2();
        let values = random(8, self.features * width).iter().map(|v| v * scale).collect();
        let weight = be.matrix(&HostMatrix { values, rows: self.features, cols: width }).unwrap();
        let bias = floats(be, &[self.features], &random(9, self.features));
        let x =
            act(be, &[self.clips, self.frames, self.channels], &random(10, self.clips * self.frames * self.channels));
        let mut out = Tensor::zeros(be, &[self.clips, self.frames.div_ceil(self.stride), self.features]).unwrap();
        ops::conv1d(be, &mut out, &x, &weight, Some(&bias), self.stride, Epilogue::GeluErf).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn conv1d() {
    let machine = machine();
    for (clips, frames, channels, features, stride) in
        [(1, 1, 1, 1, 1), (2, 31, 8, 33, 2), (1, 66, 80, 128, 1), (2, 33, 5, 8, 2)]
    {
        check(&machine, &Conv1d { clips, frames, channels, features, stride }, STORED_ONCE);
    }
}

struct LayerNorm {
    rows: usize,
    width: usize,
}

impl Case for LayerNorm {
    fn name(&self) -> String {
        format!("layer_norm [{}, {}]", self.rows, self.width)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let x = act(be, &[self.rows, self.width], &random(11, self.rows * self.width));
        let (gamma, beta) = (random(12, self.width), random(13, self.width));
        let mut out = Tensor::zeros(be, &[self.rows, self.width]).unwrap();
        ops::layer_norm(be, &mut out, &x, &floats(be, &[self.width], &gamma), &floats(be, &[self.width], &beta), 1e-5)
            .unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn layer_norm() {
    let machine = machine();
    for (rows, width) in [(1, 1), (9, 31), (33, 64), (7, 1280), (3, 1500)] {
        check(&machine, &LayerNorm { rows, width }, STORED_ONCE);
    }
}

struct AddPositions {
    clips: usize,
    frames: usize,
    width: usize,
}

impl Case for AddPositions {
    fn name(&self) -> String {
        format!("add_positions [{}, {}, {}]", self.clips, self.frames, self.width)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let table = random(14, (self.frames + 2) * self.width);
        let mut x = act(be, &[self.clips, self.frames, self.width], &random(15, self.clips * self.frames * self.width));
        ops::add_positions(be, &mut x, &floats(be, &[self.frames + 2, self.width], &table)).unwrap();
        host(be, &x)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn add_positions() {
    let machine = machine();
    for (clips, frames, width) in [(1, 1, 1), (3, 33, 31), (2, 31, 64)] {
        check(&machine, &AddPositions { clips, frames, width }, STORED_ONCE);
    }
}

struct Attention {
    clips: usize,
    frames: usize,
    heads: usize,
    head_dim: usize,
}

impl Case for Attention {
    fn name(&self) -> String {
        format!("attention {} x {} frames, {} x {}", self.clips, self.frames, self.heads, self.head_dim)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let width = self.heads * self.head_dim;
        let qkv = act(be, &[self.clips, self.frames, 3 * width], &random(16, self.clips * self.frames * 3 * width));
        let mut out = Tensor::zeros(be, &[self.clips, self.frames, width]).unwrap();
        ops::attention(be, &mut out, &qkv, self.heads, 0.5).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn attention() {
    let machine = machine();
    for (clips, frames, heads, head_dim) in
        [(1, 1, 1, 8), (2, 31, 2, 64), (1, 33, 3, 32), (1, 65, 1, 48), (2, 150, 1, 64)]
    {
        check(&machine, &Attention { clips, frames, heads, head_dim }, ATTENTION);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn attention_refuses_a_head_it_cannot_hold() {
    let _machine = machine();
    let be = open(F16);
    for head_dim in [4, 72, 128] {
        let qkv = Tensor::zeros(&be, &[1, 3, 3 * head_dim]).unwrap();
        let mut out = Tensor::zeros(&be, &[1, 3, head_dim]).unwrap();
        let error = ops::attention(&be, &mut out, &qkv, 1, 1.0).expect_err("no kernel for it").to_string();
        assert!(error.contains("head"), "{error}");
    }
}
