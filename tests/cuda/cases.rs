//! Shared by all op tests: inputs, the comparison of the two backends, and the table of tolerances.

use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
pub use diarist::engine::cuda::ActivationType::{Bf16, F16};
use diarist::engine::cuda::{ActivationType, Cuda};
use diarist::engine::prelude::*;
use half::bf16;

use crate::driver::Machine;

/// Allowed difference from the CPU's result: `|got - want| <= atol + rtol |want|`.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub atol: f32,
    pub rtol: f32,
}

/// Results are stored with 11 significant bits (f16) or 8 (bf16), so half a unit in the last place is 2^-11 or 2^-8 of the
/// value. Sums of a few hundred products of numbers below one may differ by another unit of the largest term.
pub const STORED_ONCE: [Tolerance; 2] = [Tolerance { atol: 1e-3, rtol: 1e-3 }, Tolerance { atol: 8e-3, rtol: 8e-3 }];
/// Attention weights are rounded before the product with the values: one more rounding, of numbers of the result's
/// size.
pub const ATTENTION: [Tolerance; 2] = [Tolerance { atol: 2e-3, rtol: 2e-3 }, Tolerance { atol: 1.6e-2, rtol: 1.6e-2 }];
/// f32 results of exact 16-bit inputs: only the order of additions differs.
pub const F32: [Tolerance; 2] = [Tolerance { atol: 1e-4, rtol: 1e-5 }; 2];
/// One of 255 quantisation steps per weight, added up over the inputs.
pub const INT8: [Tolerance; 2] = [Tolerance { atol: 6e-2, rtol: 2e-2 }, Tolerance { atol: 8e-2, rtol: 3e-2 }];
/// Log-mel: f32 sums where the CPU has f64, amplified by the logarithm in bins 80 dB below the loudest, then stored.
pub const LOG_MEL: [Tolerance; 2] = [Tolerance { atol: 3e-3, rtol: 1e-3 }, Tolerance { atol: 8e-3, rtol: 8e-3 }];
/// Log-probabilities after some twenty ops, each of which rounds its result once: about the square root of twenty such
/// roundings, of numbers of the logits' size.
pub const WHOLE_NETWORK: [Tolerance; 2] =
    [Tolerance { atol: 1e-2, rtol: 2e-3 }, Tolerance { atol: 8e-2, rtol: 1.6e-2 }];

/// An op with its inputs.
pub trait Case {
    /// Op and sizes, for failure messages.
    fn name(&self) -> String;
    /// The op's result for these inputs.
    fn run<B: Backend>(&self, be: &B) -> Vec<f32>;
}

/// Runs a case on the CPU and, under every schedule, on the GPU with both activation types.
pub fn check(machine: &Machine, case: &impl Case, tolerance: [Tolerance; 2]) {
    check_on(machine, case, tolerance, |cuda| cuda, |cuda| cuda);
}

/// `check` with the GPU backends configured by `half` and `brain`.
pub fn check_on(
    machine: &Machine,
    case: &impl Case,
    tolerance: [Tolerance; 2],
    half: impl Fn(Cuda) -> Cuda,
    brain: impl Fn(Cuda) -> Cuda,
) {
    let want = case.run(&Cpu::new(Some(1)).unwrap());
    let (half, brain) = (half(open(F16)), brain(open(Bf16)));
    machine.schedules(|seed| {
        compare(&format!("f16 {} (schedule {seed})", case.name()), &case.run(&half), &want, tolerance[0]);
        compare(&format!("bf16 {} (schedule {seed})", case.name()), &case.run(&brain), &want, tolerance[1]);
    });
}

pub fn open(activation: ActivationType) -> Cuda {
    Cuda::new(0, activation, None).unwrap_or_else(|error| panic!("the device does not open: {error}"))
}

/// Panics at the first element out of tolerance; NaN is out of tolerance.
#[track_caller]
pub fn compare(case: &str, got: &[f32], want: &[f32], tolerance: Tolerance) {
    assert_eq!(got.len(), want.len(), "{case}: length");
    let excess = |i: usize| (got[i] - want[i]).abs() - (tolerance.atol + tolerance.rtol * want[i].abs());
    for i in 0..got.len() {
        assert!(excess(i) <= 0.0, "{case}: at {i} of {} got {}, want {}", got.len(), got[i], want[i]);
    }
}

/// Uniform in `[-1, 1)` with 8 significant bits: exact in f16, bf16 and f32, so all backends get the same numbers.
pub fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bf16::from_f32((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 23) as f32 - 1.0).to_f32()
    };
    (0..len).map(|_| next()).collect()
}

/// Inputs `[rows, width]` and a weight `[features, width]` whose products cancel except for rounding. So the result
/// depends on the order of additions, even after it was stored in 16 bits. `width` must be even.
pub fn sensitive_to_order(rows: usize, features: usize, width: usize) -> (Vec<f32>, Vec<f32>) {
    let half = width / 2;
    let (mut x, mut weight) = (random(6, rows * width), random(7, features * width));
    for row in x.chunks_exact_mut(width) {
        for k in 0..half {
            // a wide range of exponents, so that sums do not fit into 24 bits
            row[k] *= f32::from(1u16 << (k % 12));
            row[half + k] = -row[k];
        }
    }
    for row in weight.chunks_exact_mut(width) {
        row.copy_within(..half, half);
    }
    (x, weight)
}

/// An activation tensor with these values.
pub fn act<B: Backend>(be: &B, shape: &[usize], values: &[f32]) -> Tensor<B> {
    let mut tensor = Tensor::zeros(be, shape).unwrap();
    assert_eq!(tensor.len(), values.len());
    be.write_act(&mut tensor.buf, 0, values).unwrap();
    tensor
}

pub fn floats<B: Backend>(be: &B, shape: &[usize], values: &[f32]) -> Tensor<B, f32> {
    Tensor::from_host(be, shape, values).unwrap()
}

pub fn ints<B: Backend>(be: &B, values: &[i32]) -> Tensor<B, i32> {
    Tensor::from_host(be, &[values.len()], values).unwrap()
}

pub fn host<B: Backend>(be: &B, tensor: &Tensor<B>) -> Vec<f32> {
    let mut out = vec![0.0; tensor.len()];
    be.read_act(&mut out, &tensor.buf, 0).unwrap();
    out
}
