//! Fetching a repository into the cache, so that it is there whole or not at all.
//!
//! hf-hub moves the bytes; around it stands what it does not do: waiting for whoever fetches the same, a size and SHA-256 check of
//! what arrived, taking up a broken transfer again from the bytes on disk, giving up on a connection that has gone silent, stopping
//! when asked, and naming the commit `main` only after its last file is here, so that an interrupted fetch is never mistaken for a
//! model.

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
use super::published::Published;
use super::snapshots::{self, Place};
use super::{Fetching, Hub, OnProgress};
use repository::{Job, Known};

/// Times a transfer is taken up again before the error is handed on.
const ATTEMPTS: u32 = 5;
/// How often the caller hears from a download, and can stop it.
const TICK: Duration = Duration::from_millis(100);

/// Why nothing was fetched.
pub(super) enum Error {
    /// The caller asked to stop.
    Cancelled,
    /// The hub did not answer.
    Unreachable(String),
    /// The hub wants an access token, or another one.
    Refused(String),
    /// Anything else, with the cure.
    Other(String),
}

type Result<T> = std::result::Result<T, Error>;

/// Fetches `repo` into the cache at `root`; returns the folder with its files. If another process or thread is fetching it, waits
/// for that, and fetches what is missing then.
pub(super) fn fetch(
    hub: &Hub,
    repo: &str,
    root: &Path,
    layout: &'static Layout,
    on_progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let _lock = lock::acquire(&snapshots::lock_file(root, repo), repo, on_progress)?;
    let whole = |folder: &PathBuf| missing(folder, layout).is_empty();
    let here = snapshots::snapshots(root, repo).into_iter().filter(|s| !s.unfinished).map(|s| s.folder).find(whole);
    match here {
        Some(folder) => Ok(folder),
        None => with_job(hub, repo, root, on_progress, move |job| job.fetch(layout)),
    }
}

/// Fetches a file of a commit whose bytes are known; returns its path. No access token is sent, unless the hub wants one: one that has
/// expired would be refused for a repository that everybody may read.
pub(super) fn published(
    hub: &Hub,
    source: &Published<'_>,
    root: &Path,
    on_progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let _lock = lock::acquire(&snapshots::lock_file(root, source.repo), source.repo, on_progress)?;
    let [revision, file, sha256] = [source.revision, source.file, source.sha256].map(str::to_string);
    let here = root.join(snapshots::folder_of(source.repo)).join("snapshots").join(&revision).join(&file);
    // Whoever held the lock may have brought it.
    if source.check(&here, &mut || {}).is_ok() {
        return Ok(here);
    }
    let known = Arc::new(Known { revision, file, bytes: source.bytes, sha256 });
    let mut attempt = |hub: &Hub| {
        let known = known.clone();
        with_job(hub, source.repo, root, on_progress, move |job| job.fetch_known(&known))
    };
    match attempt(&Hub { token: None, ..hub.clone() }) {
        Err(Error::Refused(_)) if hub.token.is_some() => attempt(hub),
        ended => ended,
    }
}

/// Checks `files` of a snapshot against what the hub says of them, and fetches the damaged ones again; returns their names.
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

/// What is wrong with a file of a snapshot, as far as that can be told without the hub.
pub(super) fn damage(file: &Path) -> Option<String> {
    check::damage(file, &mut || {})
}

/// Runs a transfer on its own thread, because a blocked read cannot be stopped; this one keeps the time.
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

/// Runs `work`, which sends `progress`, on a thread of its own until it is done, or has to be `abandoned`.
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

/// Passes progress on until the worker is done.
fn watch(progress: &Receiver<Event>, stall: Duration, on_progress: &mut OnProgress<'_>) -> Result<()> {
    let mut state = Fetching::default();
    let mut last_news = Instant::now();
    let mut last_told = Instant::now();
    loop {
        match progress.recv_timeout(TICK) {
            Ok(event) => {
                state.apply(event);
                last_news = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if last_news.elapsed() > stall => {
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
        if last_told.elapsed() >= TICK {
            last_told = Instant::now();
            if let ControlFlow::Break(()) = on_progress(&state) {
                return Err(Error::Cancelled);
            }
        }
    }
}

enum Event {
    File(String, u64),
    Bytes(u64),
    /// Another program holds the file.
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

/// hf-hub's callbacks, turned into events.
#[derive(Clone)]
struct Reporter {
    events: Sender<Event>,
    abandoned: Arc<AtomicBool>,
}

impl Reporter {
    fn send(&self, event: Event) {
        // The only way out of hf-hub's copy loop is to unwind; unlike a panic this prints nothing. The bytes so far
        // stay in the part file.
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
