//! Progress reports and cancellation of long-running stages.

use crate::units::Seconds;

/// Receives progress reports, and can cancel the work.
pub trait Watch {
    /// `done` of `total` seconds of the recording are finished.
    fn progress(&mut self, done: Seconds, total: Seconds) {
        let _ = (done, total);
    }
    /// Whether to stop as soon as possible. Polled before every forward pass of a network.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Ignores progress and never cancels.
impl Watch for () {}

/// Reports the progress of one of two steps as 0-50 % (first step) or 50-100 % (second step) of the whole.
pub(crate) struct Half<'a> {
    pub watch: &'a mut dyn Watch,
    pub second: bool,
}

impl Watch for Half<'_> {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        let done = 0.5 * done.0 + if self.second { 0.5 * total.0 } else { 0.0 };
        self.watch.progress(Seconds(done), total);
    }

    fn is_cancelled(&self) -> bool {
        self.watch.is_cancelled()
    }
}
