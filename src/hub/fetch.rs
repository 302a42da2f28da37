//! Fetching a repository into the cache, so that it is there whole or not at all.
//!
//! hf-hub moves the bytes; around it stands what it does not do: a size and SHA-256 check of what arrived, taking up a
//! broken transfer again from the bytes on disk, giving up on a connection that has gone silent, stopping when asked,
//! and naming the commit `main` only after its last file is here, so that an interrupted fetch is never mistaken for
//! a model.

pub(super) mod file;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use sha2::{Digest, Sha256};

use super::{Fetching, Hub, Layout, OnProgress, SINGLE, shards};
use crate::engine::weights::LAYOUTS;

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
    /// Anything else, with the cure.
    Other(String),
}

type Result<T> = std::result::Result<T, Error>;

/// Fetches `repo` into the cache at `root`; returns the folder with its files.
///
/// The transfer runs on its own thread, because a blocked read cannot be stopped; this one keeps the time.
pub(super) fn fetch(
    hub: &Hub,
    repo: &str,
    root: &Path,
    layout: &'static Layout,
    on_progress: &mut OnProgress<'_>,
) -> Result<PathBuf> {
    let (events, progress) = channel();
    let abandoned = Arc::new(AtomicBool::new(false));
    let job = Job::new(hub, repo, root, layout, Reporter { events, abandoned: abandoned.clone() })?;
    watched(move || job.run(), &progress, &abandoned, hub.stall, on_progress)
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
}

