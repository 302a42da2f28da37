//! Pipelines as pyannote publishes them: a folder with a `config.yaml`, and in it, or in repositories it names, the networks.
//!
//! | entry of `config.yaml` | read as |
//! |---|---|
//! | `pipeline.name` | must be pyannote's pipeline for diarization: nothing is loaded because its name stands here |
//! | `pipeline.params.segmentation`, `embedding`, `plda` | `$model/folder`, a file or folder, or organisation/name of the hub |
//! | `pipeline.params.embedding_exclude_overlap` | whether voices are taken where nobody else speaks |
//! | `pipeline.params.clustering` | `VBxClustering` or `AgglomerativeClustering` |
//! | `params.clustering` | `threshold`, `Fa`, `Fb`; or `threshold`, `min_cluster_size`, `method: centroid` |
//! | `params.segmentation` | `min_duration_off`, `threshold` (of a network that is no powerset) |
//!
//! An entry that would change the result and is not known is an error, never ignored: `preprocessors`, for one, name classes
//! that pyannote would import and call.
//!
//! Source: pyannote.audio 4.0 `core/pipeline.py::Pipeline.from_pretrained`; the configurations of speaker-diarization-3.1 and
//! speaker-diarization-community-1.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::segments::SegmentClustering;
use super::vbx::VbxOptions;
use super::{open, yaml};
use crate::error::{Error, Result};
use crate::hub::{self, names};
use crate::types::PipelineVersion;
use crate::units::Seconds;

/// The file that makes a folder a pipeline.
pub const CONFIG: &str = "config.yaml";
/// What a pipeline may be called: pyannote's one for diarization, by its full name and by its short one.
const PIPELINES: [&str; 2] =
    ["pyannote.audio.pipelines.SpeakerDiarization", "pyannote.audio.pipelines.speaker_diarization.SpeakerDiarization"];
/// Entries that have no influence on the result: sizes of batches, versions, and what is only read while training.
const WITHOUT_EFFECT: [&str; 6] =
    ["segmentation_batch_size", "embedding_batch_size", "legacy", "der_variant", "token", "use_auth_token"];

/// The folders of the networks in a folder without a [`CONFIG`].
pub const PARTS: [&str; 2] = ["segmentation", "embedding"];

/// Where a part of a pipeline is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this machine: a file or a folder.
    Here(PathBuf),
    /// In a repository of the hub, organisation/name.
    Repository(String),
}

/// What is done with the voices.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// community-1.
    Vbx {
        /// Distance up to which clusters are merged for the start.
        threshold: f64,
        /// Settings of VBx.
        options: VbxOptions,
        /// The folder with the transform of the voices.
        plda: Location,
    },
    /// speaker-diarization-3.1.
    Centroid {
        /// Distance up to which clusters are merged.
        threshold: f64,
        /// Embeddings a speaker has at least.
        min_size: usize,
    },
    /// That of [`open`], which no `config.yaml` names.
    Segments(SegmentClustering),
}

/// What a `config.yaml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// What results call the pipeline.
    pub version: PipelineVersion,
    /// The network that hears who speaks in a window.
    pub segmentation: Location,
    /// The network that tells voices apart.
    pub embedding: Location,
    /// What is done with the voices.
    pub method: Method,
    /// Whether voices are taken where nobody else speaks, if there is enough of that.
    pub exclude_overlap: bool,
    /// Silences of a speaker shorter than this are part of the turn.
    pub min_duration_off: Seconds,
    /// A speaker of a network that is no powerset speaks above this.
    pub onset: f64,
}

impl Recipe {
    /// The pipeline [`open`] with these networks.
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

    /// The pipeline of a folder without a `config.yaml`: its networks are in `segmentation/` and `embedding/`.
    fn of_folder(folder: &Path) -> Self {
        let part = |name: &str| Location::Here(folder.join(name));
        Self::of_networks(part("segmentation"), part("embedding"), version(folder))
    }

    /// Reads the `config.yaml` of a folder. Without one, `segmentation/` and `embedding/` are used with the numbers of
    /// [`open`].
    ///
    /// # Errors
    /// [`Error::Model`] saying what is missing, or which entry cannot be honoured and why.
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

