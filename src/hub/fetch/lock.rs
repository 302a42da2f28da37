//! File lock: one download of a model at a time, across threads and processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::ops::ControlFlow;
use std::path::Path;

use super::{Error, Fetching, OnProgress, Result, TICK};

/// A locked file. The operating system releases the lock when the value is dropped or the process ends, even by a
/// crash.
pub(super) struct Lock {
    _file: Option<File>,
}

/// Locks the file at `path`, waiting until it is free. While waiting, calls `on_progress` with `what` as the name of
/// the file; it can cancel. Returns without a lock if the file system does not support locks or the file cannot be
/// created.
pub(super) fn acquire(path: &Path, what: &str, on_progress: &mut OnProgress<'_>) -> Result<Lock> {
    // Go on without a lock if the folder is not writable: the download itself reports that with a better message.
    let folder = path.parent().map(std::fs::create_dir_all);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let (Some(Ok(())), Ok(file)) = (folder, file) else { return Ok(Lock { _file: None }) };
    let waiting = Fetching { file: what.to_string(), waiting: true, ..Fetching::default() };
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => {}
            // Some network file systems do not support locks.
            Err(TryLockError::Error(reason)) => {
                tracing::debug!("{} cannot be locked: {reason}", path.display());
                return Ok(Lock { _file: None });
            }
        }
        if let ControlFlow::Break(()) = on_progress(&waiting) {
            return Err(Error::Cancelled);
        }
        std::thread::sleep(TICK);
    }
}
