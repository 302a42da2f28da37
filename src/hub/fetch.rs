//! Downloads repositories into the hub cache, so that a repository is visible only once it is complete.
//!
//! The hf-hub crate transfers the files. This module adds:
//!
//! - a lock, so that a model is downloaded by one process or thread at a time;
//! - checks of size and checksum after a transfer;
//! - retries that resume from the bytes on disk;
//! - a timeout for stalled connections, and cancellation;
//! - writing `refs/main` only after the last file, so that an interrupted download is not mistaken for a model.

mod check;
pub(super) mod file;
mod lock;
mod repository;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::layout::{Layout, missing};
use super::pinned::Published;
use super::snapshots::{self, Place};
use super::{Fetching, Hub, OnProgress};
use repository::{Job, Known};

/// Number of attempts at a transfer before its error is returned.
const ATTEMPTS: u32 = 5;
/// Interval of progress reports, at which the caller can cancel.
const TICK: Duration = Duration::from_millis(100);

/// Why a download failed.
pub(super) enum Error {
    /// The caller cancelled.
    Cancelled,
    /// The hub did not answer.
    Unreachable(String),
    /// The hub requires an access token, or rejected the one given.
    Refused(String),
    /// Any other reason, and the cure.
    Other(String),
}

type Result<T> = std::result::Result<T, Error>;

/// Downloads `repo` into the cache at `root`; returns the snapshot folder. If another process or thread is downloading
/// it, waits for that, and then downloads what is still missing.
pub(super) fn fetch(
    hub: &Hub,
    repo: &str,
    root: &Path,
    layout: &'static Layout,
    on_progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let _lock = lock::acquire(&snapshots::lock_file(root, repo), repo, on_progress)?;
    let complete = |folder: &PathBuf| missing(folder, layout).is_empty();
    let cached =
        snapshots::snapshots(root, repo).into_iter().filter(|s| !s.unfinished).map(|s| s.folder).find(complete);
    match cached {
        Some(folder) => Ok(folder),
        None => with_job(hub, repo, root, on_progress, move |job| job.fetch(layout)),
    }
}

/// Downloads a file of a pinned commit with a known checksum; returns its path. The access token is sent only if the
/// hub requires one: an expired token would be rejected even for a public repository.
pub(super) fn published(
    hub: &Hub,
    source: &Published<'_>,
    root: &Path,
    on_progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let _lock = lock::acquire(&snapshots::lock_file(root, source.repo), source.repo, on_progress)?;
    let [revision, file, sha256] = [source.revision, source.file, source.sha256].map(str::to_string);
    let cached = root.join(snapshots::folder_of(source.repo)).join("snapshots").join(&revision).join(&file);
    // The previous holder of the lock may have downloaded it.
    if source.check(&cached, &mut || {}).is_ok() {
        return Ok(cached);
    }
    let known = Arc::new(Known { revision, file, bytes: source.bytes, sha256 });
    let mut attempt = |hub: &Hub| {
        let known = known.clone();
        with_job(hub, source.repo, root, on_progress, move |job| job.fetch_known(&known))
    };
    match attempt(&Hub { token: None, ..hub.clone() }) {
        Err(Error::Refused(_)) if hub.token.is_some() => attempt(hub),
        result => result,
    }
}

/// Checks `files` of a snapshot against the hub's checksums, and downloads the damaged ones again; returns their names.
pub(super) fn repair(
    hub: &Hub,
    place: &Place,
    files: Vec<String>,
    on_progress: &mut OnProgress<'_>,
) -> Result<Vec<String>> {
    let _lock = lock::acquire(&snapshots::lock_file(&place.root, &place.repo), &place.repo, on_progress)?;
    let commit = place.commit.clone();
    with_job(hub, &place.repo, &place.root, on_progress, move |job| job.repair(&commit, &files))
}

/// Checks a file of a snapshot without the network. `Some` describes the damage.
pub(super) fn damage(file: &Path) -> Option<String> {
    check::damage(file, &mut || {})
}

/// Runs a transfer of a repository on a worker thread, because a blocked read cannot be interrupted. The calling thread
/// handles timeout, progress and cancellation.
fn with_job<T: Send + 'static>(
    hub: &Hub,
    repo: &str,
    root: &Path,
    on_progress: &mut OnProgress<'_>,
    work: impl FnOnce(Job) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (events, progress) = channel();
    let abandoned = Arc::new(AtomicBool::new(false));
    let job = Job::new(hub, repo, root, Reporter { events, abandoned: abandoned.clone() })?;
    watched(move || work(job), &progress, &abandoned, hub.stall, on_progress)
}

/// Runs `work` on a new thread and reports its `progress`. On timeout or cancellation sets `abandoned` and returns
/// without waiting for the thread.
fn watched<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
    progress: &Receiver<Event>,
    abandoned: &AtomicBool,
    stall: Duration,
    on_progress: &mut OnProgress<'_>,
) -> Result<T> {
    let worker = std::thread::spawn(work);
    let watched = watch(progress, stall, on_progress);
    if watched.is_err() {
        abandoned.store(true, Ordering::Relaxed);
    }
    watched?;
    worker.join().unwrap_or_else(|_| Err(Error::Other("the download stopped on an internal error; try again".into())))
}

/// Reports progress until the worker has ended, the transfer stalls, or the caller cancels.
fn watch(progress: &Receiver<Event>, stall: Duration, on_progress: &mut OnProgress<'_>) -> Result<()> {
    let mut state = Fetching::default();
    let mut last_event = Instant::now();
    let mut last_report = Instant::now();
    loop {
        match progress.recv_timeout(TICK) {
            Ok(event) => {
                state.apply(event);
                last_event = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if last_event.elapsed() > stall => {
                let seconds = stall.as_secs();
                return Err(Error::Unreachable(format!(
                    "nothing arrived for {seconds} s; run the same command again to continue"
                )));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let _ = on_progress(&state);
                return Ok(());
            }
        }
        if last_report.elapsed() >= TICK {
            last_report = Instant::now();
            if let ControlFlow::Break(()) = on_progress(&state) {
                return Err(Error::Cancelled);
            }
        }
    }
}

enum Event {
    /// The transfer of a file begins: its name and its size in bytes.
    File(String, u64),
    /// Bytes that have arrived; 0 is a sign of life that resets the stall timeout.
    Bytes(u64),
    /// Another program holds the lock of this file.
    Waiting(String),
}

impl Fetching {
    fn apply(&mut self, event: Event) {
        match event {
            Event::File(file, total) => *self = Fetching { file, total, ..Fetching::default() },
            Event::Waiting(file) => *self = Fetching { file, waiting: true, ..Fetching::default() },
            Event::Bytes(bytes) => self.done += bytes,
        }
    }
}

/// Sends hf-hub's progress callbacks as events to the calling thread.
#[derive(Clone)]
struct Reporter {
    events: Sender<Event>,
    abandoned: Arc<AtomicBool>,
}

impl Reporter {
    fn send(&self, event: Event) {
        // hf-hub's copy loop can only be left by unwinding. Unlike `panic!`, `resume_unwind` prints nothing. The bytes
        // so far stay in the part file.
        if self.events.send(event).is_err() || self.abandoned.load(Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("download abandoned"));
        }
    }
}

impl hf_hub::api::Progress for Reporter {
    fn init(&mut self, size: usize, filename: &str) {
        self.send(Event::File(filename.to_string(), size as u64));
    }
    fn update(&mut self, size: usize) {
        self.send(Event::Bytes(size as u64));
    }
    fn finish(&mut self) {}
}
