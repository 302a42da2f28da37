//! Repair of damaged cache files: if loading a model fails, damaged files are downloaded again and loading is retried
//! once.

use std::path::{Path, PathBuf};

use super::layout::{Layout, WHISPER, shards};
use super::pipelines::{NETWORK, PIPELINE};
use super::{AlignerSource, DiarizerSource, Hub, Network, OnProgress, Source, aligners, fetch, snapshots};
use crate::diarize::recipe::Location;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::models::wav2vec2::Bundle;

impl Hub {
    /// Calls [`obtain`](Self::obtain) and passes the result to `load`. If loading fails because a file in the cache is
    /// damaged, logs a warning, downloads the file again, and calls `load` a second time.
    ///
    /// # Errors
    /// Those of [`obtain`](Self::obtain) and of `load`. If a damaged file cannot be downloaded again, the error names
    /// it.
    pub fn obtain_and_load<T>(
        &self,
        model: &str,
        on_progress: &mut OnProgress<'_>,
        mut load: impl FnMut(&Source) -> Result<T>,
    ) -> Result<T> {
        let source = self.obtain(model, on_progress)?;
        match load(&source) {
            Err(error) if may_be_damage(&error) => match self.file_of_whisper(&source) {
                Some(file) => self.obtain_elsewhere(model, file, error, on_progress, load),
                None => {
                    self.repair(&source, error, on_progress)?;
                    load(&self.obtain(model, on_progress)?)
                }
            },
            loaded => loaded,
        }
    }

    /// Like [`obtain_and_load`](Self::obtain_and_load), for an aligner; see [`obtain_aligner`](Self::obtain_aligner).
    ///
    /// # Errors
    /// As [`obtain_and_load`](Self::obtain_and_load).
    pub fn obtain_aligner_and_load<T>(
        &self,
        model: &str,
        on_progress: &mut OnProgress<'_>,
        mut load: impl FnMut(&AlignerSource) -> Result<T>,
    ) -> Result<T> {
        let source = self.obtain_aligner(model, on_progress)?;
        let error = match load(&source) {
            Err(error) if may_be_damage(&error) => error,
            loaded => return loaded,
        };
        let repaired = match &source {
            AlignerSource::Folder(folder) => self.repair_folder(folder, &aligners::LAYOUT, &error, on_progress)?,
            AlignerSource::Bundle(bundle, file) => self.repair_bundle(bundle, file, on_progress)?,
            AlignerSource::Builtin => false,
        };
        if repaired { load(&self.obtain_aligner(model, on_progress)?) } else { Err(error) }
    }

    /// Like [`obtain_and_load`](Self::obtain_and_load), for a diarization pipeline and its networks; see
    /// [`obtain_diarizer`](Self::obtain_diarizer).
    ///
    /// # Errors
    /// As [`obtain_and_load`](Self::obtain_and_load).
    pub fn obtain_diarizer_and_load<T>(
        &self,
        model: &str,
        on_progress: &mut OnProgress<'_>,
        mut load: impl FnMut(&DiarizerSource) -> Result<T>,
    ) -> Result<T> {
        let source = self.obtain_diarizer(model, on_progress)?;
        let (error, recipe) = match (load(&source), &source) {
            (Err(error), DiarizerSource::Recipe(recipe)) if may_be_damage(&error) => (error, recipe),
            (loaded, _) => return loaded,
        };
        let mut repaired = false;
        for place in [&recipe.segmentation, &recipe.embedding] {
            let Location::Local(path) = place else { continue };
            // The network is in a repository of its own, or in a subfolder of the pipeline's repository.
            if let Some(snapshot) = path.ancestors().find(|folder| snapshots::place(folder).is_some()) {
                let layout = if snapshot == path { &NETWORK } else { &PIPELINE };
                repaired |= self.repair_folder(snapshot, layout, &error, on_progress)?;
            }
        }
        if repaired { load(&self.obtain_diarizer(model, on_progress)?) } else { Err(error) }
    }

    /// Downloads the damaged files of a cached model again. `error` is the error of loading.
    ///
    /// # Errors
    /// `error` if no file is damaged or the model is not in a cache; else why the download failed.
    fn repair(&self, source: &Source, error: Error, on_progress: &mut OnProgress<'_>) -> Result<()> {
        let Source::Checkpoint(checkpoint) = source else { return Err(error) };
        let vocabulary = checkpoint.tokenizer.as_ref().and_then(|file| file.parent());
        let mut repaired = false;
        for folder in [Some(checkpoint.path.as_path()), vocabulary].into_iter().flatten() {
            repaired |= self.repair_folder(folder, &WHISPER, &error, on_progress)?;
        }
        if repaired { Ok(()) } else { Err(error) }
    }

