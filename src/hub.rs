//! Model name to files: a folder or file as it stands, then `--model-dir`, then the caches of this program, faster-whisper and
//! openai-whisper, and only then the network. What is on the machine is never asked for again.
//!
//! The cache is the one of the Python tools (`HF_HUB_CACHE`, `HF_HOME`), so a model fetched by either is found by both.

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
pub use pipelines::DiarizerSource;
pub use published::Published;

/// The repository and the commit of a folder in a cache of the hub; `None` for other folders.
pub(crate) fn commit_of(folder: &std::path::Path) -> Option<(String, String)> {
    snapshots::place(folder).map(|place| (place.repo, place.commit))
}

/// The name of the model that is part of the program.
pub const BUILTIN: &str = "builtin";

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On this machine, complete.
    Checkpoint(Checkpoint),
    /// In the program itself.
    Builtin,
}

/// Whether models may be fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A model that is not here is downloaded.
    #[default]
    Allowed,
    /// Only what is here is used (`--model-cache-only`, `HF_HUB_OFFLINE=1`).
    Forbidden,
}

/// How far a download has come. Handed to the caller about ten times a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetching {
    /// The file being fetched; empty while the hub is asked what there is.
    pub file: String,
    /// Bytes here so far, those of an earlier, interrupted run included.
    pub done: u64,
    /// Bytes in all; 0 while unknown.
    pub total: u64,
    /// Whether another process, or another thread of this one, is fetching `file` (which then names the whole model). The download
    /// begins when that one has ended without all of it.
    pub waiting: bool,
}

/// Called with the progress of a download; [`ControlFlow::Break`] stops it. What has arrived is kept and continued by
/// the next attempt.
pub type OnProgress<'a> = dyn FnMut(&Fetching) -> ControlFlow<()> + 'a;

/// Where models are looked for, and how they are fetched.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Looked in before the cache, and the place downloads go to when given (`--model-dir`).
    pub model_dir: Option<PathBuf>,
    /// Whether the network may be used.
    pub network: Network,
    /// The cache shared with other tools; `None` on a machine without a home folder.
    pub cache: Option<PathBuf>,
    /// Where openai-whisper keeps its `.pt` files.
    pub whisper_cache: Option<PathBuf>,
    /// Where torchaudio keeps its bundles.
    pub torch_cache: Option<PathBuf>,
    /// Where bundles are fetched from, without a slash at the end.
    pub bundles: String,
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// Access token for gated and private repositories.
    pub token: Option<String>,
    /// A download is given up when nothing has arrived for this long.
    pub stall: Duration,
    /// Pause before an interrupted download is taken up again; grows with every attempt.
    pub retry_pause: Duration,
}

impl Hub {
    /// Finds the files of `model`: [`BUILTIN`], a folder, a file, a short name of [`names::KNOWN`], or `organisation/name`. A short
    /// name stands for the model in any format that is read; `organisation/name` for that repository alone.
    /// Downloads what is not here if the network may be used.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files, [`Error::Config`] for an unknown name, [`Error::Hub`] when the
    /// model is not here and cannot be fetched: the text says which files to put where. [`Error::Cancelled`].
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

    /// Downloads a model that is not here.
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

    /// The short name under which the model of a repository is found, where the repository itself is not here.
    fn under_another_name(&self, repo: &str) -> Option<&'static str> {
        let known = names::of_repo(repo)?;
        self.look(known.name).ok()?.found.map(|_| known.name)
    }

    /// Downloads a repository that is not here; `refuse` makes the error that says why that cannot be.
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

    /// Downloads the repository called `name`, which is not here.
    fn fetch_folder(&self, name: &str, layout: &'static Layout, on_progress: &mut OnProgress<'_>) -> Result<PathBuf> {
        let refuse = |why: &str| Error::Hub { model: name.to_string(), reason: self.not_here(name, layout, why) };
        self.fetch_repo(name, name, layout, &refuse, on_progress)
    }

    /// The files of `model` if they are on this machine; never uses the network. A model whose vocabulary is missing is found
    /// without it.
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

    /// What to do when a model is neither here nor to be had.
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

    /// The places where models of a layout are looked for, for messages.
    fn looked_in(&self, layout: &Layout) -> String {
        let of_whisper = self.whisper_cache.iter().filter(|_| layout.option == WHISPER.option);
        let places = self.model_dir.iter().chain(&self.cache).chain(of_whisper);
        let looked: Vec<String> = places.map(|p| p.display().to_string()).collect();
        if looked.is_empty() { "no folder: neither --model-dir nor HF_HOME is set".into() } else { looked.join(", ") }
    }
}
