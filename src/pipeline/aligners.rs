//! Where aligners come from: each language's model is looked for when its first recording is there, and kept for the next.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::align::{Aligner, Dictionary};
use crate::assets;
use crate::engine::waveform::Waveform;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};
use crate::hub::AlignerSource;
use crate::models::wav2vec2::{Config, Wav2Vec2, normalises_as};

/// Finds the model of a language, fetching it if need be, and hands it to the loader; once more where the first file was damaged
/// and has been fetched again. An error that is about the model (it is nowhere, or damaged) makes the recordings of that language
/// do without.
pub type FindAligner = dyn Fn(&str, &mut LoadAligner<'_>) -> Result<()> + Send + Sync;
/// Loads a model that was found.
pub type LoadAligner<'a> = dyn FnMut(&AlignerSource) -> Result<()> + 'a;

/// The aligners of a run.
pub struct Aligners<B: Waveform> {
    find: Box<FindAligner>,
    known: Mutex<Known<B>>,
}

struct Known<B: Waveform> {
    models: Vec<(AlignerSource, Arc<Aligner<B>>)>,
    /// A language's model, by its number, or why there is none.
    languages: Vec<(String, std::result::Result<usize, String>)>,
}

/// What a language has.
pub enum Found<B: Waveform> {
    /// A model, loaded.
    Aligner(Arc<Aligner<B>>),
    /// None, for this reason.
    Nothing(String),
}

impl<B: Waveform> Aligners<B> {
    /// Those that `find` finds.
    pub fn new(find: Box<FindAligner>) -> Self {
        Aligners { find, known: Mutex::new(Known { models: Vec::new(), languages: Vec::new() }) }
    }

    /// The one that is compiled into the program, for English.
    pub fn builtin() -> Self {
        Self::new(Box::new(|language, load| match language {
            "en" => load(&AlignerSource::Builtin),
            other => Err(Error::config("language", other, "the built-in aligner knows English only")),
        }))
    }

    /// The aligner of a language.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and whatever the device reports.
    pub fn of(&self, be: &B, language: &str) -> Result<Found<B>> {
        // A thread that panicked while it held this left it as it was.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.languages.iter().find(|(code, _)| code == language) {
            return Ok(match found {
                Ok(model) => Found::Aligner(known.models[*model].1.clone()),
                Err(reason) => Found::Nothing(reason.clone()),
            });
        }
        let mut loaded = None;
        let found = match (self.find)(language, &mut |source| {
            loaded = Some(known.load(be, source)?);
            Ok(())
        }) {
            Ok(()) => loaded.ok_or_else(|| "no model was found".to_string()),
            Err(error @ (Error::Cancelled | Error::Device { .. } | Error::OutOfMemory { .. })) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        known.languages.push((language.to_string(), found.clone()));
        Ok(match found {
            Ok(model) => Found::Aligner(known.models[model].1.clone()),
            Err(reason) => Found::Nothing(reason),
        })
    }
}

impl<B: Waveform> Known<B> {
    /// The number of a model, loaded now or before.
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
/// [`Error::Model`] or [`Error::Weights`] naming the file that is missing or wrong; those of the device.
pub fn open<B: Waveform>(be: &B, source: &AlignerSource) -> Result<Aligner<B>> {
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
