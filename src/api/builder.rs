//! Names of models to an engine.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::Engine;
use super::compute::{Beside, Compute, ComputeType, Device};
use crate::diarize::Gallery;
use crate::diarize::diarizer::FindSpeakers;
use crate::error::{Error, Result};
use crate::hub::{self, AlignerSource, BUILTIN, Hub};
use crate::pipeline::Speakers;
use crate::pipeline::aligners::FindAligner;
use crate::vad::{Detector, VadMethod};

/// Chooses what an [`Engine`] is made of. Models are named as on the command line: `builtin`, a folder, a file, or a name, which is
/// fetched if it is not on this machine and the [`hub`](Self::hub) allows it. A damaged file in the cache is fetched again once.
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
    /// The recogniser [default: `builtin`]: a folder in the layout of Hugging Face or CTranslate2, a file of openai-whisper (`.pt`) or
    /// whisper.cpp (ggml `.bin`), or a name, as [`Hub::obtain`] finds it.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// What finds words in the sound, whatever the language [default: what WhisperX has for the language; for English beside the
    /// built-in recogniser, `builtin`].
    #[must_use]
    pub fn aligner(mut self, name: impl Into<String>) -> Self {
        self.aligner = Some(name.into());
        self
    }

    /// What tells speakers apart [default: nothing]: [`AUTO`](hub::AUTO) for community-1 where that is at hand and else
    /// [`OPEN`](hub::OPEN), which needs no account; `organisation/name` of a pipeline on the hub; or a folder.
    #[must_use]
    pub fn diarizer(mut self, name: impl Into<String>) -> Self {
        self.diarizer = Some(name.into());
        self
    }

    /// Known voices, whose names the speakers get; made with the same diarizer, or the engine is not built.
    #[must_use]
    pub fn gallery(mut self, gallery: Gallery) -> Self {
        self.gallery = Some(gallery);
        self
    }

    /// How speech is found: a method, and the file of its network if it has one [default: by the diarizer if there is one, else by
    /// energy].
    #[must_use]
    pub fn speech(mut self, method: VadMethod, network: impl Into<PathBuf>) -> Self {
        self.speech = Some((method, network.into()));
        self
    }

    /// What to compute on [default: a GPU if there is one, else the CPU].
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.compute.device = device;
        self
    }

    /// How numbers are held in memory [default: what is best on the device].
    #[must_use]
    pub fn compute_type(mut self, compute_type: ComputeType) -> Self {
        self.compute.compute_type = compute_type;
        self
    }

    /// Threads of the CPU [default: one per core].
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.compute.threads = Some(threads);
        self
    }

    /// Most bytes of a GPU's memory to use [default: all of it].
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.compute.memory_limit = Some(bytes);
        self
    }

    /// Everything about the device at once.
    #[must_use]
    pub fn compute(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// Where models are looked for, and whether they may be fetched [default: as the environment says].
    #[must_use]
    pub fn hub(mut self, hub: Hub) -> Self {
        self.hub = hub;
        self
    }

    /// Fetches what is not on this machine, opens the device, and loads the models. The aligner of a language is loaded when its
    /// first recording is there.
    ///
    /// # Errors
    /// [`Error::Config`] for a choice that cannot be honoured, [`Error::Hub`] for a model that is nowhere, [`Error::Model`] and
    /// [`Error::Weights`] for files that cannot be used, [`Error::Diarization`] for a gallery of another network; those of the device.
    pub fn build(self) -> Result<Engine> {
        self.build_watched(&mut |_| ControlFlow::Continue(()))
    }

    /// The same; `on_progress` hears of downloads, also of those of other processes that are waited for, and may stop them.
    ///
    /// # Errors
    /// As [`build`](Self::build); [`Error::Cancelled`].
    pub fn build_watched(self, on_progress: &mut hub::OnProgress<'_>) -> Result<Engine> {
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
            (Some(gallery), Some(finder)) => Some(fitting(gallery, finder.as_ref())?),
            _ => None,
        };
        let detector = match &self.speech {
            Some((method, network)) => device.detector(*method, network)?,
            None if diarizer.is_some() => Detector::Diarizer,
            None => Detector::Energy,
        };
        let speakers = diarizer.map(|finder| Speakers { finder, gallery });
        let aligners = finder(self.hub, self.model == BUILTIN, self.aligner);
        Ok(recogniser.with(detector, Beside { aligners: Some(aligners), speakers }))
    }
}

/// The gallery, if it can be compared with the voices of this diarizer.
fn fitting(gallery: Gallery, finder: &dyn FindSpeakers) -> Result<Gallery> {
    let (network, size) = finder.network();
    gallery.check(network, size)?;
    Ok(gallery.of_network(network))
}

/// Finds the aligner asked for, else the language's.
fn finder(hub: Hub, builtin: bool, asked: Option<String>) -> Box<FindAligner> {
    Box::new(move |language, load| {
        let mut unwatched = |_: &hub::Fetching| ControlFlow::Continue(());
        let name = match &asked {
            Some(name) => name,
            None if builtin && language == "en" => return load(&AlignerSource::Builtin),
            None => hub.aligner_of(language)?,
        };
        hub.obtain_aligner_and_load(name, &mut unwatched, load)
    })
}
