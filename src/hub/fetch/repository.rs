//! Transfer of one repository with hf-hub: file selection, retries, integrity checks, error messages.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::check::{check, is_sha256, is_text, size_of};
use super::{ATTEMPTS, Error, Event, Reporter, Result};
use crate::hub::layout::{Layout, shards};
use crate::hub::{Hub, checksum, snapshots};

/// The download of one repository.
pub(super) struct Job {
    api: Api,
    cache: Cache,
    repo: String,
    endpoint: String,
    has_token: bool,
    reporter: Reporter,
    pause: Duration,
}

/// Whether files that are in the cache already are checked again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// No: they were checked after their download.
    Whole,
    /// Yes.
    Check,
}

/// A file of a pinned commit, with its size and SHA-256.
pub(super) struct Known {
    pub(super) revision: String,
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// One commit of the repository, on the hub and in the cache.
struct Version {
    commit: String,
    source: ApiRepo,
    repo: Repo,
    /// The snapshot folder, whose files are symbolic links to blobs.
    folder: PathBuf,
}

impl Job {
    pub(super) fn new(hub: &Hub, repo: &str, root: &Path, reporter: Reporter) -> Result<Self> {
        if hub.token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            let cure = "copy it again (--hf-token, HF_TOKEN, or the file that `hf auth login` writes)";
            return Err(Error::Other(format!("the access token has characters that no token has; {cure}")));
        }
        std::fs::create_dir_all(root)
            .map_err(|e| Error::Other(format!("cannot create {}: {e}; give another --model-dir", root.display())))?;
        // hf-hub computes the relative targets of its symbolic links, which needs an absolute root.
        let root = std::path::absolute(root).map_err(|e| Error::Other(format!("{}: {e}", root.display())))?;
        let cache = Cache::new(root);
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            .with_progress(false)
            .with_user_agent("diarist", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| Error::Other(e.to_string()))?;
        let (repo, endpoint, has_token) = (repo.to_string(), hub.endpoint.clone(), hub.token.is_some());
        Ok(Job { api, cache, repo, endpoint, has_token, reporter, pause: hub.retry_pause })
    }

    /// Downloads the files of `layout` at the hub's current commit of `main`; returns the snapshot folder.
    pub(super) fn fetch(self, layout: &Layout) -> Result<PathBuf> {
        self.reporter.send(Event::Bytes(0));
        let info = self.with_retries("asking the hub", || self.api.model(self.repo.clone()).info())?;
        let commit = info.sha;
        if !commit.bytes().all(|b| b.is_ascii_alphanumeric()) || commit.is_empty() {
            return Err(Error::Other(format!("{} answers with a commit that is none: {commit:?}", self.endpoint)));
        }
        let offered: Vec<&str> = info.siblings.iter().map(|s| s.rfilename.as_str()).collect();
        let wanted =
            wanted(&offered, layout).map_err(|why| Error::Other(format!("{}/{} {why}", self.endpoint, self.repo)))?;
        let version = self.version(&commit);
        let mark = self.mark(&commit);
        // A mark from an earlier run: that process may have died between a file's download and its check.
        let trust = if mark.exists() { Trust::Check } else { Trust::Whole };
        let _ = std::fs::write(&mark, "");
        for file in &wanted {
            self.fetch_file(&version, file, trust)?;
        }
        if let Some(index) = wanted.last().filter(|weights| weights.ends_with(".index.json")) {
            let not_a_list = || Error::Other(format!("{index} is not a list of shards"));
            let text = std::fs::read_to_string(version.folder.join(index)).map_err(|_| not_a_list())?;
            for shard in shards(&text).ok_or_else(not_a_list)? {
                self.fetch_file(&version, &shard, trust)?;
            }
        }
        let main = self.cache.model(self.repo.clone());
        main.create_ref(&commit).map_err(|e| Error::Other(format!("cannot write to the model folder: {e}")))?;
        let _ = std::fs::remove_file(&mark);
        Ok(version.folder)
    }

    /// Checks files of a cached commit, and downloads the damaged ones again; returns their names.
    pub(super) fn repair(self, commit: &str, files: &[String]) -> Result<Vec<String>> {
        let version = self.version(commit);
        let mut damaged = Vec::new();
        for file in files {
            if self.fetch_file(&version, file, Trust::Check)? {
                damaged.push(file.clone());
            }
        }
        let _ = std::fs::remove_file(self.mark(commit));
        Ok(damaged)
    }

