//! Measures the machine's ceilings for a roofline comparison: the rate of a large matrix product, and the bandwidth of
//! reading far more memory than any cache holds. The data is random, since zeros can be faster.

use std::time::Instant;

use diarist::engine::profile::Work;
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Epilogue, Tensor, ops};
use diarist::{Error, Result};

use crate::machine::Machine;

/// The measured peak rates of this machine.
#[derive(Clone, Debug)]
pub struct Ceilings {
    /// Floating-point operations per second of a large matrix product with f32 accumulation.
    pub flops: f64,
    /// Memory read bandwidth in bytes per second.
    pub bandwidth: f64,
}

impl Ceilings {
    /// The roofline time of `work` in seconds: the maximum of compute time and memory time.
    pub fn seconds(&self, work: Work) -> f64 {
        (work.flops as f64 / self.flops).max(work.bytes as f64 / self.bandwidth)
    }

    /// Measures both rates. The work is divided by `scale`, for slow machines.
    pub fn measure<B: Machine>(be: &B, scale: usize) -> Result<Self> {
        Ok(Ceilings { flops: product(be, scale)?, bandwidth: reading(be, scale)? })
    }
}

/// Operations per second of the widest matrix product in large-v2's encoder.
fn product<B: Machine>(be: &B, scale: usize) -> Result<f64> {
    let (rows, k, n) = ((24_000 / scale).max(64), 1280, 5120);
    let values = random(1, n * k).into_iter().map(|v| v / 32.0).collect();
    let weight = be.matrix(&HostMatrix { values, rows: n, cols: k })?;
    let mut x = Tensor::zeros(be, &[1, rows, k])?;
    be.write_act(&mut x.buf, 0, &random(2, rows * k))?;
    let mut out = Tensor::zeros(be, &[1, rows, n])?;
    let took = best_of(be, || ops::linear(be, &mut out, &x, &weight, None, Epilogue::Store))?;
    Ok(2.0 * (rows * k * n) as f64 / took)
}

/// Read bandwidth in bytes per second, over 2 GB on a GPU (`scale` 1) and 200 MB on the CPU (`scale` 40).
fn reading<B: Machine>(be: &B, scale: usize) -> Result<f64> {
    let count = ((1usize << 31) / scale).clamp(1 << 16, 1 << 29).next_multiple_of(4);
    let values = random(3, count);
    let want: f64 = values.iter().map(|value| f64::from(*value)).sum();
    let size: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
    let x = Tensor::from_host(be, &[count], &values)?;
    let mut got = 0.0;
    let took = best_of(be, || be.read_all(&x).map(|sum| got = sum))?;
    if !((got - want).abs() <= 1e-5 * size) {
        let rule =
            format!("reading memory gave the sum {got} instead of {want}; nothing of this device can be trusted");
        return Err(Error::config("device", be.describe(), rule));
    }
    Ok((count * size_of::<f32>()) as f64 / took)
}

/// Random numbers, uniform in [-1, 1).
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    // xorshift64* (Vigna 2016)
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// The shortest of five runs in seconds, after a warm-up run.
pub fn best_of<B: Machine>(be: &B, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for run in 0..6 {
        let start = Instant::now();
        f()?;
        be.wait()?;
        if run > 0 {
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    Ok(best)
}
