//! Ctrl-C, SIGTERM and SIGHUP. Of most work the first stops what runs at a clean place, and the second ends the process;
//! of work that is [patient](be_patient) the first only ends the taking of requests, the second stops what runs, and the
//! third ends the process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Exit status of a process ended by Ctrl-C, as shells count it.
pub const EXIT: u8 = 130;

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
/// Called at the first signal by work that is patient.
static AT_FIRST: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Installs the handler.
pub fn listen() {
    // Without a handler Ctrl-C still ends the process, only less politely.
    if let Err(reason) = ctrlc::set_handler(heard) {
        tracing::warn!("Ctrl-C cannot be caught: {reason}");
    }
}

fn heard() {
    let signals = SIGNALS.fetch_add(1, Ordering::SeqCst) + 1;
    let told = match (AT_FIRST.get(), signals) {
        (None, 1) => "stopping; what is finished is kept (Ctrl-C again to stop at once)",
        (Some(_), 1) => "no more requests are taken; finishing what runs (again to cancel it)",
        (Some(_), 2) => "cancelling what runs (again to stop at once)",
        _ => std::process::exit(i32::from(EXIT)),
    };
    super::console::error(told);
    if let Some(at_first) = AT_FIRST.get() {
        at_first();
    }
}

/// From now on the first signal calls `at_first`, and only the second asks to stop. Does nothing where one has come already.
pub fn be_patient(at_first: impl Fn() + Send + Sync + 'static) {
    if !asked() {
        let _ = AT_FIRST.set(Box::new(at_first));
    }
    // One that has come in between.
    if let (Some(at_first), true) = (AT_FIRST.get(), SIGNALS.load(Ordering::SeqCst) > 0) {
        at_first();
    }
}

/// Whether the user has asked to stop what runs.
pub fn asked() -> bool {
    SIGNALS.load(Ordering::SeqCst) > usize::from(AT_FIRST.get().is_some())
}
