//! Signal handling: Ctrl-C, SIGTERM and SIGHUP.
//!
//! | signal | normally | in the worker, after [`be_patient`] |
//! |---|---|---|
//! | first | cancels the running work at its next check | stops accepting requests |
//! | second | ends the process | cancels the running work |
//! | third | | ends the process |

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Exit status of a process ended by Ctrl-C: 128 + SIGINT, as shells report it.
pub const EXIT: u8 = 130;

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
/// The callback of [`be_patient`] for the first signal.
static ON_FIRST_SIGNAL: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Installs the signal handler.
pub fn listen() {
    // Without a handler Ctrl-C still ends the process, but without a clean stop.
    if let Err(reason) = ctrlc::set_handler(on_signal) {
        tracing::warn!("Ctrl-C cannot be caught: {reason}");
    }
}

fn on_signal() {
    let signals = SIGNALS.fetch_add(1, Ordering::SeqCst) + 1;
    let message = match (ON_FIRST_SIGNAL.get(), signals) {
        (None, 1) => "stopping; what is finished is kept (Ctrl-C again to stop at once)",
        (Some(_), 1) => "no more requests are taken; finishing what runs (again to cancel it)",
        (Some(_), 2) => "cancelling what runs (again to stop at once)",
        _ => std::process::exit(i32::from(EXIT)),
    };
    super::console::error(message);
    if let Some(at_first) = ON_FIRST_SIGNAL.get() {
        at_first();
    }
}

/// Makes the first signal call `at_first` instead of cancelling the work; the second signal cancels it. Has no effect
/// if a signal has arrived before.
pub fn be_patient(at_first: impl Fn() + Send + Sync + 'static) {
    if !asked() {
        let _ = ON_FIRST_SIGNAL.set(Box::new(at_first));
    }
    // A signal may have arrived between the check and the registration.
    if let (Some(at_first), true) = (ON_FIRST_SIGNAL.get(), SIGNALS.load(Ordering::SeqCst) > 0) {
        at_first();
    }
}

/// Whether a signal has asked to cancel the running work.
pub fn asked() -> bool {
    SIGNALS.load(Ordering::SeqCst) > usize::from(ON_FIRST_SIGNAL.get().is_some())
}
