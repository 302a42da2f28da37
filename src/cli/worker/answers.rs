//! Stdout as programs read it: whole lines, each handed over at once.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::console;
use super::super::results::{Id, Line, Refusal};

/// Where answers go.
pub struct Answers {
    /// Set once they cannot be written any more.
    gone: AtomicBool,
}

impl Answers {
    /// To a reader that is there.
    pub fn new() -> Self {
        Answers { gone: AtomicBool::new(false) }
    }

    /// Whether there is nobody left to answer.
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Writes a line, its end included.
    pub fn write(&self, line: &str) {
        // Held until the line is out: two answers must not mix.
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

    /// Says why there is no result; without an id where the line has none that can be read.
    pub fn refuse(&self, id: Option<&Id>, refusal: &Refusal) {
        self.write(&Line::new().put("id", &id).put_refusal("error", refusal).end());
    }
}