    /// Downloads one file and checks it against its known SHA-256; returns its path.
    pub(super) fn fetch_known(self, known: &Known) -> Result<PathBuf> {
        let Known { revision, file, bytes, sha256 } = known;
        let version = self.version(revision);
        let (etag, size) = self.announced(&version, file)?;
        let refuse = |why: String| Error::Other(format!("{file} is not the file that was published: {why}"));
        if is_sha256(&etag) && !etag.eq_ignore_ascii_case(sha256) {
            return Err(refuse(format!("the hub has the SHA-256 {etag}, expected {sha256}")));
        }
        if size != *bytes {
            return Err(refuse(format!("the hub has {size} bytes, expected {bytes}")));
        }
        let pointer = version.folder.join(file);
        self.discard(&pointer);
        let mut damaged = String::new();
        for _ in 0..2 {
            let blob = self.transfer(&version, file, &pointer)?;
            match checksum::check(&blob, sha256, &mut || self.reporter.send(Event::Bytes(0))) {
                Ok(()) if pointer.is_file() => return Ok(pointer),
                Ok(()) => return Err(refuse(format!("the hub answers with another commit than {revision}"))),
                Err(why) => damaged = why,
            }
            self.discard(&pointer);
            let _ = std::fs::remove_file(blob);
        }
        Err(refuse(damaged))
    }

