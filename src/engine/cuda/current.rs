//! The stream that receives the calls of the current thread: the main stream, the second one within `fork`, or the
//! capturing stream while a graph is captured.

use std::cell::Cell;

use super::context::Context;
use super::driver::sys;

thread_local! {
    /// The context whose second stream receives this thread's calls; null otherwise.
    static FORKED: Cell<*const Context> = const { Cell::new(std::ptr::null()) };
    /// The stream on which this thread's launches are captured; `None` while it does not capture.
    static CAPTURING: Cell<Option<sys::CUstream>> = const { Cell::new(None) };
}

/// Whether this thread's calls go to the second stream of the device of `context`.
pub(super) fn is_forked(context: &Context) -> bool {
    std::ptr::eq(FORKED.get(), context)
}

/// The stream on which this thread's launches are captured, if they are.
pub(super) fn capturing() -> Option<sys::CUstream> {
    CAPTURING.get()
}

/// Redirects this thread's calls to the second stream until dropped, also on unwinding.
pub(super) struct Forked(());

impl Forked {
    pub fn to(context: &Context) -> Self {
        FORKED.set(context);
        Forked(())
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        FORKED.set(std::ptr::null());
    }
}

/// Redirects this thread's launches to the capturing stream until dropped, also on unwinding.
pub(super) struct Capturing(());

impl Capturing {
    pub fn to(stream: sys::CUstream) -> Self {
        CAPTURING.set(Some(stream));
        Capturing(())
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        CAPTURING.set(None);
    }
}
