//! Builder of an [`Engine`]: resolves model names, downloads and loads the models, opens the device.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::Engine;
use super::compute::{Compute, ComputeType, Device, OtherModels};
use crate::diarize::Gallery;
use crate::diarize::diarizer::DynDiarizer;
use crate::error::{Error, Result};
use crate::hub::{self, AlignerSource, BUILTIN, Hub};
use crate::pipeline::Speakers;
use crate::pipeline::aligners::FindAligner;
use crate::vad::{Detector, VadMethod};

/// Configures the models and the device of an [`Engine`]. Models are named as on the command line: `builtin`, a folder,
/// a file, or a model name. A named model that is not on this machine is downloaded if the [`hub`](Self::hub) allows
/// it. A damaged file in the cache is downloaded again once.
#[derive(Debug)]
pub struct EngineBuilder {
    compute: Compute,
    hub: Hub,
    model: String,
    aligner: Option<String>,
    diarizer: Option<String>,
    gallery: Option<Gallery>,
    speech: Option<(VadMethod, PathBuf)>,
}

impl Default for EngineBuilder {
    fn default() -> Self {
        EngineBuilder {
            compute: Compute::default(),
            hub: Hub::from_env(),
            model: BUILTIN.into(),
            aligner: None,
            diarizer: None,
            gallery: None,
            speech: None,
        }
    }
}

impl EngineBuilder {
    /// The Whisper model [default: `builtin`]: a folder in the layout of Hugging Face or CTranslate2, a file of
    /// openai-whisper (`.pt`) or whisper.cpp (ggml `.bin`), or a name that [`Hub::obtain`] resolves.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// The wav2vec2 aligner for all languages [default: WhisperX's model for the recording's language; `builtin` for
    /// English if the recogniser is `builtin`].
    #[must_use]
    pub fn aligner(mut self, name: impl Into<String>) -> Self {
        self.aligner = Some(name.into());
        self
    }

    /// The diarization pipeline [default: none]: `builtin`; [`AUTO`](hub::AUTO), which is community-1 if it is
    /// available and else [`OPEN`](hub::OPEN), which needs no account; `organisation/name` of a pipeline on the hub; or
    /// a folder.
    #[must_use]
    pub fn diarizer(mut self, name: impl Into<String>) -> Self {
        self.diarizer = Some(name.into());
        self
    }

    /// Names and embeddings of known speakers. The embeddings must come from the same diarizer; otherwise
    /// [`build`](Self::build) fails.
    #[must_use]
    pub fn gallery(mut self, gallery: Gallery) -> Self {
        self.gallery = Some(gallery);
        self
    }

    /// Voice activity detection: a method, and the file of its network if it has one [default: the diarizer's
    /// segmentation network if there is a diarizer, else signal energy].
    #[must_use]
    pub fn speech(mut self, method: VadMethod, network: impl Into<PathBuf>) -> Self {
        self.speech = Some((method, network.into()));
        self
    }

    /// The device [default: a GPU if there is one, else the CPU].
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.compute.device = device;
        self
    }

    /// Data type of weights and activations [default: depends on the device, see [`ComputeType::Default`]].
    #[must_use]
    pub fn compute_type(mut self, compute_type: ComputeType) -> Self {
        self.compute.compute_type = compute_type;
        self
    }

    /// Number of CPU threads [default: one per core].
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.compute.threads = Some(threads);
        self
    }

    /// Limit on the GPU memory to use, in bytes [default: all of it].
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.compute.memory_limit = Some(bytes);
        self
    }

    /// All options of the device at once.
    #[must_use]
    pub fn compute(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// Where models are searched, and whether they may be downloaded [default: [`Hub::from_env`]].
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hub = hub;
        self
    }

    /// Opens the device, downloads missing models, and loads the models. The aligner of a language is loaded when the
    /// first recording in that language needs it.
    ///
    /// # Errors
    /// [`Error::Config`] for an unsupported option, [`Error::Hub`] for a model that is not on this machine and cannot
    /// be downloaded, [`Error::Model`] and [`Error::Weights`] for invalid files, [`Error::Diarization`] for a gallery
    /// of another network; errors of the device.
    pub fn build(self) -> Result<Engine> {
        self.build_with_progress(&mut |_| ControlFlow::Continue(()))
    }

    /// Like [`build`](Self::build), with progress of downloads. `on_progress` is also called while another process
    /// downloads the same model, and can cancel.
    ///
    /// # Errors
    /// As [`build`](Self::build); [`Error::Cancelled`].
    pub fn build_with_progress(self, on_progress: &mut hub::OnProgress<'_>) -> Result<Engine> {
        if self.gallery.is_some() && self.diarizer.is_none() {
            return Err(Error::config("speakers", "given", "voices are compared by a diarizer; give one, too"));
        }
        let device = self.compute.open()?;
        let recogniser = self.hub.obtain_and_load(&self.model, on_progress, |source| device.recogniser(source))?;
        let diarizer = match &self.diarizer {
            Some(name) => Some(self.hub.obtain_diarizer_and_load(name, on_progress, |source| device.diarizer(source))?),
            None => None,
        };
        let gallery = match (self.gallery, &diarizer) {
            (Some(gallery), Some(diarizer)) => Some(fitting(gallery, diarizer.as_ref())?),
            _ => None,
        };
        let detector = match &self.speech {
            Some((method, network)) => device.detector(*method, network)?,
            None if diarizer.is_some() => Detector::Diarizer,
            None => Detector::Energy,
        };
        let speakers = diarizer.map(|diarizer| Speakers { diarizer, gallery });
        let aligners = aligner_finder(self.hub, self.model == BUILTIN, self.aligner);
        Ok(recogniser.with(detector, OtherModels { aligners: Some(aligners), speakers }))
    }
}

/// Checks that the gallery fits this diarizer's embedding network, and records the network's name in the gallery.
fn fitting(gallery: Gallery, diarizer: &dyn DynDiarizer) -> Result<Gallery> {
    let (network, size) = diarizer.network();
    gallery.check(network, size)?;
    Ok(gallery.with_network(network))
}

/// Resolves a language to its aligner: `requested` if given, else the default for the language.
fn aligner_finder(hub: Hub, builtin: bool, requested: Option<String>) -> Box<FindAligner> {
    Box::new(move |language, load| {
        let mut ignore_progress = |_: &hub::Fetching| ControlFlow::Continue(());
        let name = match &requested {
            Some(name) => name,
            None if builtin && language == "en" => return load(&AlignerSource::Builtin),
            None => hub.aligner_of(language)?,
        };
        hub.obtain_aligner_and_load(name, &mut ignore_progress, load)
    })
}
