//! Resolves model names to files, and downloads missing models from the Hugging Face hub.
//!
//! Search order: `model` as the path of a folder or file, `--model-dir`, the hub cache and the cache of openai-whisper,
//! then the network. A model that is complete on this machine causes no network access.
//!
//! The hub cache is that of the Python tools (`HF_HUB_CACHE`, `HF_HOME`; also used by faster-whisper), so that models
//! are downloaded once for all of them.

pub mod aligners;
mod checksum;
mod environment;
#[cfg(feature = "fetch")]
mod fetch;
#[cfg(not(feature = "fetch"))]
#[path = "hub/no_fetch.rs"]
mod fetch;
mod installed;
mod layout;
pub mod names;
pub mod open;
mod pinned;
pub mod pipelines;
mod published;
mod repair;
mod search;
mod snapshots;
mod vocabulary;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::models::whisper::Checkpoint;
use layout::{Layout, WHISPER, complete};

pub use aligners::AlignerSource;
pub use environment::token;
pub use installed::Installed;
pub use layout::size_of;
pub use open::{AUTO, OPEN};
pub use pinned::Published;
pub use pipelines::DiarizerSource;

/// The repository and the commit of a snapshot folder in a hub cache; `None` for other folders.
pub(crate) fn commit_of(folder: &std::path::Path) -> Option<(String, String)> {
    snapshots::place(folder).map(|place| (place.repo, place.commit))
}

/// The name of the models that are embedded in the binary.
pub const BUILTIN: &str = "builtin";

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A complete checkpoint on this machine.
    Checkpoint(Checkpoint),
    /// Embedded in the binary.
    Builtin,
}

/// Whether models may be downloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A model that is not on this machine is downloaded.
    #[default]
    Allowed,
    /// Only models on this machine are used (`--model-cache-only`, `HF_HUB_OFFLINE=1`).
    Forbidden,
}

/// Progress of a download. Reported about ten times a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetching {
    /// The file being downloaded; empty while the list of files is requested from the hub.
    pub file: String,
    /// Bytes on disk so far, including those of an earlier, interrupted download.
    pub done: u64,
    /// Size in bytes; 0 while unknown.
    pub total: u64,
    /// Whether this call waits for another process or thread that downloads the same model; `file` is then the model's
    /// name. If that download ends incomplete, this call continues it.
    pub waiting: bool,
}

/// Called with the progress of a download; [`ControlFlow::Break`] cancels it. Bytes received so far are kept, and the
/// next attempt resumes from them.
pub type OnProgress<'a> = dyn FnMut(&Fetching) -> ControlFlow<()> + 'a;

/// Where models are searched, and how they are downloaded.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The folder `--model-dir`: searched before the cache, and used instead of the cache for downloads.
    pub model_dir: Option<PathBuf>,
    /// Whether the network may be used.
    pub network: Network,
    /// The hub cache, shared with other tools; `None` on a machine without a home folder.
    pub cache: Option<PathBuf>,
    /// The cache of openai-whisper, with its `.pt` files.
    pub whisper_cache: Option<PathBuf>,
    /// The cache of torchaudio, with its bundles (pretrained aligners).
    pub torch_cache: Option<PathBuf>,
    /// Base URL of torchaudio's bundles, without a trailing slash.
    pub bundles: String,
    /// Base URL of the hub, without a trailing slash.
    pub endpoint: String,
    /// Access token for gated and private repositories.
    pub token: Option<String>,
    /// Timeout: a download fails if no data has arrived for this long.
    pub stall: Duration,
    /// Pause before an interrupted download is retried; multiplied by the number of the attempt.
    pub retry_pause: Duration,
}

impl Hub {
    /// Finds the files of `model`: [`BUILTIN`], a folder, a file, a short name of [`names::KNOWN`], or
    /// `organisation/name`. A short name matches the model in any supported format, `organisation/name` only that
    /// repository. Downloads the model if it is not on this machine and the network may be used.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files, [`Error::Config`] for an unknown name, [`Error::Hub`] if the
    /// model is not on this machine and cannot be downloaded (the message lists the files to download by hand),
    /// [`Error::Cancelled`].
    pub fn obtain(&self, model: &str, on_progress: &mut OnProgress<'_>) -> Result<Source> {
        if model == BUILTIN {
            return Ok(Source::Builtin);
        }
        let search = self.look(model)?;
        let checkpoint = match search.found {
            Some(checkpoint) => checkpoint,
            None => self.fetch_model(model, &search.skipped, on_progress)?,
        };
        Ok(Source::Checkpoint(self.with_vocabulary(checkpoint, on_progress)?))
    }

