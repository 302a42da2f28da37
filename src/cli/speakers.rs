//! Conversion and checks of the speaker options; loading of the diarization pipeline.

use std::path::{Path, PathBuf};

use diarist::diarize::Bounds;
use diarist::diarize::words::WordOptions;
use diarist::hub::{AUTO, DiarizerSource, Hub};
use diarist::pipeline::SpeakerOptions;
use diarist::{Error, Result};

use super::options::{Speakers, Voices};
use super::{engine, files};

impl Voices {
    /// The bounds on the number of speakers.
    ///
    /// # Errors
    /// [`Error::Config`] for numbers that contradict each other.
    pub fn bounds(&self) -> Result<Bounds> {
        Bounds::new(self.num_speakers, self.min_speakers, self.max_speakers)
    }

    /// The name of the pipeline; `auto` by default.
    fn model(&self) -> &str {
        self.diarize_model.as_deref().unwrap_or(AUTO)
    }

    /// Checks the options before anything is downloaded. Returns the enrolment recordings: name and file.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Model`] for an unknown pipeline, [`Error::Audio`] for a bad `--speakers` folder.
    pub fn check(&self, model_dir: Option<PathBuf>) -> Result<Vec<(String, PathBuf)>> {
        self.bounds()?;
        super::hub(model_dir, true, None).find_diarizer(self.model())?;
        self.speakers.as_deref().map_or(Ok(Vec::new()), enrolment_recordings)
    }

    /// Loads the pipeline, downloading it with a progress bar if it is not cached.
    ///
    /// # Errors
    /// Those of the hub and of `load`.
    pub fn load<T>(&self, hub: &Hub, load: impl FnMut(&DiarizerSource) -> Result<T>) -> Result<T> {
        engine::under_a_bar(|on_progress| hub.obtain_diarizer_and_load(self.model(), on_progress, load))
    }

    /// The first of these options that was given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("diarize_model", self.diarize_model.is_some()),
            ("num_speakers", self.num_speakers.is_some()),
            ("min_speakers", self.min_speakers.is_some()),
            ("max_speakers", self.max_speakers.is_some()),
            ("speaker_embeddings", self.speaker_embeddings),
            ("speakers", self.speakers.is_some()),
        ];
        given.into_iter().find_map(|(option, given)| given.then_some(option))
    }
}

impl Speakers {
    /// The library's options; `None` without `--diarize`.
    ///
    /// # Errors
    /// [`Error::Config`] naming an option that contradicts another, or would have no effect.
    pub fn options(&self) -> Result<Option<SpeakerOptions>> {
        if !self.diarize {
            let of_transcripts = [
                ("fill_nearest", self.fill_nearest),
                ("sentence_speakers", self.sentence_speakers),
                ("whole_segments", self.whole_segments),
            ];
            let given =
                self.voices.given().or(of_transcripts.into_iter().find_map(|(option, given)| given.then_some(option)));
            return match given {
                Some(option) => Err(Error::config(option, "given", "has no effect without `diarize`")),
                None => Ok(None),
            };
        }
        let words = WordOptions {
            fill_nearest: self.fill_nearest,
            split: !self.whole_segments,
            smooth: self.sentence_speakers,
            ..WordOptions::default()
        };
        let diarize = diarist::diarize::Options { bounds: self.voices.bounds()?, ..Default::default() };
        Ok(Some(SpeakerOptions { diarize, words, embeddings: self.voices.speaker_embeddings }))
    }
}

/// The enrolment recordings in a folder, as (name, file). A file is named after the speaker; a subfolder named after
/// the speaker may hold several files.
fn enrolment_recordings(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>> {
        let refuse = |e: std::io::Error| Error::audio(folder, format!("is no folder with recordings of speakers: {e}"));
        let paths = std::fs::read_dir(folder).map_err(refuse)?.map(|entry| entry.map(|entry| entry.path()));
        let mut paths = paths.collect::<std::io::Result<Vec<_>>>().map_err(refuse)?;
        // Skips hidden files such as .DS_Store.
        paths.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
        paths.sort();
        Ok(paths)
    };
    let mut all = Vec::new();
    for path in entries(folder)? {
        let name = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            all.extend(entries(&path)?.into_iter().map(|file| (name(path.file_name()), file)));
        } else {
            all.push((name(path.file_stem()), path));
        }
    }
    if all.is_empty() {
        return Err(Error::audio(
            folder,
            "holds no recordings of speakers: put one in it for each, called as they are",
        ));
    }
    all.iter().try_for_each(|(_, file)| files::readable(file))?;
    Ok(all)
}
