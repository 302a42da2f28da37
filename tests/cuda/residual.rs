//! The primitives of ResNet34 over spectrograms, and a small ResNet34.

use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::cuda::ActivationType;
use diarist::engine::cuda::Cuda;
use diarist::engine::embedding_ops::{self, Conv2dEpilogue, FilterShape, HostFilter};
use diarist::engine::prelude::*;
use diarist::features::fbank::{self, Fbank, Taper};
use diarist::models::resnet34::ResNet34;
use serde_json::json;

use crate::cases::*;
use crate::common::{self, resnet34::cosine};
use crate::driver::{Machine, machine};

/// Log powers of an f32 FFT, where the CPU has more digits: an error is relative to the loudest bins of the frame and
/// is amplified by the logarithm.
const FBANK: Tolerance = Tolerance { atol: 1e-3, rtol: 1e-5 };

/// An op of [`EmbeddingOps`] with its inputs.
trait ResidualCase {
    fn name(&self) -> String;
    fn run<B: Backend>(&self, be: &B) -> Vec<f32>;
}

/// Compares the CPU and, under every schedule, the GPU with both activation types.
fn check(machine: &Machine, case: &impl ResidualCase, tolerance: [Tolerance; 2]) {
    let want = case.run(&Cpu::new(Some(1)).unwrap());
    assert!(want.iter().any(|v| v.abs() > 0.01), "{}: zeros prove nothing", case.name());
    let (half, brain) = (open(F16), open(Bf16));
    machine.schedules(|seed| {
        compare(&format!("f16 {} (schedule {seed})", case.name()), &case.run(&half), &want, tolerance[0]);
        compare(&format!("bf16 {} (schedule {seed})", case.name()), &case.run(&brain), &want, tolerance[1]);
    });
}

/// Noise with the varying loudness of speech, and silence in between.
fn samples(seed: u64, len: usize) -> Vec<f32> {
    let loudness = |i: usize| (i as f32 / 700.0).sin().max(0.0) * 0.25 + if i / 1600 % 3 == 2 { 0.0 } else { 1e-3 };
    random(seed, len).iter().enumerate().map(|(i, v)| if i / 1600 % 3 == 2 { 0.0 } else { v * loudness(i) }).collect()
}

struct Features {
    samples: usize,
    options: Fbank,
}

