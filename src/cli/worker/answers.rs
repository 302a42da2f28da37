//! Writer of the worker's answers to stdout: one complete line at a time, flushed.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::console;
use super::super::results::{Id, Line, Refusal};

/// The answers on stdout.
pub struct Answers {
    /// Set once a write has failed.
    gone: AtomicBool,
}

impl Answers {
    /// Answers to a client that is connected.
    pub fn new() -> Self {
        Answers { gone: AtomicBool::new(false) }
    }

    /// Whether answers can no longer be written.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Writes a line, which must end in a newline.
    pub fn write(&self, line: &str) {
        // The lock is held for the whole line, so that two answers do not interleave.
        let mut out = std::io::stdout().lock();
        if self.gone() {
            return;
        }
        if let Err(reason) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            self.gone.store(true, Ordering::Relaxed);
            console::error(&match reason.kind() {
                ErrorKind::BrokenPipe => "the reader of the answers has gone; what runs is cancelled".to_string(),
                _ => format!("answers cannot be written: {reason}; what runs is cancelled"),
            });
        }
    }

    /// Writes an error answer. The id is null if the request has no readable id.
    pub fn refuse(&self, id: Option<&Id>, refusal: &Refusal) {
        self.write(&Line::new().put("id", &id).put_refusal("error", refusal).end());
    }
}
