//! The primitives of PyanNet, and a small PyanNet.

use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::prelude::*;
use diarist::engine::segmentation_ops::{self, Activation, InstanceNorm, Overlap};
use diarist::engine::weights::HostMatrix;
use diarist::models::pyannet::{PyanNet, Specification};
use serde_json::{Value, json};

use crate::cases::*;
use crate::common;
use crate::driver::{Machine, machine};

/// An op of [`SegmentationOps`] with its inputs.
trait RecurrentCase {
    fn name(&self) -> String;
    fn run<B: Backend>(&self, be: &B) -> Vec<f32>;
}

/// Compares the CPU and, under every schedule, the GPU: in f32 whatever the type of the activations.
fn check(machine: &Machine, case: &impl RecurrentCase) {
    let want = case.run(&Cpu::new(Some(1)).unwrap());
    assert!(want.iter().any(|v| v.abs() > 0.01), "{}: zeros prove nothing", case.name());
    let device = open(F16);
    machine.schedules(|seed| {
        compare(&format!("{} (schedule {seed})", case.name()), &case.run(&device), &want, F32[0]);
    });
}

fn vector<B: Backend>(be: &B, seed: u64, len: usize) -> Tensor<B, f32> {
    floats(be, &[len], &random(seed, len))
}

fn exact<B: Backend>(be: &B, seed: u64, [rows, cols]: [usize; 2], divisor: f32) -> B::F32Matrix {
    let values = random(seed, rows * cols).iter().map(|v| v / divisor).collect();
    be.f32_matrix(&HostMatrix { values, rows, cols }).unwrap()
}

struct Convolution([usize; 5], Activation);

impl RecurrentCase for Convolution {
    fn name(&self) -> String {
        format!("conv1d_f32 {:?} {:?}", self.0, self.1)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [frames, width, outputs, taps, stride] = self.0;
        let x = floats(be, &[2, frames, width], &random(30, 2 * frames * width));
        let weight = exact(be, 31, [outputs, taps * width], 8.0);
        let bias = vector(be, 32, outputs);
        let bias = (self.1 != Activation::None).then_some(&bias);
        let mut out = Tensor::zeros(be, &[2, (frames - taps) / stride + 1, outputs]).unwrap();
        segmentation_ops::conv1d_f32(be, &mut out, &x, &weight, bias, stride, self.1).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn conv1d_f32() {
    let machine = machine();
    for (sizes, activation) in [
        ([900, 1, 80, 251, 10], Activation::None),
        ([140, 80, 60, 5, 1], Activation::LeakyRelu),
        ([67, 60, 512, 1, 1], Activation::LeakyRelu),
        ([3, 7, 3, 1, 1], Activation::Sigmoid),
        ([9, 5, 65, 2, 3], Activation::None),
    ] {
        check(&machine, &Convolution(sizes, activation));
    }
}

struct Pooling {
    /// Windows, frames of each, channels, frames between the starts of two windows.
    sizes: [usize; 4],
}

impl RecurrentCase for Pooling {
    fn name(&self) -> String {
        format!("window_affine, pool_norm, overlap_pool_norm {:?}", self.sizes)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [windows, frames, width, hop] = self.sizes;
        let norm = InstanceNorm { gamma: vector(be, 40, width), beta: vector(be, 41, width) };
        let x = floats(be, &[windows, frames, width], &random(42, windows * frames * width));
        let mut out = Tensor::zeros(be, &[windows, frames / 3, width]).unwrap();
        segmentation_ops::pool_norm(be, &mut out, &x, &norm).unwrap();
        let mut all = out.to_host(be).unwrap();

        let samples: Vec<f32> = random(43, (windows - 1) * 70 + 701).iter().map(|v| 0.1 * v + 0.05).collect();
        let mut affine = Tensor::zeros(be, &[windows, 2]).unwrap();
        let samples = floats(be, &[samples.len()], &samples);
        segmentation_ops::window_affine(be, &mut affine, &samples, 701, 70, [0.9, 0.2]).unwrap();
        all.extend(affine.to_host(be).unwrap());

        let rows = (windows - 1) * hop + frames;
        let x = floats(be, &[1, rows, width], &random(44, rows * width));
        let sums = vector(be, 45, width);
        let windows = Overlap { affine: &affine, sums: &sums, hop, frames };
        segmentation_ops::overlap_pool_norm(be, &mut out, &x, &norm, &windows).unwrap();
        all.extend(out.to_host(be).unwrap());
        all
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn pools_and_norms() {
    let machine = machine();
    for sizes in [[3, 101, 80, 10], [1, 3, 60, 1], [2, 52, 33, 52], [2, 29, 5, 0]] {
        check(&machine, &Pooling { sizes });
    }
}

struct Lstm([usize; 2]);

impl RecurrentCase for Lstm {
    fn name(&self) -> String {
        format!("lstm {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [batch, frames] = self.0;
        let gates = |seed| {
            let values: Vec<f32> = random(seed, batch * frames * 512).iter().map(|v| 3.0 * v).collect();
            floats(be, &[batch, frames, 512], &values)
        };
        let (mut forward, mut backward) = (gates(50), gates(51));
        let state = [exact(be, 52, [512, 128], 4.0), exact(be, 53, [512, 128], 4.0)];
        let mut out = Tensor::zeros(be, &[batch, frames, 256]).unwrap();
        segmentation_ops::lstm(be, &mut out, [&mut forward, &mut backward], state.each_ref()).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn lstm() {
    let machine = machine();
    for sizes in [[1, 1], [3, 7], [9, 4]] {
        check(&machine, &Lstm(sizes));
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn an_lstm_of_another_size_is_refused() {
    let _machine = machine();
    let be = open(F16);
    let state = [exact(&be, 1, [64, 16], 1.0), exact(&be, 2, [64, 16], 1.0)];
    let gates = || Tensor::zeros(&be, &[1, 2, 64]).unwrap();
    let mut out = Tensor::zeros(&be, &[1, 2, 32]).unwrap();
    let error = segmentation_ops::lstm(&be, &mut out, [&mut gates(), &mut gates()], state.each_ref());
    assert!(error.unwrap_err().to_string().contains("128 units"));
}

struct Network(Value);

impl RecurrentCase for Network {
    fn name(&self) -> String {
        format!("PyanNet {}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let weights = common::pyannet::weights(&self.0);
        let network = PyanNet::load(be, Specification::read(&weights).unwrap(), &weights).unwrap();
        let samples = common::seeded::audio_f32(9, network.specification().window + 1000);
        network.scores(be, &samples, 1000).unwrap().to_host(be).unwrap()
    }
}

/// Windows of a fifth of a second and two layers, because emulated threads are slow.
#[test]
#[ignore = "needs a C++ compiler"]
fn pyannet() {
    let machine = machine();
    for powerset in [Value::Null, json!(2)] {
        let case = json!({"seed": 7, "duration": 0.2, "powerset_max_classes": powerset, "layers": 2});
        check(&machine, &Network(case));
    }
}