impl Fetching {
    fn apply(&mut self, event: Event) {
        match event {
            Event::File(file, total) => *self = Fetching { file, done: 0, total },
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

/// One repository to fetch.
struct Job {
    api: Api,
    cache: Cache,
    repo: String,
    layout: &'static Layout,
    endpoint: String,
    reporter: Reporter,
    pause: Duration,
}

impl Job {
    fn new(hub: &Hub, repo: &str, root: &Path, layout: &'static Layout, reporter: Reporter) -> Result<Self> {
        std::fs::create_dir_all(root)
            .map_err(|e| Error::Other(format!("cannot create {}: {e}; give another --model-dir", root.display())))?;
        // hf-hub links blobs by relative paths, which it can only work out between absolute ones.
        let root = std::path::absolute(root).map_err(|e| Error::Other(format!("{}: {e}", root.display())))?;
        let cache = Cache::new(root);
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            .with_progress(false)
            .with_user_agent("diarist", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| Error::Other(e.to_string()))?;
        let (repo, endpoint) = (repo.to_string(), hub.endpoint.clone());
        Ok(Job { api, cache, repo, layout, endpoint, reporter, pause: hub.retry_pause })
    }

    fn run(self) -> Result<PathBuf> {
        self.reporter.send(Event::Bytes(0));
        let info = self.with_retries("asking the hub", || self.api.model(self.repo.clone()).info())?;
        let commit = info.sha;
        if !commit.bytes().all(|b| b.is_ascii_alphanumeric()) || commit.is_empty() {
            return Err(Error::Other(format!("{} answers with a commit that is none: {commit:?}", self.endpoint)));
        }
        let offered: Vec<&str> = info.siblings.iter().map(|s| s.rfilename.as_str()).collect();
        let wanted = wanted(&offered, self.layout)
            .map_err(|why| Error::Other(format!("{}/{} {why}", self.endpoint, self.repo)))?;
        // Asking by commit, not by `main`, keeps all files of one version even if the repository changes meanwhile.
        let at_commit = Repo::with_revision(self.repo.clone(), RepoType::Model, commit.clone());
        let folder = self.cache.repo(at_commit.clone()).pointer_path(&commit);
        let source = self.api.repo(at_commit.clone());
        for file in &wanted {
            self.fetch_file(&source, &at_commit, &folder, file)?;
        }
        if let Some(index) = wanted.last().filter(|weights| weights.ends_with(".index.json")) {
            let not_a_list = || Error::Other(format!("{index} is not a list of shards"));
            let text = std::fs::read_to_string(folder.join(index)).map_err(|_| not_a_list())?;
            for shard in shards(&text).ok_or_else(not_a_list)? {
                self.fetch_file(&source, &at_commit, &folder, &shard)?;
            }
        }
        let main = self.cache.model(self.repo.clone());
        main.create_ref(&commit).map_err(|e| Error::Other(format!("cannot write to the model folder: {e}")))?;
        Ok(folder)
    }

    /// Fetches one file unless it is here, and checks it.
    fn fetch_file(&self, source: &ApiRepo, repo: &Repo, folder: &Path, file: &str) -> Result<()> {
        let pointer = folder.join(file);
        if pointer.is_file() {
            return Ok(());
        }
        let mut damaged = None;
        for _ in 0..2 {
            let meta = self.with_retries(file, || self.api.metadata(&source.url(file)))?;
            let (etag, size) = (meta.etag().to_string(), meta.size() as u64);
            let plain = |etag: &str| etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if etag.is_empty() || !plain(etag.strip_prefix("W/").unwrap_or(&etag)) {
                return Err(Error::Other(format!("{file}: the hub names it {etag:?}, which cannot be a file name")));
            }
            let blob = self.cache.repo(repo.clone()).blob_path(&etag);
            let part = blob.with_extension("part");
            self.with_retries(file, || {
                // A part that is already whole (the process died just before the rename) cannot be continued.
                if std::fs::metadata(&part).is_ok_and(|m| m.len() >= size) {
                    std::fs::remove_file(&part)?;
                }
                source.download_with_progress(file, self.reporter.clone())?;
                // A connection closed between two packets looks like the end of the file.
                if size_of(&blob)? < size && !is_text(file) {
                    std::fs::rename(&blob, &part)?;
                    std::fs::remove_file(&pointer)?;
                    return Err(ApiError::IoError(std::io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(())
            })?;
            match check(&blob, &etag, size, file) {
                Ok(()) => return Ok(()),
                Err(why) => damaged = Some(why),
            }
            // The pointer goes first: without it nobody mistakes the damaged blob for the file.
            let _ = std::fs::remove_file(&pointer);
            let _ = std::fs::remove_file(&blob);
        }
        let why = damaged.unwrap_or_default();
        Err(Error::Other(format!("{file} arrived damaged twice ({why}); try another network or HF_ENDPOINT")))
    }

    /// Runs `step` until it works, fails for good, or has been interrupted too often.
    fn with_retries<T>(&self, file: &str, mut step: impl FnMut() -> std::result::Result<T, ApiError>) -> Result<T> {
        let mut attempt = 1;
        loop {
            let error = match step() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if attempt == ATTEMPTS || !worth_retrying(&error) {
                return Err(self.explain(file, &error));
            }
            std::thread::sleep(self.pause * attempt);
            self.reporter.send(Event::Bytes(0));
            attempt += 1;
        }
    }

    fn explain(&self, file: &str, error: &ApiError) -> Error {
        let (endpoint, repo) = (&self.endpoint, &self.repo);
        match status(error) {
            Some(code @ (401 | 403)) => Error::Other(format!(
                "{endpoint} refuses {repo} ({code}): no such repository, or a private or gated one; accept its terms on \
                 its page and set HF_TOKEN"
            )),
            Some(404) => Error::Other(format!("{endpoint} has no repository {repo} (or no {file} in it)")),
            Some(code) => Error::Other(format!("{endpoint} answers {code} for {file} of {repo}; try again later")),
            None => match error {
                ApiError::LockAcquisition(path) => Error::Other(format!(
                    "another process is fetching {file}; wait for it, or remove {} if there is none",
                    path.display()
                )),
                ApiError::IoError(e) if is_local(e) => Error::Other(format!(
                    "{file} cannot be stored in {}: {e}; make room or give another --model-dir",
                    self.cache.path().display()
                )),
                ApiError::IoError(_) => {
                    Error::Unreachable(format!("{error} during {file}; run the same command again to continue"))
                }
                _ => Error::Unreachable(error.to_string()),
            },
        }
    }
}

/// The files to fetch of those offered, the weights last; the shards of an index are not among them.
fn wanted<'a>(offered: &[&'a str], layout: &Layout) -> std::result::Result<Vec<&'a str>, String> {
    let find = |name: &str| offered.iter().find(|o| **o == name).copied();
    let mut wanted: Vec<&str> = layout.required.iter().chain(layout.optional).filter_map(|f| find(f)).collect();
    let absent: Vec<&str> = layout.required.iter().filter(|f| find(f).is_none()).copied().collect();
    if !absent.is_empty() {
        return Err(format!("has no {}: not a {} in the Hugging Face layout", absent.join(", "), layout.kind));
    }
    if !layout.weights {
        return Ok(wanted);
    }
    let weights = LAYOUTS.into_iter().find_map(|(single, index)| find(single).or_else(|| find(index)));
    wanted.push(weights.ok_or_else(|| format!("has no {SINGLE} and no weights in another layout that can be read"))?);
    Ok(wanted)
}

/// Whether a file may come compressed, so that its size says nothing.
fn is_text(file: &str) -> bool {
    file.ends_with(".json") || file.ends_with(".yaml")
}

/// Whether the bytes are those the hub announced. Large files carry their SHA-256 as the etag; the small ones are
/// JSON, and damaged JSON does not parse, or YAML, whose reader refuses what it does not know.
fn check(blob: &Path, etag: &str, size: u64, file: &str) -> std::result::Result<(), String> {
    let io = |e: std::io::Error| e.to_string();
    if etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut hash = Sha256::new();
        std::io::copy(&mut std::fs::File::open(blob).map_err(io)?, &mut hash).map_err(io)?;
        let got: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        return if got.eq_ignore_ascii_case(etag) { Ok(()) } else { Err(format!("SHA-256 {got}, expected {etag}")) };
    }
    if file.ends_with(".json") {
        let text = std::fs::read(blob).map_err(io)?;
        return serde_json::from_slice::<serde::de::IgnoredAny>(&text)
            .map(|_| ())
            .map_err(|e| format!("not JSON: {e}"));
    }
    if is_text(file) {
        return Ok(());
    }
    let got = size_of(blob).map_err(io)?;
    if got == size { Ok(()) } else { Err(format!("{got} bytes, expected {size}")) }
}

fn size_of(path: &Path) -> std::io::Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(inner) => match **inner {
            ureq::Error::StatusCode(code) => Some(code),
            _ => None,
        },
        _ => None,
    }
}

/// Errors of this machine's disk rather than of the network.
fn is_local(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(
        error.kind(),
        StorageFull | PermissionDenied | ReadOnlyFilesystem | QuotaExceeded | NotFound | AlreadyExists
    )
}

/// Whether trying again may help: it does when a connection broke, not when there was none to begin with.
fn worth_retrying(error: &ApiError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    match error {
        ApiError::IoError(e) => !is_local(e),
        ApiError::RequestError(inner) => match &**inner {
            ureq::Error::StatusCode(code) => matches!(code, 416 | 429 | 500..),
            ureq::Error::Io(e) => {
                matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof)
            }
            ureq::Error::Protocol(_) => true,
            _ => false,
        },
        _ => false,
    }
}
