//! One recording on its way through the stages.

use std::time::Instant;

use super::Observer;
use crate::engine::profile::range;
use crate::error::{Error, Result};

/// Runs stages on one recording and reports them to the observer.
pub(super) struct Run<'a> {
    pub observer: &'a mut dyn Observer,
}

impl Run<'_> {
    /// Runs one stage: measures its time, opens a tracing span and a profiler range, notifies the observer, and adds the stage's name to
    /// errors.
    pub fn stage<T>(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.observer.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let _span = tracing::info_span!("stage", name).entered();
        let _range = range(name);
        let start = Instant::now();
        let result = work(self).map_err(|error| error.in_stage(name))?;
        let took = start.elapsed();
        tracing::info!(stage = name, ms = took.as_millis() as u64, "done");
        self.observer.finished(name, took);
        Ok(result)
    }
}