    fn version(&self, commit: &str) -> Version {
        // Request files by commit, not by `main`, so that all are of one version even if the repository changes
        // meanwhile.
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, commit.to_string());
        let folder = self.cache.repo(repo.clone()).pointer_path(commit);
        Version { commit: commit.to_string(), source: self.api.repo(repo.clone()), repo, folder }
    }

    /// Downloads and checks one file unless it is in the cache; returns whether it was downloaded.
    fn fetch_file(&self, version: &Version, file: &str, trust: Trust) -> Result<bool> {
        let pointer = version.folder.join(file);
        if pointer.is_file() {
            if trust == Trust::Whole {
                return Ok(false);
            }
            let Err(why) = self.check(version, file, &pointer)? else { return Ok(false) };
            tracing::warn!("{} is damaged ({why}); it is fetched again", pointer.display());
            let _ = std::fs::write(self.mark(&version.commit), "");
            self.discard(&pointer);
        }
        // A dangling link to a deleted blob would prevent the new link.
        let _ = std::fs::remove_file(&pointer);
        let mut damaged = None;
        for _ in 0..2 {
            let blob = self.transfer(version, file, &pointer)?;
            match self.check(version, file, &blob)? {
                Ok(()) => return Ok(true),
                Err(why) => damaged = Some(why),
            }
            self.discard(&pointer);
        }
        let why = damaged.unwrap_or_default();
        Err(Error::Other(format!("{file} arrived damaged twice ({why}); try another network or HF_ENDPOINT")))
    }

    /// Checks the file at `path` against the etag and size that the hub announces for `file`. The inner error describes
    /// the damage.
    fn check(&self, version: &Version, file: &str, path: &Path) -> Result<std::result::Result<(), String>> {
        let (etag, size) = self.announced(version, file)?;
        Ok(check(path, &etag, size, file, &mut || self.reporter.send(Event::Bytes(0))))
    }

    /// The etag and the size in bytes that the hub announces for a file.
    fn announced(&self, version: &Version, file: &str) -> Result<(String, u64)> {
        let meta = self.with_retries(file, || self.api.metadata(&version.source.url(file)))?;
        let (etag, size) = (meta.etag().to_string(), meta.size() as u64);
        let plain = |etag: &str| etag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if etag.is_empty() || !plain(etag.strip_prefix("W/").unwrap_or(&etag)) {
            return Err(Error::Other(format!("{file}: the hub names it {etag:?}, which cannot be a file name")));
        }
        Ok((etag, size))
    }

    /// Downloads the blob of a file, resuming an earlier attempt, and links `pointer` to it; returns the blob's path.
    fn transfer(&self, version: &Version, file: &str, pointer: &Path) -> Result<PathBuf> {
        let (etag, size) = self.announced(version, file)?;
        let blob = self.cache.repo(version.repo.clone()).blob_path(&etag);
        let part = blob.with_extension("part");
        self.with_retries(file, || {
            // A complete part file (the process died just before the rename) cannot be resumed.
            if std::fs::metadata(&part).is_ok_and(|m| m.len() >= size) {
                std::fs::remove_file(&part)?;
            }
            version.source.download_with_progress(file, self.reporter.clone())?;
            // hf-hub takes a connection that was closed early for the end of the file.
            if size_of(&blob)? < size && !is_text(file) {
                std::fs::rename(&blob, &part)?;
                std::fs::remove_file(pointer)?;
                return Err(ApiError::IoError(std::io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(())
        })?;
        Ok(blob)
    }

    /// Removes a file of the snapshot and its blob. The link is removed first, so that a crash in between does not
    /// leave a link to a damaged blob.
    fn discard(&self, pointer: &Path) {
        let blob = pointer.canonicalize();
        let _ = std::fs::remove_file(pointer);
        let own = self.cache.path().join(snapshots::folder_of(&self.repo)).canonicalize();
        if let (Ok(blob), Ok(own)) = (blob, own)
            && blob.starts_with(own)
        {
            let _ = std::fs::remove_file(blob);
        }
    }

    fn mark(&self, commit: &str) -> PathBuf {
        snapshots::unfinished_mark(self.cache.path(), &self.repo, commit)
    }

    /// Runs `step`, retrying after interruptions up to [`ATTEMPTS`] times. While another program downloads the same
    /// file and its part file grows, waits without counting attempts.
    fn with_retries<T>(&self, file: &str, mut step: impl FnMut() -> std::result::Result<T, ApiError>) -> Result<T> {
        let (mut attempt, mut others_size) = (1, None);
        loop {
            let error = match step() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if let ApiError::LockAcquisition(lock) = &error {
                let size = size_of(&lock.with_extension("part")).ok();
                if others_size.replace(size) != Some(size) {
                    self.reporter.send(Event::Waiting(file.to_string()));
                    continue;
                }
            }
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
            Some(401) if self.has_token => Error::Refused(format!(
                "{endpoint} refuses the access token (401) for {repo}: it is wrong, expired or revoked. Give a valid one with \
                 --hf-token or HF_TOKEN, or log in again with `hf auth login`"
            )),
            Some(403) if self.has_token => Error::Refused(format!(
                "{endpoint} accepts the access token but refuses {repo} (403): accept its terms on its page with the account of \
                 the token, and let the token read gated repositories"
            )),
            Some(code @ (401 | 403)) => Error::Refused(format!(
                "{endpoint} refuses {repo} without an access token ({code}): no such repository, or a private or gated one; \
                 accept its terms on its page and set HF_TOKEN"
            )),
            Some(404) => Error::Other(format!("{endpoint} has no repository {repo} (or no {file} in it)")),
            Some(code) => Error::Other(format!("{endpoint} answers {code} for {file} of {repo}; try again later")),
            None => match error {
                ApiError::LockAcquisition(path) => Error::Other(format!(
                    "another program holds {file} and does not get on with it; end it, or remove {} if there is none",
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

/// Selects the files of `layout` from those in the repository, weights (or their index, without its shards) last. The
/// error says what is missing.
fn wanted<'a>(offered: &[&'a str], layout: &Layout) -> std::result::Result<Vec<&'a str>, String> {
    let find = |name: &str| offered.iter().find(|o| **o == name).copied();
    let layout = layout.where_weights(|name| find(name).is_some());
    let mut wanted: Vec<&str> = layout.required.iter().chain(layout.optional).filter_map(|f| find(f)).collect();
    let absent: Vec<&str> = layout.required.iter().filter(|f| find(f).is_none()).copied().collect();
    if !absent.is_empty() {
        return Err(format!("has no {}: not a {}{}", absent.join(", "), layout.kind, single_files(offered)));
    }
    if let Some((single, _)) = layout.weights.first() {
        let weights = layout.weights.iter().find_map(|(single, index)| find(single).or_else(|| find(index)));
        wanted
            .push(weights.ok_or_else(|| format!("has no {single} and no weights in another layout that can be read"))?);
    }
    Ok(wanted)
}

/// A hint for repositories of single-file ggml models, which are not downloaded as a whole.
fn single_files(offered: &[&str]) -> String {
    match offered.iter().find(|file| file.starts_with("ggml-") && file.ends_with(".bin")) {
        Some(file) => format!(" that is a folder. Fetch one of its files, such as {file}, and give `--model FILE`"),
        None => String::new(),
    }
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

/// Whether an error comes from the local disk rather than from the network.
fn is_local(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(
        error.kind(),
        StorageFull | PermissionDenied | ReadOnlyFilesystem | QuotaExceeded | NotFound | AlreadyExists
    )
}

/// Whether another attempt may succeed: after a broken connection, but not if none could be established.
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
