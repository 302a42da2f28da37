//! The [`Machine`] trait: what a backend provides for benchmarking (synchronisation, kernel times, profiler marks, peak
//! memory).

use diarist::Result;
use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::cuda::Cuda;
use diarist::engine::prelude::*;
use diarist::engine::profile::TimedLaunch;
use rayon::prelude::*;

/// A backend that can be benchmarked.
pub trait Machine: Backend {
    /// Synchronises: waits until all queued work is done.
    fn wait(&self) -> Result<()>;
    /// The kernels that `f` launches, with their times. Empty on the CPU.
    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<TimedLaunch>>;
    /// Runs `f` between the profiler's start and stop marks.
    fn marked(&self, f: impl FnOnce() -> Result<()>) -> Result<()>;
    /// Peak device memory in bytes; on the CPU, peak resident memory of the process.
    fn peak_bytes(&self) -> Option<u64>;
    /// Reads all of `x`, whose length must be a multiple of 4, and returns the sum.
    fn read_all(&self, x: &Tensor<Self, f32>) -> Result<f64>;
}

impl Machine for Cpu {
    fn wait(&self) -> Result<()> {
        Ok(())
    }

    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<TimedLaunch>> {
        f().map(|()| Vec::new())
    }

    fn marked(&self, f: impl FnOnce() -> Result<()>) -> Result<()> {
        f()
    }

    fn peak_bytes(&self) -> Option<u64> {
        peak_rss_bytes()
    }

    fn read_all(&self, x: &Tensor<Self, f32>) -> Result<f64> {
        // Eight independent sums, so that the latency of the additions does not limit the bandwidth.
        let sum = |piece: &[f32]| {
            let mut sums = [0f32; 8];
            piece.chunks(8).for_each(|eight| sums.iter_mut().zip(eight).for_each(|(sum, value)| *sum += value));
            f64::from(sums.iter().sum::<f32>())
        };
        Ok(x.buf.par_chunks(1 << 16).map(sum).sum())
    }
}

impl Machine for Cuda {
    fn wait(&self) -> Result<()> {
        self.synchronize()
    }

    fn kernels(&self, f: impl FnOnce() -> Result<()>) -> Result<Vec<TimedLaunch>> {
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

/// Peak resident memory of this process; `None` if the system does not report it.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
