//! The stage that tells speakers apart and gives them their words. Where it fails, the transcript is there without speakers.

use super::{Observer, Pipeline, Prepared, Run, words};
use crate::diarize::diarizer::{FindSpeakers, Heard};
use crate::diarize::words::{WordOptions, assign};
use crate::diarize::{self, Diarization, Gallery, turns};
use crate::engine::waveform::Waveform;
use crate::error::{Error, Result};
use crate::types::{Span, Transcript};
use crate::units::Seconds;
use crate::watch::{Half, Watch};

/// What tells speakers apart, and the voices whose names are known.
pub struct Speakers {
    /// The networks, on their device.
    pub finder: Box<dyn FindSpeakers>,
    /// Names for voices.
    pub gallery: Option<Gallery>,
}

/// What can be asked of the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpeakerOptions {
    /// How many speakers there may be.
    pub diarize: diarize::Options,
    /// How words get their speakers.
    pub words: WordOptions,
    /// Whether [`Transcript::speaker_embeddings`] is wanted.
    pub embeddings: bool,
}

impl Speakers {
    /// Names the speakers of a recording after the gallery, if there is one; their labels in the order of their voices.
    ///
    /// # Errors
    /// [`Error::Diarization`] for a gallery of another network.
    pub fn name(&self, found: &mut Diarization) -> Result<Vec<String>> {
        match &self.gallery {
            Some(gallery) => {
                let (network, size) = self.finder.network();
                gallery.check(network, size)?;
                gallery.rename(found)
            }
            None => Ok((0..found.speakers()).map(turns::name).collect()),
        }
    }
}

impl<B: Waveform> Pipeline<B> {
    /// What the diarizer's first network hears; nothing, and the observer knows why, where it cannot.
    pub(super) fn hear(&self, samples: &[f32], run: &mut Run) -> Result<Option<Heard>> {
        let Some(speakers) = &self.speakers else { return Ok(None) };
        let mut watch = StageWatch { observer: &mut *run.observer, stage: "vad" };
        let heard = speakers.finder.hear(samples, &mut watch);
        run.or_without(heard)
    }

    /// The transcript with the speakers of its words.
    pub(super) fn with_speakers(
        &self,
        prepared: &Prepared,
        transcript: Transcript,
        options: &SpeakerOptions,
        run: &mut Run,
    ) -> Result<Transcript> {
        let Some(speakers) = &self.speakers else { return Ok(transcript) };
        let found = run.stage("diarize", |run| {
            let samples = &prepared.samples;
            let mut watch = StageWatch { observer: &mut *run.observer, stage: "diarize" };
            let words = words::spans(&transcript.word_segments);
            let found = speakers.find(samples, prepared.heard.as_ref(), &words, options, &mut watch);
            run.or_without(found)
        })?;
        let Some((found, labels)) = found else { return Ok(transcript) };
        let segments = assign(transcript.segments, &found.exclusive, &found.turns, &options.words);
        Ok(Transcript {
            word_segments: words::all(&segments),
            segments,
            speaker_embeddings: options.embeddings.then(|| found.embeddings(labels)),
            turns: found.turns,
            diarization: found.version,
            warnings: found.warnings,
            ..transcript
        })
    }
}

impl Speakers {
    /// Who speaks when, given the spans of the words, and the labels in the order of the voices; what was heard before is not heard again.
    fn find(
        &self,
        samples: &[f32],
        heard: Option<&Heard>,
        words: &[Span],
        options: &SpeakerOptions,
        watch: &mut dyn Watch,
    ) -> Result<(Diarization, Vec<String>)> {
        let heard = match heard {
            Some(heard) => heard,
            None => &self.finder.hear(samples, &mut Half { watch, second: false })?,
        };
        let mut watch = Half { watch, second: true };
        let mut found = self.finder.tell_apart(samples, heard, words, &options.diarize, &mut watch)?;
        let labels = self.name(&mut found)?;
        Ok((found, labels))
    }
}

impl Run<'_> {
    /// What was found; where only this stage failed, nothing, and the observer knows.
    fn or_without<T>(&mut self, found: Result<T>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error @ (Error::Cancelled | Error::Device { .. })) => Err(error),
            Err(error) => {
                self.observer.without_speakers(&error);
                Ok(None)
            }
        }
    }
}

/// A stage's view of the observer.
pub(super) struct StageWatch<'a> {
    pub observer: &'a mut dyn Observer,
    pub stage: &'static str,
}

impl Watch for StageWatch<'_> {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        self.observer.progress(self.stage, done, Some(total));
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}
