//! Parser for `config.yaml` of a pyannote diarization pipeline: locations of the networks, clustering method and
//! constants.
//!
//! | entry of `config.yaml` | meaning |
//! |---|---|
//! | `pipeline.name` | must be pyannote's diarization class; it is compared, never imported |
//! | `pipeline.params.segmentation`, `embedding`, `plda` | `$model/folder`, a local file or folder, or a hub repository organisation/name |
//! | `pipeline.params.embedding_exclude_overlap` | whether embeddings exclude frames with overlapping speech |
//! | `pipeline.params.clustering` | `VBxClustering` or `AgglomerativeClustering` |
//! | `params.clustering` | `threshold`, `Fa`, `Fb`; or `threshold`, `min_cluster_size`, `method: centroid` |
//! | `params.segmentation` | `min_duration_off`, `threshold` (of a multi-label network) |
//!
//! An unknown entry that would change the result is an error and never ignored. One example is `preprocessors`, which
//! lists classes that pyannote would import and call.
//!
//! Source: pyannote.audio 4.0 `core/pipeline.py::Pipeline.from_pretrained`; the configurations of
//! speaker-diarization-3.1 and speaker-diarization-community-1.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::segments::SegmentClustering;
use super::vbx::VbxOptions;
use super::{open, yaml};
use crate::error::{Error, Result};
use crate::hub::{self, names};
use crate::types::PipelineVersion;
use crate::units::Seconds;

/// File name of a pipeline's configuration.
pub const CONFIG: &str = "config.yaml";
/// Accepted values of `pipeline.name`: pyannote's diarization class, by its short and its full path.
const PIPELINES: [&str; 2] =
    ["pyannote.audio.pipelines.SpeakerDiarization", "pyannote.audio.pipelines.speaker_diarization.SpeakerDiarization"];
/// Entries that do not influence the result and are ignored: batch sizes, access tokens, and training settings.
const WITHOUT_EFFECT: [&str; 6] =
    ["segmentation_batch_size", "embedding_batch_size", "legacy", "der_variant", "token", "use_auth_token"];

/// Subfolders of the networks, in a pipeline folder without a [`CONFIG`].
pub const PARTS: [&str; 2] = ["segmentation", "embedding"];

/// Location of a network or of the PLDA files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A local file or folder.
    Local(PathBuf),
    /// A hub repository, organisation/name.
    Repository(String),
}

/// Clustering method and its constants.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// community-1: VBx.
    Vbx {
        /// Distance up to which the initial clusters are merged.
        threshold: f64,
        /// Settings of VBx.
        options: VbxOptions,
        /// Folder of the PLDA transform.
        plda: Location,
    },
    /// speaker-diarization-3.1: centroid linkage.
    Centroid {
        /// Distance up to which clusters are merged.
        threshold: f64,
        /// Minimum number of embeddings of a speaker.
        min_size: usize,
    },
    /// Clustering of the pipeline [`open`](mod@open); no `config.yaml` selects it.
    Segments(SegmentClustering),
}

/// A parsed `config.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Name and revision of the pipeline in results.
    pub version: PipelineVersion,
    /// The segmentation network.
    pub segmentation: Location,
    /// The speaker embedding network.
    pub embedding: Location,
    /// The clustering method.
    pub method: Method,
    /// Whether embeddings exclude overlapping speech, if enough other speech is left.
    pub exclude_overlap: bool,
    /// Pauses of a speaker shorter than this do not end a turn.
    pub min_duration_off: Seconds,
    /// Activity threshold, for a segmentation network with a multi-label head.
    pub onset: f64,
}

impl Recipe {
    /// The pipeline [`open`](mod@open) with these networks.
    pub fn of_networks(segmentation: Location, embedding: Location, version: PipelineVersion) -> Self {
        Recipe {
            version,
            segmentation,
            embedding,
            method: Method::Segments(SegmentClustering::default()),
            exclude_overlap: true,
            min_duration_off: open::MIN_DURATION_OFF,
            onset: open::ONSET,
        }
    }

    /// The recipe of a folder without a `config.yaml`: its networks are in `segmentation/` and `embedding/`.
    fn of_folder(folder: &Path) -> Self {
        let part = |name: &str| Location::Local(folder.join(name));
        Self::of_networks(part("segmentation"), part("embedding"), version(folder))
    }

