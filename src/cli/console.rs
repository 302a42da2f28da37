//! What the user sees: results on stdout, messages and progress bars on stderr.
//!
//! Every message is a line `diarist: NAME: text`, without colours, so that NO_COLOR has nothing to switch off. Progress bars are
//! drawn only on a terminal that can move its cursor, and are taken away while something is printed.

#![allow(clippy::print_stderr)] // the one place that may

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Set once stdout takes no more. If its reader has gone (`diarist ... | head`), there is nobody left to print to, and
/// that is no reason to stop writing the files.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);
/// Set if something else was the reason, such as a full disk: then text is missing that somebody wanted.
static STDOUT_FAILED: AtomicBool = AtomicBool::new(false);
/// All bars there are. Whatever is printed goes through [`MultiProgress::suspend`], which must not be nested.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line of result to stdout at once.
pub fn line(text: &str) {
    if STDOUT_CLOSED.load(Ordering::Relaxed) {
        return;
    }
    let written = BARS.suspend(|| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    });
    if let Err(reason) = written
        && !STDOUT_CLOSED.swap(true, Ordering::Relaxed)
        && reason.kind() != ErrorKind::BrokenPipe
    {
        STDOUT_FAILED.store(true, Ordering::Relaxed);
        error(&format!("standard output cannot be written: {reason}"));
    }
}

/// Whether text is lost that should have gone to stdout.
pub fn lost_output() -> bool {
    STDOUT_FAILED.load(Ordering::Relaxed)
}

/// Prints a message to stderr.
pub fn error(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _ = BARS.suspend(|| writeln!(std::io::stderr().lock(), "diarist: {text}"));
}

/// Prints a message unless one with the same `key` was printed before.
pub fn error_once(key: &str, text: &str) {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if !told.iter().any(|other| other == key) {
        error(text);
        told.push(key.to_string());
    }
}

/// A progress bar on stderr; draws nothing when stderr is not a terminal.
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar that counts bytes.
    pub fn bytes() -> Self {
        Self::with("{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})")
    }

    /// A bar that counts tenths of a second of recording.
    pub fn recording() -> Self {
        Self::with("{msg} [{wide_bar}] {percent:>3} % ({eta})")
    }

    /// A bar that counts recordings.
    pub fn recordings() -> Self {
        Self::with("{msg} [{wide_bar}] {pos}/{len} ({eta})")
    }

    fn with(template: &str) -> Self {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = BARS.add(ProgressBar::new(0).with_style(style.progress_chars("=> ")));
        Bar { bar }
    }

    /// Shows that `done` of `total` have passed.
    pub fn set(&self, what: &str, done: u64, total: u64) {
        if self.bar.message() != what {
            self.bar.set_message(what.to_string());
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        BARS.remove(&self.bar);
    }
}