impl ResidualCase for Features {
    fn name(&self) -> String {
        format!("fbank of {} samples, {:?}", self.samples, self.options)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let plan = embedding_ops::fbank_plan(be, &self.options).unwrap();
        let heard = floats(be, &[self.samples], &samples(60, self.samples));
        let mut out = Tensor::zeros(be, &[fbank::frames(self.samples), self.options.bands]).unwrap();
        embedding_ops::fbank(be, &mut out, &heard, &plan).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn fbank_of_kaldi() {
    let machine = machine();
    let povey = Fbank { bands: 23, taper: Taper::Povey, gain: 1.0 };
    for (samples, options) in [
        (400, Fbank::wespeaker(80)),
        (559, Fbank::wespeaker(80)),
        (16_000, Fbank::wespeaker(80)),
        (2001, povey),
        (4000, Fbank::wespeaker(256)),
    ] {
        check(&machine, &Features { samples, options }, [FBANK; 2]);
    }
}

/// Rows, frames of a window, bands; first rows.
struct Centre([usize; 3], Vec<usize>);

impl ResidualCase for Centre {
    fn name(&self) -> String {
        format!("centre_windows {:?} {:?}", self.0, self.1)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [rows, frames, bands] = self.0;
        // The mean is larger than the rest, as it is for logarithms.
        let values: Vec<f32> = random(61, rows * bands).iter().map(|v| 2.0 * v + 9.0).collect();
        let features = floats(be, &[rows, bands], &values);
        let mut out = act(be, &[self.1.len(), frames, bands, 1], &vec![7.0; self.1.len() * frames * bands]);
        embedding_ops::centre_windows(be, &mut out, &features, &self.1).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn windows_without_their_mean() {
    let machine = machine();
    for (sizes, first) in [
        ([5, 3, 80], vec![0, 2, 1]),
        ([40, 40, 33], vec![0]),
        ([100, 17, 4], vec![83, 0, 50, 50]),
        ([9, 1, 80], vec![4]),
    ] {
        let case = Centre(sizes, first);
        if sizes[1] > 1 {
            check(&machine, &case, STORED_ONCE);
        } else {
            assert!(case.run(&open(F16)).iter().all(|v| *v == 0.0), "a single frame is its mean");
        }
    }
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug)]
enum Then {
    Store,
    Relu,
    AddRelu,
}

/// Input shape `[N, T, H, C]`, and the filter.
struct Convolution {
    x: [usize; 4],
    filter: FilterShape,
    then: Then,
}

impl Convolution {
    fn out(&self) -> [usize; 4] {
        let [batch, frames, bands, _] = self.x;
        let [frames, bands] = self.filter.out([frames, bands]);
        [batch, frames, bands, self.filter.outputs]
    }

    fn filter(&self) -> HostFilter {
        let FilterShape { outputs, taps, inputs, .. } = self.filter;
        let scale = 1.0 / ((taps * taps * inputs) as f32).sqrt().log2().ceil().exp2();
        HostFilter {
            values: random(62, outputs * taps * taps * inputs).iter().map(|v| v * scale).collect(),
            bias: random(63, outputs),
            shape: self.filter,
        }
    }

    /// Result for windows with the given values of `x`.
    fn of<B: Backend>(&self, be: &B, batch: usize, x: &[f32], added: &[f32]) -> Vec<f32> {
        let ([_, frames, bands, inputs], [_, out_frames, out_bands, outputs]) = (self.x, self.out());
        let x = act(be, &[batch, frames, bands, inputs], x);
        let shape = [batch, out_frames, out_bands, outputs];
        let added = act(be, &shape, added);
        let mut out = act(be, &shape, &vec![7.0; added.len()]);
        let filter = embedding_ops::filter(be, &self.filter()).unwrap();
        let after = match self.then {
            Then::Store => Conv2dEpilogue::Store,
            Then::Relu => Conv2dEpilogue::Relu,
            Then::AddRelu => Conv2dEpilogue::AddRelu(&added),
        };
        embedding_ops::conv2d(be, &mut out, &x, &filter, after).unwrap();
        host(be, &out)
    }

    fn inputs(&self) -> (Vec<f32>, Vec<f32>) {
        (random(64, self.x.iter().product()), random(65, self.out().iter().product()))
    }
}

impl ResidualCase for Convolution {
    fn name(&self) -> String {
        format!("conv2d {:?} {:?} {:?}", self.x, self.filter, self.then)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let (x, added) = self.inputs();
        self.of(be, self.x[0], &x, &added)
    }
}

fn convolution(x: [usize; 4], [outputs, taps, stride]: [usize; 3], then: Then) -> Convolution {
    Convolution { x, filter: FilterShape { outputs, taps, inputs: x[3], stride: [stride; 2] }, then }
}

/// Every tile width (32, 64, 128 outputs), one and several tiles, channels that are no multiple of 32, edges
/// everywhere.
#[test]
#[ignore = "needs a C++ compiler"]
fn convolutions_without_stride() {
    let machine = machine();
    for (x, filter, then) in [
        ([1, 5, 7, 16], [16, 3, 1], Then::Relu),
        ([3, 13, 10, 64], [144, 3, 1], Then::AddRelu),
        ([2, 4, 33, 48], [64, 3, 1], Then::Store),
        ([1, 1, 1, 96], [80, 3, 1], Then::Store),
        ([1, 3, 1, 16], [32, 3, 1], Then::AddRelu),
        ([2, 9, 9, 32], [32, 1, 1], Then::Relu),
        // A patch larger than shared memory: each tap is loaded separately.
        ([1, 2, 700, 48], [16, 3, 1], Then::Relu),
    ] {
        check(&machine, &convolution(x, filter, then), STORED_ONCE);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn convolutions_with_a_stride() {
    let machine = machine();
    for (x, filter, then) in [
        ([2, 9, 11, 32], [48, 3, 2], Then::Relu),
        ([3, 21, 20, 16], [32, 1, 2], Then::Store),
        ([1, 8, 6, 80], [160, 3, 2], Then::AddRelu),
        ([2, 7, 10, 64], [128, 1, 2], Then::Store),
        ([1, 1, 2, 16], [16, 3, 2], Then::Store),
    ] {
        check(&machine, &convolution(x, filter, then), STORED_ONCE);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn convolutions_of_one_channel() {
    let machine = machine();
    for (x, outputs) in [([2, 17, 80, 1], 32), ([1, 1, 3, 1], 48), ([3, 5, 1, 1], 16)] {
        check(&machine, &convolution(x, [outputs, 3, 1], Then::Relu), STORED_ONCE);
    }
}

/// A window does not depend on the others of the batch, bit for bit: tiles do not start where windows do.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_window_does_not_depend_on_the_others() {
    let machine = machine();
    fn apart(be: &Cuda, case: &Convolution, seed: u64) {
        let ((x, added), together) = (case.inputs(), case.run(be));
        let batch = case.x[0];
        let (read, written) = (x.len() / batch, added.len() / batch);
        for window in 0..batch {
            let part = |values: &[f32], len: usize| values[window * len..(window + 1) * len].to_vec();
            let alone = case.of(be, 1, &part(&x, read), &part(&added, written));
            assert_eq!(alone, part(&together, written), "{} window {window} (schedule {seed})", case.name());
        }
    }
    let (half, brain) = (open(F16), open(Bf16));
    machine.schedules(|seed| {
        for case in [
            convolution([3, 13, 10, 64], [32, 3, 1], Then::AddRelu),
            convolution([3, 11, 9, 48], [128, 3, 2], Then::Relu),
            convolution([4, 7, 80, 1], [16, 3, 1], Then::Relu),
        ] {
            apart(&half, &case, seed);
            apart(&brain, &case, seed);
        }
    });
}

/// Windows, speakers, frames, bands, channels.
struct Statistics([usize; 5]);

impl Statistics {
    /// No speech, one frame, all frames, some frames, weights between 0 and 1.
    fn masks(&self) -> Vec<f32> {
        let [windows, speakers, frames, ..] = self.0;
        let weight = |i: usize| {
            let (who, t) = (i / frames, i % frames);
            match who % 5 {
                0 => f32::from(t % 3 != 2),
                1 => 0.0,
                2 => f32::from(t == frames / 2),
                3 => 1.0,
                _ => (t % 4) as f32 / 4.0,
            }
        };
        (0..windows * speakers * frames).map(weight).collect()
    }
}

impl ResidualCase for Statistics {
    fn name(&self) -> String {
        format!("masked_statistics {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [windows, speakers, frames, bands, channels] = self.0;
        let shape = [windows, frames, bands, channels];
        let x = act(be, &shape, &random(66, shape.iter().product()));
        let masks = floats(be, &[windows, speakers, frames], &self.masks());
        let mut out = floats(
            be,
            &[windows, speakers, 2, bands * channels],
            &vec![7.0; windows * speakers * 2 * bands * channels],
        );
        embedding_ops::masked_statistics(be, &mut out, &x, &masks).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn statistics_of_masks() {
    let machine = machine();
    for sizes in [[2, 3, 125, 3, 16], [1, 1, 1, 1, 16], [2, 7, 9, 5, 48], [1, 5, 40, 1, 96], [3, 2, 8, 2, 32]] {
        check(&machine, &Statistics(sizes), F32);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn a_silent_speaker_has_zeros() {
    let machine = machine();
    let be = open(F16);
    machine.schedules(|_| {
        let case = Statistics([1, 5, 20, 2, 16]);
        let found = case.run(&be);
        assert!(found[2 * 32..4 * 32].iter().all(|v| *v == 0.0), "zeros for a mask of zeros");
        assert!(found[5 * 32..6 * 32].iter().all(|v| *v == 0.0), "a single frame does not deviate");
    });
}

/// Starts of windows of half a second, in samples; the last window ends after the recording.
const STARTS: [usize; 3] = [0, 1600, 4000];
const WINDOW: usize = 8000;
const SPEAKERS: usize = 2;
const FRAMES: usize = 29;

/// Two speakers in turn; the second is silent in the second window.
fn masks() -> Vec<bool> {
    let speaks = |i: usize| {
        let (window, speaker, frame) = (i / FRAMES / SPEAKERS, i / FRAMES % SPEAKERS, i % FRAMES);
        frame / 4 % SPEAKERS == speaker && (window, speaker) != (1, 1)
    };
    (0..STARTS.len() * SPEAKERS * FRAMES).map(speaks).collect()
}

/// A narrow network: embeddings of all windows, and whether each window alone gives the same bits.
fn embeddings<B: Backend>(be: &B) -> (Vec<f32>, bool) {
    let case = json!({"seed": 11, "planes": 16, "blocks": [1, 2, 1, 1], "size": 24});
    let network = ResNet34::load(be, &common::resnet34::weights(&case)).unwrap();
    let (heard, masks) = (samples(70, 11_000), masks());
    let all = network.embed_masked_windows(be, &heard, &STARTS, WINDOW, &masks, SPEAKERS).unwrap();
    let each = SPEAKERS * network.size();
    let same = (0..STARTS.len()).all(|n| {
        let masks = &masks[n * SPEAKERS * FRAMES..(n + 1) * SPEAKERS * FRAMES];
        network.embed_masked_windows(be, &heard, &STARTS[n..=n], WINDOW, masks, SPEAKERS).unwrap()
            == all[n * each..(n + 1) * each]
    });
    (all, same)
}

/// The angle between the embeddings of GPU and CPU. In f16 it is below the difference allowed against pyannote. bf16
/// has three bits less, so eight times the noise, which makes 1 - cosine 64 times as large.
#[test]
#[ignore = "needs a C++ compiler"]
fn resnet34() {
    let machine = machine();
    fn apart(activation: ActivationType, want: &[f32], least: f64, seed: u64) {
        let (got, same) = embeddings(&open(activation));
        assert!(same, "{activation:?}: an embedding depends on the other windows (schedule {seed})");
        for (at, (want, got)) in want.chunks_exact(24).zip(got.chunks_exact(24)).enumerate() {
            let cosine = cosine(want, got);
            assert!(cosine >= least, "{activation:?} embedding {at}: cosine {cosine} (schedule {seed})");
        }
    }
    let (want, _) = embeddings(&Cpu::new(Some(1)).unwrap());
    assert!(cosine(&want[..24], &want[24..48]) < 0.999, "voices that are all alike prove nothing");
    machine.schedules(|seed| {
        apart(F16, &want, 0.9999, seed);
        apart(Bf16, &want, 0.999, seed);
    });
}