    /// Reads the `config.yaml` of a folder. Without one, the networks in `segmentation/` and `embedding/` are used with
    /// the constants of [`open`](mod@open).
    ///
    /// # Errors
    /// [`Error::Model`] with the file that is missing, or the entry that is not supported and the reason.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        if !path.is_file() {
            let missing = PARTS.into_iter().find(|part| !folder.join(part).is_dir());
            return match missing {
                None => Ok(Self::of_folder(folder)),
                Some(part) => Err(Error::model(
                    folder,
                    format!(
                        "holds no pipeline: expected a {CONFIG}, or the folders {} with the networks; {part} is missing",
                        PARTS.join(" and ")
                    ),
                )),
            };
        }
        let text = std::fs::read(&path).map_err(|e| Error::model(&path, format!("cannot be read: {e}")))?;
        let text = String::from_utf8(text).map_err(|_| Error::model(&path, "is not UTF-8"))?;
        Self::parse(&text, folder)
    }

    /// Parses the text of a `config.yaml`. Relative paths are resolved against `folder`, then against the working
    /// directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::model(folder.join(CONFIG), reason);
        let config = yaml::parse(text).map_err(wrong)?;
        recipe(&config, folder).map_err(wrong)
    }
}

/// Name and revision of a pipeline folder in results: repository and commit in the hub cache, else the name of the
/// folder.
pub(super) fn version(folder: &Path) -> PipelineVersion {
    if let Some((repo, commit)) = hub::commit_of(folder) {
        return PipelineVersion { pipeline: repo, revision: Some(commit) };
    }
    // Resolves paths such as `.`, which have no file name.
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let name = whole.file_name().map_or_else(|| folder.display().to_string(), |name| name.display().to_string());
    PipelineVersion { pipeline: name, revision: None }
}

type Parsed<T> = std::result::Result<T, String>;

fn recipe(config: &Value, folder: &Path) -> Parsed<Recipe> {
    let top = Entries::of(config, "")?;
    let pipeline = top.entries("pipeline")?;
    let name = pipeline.text("name")?.ok_or("has no `pipeline.name`: not a pipeline of pyannote")?;
    if !PIPELINES.contains(&name) {
        return Err(format!(
            "names the class `{name}`, which is not loaded, since a name in a file must not run a program; only {} is known",
            PIPELINES[0]
        ));
    }
    if top.map.contains_key("preprocessors") {
        return Err("names `preprocessors`: classes that would be imported and called, which is not done".into());
    }
    top.only(&["version", "dependencies", "pipeline", "params", "freeze"])?;
    pipeline.only(&["name", "params"])?;
    let parts = pipeline.entries("params")?;
    let [mut tuned, frozen] = [top.entries("params")?, top.entries("freeze")?];
    let merged = Entries::merged(&tuned, &frozen)?;
    tuned.map = &merged;
    tuned.only(&["segmentation", "clustering"])?;
    let (clustering, segmentation) = (tuned.entries("clustering")?, tuned.entries("segmentation")?);
    segmentation.only(&["min_duration_off", "threshold"])?;
    let mut known =
        vec!["segmentation", "embedding", "plda", "clustering", "embedding_exclude_overlap", "segmentation_step"];
    known.extend(WITHOUT_EFFECT);
    parts.only(&known)?;
    if parts.number("segmentation_step")?.is_some_and(|step| step != 0.1) {
        return Err("has a `segmentation_step` other than 0.1, which is not known".into());
    }
    let locate =
        |name: &str| location(parts.map.get(name), folder).map_err(|why| format!("`pipeline.params.{name}` {why}"));
    Ok(Recipe {
        version: version(folder),
        segmentation: locate("segmentation")?,
        embedding: locate("embedding")?,
        method: method(&parts, &clustering, || locate("plda"))?,
        exclude_overlap: parts.switch("embedding_exclude_overlap")?.unwrap_or(false),
        min_duration_off: Seconds(segmentation.number_in("min_duration_off", 0.0, 3600.0)?.unwrap_or(0.0)),
        onset: segmentation.number_in("threshold", 0.0, 1.0)?.unwrap_or(0.5),
    })
}

fn method(parts: &Entries, tuned: &Entries, plda: impl FnOnce() -> Parsed<Location>) -> Parsed<Method> {
    match parts.text("clustering")?.unwrap_or("VBxClustering") {
        "VBxClustering" => {
            tuned.only(&["threshold", "Fa", "Fb"])?;
            let defaults = VbxOptions::default();
            Ok(Method::Vbx {
                threshold: tuned.number_in("threshold", 0.0, 2.0)?.unwrap_or(0.6),
                options: VbxOptions {
                    evidence: tuned.number_in("Fa", 1e-6, 1e3)?.unwrap_or(defaults.evidence),
                    prior: tuned.number_in("Fb", 1e-6, 1e3)?.unwrap_or(defaults.prior),
                    ..defaults
                },
                plda: plda()?,
            })
        }
        "AgglomerativeClustering" => {
            tuned.only(&["threshold", "min_cluster_size", "method"])?;
            if let Some(other) = tuned.text("method")?.filter(|method| *method != "centroid") {
                return Err(format!("asks for linkage by `{other}`; only `centroid` is known"));
            }
            let min_size = tuned.number_in("min_cluster_size", 1.0, 1e6)?.unwrap_or(12.0);
            let threshold = tuned.number_in("threshold", 0.0, 2.0)?.unwrap_or(0.704_565_496_394_579_9);
            Ok(Method::Centroid { threshold, min_size: min_size as usize })
        }
        other => Err(format!("asks for `{other}`; VBxClustering and AgglomerativeClustering are known")),
    }
}

