//! The primitives of CAM++ (densely connected TDNN) over clips of different lengths, and CAM++ as a whole.

use diarist::engine::Tensor;
use diarist::engine::campplus_ops::{self, Affine, ClipConv, ClipConv2dEpilogue, ClipConvEpilogue, Clips};
use diarist::engine::cpu::Cpu;
use diarist::engine::embedding_ops::{FilterShape, HostFilter};
use diarist::engine::prelude::*;
use diarist::engine::segmentation_ops::{self, Activation};
use diarist::engine::weights::HostMatrix;
use diarist::models::campplus::CamPlus;
use diarist::models::embedding::SpeakerEmbedding;

use crate::cases::*;
use crate::common::{self, Golden, campplus};
use crate::driver::{Machine, machine};

/// f32 on both sides: only the order of additions differs, and on the CPU intermediate values of Winograd's transform
/// are up to 100 times as large as the results.
const SUMS: Tolerance = Tolerance { atol: 3e-4, rtol: 1e-5 };
/// Frames of the clips: fewer than the taps cover, more than a tile, more than a segment.
const LENGTHS: [usize; 5] = [1, 7, 260, 2, 131];

/// An op of [`CampplusOps`] with its inputs.
trait DenseCase {
    fn name(&self) -> String;
    fn run<B: Backend>(&self, be: &B) -> Vec<f32>;
}

/// Compares the CPU and, under every schedule, the GPU; the type of the activations does not matter.
fn check(machine: &Machine, case: &impl DenseCase) {
    let want = case.run(&Cpu::new(Some(1)).unwrap());
    assert!(want.iter().any(|v| v.abs() > 0.01), "{}: zeros prove nothing", case.name());
    let (half, brain) = (open(F16), open(Bf16));
    machine.schedules(|seed| {
        let got = case.run(&half);
        compare(&format!("{} (schedule {seed})", case.name()), &got, &want, SUMS);
        assert_eq!(got, case.run(&brain), "{}", case.name());
    });
}

/// What is fused before and after a convolution over time.
#[derive(Clone, Copy, Debug)]
enum Around {
    Nothing,
    Relu,
    ScaledRelu,
    Gate,
}

/// Outputs, taps, inputs, stride, dilation; columns of `x`, columns of the output tensor, first column written.
struct Convolution([usize; 5], [usize; 3], Around);

