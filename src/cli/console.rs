//! Console output: results on stdout, messages and progress bars on stderr.
//!
//! Every message is a line `diarist: NAME: text` without colours, so NO_COLOR needs no handling. Progress bars are
//! drawn only on a terminal that can move its cursor, and are hidden while a line is printed.

#![allow(clippy::print_stderr)] // the only module that prints to stderr

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Set once a write to stdout has failed. A closed pipe (`diarist ... | head`) is not an error: later lines are
/// dropped, and the result files are still written.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);
/// Set if the write failed for another reason, such as a full disk. The output is then incomplete, and the exit status
/// says so.
static STDOUT_FAILED: AtomicBool = AtomicBool::new(false);
/// All progress bars. Every line is printed inside [`MultiProgress::suspend`], which must not be nested.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line to stdout and flushes it.
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

/// Whether stdout is incomplete because a write failed for a reason other than a closed pipe.
pub fn lost_output() -> bool {
    STDOUT_FAILED.load(Ordering::Relaxed)
}

/// Prints a message to stderr. Control characters, which a file name may contain, are escaped.
pub fn error(text: &str) {
    // If stderr is closed, the error cannot be reported anywhere.
    let _ = BARS.suspend(|| writeln!(std::io::stderr().lock(), "diarist: {}", printable(text)));
}

/// The text with its control characters escaped, except line breaks: `\u{1b}` for ESC.
pub fn printable(text: &str) -> String {
    let escape = |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Prints a message unless one with the same `key` was printed before.
pub fn error_once(key: &str, text: &str) {
    static PRINTED_KEYS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut printed = PRINTED_KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if !printed.iter().any(|other| other == key) {
        error(text);
        printed.push(key.to_string());
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

    /// Sets the label, the position and the length of the bar.
    pub fn set(&self, what: &str, done: u64, total: u64) {
        let what = printable(what);
        if self.bar.message() != what {
            self.bar.set_message(what);
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
