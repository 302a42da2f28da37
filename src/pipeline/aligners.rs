//! Aligners by language, loaded on first use and cached.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::align::{Aligner, Dictionary};
use crate::assets;
use crate::engine::Backend;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::hub::AlignerSource;
use crate::models::wav2vec2::{Config, Wav2Vec2, normalises_as};

/// Resolves a language code to an aligner model, downloads it if necessary, and passes it to the loader. Calls the
/// loader a second time if the first file was damaged and has been downloaded again. If the model is unavailable or
/// damaged, recordings in that language are not aligned; errors of the device and cancellation abort the run.
pub type FindAligner = dyn Fn(&str, &mut LoadAligner<'_>) -> Result<()> + Send + Sync;
/// Loads the model that [`FindAligner`] found.
pub type LoadAligner<'a> = dyn FnMut(&AlignerSource) -> Result<()> + 'a;

/// Aligners by language, loaded on first use. Languages that share a model share the loaded instance.
pub struct Aligners<B: Backend> {
    find: Box<FindAligner>,
    loaded: Mutex<Loaded<B>>,
}

struct Loaded<B: Backend> {
    models: Vec<(AlignerSource, Arc<Aligner<B>>)>,
    /// For each language code: an index into `models`, or why there is no model.
    languages: Vec<(String, std::result::Result<usize, String>)>,
}

/// Result of looking up a language's aligner.
pub enum Found<B: Backend> {
    /// The loaded model.
    Aligner(Arc<Aligner<B>>),
    /// There is no model, for this reason.
    Nothing(String),
}

impl<B: Backend> Aligners<B> {
    /// Aligners that are looked up with `find`.
    pub fn new(find: Box<FindAligner>) -> Self {
        Aligners { find, loaded: Mutex::new(Loaded { models: Vec::new(), languages: Vec::new() }) }
    }

    /// The aligner embedded in the binary, for English only.
    pub fn builtin() -> Self {
        Self::new(Box::new(|language, load| match language {
            "en" => load(&AlignerSource::Builtin),
            other => Err(Error::config("language", other, "the built-in aligner knows English only")),
        }))
    }

    /// The aligner of a language code.
    ///
    /// # Errors
    /// [`Error::Cancelled`] and errors of the device. A missing or damaged model is [`Found::Nothing`].
    pub fn of(&self, be: &B, language: &str) -> Result<Found<B>> {
        // Poisoning is harmless: entries are only added once they are complete.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = loaded.languages.iter().find(|(code, _)| code == language) {
            return Ok(match found {
                Ok(model) => Found::Aligner(loaded.models[*model].1.clone()),
                Err(reason) => Found::Nothing(reason.clone()),
            });
        }
        let mut index = None;
        let found = match (self.find)(language, &mut |source| {
            index = Some(loaded.load(be, source)?);
            Ok(())
        }) {
            Ok(()) => index.ok_or_else(|| "no model was found".to_string()),
            Err(error @ (Error::Cancelled | Error::Device { .. } | Error::OutOfMemory { .. })) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        loaded.languages.push((language.to_string(), found.clone()));
        Ok(match found {
            Ok(model) => Found::Aligner(loaded.models[model].1.clone()),
            Err(reason) => Found::Nothing(reason),
        })
    }
}

impl<B: Backend> Loaded<B> {
    /// Index of a model in `models`; loads the model unless it is loaded already.
    fn load(&mut self, be: &B, source: &AlignerSource) -> Result<usize> {
        if let Some(model) = self.models.iter().position(|(other, _)| other == source) {
            return Ok(model);
        }
        let aligner = open(be, source)?;
        self.models.push((source.clone(), Arc::new(aligner)));
        Ok(self.models.len() - 1)
    }
}

/// Loads an aligner.
///
/// # Errors
/// [`Error::Model`] or [`Error::Weights`] with the file that is missing or invalid; errors of the device.
pub fn open<B: Backend>(be: &B, source: &AlignerSource) -> Result<Aligner<B>> {
    match source {
        AlignerSource::Folder(folder) => Aligner::open(be, folder),
        AlignerSource::Bundle(bundle, file) => {
            let (network, config) = (bundle.open(be, file)?, bundle.config());
            let dictionary = Dictionary::parse(&bundle.vocabulary(), file, config.pad_token_id, config.vocab_size)?;
            Ok(Aligner::new(network, dictionary))
        }
        AlignerSource::Builtin => {
            let (name, files) = (Path::new("builtin"), &assets::ALIGNER);
            let config = Config::parse(files.config, name)?;
            let dictionary = Dictionary::parse(files.vocabulary, name, config.pad_token_id, config.vocab_size)?;
            let weights = Weights::from_static("builtin", files.weights)?;
            Ok(Aligner::new(
                Wav2Vec2::load(be, config, &weights, normalises_as(files.preprocessor_config, name)?)?,
                dictionary,
            ))
        }
    }
}
