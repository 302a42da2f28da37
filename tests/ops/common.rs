//! Random inputs, comparisons, and the two CPU backends under test.

use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::prelude::*;

/// Backends with one and with two threads; their results must be bit-identical.
pub fn cpus() -> [Cpu; 2] {
    [1, 2].map(|threads| Cpu::new(Some(threads)).unwrap())
}

/// Uniform random values in `[-1, 1)`, reproducible for a seed. Source: xorshift64*, Vigna 2016.
pub fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub fn tensor(cpu: &Cpu, shape: &[usize], values: &[f32]) -> Tensor<Cpu> {
    Tensor::from_host(cpu, shape, values).unwrap()
}

pub fn indices(cpu: &Cpu, values: &[i32]) -> Tensor<Cpu, i32> {
    Tensor::from_host(cpu, &[values.len()], values).unwrap()
}

/// Overwrites a whole tensor.
pub fn fill(cpu: &Cpu, t: &mut Tensor<Cpu, i32>, values: &[i32]) {
    cpu.write(&mut t.buf, 0, values).unwrap();
}

/// Asserts `|got - want| <= atol + rtol |want|` for all elements; NaN fails.
pub fn assert_close(case: &str, got: &[f32], want: &[f64], atol: f64, rtol: f64) {
    assert_eq!(got.len(), want.len(), "{case}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let within = (f64::from(*got) - want).abs() <= atol + rtol * want.abs();
        assert!(within, "{case}: at {i} got {got}, want {want}");
    }
}

/// Asserts bit-identical values.
pub fn assert_same(case: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{case}: length");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.to_bits() == want.to_bits(), "{case}: at {i} got {got:?}, want {want:?}");
    }
}

/// All elements of a tensor, on the host.
pub fn host(cpu: &Cpu, t: &Tensor<Cpu>) -> Vec<f32> {
    let mut out = vec![0.0; t.len()];
    cpu.read_act(&mut out, &t.buf, 0).unwrap();
    out
}

/// `erf`: by its Taylor series, exact to 1e-12, for `|x| <= 3.5`, otherwise by a continued fraction.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 3.5 {
        // Lentz's continued fraction of erfc.
        let mut tail = 0.0;
        for k in (1..60).rev() {
            tail = f64::from(k) / 2.0 / (x.abs() + tail);
        }
        let erfc = (-x * x).exp() / std::f64::consts::PI.sqrt() / (x.abs() + tail);
        return x.signum() * (1.0 - erfc);
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}

/// GELU with the exact error function.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}
