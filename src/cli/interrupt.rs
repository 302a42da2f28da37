//! Ctrl-C: the first asks the work to stop at a clean place, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

/// Exit status of a process ended by Ctrl-C, as shells count it.
pub const EXIT: u8 = 130;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Installs the handler; also for SIGTERM and SIGHUP.
pub fn listen() {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(EXIT));
        }
        super::console::error("stopping; what is finished is kept (Ctrl-C again to stop at once)");
    };
    // Without a handler Ctrl-C still ends the process, only less politely.
    if let Err(reason) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C cannot be caught: {reason}");
    }
}

/// Whether the user has asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
