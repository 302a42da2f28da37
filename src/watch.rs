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