    /// Downloads the damaged files of one snapshot folder again; returns whether any was damaged.
    fn repair_folder(
        &self,
        folder: &Path,
        layout: &Layout,
        error: &Error,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<bool> {
        let Some(place) = snapshots::place(folder) else { return Ok(false) };
        let files = files_of(folder, layout);
        // The networks of `open` are in no layout; their checksums are verified on every lookup.
        if files.is_empty() {
            return Ok(false);
        }
        if self.network == Network::Forbidden {
            let damaged = files.iter().find_map(|file| Some((folder.join(file), fetch::damage(&folder.join(file))?)));
            return match damaged {
                Some((file, why)) => Err(damaged_here(&file, &why, "allow downloads, so that it is fetched again")),
                None => Ok(false),
            };
        }
        let fetched = fetch::repair(self, &place, files.clone(), on_progress);
        fetched.map(|damaged| !damaged.is_empty()).map_err(|failed| {
            let why = match failed {
                fetch::Error::Cancelled => return Error::Cancelled,
                fetch::Error::Unreachable(why) | fetch::Error::Refused(why) | fetch::Error::Other(why) => why,
            };
            let damaged = files.iter().find_map(|file| Some((folder.join(file), fetch::damage(&folder.join(file))?)));
            match damaged {
                Some((file, damage)) => {
                    let cure = format!("run the same command again when it can be fetched ({why})");
                    damaged_here(&file, &damage, &cure)
                }
                // The damaged file may already have been deleted; the next run downloads it.
                None => Error::Hub {
                    model: place.repo.clone(),
                    reason: format!("{error}; it cannot be fetched again: {why}"),
                },
            }
        })
    }

    /// The path of a model in openai-whisper's cache, if it is there. This program does not download into that cache.
    fn file_of_whisper<'a>(&self, source: &'a Source) -> Option<&'a Path> {
        let Source::Checkpoint(checkpoint) = source else { return None };
        let is_there = self.whisper_cache.as_ref().is_some_and(|cache| checkpoint.path.parent() == Some(cache));
        is_there.then_some(checkpoint.path.as_path())
    }

    /// Obtains and loads a model from another place, because `file` in openai-whisper's cache cannot be loaded.
    ///
    /// # Errors
    /// `error` with the possible cures if the model is not available elsewhere.
    fn obtain_elsewhere<T>(
        &self,
        model: &str,
        file: &Path,
        error: Error,
        on_progress: &mut OnProgress<'_>,
        mut load: impl FnMut(&Source) -> Result<T>,
    ) -> Result<T> {
        let hub = Hub { whisper_cache: None, ..self.clone() };
        let source = match hub.obtain(model, on_progress) {
            Ok(source) => source,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(why) => {
                let cure = format!("delete the file, and allow the download of the model ({why})");
                return Err(damaged_here(file, &error.to_string(), &cure));
            }
        };
        tracing::warn!("{} is damaged ({error}); the model is taken from the hub instead", file.display());
        load(&source)
    }

    /// Downloads a cached torchaudio bundle again if it is damaged; returns whether it was. No checksum is published,
    /// so a bundle counts as damaged if its tensors do not all lie within the file.
    fn repair_bundle(&self, bundle: &'static Bundle, file: &Path, on_progress: &mut OnProgress<'_>) -> Result<bool> {
        let is_cached = self.bundle_places(bundle).any(|place| place == file);
        let Some(damage) = Weights::open_file(file).err().filter(|_| is_cached) else { return Ok(false) };
        if self.network == Network::Forbidden {
            return Err(damaged_here(file, &damage.to_string(), "allow downloads, so that it is fetched again"));
        }
        tracing::warn!("{} is damaged ({damage}); it is fetched again", file.display());
        std::fs::remove_file(file).map_err(|e| damaged_here(file, &damage.to_string(), &format!("delete it ({e})")))?;
        self.obtain_aligner(bundle.name, on_progress).map(|_| true)
    }
}

/// Whether a damaged file may have caused the error.
fn may_be_damage(error: &Error) -> bool {
    matches!(error.kind(), "weights" | "model" | "shape" | "io")
}

fn damaged_here(file: &Path, why: &str, cure: &str) -> Error {
    Error::model(file, format!("is damaged ({why}); {cure}, or delete it and put the right file there"))
}

/// The files in a folder that belong to a layout, including shards.
fn files_of(folder: &Path, layout: &Layout) -> Vec<String> {
    let layout = layout.where_weights(|name| folder.join(name).is_file());
    let weights = layout.weights.iter().flat_map(|(single, index)| [*single, *index]);
    let named = layout.required.iter().chain(layout.optional).copied().chain(weights).map(str::to_string);
    let mut files: Vec<String> = named.filter(|file| folder.join(file).is_file()).collect();
    let indices: Vec<PathBuf> =
        files.iter().filter(|file| file.ends_with(".index.json")).map(|file| folder.join(file)).collect();
    for index in indices {
        let listed = std::fs::read_to_string(index).ok().and_then(|text| shards(&text)).unwrap_or_default();
        files.extend(listed.into_iter().filter(|shard| folder.join(shard).is_file()));
    }
    files
}
