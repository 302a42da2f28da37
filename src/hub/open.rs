//! The diarization pipeline `open`, which needs no account: its two networks are in public, ungated repositories; see
//! [`PARTS`].
//!
//! [`AUTO`] selects community-1 if it is available, else `open`.

use std::path::PathBuf;

use super::pinned::Published;
use super::pipelines::{DEFAULT, PIPELINE};
use super::published::Missing;
use super::{DiarizerSource, Hub, Network, OnProgress};
use crate::diarize::open::REVISION;
use crate::diarize::recipe::{self, Location, Recipe};
use crate::error::{Error, Result};
use crate::types::PipelineVersion;

/// The name of the pipeline.
pub const OPEN: &str = "open";
/// The name that selects community-1 or [`OPEN`]. It is the default of the command-line program.
pub const AUTO: &str = "auto";

/// One of the pipeline's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name of the network's subfolder in a pipeline's folder.
    pub folder: &'static str,
    /// Name of the network.
    pub network: &'static str,
    /// Licence of the weights.
    pub licence: &'static str,
    /// The published files, in the order in which they are tried.
    pub sources: &'static [Published<'static>],
}

/// The networks: segmentation and embedding. Every file is pinned to a commit and a SHA-256.
pub const PARTS: [Part; 2] = [
    Part {
        folder: recipe::PARTS[0],
        network: "pyannote/segmentation-3.0",
        licence: "MIT",
        sources: &[Published {
            repo: "csukuangfj/sherpa-onnx-pyannote-segmentation-3-0",
            revision: "9403a6902bb58e3d5ae8c7e77c3422de279db2e0",
            file: "model.onnx",
            bytes: 5_992_913,
            sha256: "220ad67ca923bef2fa91f2390c786097bf305bceb5e261d4af67b38e938e1079",
        }],
    },
    Part {
        folder: recipe::PARTS[1],
        network: "3D-Speaker's CAM++",
        licence: "Apache-2.0",
        sources: &[Published {
            repo: "csukuangfj/speaker-embedding-models",
            revision: "0743f301363dec56491a490f6d6cbc9d67f9a3bf",
            file: "3dspeaker_speech_campplus_sv_zh_en_16k-common_advanced.onnx",
            bytes: 28_281_164,
            sha256: "aa3cfc16963a10586a9393f5035d6d6b57e98d358b347f80c2a30bf4f00ceba2",
        }],
    },
];

impl Hub {
    /// `open`, if both networks are on this machine: in the folder `open` of `model_dir`, else as published files.
    pub(super) fn find_open(&self) -> Result<Option<DiarizerSource>> {
        if let Some(recipe) = self.open_of_model_dir()? {
            return Ok(Some(recipe));
        }
        let [segmentation, embedding] = PARTS.map(|part| self.find_published(part.sources).file);
        Ok(segmentation.zip(embedding).map(|(segmentation, embedding)| of_files(segmentation, embedding)))
    }

    /// Like [`find_open`](Self::find_open), but downloads missing files.
    pub(super) fn obtain_open(&self, on_progress: &mut OnProgress<'_>) -> Result<DiarizerSource> {
        if let Some(recipe) = self.open_of_model_dir()? {
            return Ok(recipe);
        }
        let mut obtain = |part: &Part| match self.published(part.sources, on_progress) {
            Ok(found) => Ok(found),
            Err(Missing::Cancelled) => Err(Error::Cancelled),
            Err(Missing::Reasons(reasons)) => Err(self.no_open(part, &reasons)),
        };
        let [segmentation, embedding] = &PARTS;
        Ok(of_files(obtain(segmentation)?, obtain(embedding)?))
    }

    fn open_of_model_dir(&self) -> Result<Option<DiarizerSource>> {
        let folder = self.model_dir.as_ref().map(|dir| dir.join(OPEN));
        let folder = folder.filter(|folder| PARTS.iter().all(|part| folder.join(part.folder).is_dir()));
        Ok(folder
            .map(|folder| Recipe::open(&folder))
            .transpose()?
            .map(|recipe| DiarizerSource::Recipe(Box::new(recipe))))
    }

    /// community-1 if it is on this machine, else `open` if it is.
    pub(super) fn find_auto(&self) -> Result<Option<DiarizerSource>> {
        match self.find_diarizer(DEFAULT)? {
            Some(found) => Ok(Some(found)),
            None => self.find_open(),
        }
    }

    /// community-1 if it is on this machine or can be downloaded with the access token; else `open`, with the reason as
    /// a warning in the log.
    pub(super) fn obtain_auto(&self, on_progress: &mut OnProgress<'_>) -> Result<DiarizerSource> {
        if let Some(found) = self.find_diarizer(DEFAULT)? {
            return Ok(found);
        }
        let why = match (self.network, &self.token) {
            (Network::Forbidden, _) => format!("{DEFAULT} is not on this machine, and downloads are switched off"),
            (Network::Allowed, None) => {
                format!("{DEFAULT} is not on this machine, and there is no access token to fetch it")
            }
            (Network::Allowed, Some(_)) => match self.obtain_diarizer(DEFAULT, on_progress) {
                Ok(found) => return Ok(found),
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => first_line(&error.to_string()),
            },
        };
        match self.obtain_open(on_progress) {
            Ok(found) => {
                tracing::warn!("speakers are told apart by the pipeline `{OPEN}`: {why}");
                Ok(found)
            }
            Err(Error::Hub { model, reason }) => Err(Error::Hub { model, reason: format!("{reason}\n  ({why})") }),
            Err(other) => Err(other),
        }
    }

    /// The error for a network that is not on this machine and cannot be downloaded, with the alternatives.
    fn no_open(&self, part: &Part, reasons: &[String]) -> Error {
        let files: String = PARTS
            .iter()
            .flat_map(|part| part.sources.iter().map(move |source| (part.folder, source.address(&self.endpoint))))
            .map(|(folder, address)| format!("\n    FOLDER/{folder}/ from {address}"))
            .collect();
        let reason = format!(
            "{} is not on this machine (looked in {}), and cannot be fetched: {}.\n  \
             To use `{OPEN}` with files brought here by hand, give `--diarize-model FOLDER` with{files}\n  \
             To use {DEFAULT} instead: accept its terms at {endpoint}/{DEFAULT}, make an access token at \
             {endpoint}/settings/tokens, and set HF_TOKEN or give `--hf-token`.",
            part.network,
            self.looked_in(&PIPELINE),
            reasons.join("; "),
            endpoint = self.endpoint,
        );
        Error::Hub { model: OPEN.to_string(), reason }
    }
}

/// Builds the pipeline from the files of its two networks. Its revision identifies the pipeline's constants and the
/// networks' checksums.
pub fn of_files(segmentation: (PathBuf, Published<'_>), embedding: (PathBuf, Published<'_>)) -> DiarizerSource {
    let digits = |(_, file): &(PathBuf, Published<'_>)| file.sha256.chars().take(8).collect::<String>();
    let revision = format!("{REVISION}-{}-{}", digits(&segmentation), digits(&embedding));
    let version = PipelineVersion { pipeline: OPEN.into(), revision: Some(revision) };
    DiarizerSource::Recipe(Box::new(Recipe::of_networks(
        Location::Local(segmentation.0),
        Location::Local(embedding.0),
        version,
    )))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}
