//! Times of launches, measured with events.

use std::time::Duration;

use super::context::Context;
use super::driver::{self, sys};
use super::event::Event;
use crate::engine::profile::{TimedLaunch, Work};
use crate::error::Result;

/// A launch whose start event is recorded.
pub(super) struct Timer {
    start: Event,
}

impl Timer {
    pub fn start(context: &Context, stream: sys::CUstream) -> Result<Self> {
        Ok(Timer { start: Event::timed(context, stream)? })
    }

    pub fn stop(self, context: &Context, stream: sys::CUstream, kernel: &str, work: Work) -> Result<Timed> {
        Ok(Timed { kernel: kernel.to_string(), work, start: self.start, end: Event::timed(context, stream)? })
    }
}

/// A launch whose start and end events are recorded.
pub(super) struct Timed {
    kernel: String,
    work: Work,
    start: Event,
    end: Event,
}

impl Timed {
    /// The elapsed time; the device must have reached both events.
    pub fn finish(self) -> Result<TimedLaunch> {
        let ms = driver::elapsed_ms(self.start.handle(), self.end.handle())?;
        Ok(TimedLaunch {
            kernel: self.kernel,
            work: self.work,
            took: Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3),
        })
    }
}
