//! Model name to local folder: a folder as it stands, then `--model-dir`, then the Hugging Face cache, and only then
//! the network. What is on the machine is never asked for again.
//!
//! The cache is the one of the Python tools (`HF_HUB_CACHE`, `HF_HOME`), so a model fetched by either is found by both.

pub mod aligners;
#[cfg(feature = "fetch")]
mod fetch;
#[cfg(not(feature = "fetch"))]
#[path = "hub/no_fetch.rs"]
mod fetch;
pub mod names;
pub mod pipelines;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::weights::LAYOUTS;
use crate::error::{Error, Result};

pub use aligners::AlignerSource;
pub use pipelines::DiarizerSource;

/// What a model folder holds besides the weights.
pub(crate) struct Layout {
    /// The option that names such a folder.
    option: &'static str,
    /// What it is, for messages.
    #[cfg_attr(not(feature = "fetch"), allow(dead_code))]
    kind: &'static str,
    /// Files that must be there.
    required: &'static [&'static str],
    /// Files that are used where present.
    optional: &'static [&'static str],
    /// Whether the folder itself holds weights; a pipeline's are in folders of their own.
    weights: bool,
    /// How to go on without it.
    without: &'static str,
}

impl Layout {
    /// The files by name, the weights last.
    fn files(&self) -> String {
        let weights = self.weights.then_some(SINGLE);
        self.required.iter().chain(self.optional).copied().chain(weights).collect::<Vec<_>>().join(", ")
    }

    /// What such a folder holds, as a sentence.
    fn holds(&self) -> String {
        format!("A model folder holds {}", self.files())
    }
}

/// The files of a folder with a recogniser.
const WHISPER: Layout = Layout {
    option: "model",
    kind: "Whisper model",
    required: &["config.json", "tokenizer.json"],
    optional: &["generation_config.json", "preprocessor_config.json"],
    weights: true,
    without: "To go on without any of this, `--model builtin` is part of the program (small, English, for trying out).",
};
/// The weights as they are asked for in messages; others are read, too.
const SINGLE: &str = LAYOUTS[0].0;
/// The name of the model that is part of the program.
pub const BUILTIN: &str = "builtin";

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a folder with the files of the Hugging Face layout, complete.
    Folder(PathBuf),
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
    /// The places and rights that the environment names: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_ENDPOINT`,
    /// `HF_TOKEN` (or the file written by `huggingface-cli login`), `HF_HUB_OFFLINE`; for bundles `TORCH_HOME` and
    /// `DIARIST_TORCHAUDIO_URL`.
    pub fn from_env() -> Self {
        let var = |name| std::env::var(name).ok().filter(|v: &String| !v.trim().is_empty());
        let caches = var("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cache")));
        let home = var("HF_HOME").map(PathBuf::from).or_else(|| Some(caches.as_ref()?.join("huggingface")));
        let torch = var("TORCH_HOME").map(PathBuf::from).or_else(|| Some(caches?.join("torch")));
        let token_file = home.as_ref().map(|home| home.join("token"));
        let token = var("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file?).ok());
        let address = |name, default: &str| {
            var(name).map_or_else(|| default.to_string(), |v| v.trim_end_matches('/').to_string())
        };
        let offline = var("HF_HUB_OFFLINE").is_some_and(|v| !matches!(v.to_lowercase().as_str(), "0" | "false" | "no"));
        Hub {
            model_dir: None,
            network: if offline { Network::Forbidden } else { Network::Allowed },
            cache: var("HF_HUB_CACHE").map(PathBuf::from).or_else(|| home.map(|home| home.join("hub"))),
            torch_cache: torch.map(|torch| torch.join("hub").join("checkpoints")),
            bundles: address("DIARIST_TORCHAUDIO_URL", "https://download.pytorch.org/torchaudio/models"),
            endpoint: address("HF_ENDPOINT", "https://huggingface.co"),
            token: token.map(|t| t.trim().to_string()).filter(|t| !t.is_empty()),
            stall: Duration::from_secs(60),
            retry_pause: Duration::from_millis(500),
        }
    }

    /// Finds the files of `model`: [`BUILTIN`], a folder, a short name of [`names::KNOWN`], or `organisation/name`.
    /// Downloads them if they are not here and the network may be used.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files, [`Error::Config`] for an unknown name, [`Error::Hub`] when the
    /// model is not here and cannot be fetched: the text says which files to put where. [`Error::Cancelled`].
    pub fn obtain(&self, model: &str, on_progress: &mut OnProgress<'_>) -> Result<Source> {
        if let Some(found) = self.find(model)? {
            return Ok(found);
        }
        let Some(repo) = repo_id(model) else { return Err(unknown(model)) };
        Ok(Source::Folder(self.fetch_repo(model, repo, &WHISPER, on_progress)?))
    }

    /// Downloads a repository that is not here.
    fn fetch_repo(
        &self,
        model: &str,
        repo: &str,
        layout: &'static Layout,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<PathBuf> {
        if self.network == Network::Forbidden {
            return Err(self.not_here(model, repo, layout, "and downloads are switched off"));
        }
        let Some(root) = self.model_dir.as_ref().or(self.cache.as_ref()) else {
            return Err(self.not_here(model, repo, layout, "and there is no home folder to download it to"));
        };
        let folder = fetch::fetch(self, repo, root, layout, on_progress).map_err(|error| match error {
            fetch::Error::Cancelled => Error::Cancelled,
            fetch::Error::Unreachable(why) => {
                let why = format!("and {} cannot be reached ({why})", self.endpoint);
                self.not_here(model, repo, layout, &why)
            }
            fetch::Error::Other(reason) => Error::Hub { model: model.to_string(), reason },
        })?;
        complete(&folder, layout)
    }

    /// The files of `model` if they are on this machine; never uses the network.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files, [`Error::Config`] for an unknown name.
    pub fn find(&self, model: &str) -> Result<Option<Source>> {
        if model == BUILTIN {
            return Ok(Some(Source::Builtin));
        }
        let path = Path::new(model);
        // A folder that merely shares its name with a known model (an output folder called `small`) is not meant.
        if path.is_dir() && (names::repo_of(model).is_none() || path.join(WHISPER.required[0]).is_file()) {
            return complete(path, &WHISPER).map(|folder| Some(Source::Folder(folder)));
        }
        let Some(repo) = repo_id(model) else { return Err(unknown(model)) };
        Ok(self.local(model, repo, &WHISPER)?.map(Source::Folder))
    }

    /// The folder of a repository in `model_dir` or a cache.
    fn local(&self, model: &str, repo: &str, layout: &Layout) -> Result<Option<PathBuf>> {
        if let Some(dir) = &self.model_dir {
            for plain in [dir.join(model), dir.join(repo), dir.join(repo.rsplit('/').next().unwrap_or(repo))] {
                if plain.is_dir() {
                    return complete(&plain, layout).map(Some);
                }
            }
        }
        let roots = self.model_dir.iter().chain(self.cache.iter());
        Ok(roots.filter_map(|root| snapshot(root, repo)).find(|folder| missing(folder, layout).is_empty()))
    }

    /// What to do when a model is neither here nor to be had.
    fn not_here(&self, model: &str, repo: &str, layout: &Layout, why: &str) -> Error {
        let mut looked: Vec<String> =
            self.model_dir.iter().chain(self.cache.iter()).map(|p| p.display().to_string()).collect();
        if looked.is_empty() {
            looked.push("no folder: neither --model-dir nor HF_HOME is set".into());
        }
        let reason = format!(
            "not on this machine (looked in {}), {why}.\n  \
             To bring it here by hand, put {} of {}/{repo} into one folder and give `--{} FOLDER`.\n  {}",
            looked.join(", "),
            layout.files(),
            self.endpoint,
            layout.option,
            layout.without,
        );
        Error::Hub { model: model.to_string(), reason }
    }
}