/// The location of a network: a string, or a mapping of `checkpoint` and `subfolder`.
fn location(value: Option<&Value>, folder: &Path) -> Parsed<Location> {
    let (text, subfolder) = match value {
        Some(Value::String(text)) => (text.as_str(), None),
        Some(value @ Value::Object(_)) => {
            let entries = Entries::of(value, "")?;
            entries.only(&["checkpoint", "subfolder", "revision"])?;
            (entries.text("checkpoint")?.unwrap_or_default(), entries.text("subfolder")?)
        }
        _ => return Err("is missing, or is no text".into()),
    };
    let inside = |base: &Path, more: &str| {
        let more = Path::new(more.trim_start_matches('/'));
        let plain = more.components().all(|part| matches!(part, Component::Normal(_)));
        if plain { Ok(base.join(more)) } else { Err(format!("leads out of the folder: `{}`", more.display())) }
    };
    if let Some(more) = text.strip_prefix("$model") {
        if !more.is_empty() && !more.starts_with('/') {
            return Err(format!("is `{text}`; expected `$model/folder`"));
        }
        return inside(&inside(folder, more)?, subfolder.unwrap_or_default()).map(Location::Local);
    }
    // pyannote's tutorials for offline use write a path relative to the working directory, or to the pipeline's folder.
    for path in [folder.join(text), PathBuf::from(text)] {
        if !text.is_empty() && path.exists() {
            return inside(&path, subfolder.unwrap_or_default()).map(Location::Local);
        }
    }
    let repository = text.split('@').next().unwrap_or_default();
    match names::is_repo_id(repository) && subfolder.is_none() {
        true => Ok(Location::Repository(repository.to_owned())),
        false => Err(format!("is `{text}`: neither a file, nor a folder, nor organisation/name of the hub")),
    }
}

/// A YAML mapping, with its path in the file for error messages.
struct Entries<'a> {
    map: &'a Map<String, Value>,
    name: String,
}

static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

impl<'a> Entries<'a> {
    fn of(value: &'a Value, name: &str) -> Parsed<Self> {
        let named = if name.is_empty() { "the file".to_owned() } else { format!("`{name}`") };
        let map = value.as_object().ok_or_else(|| format!("{named} is no mapping of names to values"))?;
        Ok(Entries { map, name: name.to_owned() })
    }

    fn path(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) }
    }

    /// The nested mapping called `name`; empty if it is missing or null.
    fn entries(&self, name: &str) -> Parsed<Entries<'a>> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(Entries { map: &EMPTY, name: self.path(name) }),
            Some(value) => Entries::of(value, &self.path(name)),
        }
    }

    fn only(&self, known: &[&str]) -> Parsed<()> {
        match self.map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => {
                Err(format!("has `{}`, which is not known here; known are {}", self.path(key), known.join(", ")))
            }
            None => Ok(()),
        }
    }

    fn text(&self, name: &str) -> Parsed<Option<&'a str>> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{}` is {other}, expected a text", self.path(name))),
        }
    }

    fn switch(&self, name: &str) -> Parsed<Option<bool>> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(format!("`{}` is {other}, expected true or false", self.path(name))),
        }
    }

    fn number(&self, name: &str) -> Parsed<Option<f64>> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(value)) => Ok(value.as_f64()),
            Some(other) => Err(format!("`{}` is {other}, expected a number", self.path(name))),
        }
    }

    fn number_in(&self, name: &str, low: f64, high: f64) -> Parsed<Option<f64>> {
        match self.number(name)? {
            Some(value) if !(value >= low && value <= high) => {
                Err(format!("`{}` is {value}, expected {low} to {high}", self.path(name)))
            }
            value => Ok(value),
        }
    }

    /// Merges `params` and `freeze`: two levels of mappings; values of `two` win. `freeze` has the values that were
    /// fixed while the pipeline was tuned.
    fn merged(one: &Entries, two: &Entries) -> Parsed<Map<String, Value>> {
        let mut merged = one.map.clone();
        for (name, more) in two.map {
            let more = Entries::of(more, &two.path(name))?;
            match merged.get_mut(name).and_then(Value::as_object_mut) {
                Some(there) => more.map.iter().for_each(|(key, value)| drop(there.insert(key.clone(), value.clone()))),
                None => drop(merged.insert(name.clone(), Value::Object(more.map.clone()))),
            }
        }
        Ok(merged)
    }
}
