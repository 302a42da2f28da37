//! Startup of `transcribe` and `worker`: checks the options and opens the device, then downloads and loads all models.

use std::path::PathBuf;

use diarist::api::OpenDevice;
use diarist::api::compute::OtherModels;
use diarist::hub::Hub;
use diarist::pipeline::Speakers;
use diarist::vad::Detector;
use diarist::{Engine, Error, Result};

use super::engine;
use super::enrol::enrol;
use super::inputs::Inputs;
use super::options::Work;
use super::{convert, words};

/// An open device and the options of the models to load onto it.
pub struct Opening<'a> {
    work: &'a Work,
    device: OpenDevice,
    /// Enrolment recordings of enrolment speakers: name and file.
    enrolment: Vec<(String, PathBuf)>,
}

impl<'a> Opening<'a> {
    /// Checks the names of all models and opens the device. Downloads nothing.
    ///
    /// # Errors
    /// [`Error::Config`] or [`Error::Model`] for a model or a device that is not available; [`Error::Audio`] for a bad
    /// `--speakers` folder.
    pub fn check(work: &'a Work) -> Result<Self> {
        let (name, folder) = (&work.model.model, &work.model.files.model_dir);
        super::hub(folder.clone(), true, None).find(name)?;
        words::check_model(&work.words.align, folder.clone())?;
        let enrolment = match work.speakers.diarize {
            true => work.speakers.voices.check(folder.clone())?,
            false => Vec::new(),
        };
        Ok(Opening { work, device: engine::open(&work.model.compute, work.model.cross_cache)?, enrolment })
    }

    /// The files that are read in addition to the recordings.
    pub fn inputs(&self) -> Inputs {
        let work = self.work;
        let networks = [work.speakers.voices.diarize_model.as_ref(), work.words.align.align_model.as_ref()];
        let models = networks.into_iter().flatten().chain([&work.model.model]);
        let inputs = Inputs::default().with(self.enrolment.iter().map(|(_, file)| file));
        inputs.with_models(models).with_models(work.vad.model.as_ref())
    }

    /// Downloads what is not cached, and loads all models.
    ///
    /// # Errors
    /// Those of the hub and of the model files; [`Error::OutOfMemory`] if the models do not fit the device.
    pub fn load(self) -> Result<Engine> {
        let (work, hub) = (self.work, engine::hub_of(&self.work.model));
        let detector = match convert::by_diarizer(work) {
            true => Detector::Diarizer,
            false => self.device.detector(convert::method(&work.vad), &convert::network(&work.vad, &hub)?)?,
        };
        // An aligner that was named on the command line is used for every language, so it is loaded now.
        let asked = work.words.align.align_model.as_deref();
        asked.map(|name| engine::under_a_bar(|on_progress| hub.obtain_aligner(name, on_progress))).transpose()?;
        let speakers = work.speakers.diarize.then(|| self.speakers(&hub)).transpose()?;
        let beside = OtherModels { aligners: Some(words::diarizer(&work.model, asked)), speakers };
        let recogniser = engine::load(&work.model, |source| self.device.recogniser(source))?;
        let engine = recogniser.with(detector, beside);
        if let (Some(model), Some(reason)) = (asked, asked.map(|_| engine.load_aligner("")).transpose()?.flatten()) {
            return Err(Error::config("align_model", model, reason));
        }
        Ok(engine)
    }

    /// Loads the diarization pipeline, and enrols the enrolment speakers.
    fn speakers(&self, hub: &Hub) -> Result<Speakers> {
        let diarizer = self.work.speakers.voices.load(hub, |source| self.device.diarizer(source))?;
        let gallery = enrol(diarizer.as_ref(), &self.enrolment, &self.work.audio)?;
        Ok(Speakers { diarizer, gallery })
    }
}