    /// Downloads a model that is not on this machine. `skipped` are files with the model's name that cannot be used.
    fn fetch_model(
        &self,
        model: &str,
        skipped: &[(PathBuf, String)],
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Checkpoint> {
        let repo = names::repo_of(model).unwrap_or(model);
        for (path, reason) in skipped {
            if self.model_dir.as_ref().is_some_and(|dir| path.starts_with(dir)) && snapshots::place(path).is_none() {
                tracing::warn!("{} is not used: {reason}", path.display());
            }
        }
        let refuse = |why: &str| {
            let mut reason = self.not_here(repo, &WHISPER, why);
            for (path, why) in skipped {
                reason += &format!("\n  {} is not used: {why}", path.display());
            }
            if let Some(short) = self.under_another_name(model) {
                reason += &format!("\n  The same model is here in another format: give `--model {short}`.");
            }
            Error::Hub { model: model.to_string(), reason }
        };
        let folder = self.fetch_repo(model, repo, &WHISPER, &refuse, on_progress)?;
        Checkpoint::recognise(&folder)
    }

    /// If the model of a repository is on this machine in another format: the short name that finds it.
    fn under_another_name(&self, repo: &str) -> Option<&'static str> {
        let known = names::of_repo(repo)?;
        self.look(known.name).ok()?.found.map(|_| known.name)
    }

    /// Downloads a repository that is not on this machine. `refuse` turns the reason for a failure into the error.
    fn fetch_repo(
        &self,
        model: &str,
        repo: &str,
        layout: &'static Layout,
        refuse: &dyn Fn(&str) -> Error,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<PathBuf> {
        if self.network == Network::Forbidden {
            return Err(refuse("and downloads are switched off"));
        }
        let Some(root) = self.model_dir.as_ref().or(self.cache.as_ref()) else {
            return Err(refuse("and there is no home folder to download it to"));
        };
        let folder = fetch::fetch(self, repo, root, layout, on_progress).map_err(|error| match error {
            fetch::Error::Cancelled => Error::Cancelled,
            fetch::Error::Unreachable(why) => refuse(&format!("and {} cannot be reached ({why})", self.endpoint)),
            fetch::Error::Refused(reason) | fetch::Error::Other(reason) => {
                Error::Hub { model: model.to_string(), reason }
            }
        })?;
        complete(&folder, layout)
    }

    /// Downloads the repository `name`, which is not on this machine.
    fn fetch_folder(&self, name: &str, layout: &'static Layout, on_progress: &mut OnProgress<'_>) -> Result<PathBuf> {
        let refuse = |why: &str| Error::Hub { model: name.to_string(), reason: self.not_here(name, layout, why) };
        self.fetch_repo(name, name, layout, &refuse, on_progress)
    }

    /// The files of `model` if they are on this machine; never uses the network. A model without a vocabulary is
    /// returned even if no vocabulary for it is on this machine.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files, [`Error::Config`] for an unknown name.
    pub fn find(&self, model: &str) -> Result<Option<Source>> {
        if model == BUILTIN {
            return Ok(Some(Source::Builtin));
        }
        let Some(mut checkpoint) = self.look(model)?.found else { return Ok(None) };
        if vocabulary::is_missing(&checkpoint) {
            checkpoint.tokenizer = self.find_vocabulary(&checkpoint);
        }
        Ok(Some(Source::Checkpoint(checkpoint)))
    }

    /// The message for a model that is not on this machine and cannot be downloaded: how to get it by hand.
    fn not_here(&self, repo: &str, layout: &Layout, why: &str) -> String {
        format!(
            "not on this machine (looked in {}), {why}.\n  \
             To bring it here by hand, put {} of {}/{repo} into one folder and give `--{} FOLDER`.\n  {}",
            self.looked_in(layout),
            layout.files(),
            self.endpoint,
            layout.option,
            layout.without,
        )
    }

    /// The folders where models of a layout are searched, for messages.
    fn looked_in(&self, layout: &Layout) -> String {
        let of_whisper = self.whisper_cache.iter().filter(|_| layout.option == WHISPER.option);
        let places = self.model_dir.iter().chain(&self.cache).chain(of_whisper);
        let looked: Vec<String> = places.map(|p| p.display().to_string()).collect();
        if looked.is_empty() { "no folder: neither --model-dir nor HF_HOME is set".into() } else { looked.join(", ") }
    }
}