impl DenseCase for Convolution {
    fn name(&self) -> String {
        format!("clip_conv {:?} {:?} {:?}", self.0, self.1, self.2)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let ([outputs, taps, inputs, stride, dilation], [width, out_width, column]) = (self.0, self.1);
        let clips = Clips::new(be, &LENGTHS).unwrap();
        let result = clips.strided(be, stride).unwrap();
        let scale = 1.0 / ((taps * inputs) as f32).sqrt();
        let values = random(71, outputs * taps * inputs).iter().map(|v| v * scale).collect();
        let weight = campplus_ops::clip_weight(be, &HostMatrix { values, rows: outputs, cols: taps * inputs }).unwrap();
        let x = floats(be, &[clips.rows(), width], &random(72, clips.rows() * width));
        let mut out = floats(be, &[result.rows(), out_width], &vec![7.0; result.rows() * out_width]);
        let vector = |seed: u64, len: usize| floats(be, &[len], &random(seed, len));
        let (bias, before) = (vector(73, outputs), Affine { scale: vector(74, inputs), shift: vector(75, inputs) });
        let gates = floats(be, &[result.num_segments(), outputs], &random(76, result.num_segments() * outputs));
        let (before, bias, finish) = match self.2 {
            Around::Nothing => (None, None, ClipConvEpilogue::Store),
            Around::Relu => (None, Some(&bias), ClipConvEpilogue::Relu),
            Around::ScaledRelu => (Some(&before), Some(&bias), ClipConvEpilogue::Relu),
            Around::Gate => (None, None, ClipConvEpilogue::Gate(&gates)),
        };
        let conv = ClipConv { weight: &weight, taps, stride, dilation, before, bias, finish, column };
        campplus_ops::clip_conv(be, &mut out, &x, &conv, [&clips, &result]).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn convolutions_over_time() {
    let machine = machine();
    for case in [
        Convolution([32, 3, 128, 1, 2], [128, 80, 48], Around::Gate),
        Convolution([128, 5, 40, 2, 1], [40, 160, 0], Around::Relu),
        Convolution([128, 1, 96, 1, 1], [160, 128, 0], Around::ScaledRelu),
        Convolution([7, 5, 3, 3, 3], [5, 9, 1], Around::Nothing),
        Convolution([72, 3, 20, 1, 1], [24, 100, 3], Around::Gate),
        Convolution([33, 1, 17, 1, 1], [17, 33, 0], Around::ScaledRelu),
    ] {
        check(&machine, &case);
    }
}

/// Bands, outputs, taps, inputs, stride along the bands.
struct Pictures([usize; 5], bool);

impl DenseCase for Pictures {
    fn name(&self) -> String {
        format!("clip_conv2d {:?}, adds {}", self.0, self.1)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [bands, outputs, taps, inputs, stride] = self.0;
        let clips = Clips::new(be, &[1, 7, 40, 2]).unwrap();
        let shape = FilterShape { outputs, taps, inputs, stride: [1, stride] };
        let scale = 1.0 / ((taps * taps * inputs) as f32).sqrt();
        let values = random(71, outputs * taps * taps * inputs).iter().map(|v| v * scale).collect();
        let filter = campplus_ops::clip_filter(be, &HostFilter { values, bias: random(73, outputs), shape }).unwrap();
        let x = floats(be, &[clips.rows(), bands, inputs], &random(72, clips.rows() * bands * inputs));
        let out_shape = [clips.rows(), bands.div_ceil(stride), outputs];
        let len = out_shape.iter().product();
        let added = floats(be, &out_shape, &random(77, len));
        let mut out = floats(be, &out_shape, &vec![7.0; len]);
        let after = if self.1 { ClipConv2dEpilogue::AddRelu(&added) } else { ClipConv2dEpilogue::Store };
        campplus_ops::clip_conv2d(be, &mut out, &x, &filter, after, &clips).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn convolutions_over_pictures() {
    let machine = machine();
    for (sizes, adds) in [
        ([80, 32, 3, 1, 1], false),
        ([20, 32, 3, 32, 2], false),
        ([10, 32, 3, 32, 1], true),
        ([9, 48, 1, 16, 2], false),
        ([1, 80, 3, 16, 2], true),
    ] {
        check(&machine, &Pictures(sizes, adds));
    }
}

/// Means over clips and segments, and features minus their mean.
struct Means(usize);

impl DenseCase for Means {
    fn name(&self) -> String {
        format!("means of {} columns", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let width = self.0;
        // Without the clip of one frame, whose standard deviation is NaN.
        let clips = Clips::new(be, &[100, 7, 260, 2, 201]).unwrap();
        let values: Vec<f32> = random(78, clips.rows() * width).iter().map(|v| 2.0 * v + 9.0).collect();
        let x = floats(be, &[clips.rows(), width], &values);
        let mut context = floats(be, &[clips.num_segments(), width], &vec![7.0; clips.num_segments() * width]);
        campplus_ops::segment_context(be, &mut context, &x, &clips).unwrap();
        let mut statistics = floats(be, &[clips.count(), 2, width], &vec![7.0; clips.count() * 2 * width]);
        campplus_ops::clip_statistics(be, &mut statistics, &x, &clips).unwrap();
        let index: Vec<usize> = (0..clips.rows()).map(|row| row * 7 % clips.rows()).collect();
        let mut centred = floats(be, &[clips.rows(), width, 1], &vec![7.0; clips.rows() * width]);
        campplus_ops::centre_clips(be, &mut centred, &x, &index, &clips).unwrap();
        [context, statistics, centred].iter().flat_map(|t| t.to_host(be).unwrap()).collect()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn means_of_clips() {
    let machine = machine();
    check(&machine, &Means(80));
    check(&machine, &Means(33));
}

/// A linear layer over a few rows with a ReLU.
struct Small;

impl DenseCase for Small {
    fn name(&self) -> String {
        "conv1d_f32 with a ReLU".into()
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let weight = be.f32_matrix(&HostMatrix { values: random(79, 64 * 40), rows: 64, cols: 40 }).unwrap();
        let (x, bias) = (floats(be, &[1, 9, 40], &random(80, 9 * 40)), floats(be, &[64], &random(81, 64)));
        let mut out = Tensor::zeros(be, &[1, 9, 64]).unwrap();
        segmentation_ops::conv1d_f32(be, &mut out, &x, &weight, Some(&bias), 1, Activation::Relu).unwrap();
        let out = out.to_host(be).unwrap();
        assert!(out.iter().all(|v| *v >= 0.0) && out.contains(&0.0));
        out
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn layers_with_a_relu() {
    check(&machine(), &Small);
}

/// Embeddings do not depend on the other clips of the batch, bit for bit: tiles do not start where clips do.
#[test]
#[ignore = "needs a C++ compiler"]
fn campplus() {
    let machine = machine();
    let golden = Golden::open("campplus/embeddings.safetensors");
    let case = golden.meta()["cases"][0].clone();
    assert_eq!(case["name"], "small");
    let (weights, audio, spans) = (campplus::weights(&case), campplus::audio(&case), campplus::spans(&case));
    let (_, want) = golden.f32("small");
    let be = open(F16);
    let network = CamPlus::load(&be, &weights).unwrap();
    machine.schedules(|seed| {
        // Only the shorter clips, because the emulator is slow.
        let together = network.embed_spans(&be, &audio, &spans[..3]).unwrap();
        let worst = common::assert_close("f16", &together, &want[..together.len()], 1e-3, 0.0);
        eprintln!("largest difference to 3D-Speaker's {worst:e} (schedule {seed})");
        let alone = network.embed_spans(&be, &audio, &spans[2..3]).unwrap();
        assert_eq!(alone, together[2 * network.size()..], "an embedding depends on the others (schedule {seed})");
    });
}

pub mod needs_real_needs_shared {
    use super::*;

    /// Clips of 0.5 to 10 s in one call, with the published weights.
    #[test]
    #[ignore = "needs real weights (tests/real/fetch.sh) and ../shared and a C++ compiler"]
    fn campplus_is_that_of_3d_speaker() {
        let _machine = machine();
        let be = open(F16);
        let worst = campplus::compare_published(&be, 1e-3);
        eprintln!("largest difference to 3D-Speaker's {worst:e}");
    }
}
