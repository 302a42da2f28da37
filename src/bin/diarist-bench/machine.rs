//! What the benchmark asks of a device besides computing: to be waited for, and to tell where the time went.

use std::time::Instant;

use diarist::Result;
use diarist::engine::cpu::Cpu;
use diarist::engine::cuda::{Activation, Cuda};
use diarist::engine::profile::{Launched, Work};
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Backend, Epilogue, Tensor, ops};

/// A device that can be measured.
pub trait Machine: Backend {
    /// Waits until all work queued is done.
    fn wait(&self) -> Result<()>;
    /// The kernels `f` launches, each timed. None on a device without kernels.
    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<Launched>>;
    /// Runs `f` between the marks a profiler can be told to wait for.
    fn marked(&self, f: impl FnOnce() -> Result<()>) -> Result<()>;
    /// Most bytes of device memory in use at any time; of the process, on the CPU.
    fn peak_bytes(&self) -> Option<u64>;
}

impl Machine for Cpu {
    fn wait(&self) -> Result<()> {
        Ok(())
    }

    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<Launched>> {
        f().map(|()| Vec::new())
    }

    fn marked(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        f()
    }

    fn peak_bytes(&self) -> Option<u64> {
        peak_rss_bytes()
    }
}

impl<A: Activation> Machine for Cuda<A> {
    fn wait(&self) -> Result<()> {
        self.synchronize()
    }

    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<Launched>> {
        self.start_profile();
        let done = f();
        let launched = self.profile()?;
        done.map(|()| launched)
    }

    fn marked(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        self.with_profiler(f)
    }

    fn peak_bytes(&self) -> Option<u64> {
        Some(self.memory_use().peak)
    }
}

/// What this machine can do at best, measured in the same run with the plainest work of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Floating-point operations per second of a large product with f32 sums.
    pub flops: f64,
    /// Bytes per second, read and written in equal parts, of a pass over memory much larger than any cache.
    pub bandwidth: f64,
}

impl Ceilings {
    /// The time `work` takes at these rates: the longer of computing and moving.
    pub fn seconds(&self, work: Work) -> f64 {
        (work.flops as f64 / self.flops).max(work.bytes as f64 / self.bandwidth)
    }

    /// `scale` shrinks the work for slow machines.
    pub fn measure<B: Machine>(be: &B, scale: usize) -> Result<Self> {
        let (rows, k, n) = (24_000 / scale, 1280, 5120);
        let weight = be.matrix(&HostMatrix { values: vec![0.01; n * k], rows: n, cols: k })?;
        let x = Tensor::zeros(be, &[1, rows, k])?;
        let mut out = Tensor::zeros(be, &[1, rows, n])?;
        let took = best_of(be, || ops::linear(be, &mut out, &x, &weight, None, Epilogue::Store))?;
        let flops = 2.0 * (rows * k * n) as f64 / took;
        drop((x, out));

        let rows = 400_000 / scale;
        let x = Tensor::zeros(be, &[rows, k])?;
        let mut out = Tensor::zeros(be, &[rows, k])?;
        let (gamma, beta) = (Tensor::zeros(be, &[k])?, Tensor::zeros(be, &[k])?);
        let took = best_of(be, || ops::layer_norm(be, &mut out, &x, &gamma, &beta, 1e-5))?;
        let bandwidth = (2 * rows * k * size_of::<B::Act>()) as f64 / took;
        Ok(Ceilings { flops, bandwidth })
    }
}

/// The shortest of five runs after one that is not counted, in seconds.
fn best_of<B: Machine>(be: &B, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
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

/// The most memory this process ever held, where the system tells.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
