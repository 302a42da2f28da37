//! How a stage that works for long tells how far it is, and is stopped.

use crate::units::Seconds;

/// Hears how the work goes on, and may stop it.
pub trait Watch {
    /// `done` of `total` seconds of the recording are finished.
    fn progress(&mut self, done: Seconds, total: Seconds) {
        let _ = (done, total);
    }
    /// Whether to stop as soon as possible; asked before every pass of a network.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Wants to know nothing.
impl Watch for () {}

/// One half of a work whose progress is reported as a whole.
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
