//! Loading the recogniser of a pipeline.

use std::path::Path;

use super::{Aligners, Pipeline};
use crate::asr::{Tokenizer, WhisperRecognizer, is_multilingual};
use crate::assets;
use crate::engine::Backend;
use crate::engine::weights::Weights;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::hub::Source;
use crate::models::whisper::{Checkpoint, Config, GenerationConfig, Whisper};
use crate::vad::Detector;

impl<B: Backend> Pipeline<B> {
    /// Loads a Whisper model folder in the Hugging Face layout.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] with the file that is missing or invalid.
    pub fn open(be: &B, folder: &Path, detector: Detector) -> Result<Self> {
        Self::open_checkpoint(be, &Checkpoint::hugging_face(folder), detector)
    }

    /// Loads a Whisper checkpoint of any format.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_checkpoint(be: &B, checkpoint: &Checkpoint, detector: Detector) -> Result<Self> {
        let files = checkpoint.open()?;
        let tokenizer = Tokenizer::of(checkpoint, &files)?;
        Ok(Self::new(Whisper::load(be, files.config, files.generation, &files.weights)?, tokenizer, detector))
    }

    /// Loads the model that is embedded in the binary.
    ///
    /// # Errors
    /// Only those of the device, such as [`Error::OutOfMemory`].
    pub fn builtin(be: &B, detector: Detector) -> Result<Self> {
        let (name, files) = (Path::new("builtin"), &assets::MODEL);
        let config = Config::parse(files.config, name)?;
        let generation = GenerationConfig::parse(files.generation_config, name)?;
        let weights = Weights::from_static("builtin", files.weights)?;
        let whisper = Whisper::load(be, config, generation, &weights)?;
        let tokenizer = Tokenizer::from_bytes(name, files.tokenizer.as_bytes(), is_multilingual(&whisper))?;
        Ok(Self::new(whisper, tokenizer, detector))
    }

    fn new(whisper: Whisper<B>, tokenizer: Tokenizer, detector: Detector) -> Self {
        Pipeline {
            be: whisper.be.clone(),
            recognizer: WhisperRecognizer::new(whisper, tokenizer),
            detector,
            aligners: Aligners::builtin(),
            speakers: None,
        }
    }

    /// Loads a model that [`Hub::obtain`](crate::hub::Hub::obtain) returned.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn load(be: &B, source: &Source, detector: Detector) -> Result<Self> {
        match source {
            Source::Checkpoint(checkpoint) => Self::open_checkpoint(be, checkpoint, detector),
            Source::Builtin => Self::builtin(be, detector),
        }
    }
}