/// The repository meant by a short name or by `organisation/name`.
fn repo_id(model: &str) -> Option<&str> {
    names::repo_of(model).or_else(|| names::is_repo_id(model).then_some(model))
}

fn unknown(model: &str) -> Error {
    let looks_like_path = model.contains(['/', '\\']) || model.starts_with('.');
    if looks_like_path {
        let what = if Path::new(model).is_file() { "is a file; give the folder it is in" } else { "no such folder" };
        return Error::model(model, format!("{what}. {}", WHISPER.holds()));
    }
    let names: Vec<&str> = names::KNOWN.iter().map(|k| k.name).collect();
    Error::config("model", model, format!("expected a folder, organisation/name, {BUILTIN}, or {}", names.join(", ")))
}

/// The newest snapshot of a repository in a cache folder.
fn snapshot(root: &Path, repo: &str) -> Option<PathBuf> {
    let cached = root.join(format!("models--{}", repo.replace('/', "--")));
    let commit = std::fs::read_to_string(cached.join("refs").join("main")).ok()?;
    let folder = cached.join("snapshots").join(commit.trim());
    folder.is_dir().then_some(folder)
}

/// The folder itself if nothing is missing in it.
fn complete(folder: &Path, layout: &Layout) -> Result<PathBuf> {
    let missing = missing(folder, layout);
    if missing.is_empty() {
        return Ok(folder.to_path_buf());
    }
    let hint = if folder.join("model.bin").is_file() {
        "; this looks like a CTranslate2 model, diarist reads the Hugging Face layout"
    } else {
        "; put them there, from the repository the model was published in"
    };
    Err(Error::model(folder, format!("not a complete model folder: missing {}{hint}", missing.join(", "))))
}

/// The files a model folder lacks, the shards of an index included.
fn missing(folder: &Path, layout: &Layout) -> Vec<String> {
    let absent = |name: &str| !folder.join(name).is_file();
    let mut missing: Vec<String> = layout.required.iter().filter(|f| absent(f)).map(|f| f.to_string()).collect();
    if !layout.weights {
        return missing;
    }
    for (single, index) in LAYOUTS {
        if !absent(single) {
            return missing;
        }
        if let Ok(text) = std::fs::read_to_string(folder.join(index)) {
            missing.extend(shards(&text).unwrap_or_default().into_iter().filter(|s| absent(s)));
            return missing;
        }
    }
    missing.push(SINGLE.into());
    missing
}

/// The shard files an index names, each once; `None` if it is not an index or a name is not a plain file name.
fn shards(index: &str) -> Option<Vec<String>> {
    let json: serde_json::Value = serde_json::from_str(index).ok()?;
    let mut names: Vec<String> =
        json["weight_map"].as_object()?.values().map(|v| v.as_str().map(str::to_string)).collect::<Option<_>>()?;
    names.sort_unstable();
    names.dedup();
    let plain = |name: &String| !name.starts_with('.') && !name.contains(['/', '\\']);
    names.iter().all(plain).then_some(names)
}

/// Bytes of the files of a model folder on disk, links followed.
pub fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|e| std::fs::metadata(e.path()).ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}
