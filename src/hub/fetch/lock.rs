//! One fetch of a model at a time, among the threads of a process and the processes of a machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::ops::ControlFlow;
use std::path::Path;

use super::{Error, Fetching, OnProgress, Result, TICK};

/// A locked file. The operating system unlocks it when it is dropped, or its process ends, however that ends.
pub(super) struct Lock {
    _file: Option<File>,
}

/// Waits until nobody else holds the lock of the file at `path`. Meanwhile `on_progress` hears that `what` is waited for, and may
/// stop that.
pub(super) fn acquire(path: &Path, what: &str, on_progress: &mut OnProgress<'_>) -> Result<Lock> {
    // A folder that cannot be written to fails with a better message where its files are to be written.
    let folder = path.parent().map(std::fs::create_dir_all);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let (Some(Ok(())), Ok(file)) = (folder, file) else { return Ok(Lock { _file: None }) };
    let waiting = Fetching { file: what.to_string(), waiting: true, ..Fetching::default() };
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => {}
            // Some network file systems have no locks.
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
