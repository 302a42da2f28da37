//! What the benchmark asks of a device besides computing: to be waited for, and to tell where the time went.

use diarist::Result;
use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::cuda::{Activation, Cuda};
use diarist::engine::embedding_ops::EmbeddingOps;
use diarist::engine::profile::Launched;
use rayon::prelude::*;

/// A device that can be measured.
pub trait Machine: EmbeddingOps {
    /// Waits until all work queued is done.
    fn wait(&self) -> Result<()>;
    /// The kernels `f` launches, each timed. None on a device without kernels.
    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<Launched>>;
    /// Runs `f` between the marks a profiler can be told to wait for.
    fn marked(&self, f: impl FnOnce() -> Result<()>) -> Result<()>;
    /// Most bytes of device memory in use at any time; of the process, on the CPU.
    fn peak_bytes(&self) -> Option<u64>;
    /// Reads all of `x`, a multiple of 4 numbers, and gives their sum when that is done.
    fn read_all(&self, x: &Tensor<Self, f32>) -> Result<f64>;
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

    fn read_all(&self, x: &Tensor<Self, f32>) -> Result<f64> {
        // eight sums side by side, so that adding them does not hold up the reading
        let sum = |piece: &[f32]| {
            let mut sums = [0f32; 8];
            piece.chunks(8).for_each(|eight| sums.iter_mut().zip(eight).for_each(|(sum, value)| *sum += value));
            f64::from(sums.iter().sum::<f32>())
        };
        Ok(x.buf.par_chunks(1 << 16).map(sum).sum())
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

    fn read_all(&self, x: &Tensor<Self, f32>) -> Result<f64> {
        let mut sums = Tensor::zeros(self, &[Self::read_sums(x.len())])?;
        self.read_rate(&mut sums, x)?;
        Ok(sums.to_host(self)?.iter().map(|sum| f64::from(*sum)).sum())
    }
}

/// The most memory this process ever held, where the system tells.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