    /// Reads the text of a `config.yaml` that is in `folder`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::model(folder.join(CONFIG), reason);
        let config = yaml::parse(text).map_err(wrong)?;
        recipe(&config, folder).map_err(wrong)
    }
}

/// What results call the pipeline of a folder: in a cache of the hub its repository and commit, else the folder's name.
pub(super) fn version(folder: &Path) -> PipelineVersion {
    if let Some((repo, commit)) = hub::commit_of(folder) {
        return PipelineVersion { pipeline: repo, revision: Some(commit) };
    }
    // A path such as `.` has no name of its own.
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
    let held = Entries::merged(&tuned, &frozen)?;
    tuned.map = &held;
    tuned.only(&["segmentation", "clustering"])?;
    let (of_clusters, of_windows) = (tuned.entries("clustering")?, tuned.entries("segmentation")?);
    of_windows.only(&["min_duration_off", "threshold"])?;
    let mut known =
        vec!["segmentation", "embedding", "plda", "clustering", "embedding_exclude_overlap", "segmentation_step"];
    known.extend(WITHOUT_EFFECT);
    parts.only(&known)?;
    if parts.number("segmentation_step")?.is_some_and(|step| step != 0.1) {
        return Err("has a `segmentation_step` other than 0.1, which is not known".into());
    }
    let place =
        |name: &str| place(parts.map.get(name), folder).map_err(|why| format!("`pipeline.params.{name}` {why}"));
    Ok(Recipe {
        version: version(folder),
        segmentation: place("segmentation")?,
        embedding: place("embedding")?,
        method: method(&parts, &of_clusters, || place("plda"))?,
        exclude_overlap: parts.switch("embedding_exclude_overlap")?.unwrap_or(false),
        min_duration_off: Seconds(of_windows.number_in("min_duration_off", 0.0, 3600.0)?.unwrap_or(0.0)),
        onset: of_windows.number_in("threshold", 0.0, 1.0)?.unwrap_or(0.5),
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

/// Where the part is that a text, or a mapping of `checkpoint` and `subfolder`, names.
fn place(said: Option<&Value>, folder: &Path) -> Parsed<Location> {
    let (text, within) = match said {
        Some(Value::String(text)) => (text.as_str(), None),
        Some(said @ Value::Object(_)) => {
            let said = Entries::of(said, "")?;
            said.only(&["checkpoint", "subfolder", "revision"])?;
            (said.text("checkpoint")?.unwrap_or_default(), said.text("subfolder")?)
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
        return inside(&inside(folder, more)?, within.unwrap_or_default()).map(Location::Here);
    }
    // As the tutorials on use without a network have it: a path from where the program runs, or from the folder.
    for path in [folder.join(text), PathBuf::from(text)] {
        if !text.is_empty() && path.exists() {
            return inside(&path, within.unwrap_or_default()).map(Location::Here);
        }
    }
    let repository = text.split('@').next().unwrap_or_default();
    match names::is_repo_id(repository) && within.is_none() {
        true => Ok(Location::Repository(repository.to_owned())),
        false => Err(format!("is `{text}`: neither a file, nor a folder, nor organisation/name of the hub")),
    }
}

/// A mapping, with its name for errors.
struct Entries<'a> {
    map: &'a Map<String, Value>,
    name: String,
}

static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

impl<'a> Entries<'a> {
    fn of(value: &'a Value, name: &str) -> Parsed<Self> {
        let named = if name.is_empty() { "the file".to_owned() } else { format!("`{name}`") };
        let map = value.as_object().ok_or_else(|| format!("{named} is no mapping of names to values"))?;
        Ok(Entries { map, name: name.to_owned() })
    }

    fn path(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_owned() } else { format!("{}.{name}", self.name) }
    }

    /// A mapping in it; an empty one where there is none.
    fn entries(&self, name: &str) -> Parsed<Entries<'a>> {
        match self.map.get(name) {
            None | Some(Value::Null) => Ok(Entries { map: &NOTHING, name: self.path(name) }),
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

    /// Two mappings of mappings as one; `freeze` holds values that were not tuned.
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
