//! Lookup and download of diarization pipelines. A pyannote repository contains its networks, or names the repositories
//! that do. [`open`](super::open) has no repository of its own.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::{AUTO, BUILTIN, Hub, OPEN, OnProgress, names};
use crate::diarize::recipe::{CONFIG, Location, Method, Recipe};
use crate::engine::weights::LAYOUTS;
use crate::error::{Error, Result};

/// A published pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The repository on the hub.
    pub repo: &'static str,
    /// Remark for the list of models: licence and terms.
    pub note: &'static str,
}

/// WhisperX's default: the pipeline that [`AUTO`] prefers.
pub const DEFAULT: &str = "pyannote/speaker-diarization-community-1";
/// The supported published pipelines. Others in the same format can be loaded, too.
pub const KNOWN: &[Known] = &[
    Known { repo: DEFAULT, note: "auto's first choice; CC BY 4.0, after accepting its terms" },
    Known {
        repo: "pyannote/speaker-diarization-3.1",
        note: "MIT, after accepting its terms and those of segmentation-3.0",
    },
];

/// The files of a pipeline's folder.
pub(super) const PIPELINE: Layout = Layout {
    option: "diarize-model",
    kind: "pipeline of pyannote",
    required: &[CONFIG],
    optional: &[
        "segmentation/model.safetensors",
        "segmentation/pytorch_model.bin",
        "embedding/model.safetensors",
        "embedding/pytorch_model.bin",
        "plda/xvec_transform.npz",
        "plda/plda.npz",
    ],
    weights: &[],
    other: None,
    without: "To fetch it, accept its terms on its page and set HF_TOKEN. To go on without it: `--diarize-model open` needs no account.",
};

/// The files of a folder with one network of a pipeline.
pub(super) const NETWORK: Layout = Layout {
    option: "diarize-model",
    kind: "network of pyannote",
    required: &[],
    optional: &[CONFIG],
    weights: &LAYOUTS,
    other: None,
    without: "To fetch it, accept its terms on its page and set HF_TOKEN.",
};

/// Where a pipeline's files are.
#[derive(Clone, Debug, PartialEq)]
pub enum DiarizerSource {
    /// A pipeline with all its files on this machine.
    Recipe(Box<Recipe>),
    /// Embedded in the binary.
    Builtin,
}

impl Hub {
    /// The files of a pipeline if they are on this machine: [`AUTO`], [`OPEN`], [`BUILTIN`], a folder, or
    /// `organisation/name`. Never uses the network.
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that lacks files or has an unsupported configuration, [`Error::Config`] for an
    /// unknown name.
    pub fn find_diarizer(&self, model: &str) -> Result<Option<DiarizerSource>> {
        match model {
            AUTO => return self.find_auto(),
            OPEN => return self.find_open(),
            BUILTIN => return Ok(Some(DiarizerSource::Builtin)),
            _ => {}
        }
        let Some(folder) = self.find_folder(model, &PIPELINE)? else { return Ok(None) };
        let recipe = Recipe::open(&folder)?;
        let here = |place: &Location| match place {
            Location::Local(_) => Ok(Some(place.clone())),
            Location::Repository(name) => Ok(self.local(name, name, &NETWORK)?.map(Location::Local)),
        };
        let (Some(segmentation), Some(embedding)) = (here(&recipe.segmentation)?, here(&recipe.embedding)?) else {
            return Ok(None);
        };
        Ok(Some(DiarizerSource::Recipe(Box::new(Recipe { segmentation, embedding, ..recipe }))))
    }

    /// Like [`find_diarizer`](Self::find_diarizer), but downloads missing files if the network may be used.
    ///
    /// # Errors
    /// As [`find_diarizer`](Self::find_diarizer); [`Error::Hub`] if a file is not on this machine and cannot be
    /// downloaded (the message states the alternatives); [`Error::Cancelled`].
    pub fn obtain_diarizer(&self, model: &str, on_progress: &mut OnProgress<'_>) -> Result<DiarizerSource> {
        match model {
            AUTO => return self.obtain_auto(on_progress),
            OPEN => return self.obtain_open(on_progress),
            _ => {}
        }
        if let Some(found) = self.find_diarizer(model)? {
            return Ok(found);
        }
        let folder = match self.find_folder(model, &PIPELINE)? {
            Some(folder) => folder,
            None => self.fetch_folder(model, &PIPELINE, on_progress)?,
        };
        let mut recipe = Recipe::open(&folder)?;
        if let Method::Vbx { plda: Location::Repository(name), .. } = &recipe.method {
            let reason = format!("names the repository {name} for its PLDA, which is read from a folder only");
            return Err(Error::model(folder.join(CONFIG), reason));
        }
        for place in [&mut recipe.segmentation, &mut recipe.embedding] {
            if let Location::Repository(name) = place {
                *place = Location::Local(self.obtain_network(name, on_progress)?);
            }
        }
        Ok(DiarizerSource::Recipe(Box::new(recipe)))
    }

    /// The folder of one of pyannote's networks; downloads it if it is not on this machine.
    ///
    /// # Errors
    /// As [`obtain_diarizer`](Self::obtain_diarizer).
    pub fn obtain_network(&self, name: &str, on_progress: &mut OnProgress<'_>) -> Result<PathBuf> {
        match self.local(name, name, &NETWORK)? {
            Some(folder) => Ok(folder),
            None => self.fetch_folder(name, &NETWORK, on_progress),
        }
    }

    /// The folder `model` if it exists, without checking it for missing files; else the cached folder of the repository
    /// `model`.
    fn find_folder(&self, model: &str, layout: &Layout) -> Result<Option<PathBuf>> {
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(Some(path.to_path_buf()));
        }
        if !names::is_repo_id(model) || path.is_absolute() || path.is_file() {
            return Err(unknown(model));
        }
        self.local(model, model, layout)
    }
}

fn unknown(model: &str) -> Error {
    let path = Path::new(model);
    if path.is_file() {
        return Error::model(
            path,
            format!("is a file; give the folder of the pipeline, with a {CONFIG} or the folders of its networks"),
        );
    }
    if model.contains(['/', '\\']) || model.starts_with('.') {
        let holds =
            format!("The folder of a pipeline holds a {CONFIG}, or its networks in segmentation/ and embedding/");
        return Error::model(path, format!("no such folder. {holds}"));
    }
    let names: Vec<&str> = KNOWN.iter().map(|known| known.repo).collect();
    let rule = format!("expected {AUTO}, {OPEN}, a folder, or organisation/name of the hub ({})", names.join(", "));
    Error::config("diarize_model", model, rule)
}
