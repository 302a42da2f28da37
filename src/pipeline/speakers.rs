//! The diarization stage, and the assignment of speakers to words. If diarization fails, the transcript has no
//! speakers.

use super::{Observer, Pipeline, Prepared, Run, words};
use crate::diarize::diarizer::{FindSpeakers, Heard};
use crate::diarize::words::{WordOptions, assign};
use crate::diarize::{self, Diarization, Gallery, turns};
use crate::engine::waveform::Waveform;
use crate::error::{Error, Result};
use crate::types::{Span, Transcript};
use crate::units::Seconds;
use crate::watch::{Half, Watch};

/// A diarizer and, optionally, the embeddings of known speakers.
pub struct Speakers {
    /// The diarizer, on its device.
    pub finder: Box<dyn FindSpeakers>,
    /// Names and embeddings of known speakers.
    pub gallery: Option<Gallery>,
}

/// Options of the diarization stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpeakerOptions {
    /// Bounds on the number of speakers, and other options of the diarizer.
    pub diarize: diarize::Options,
    /// Assignment of speakers to words.
    pub words: WordOptions,
    /// Whether to return [`Transcript::speaker_embeddings`].
    pub embeddings: bool,
}

impl Speakers {
    /// Renames the speakers that match an entry of the gallery, if there is one. Returns the labels of all speakers in
    /// the order of their embeddings ([`Diarization::voices`]).
    ///
    /// # Errors
    /// [`Error::Diarization`] for a gallery whose embeddings come from another network.
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
    /// Output of the diarizer's segmentation network. `None` if it fails; the reason is reported to the observer.
    pub(super) fn hear(&self, samples: &[f32], run: &mut Run) -> Result<Option<Heard>> {
        let Some(speakers) = &self.speakers else { return Ok(None) };
        let mut watch = StageWatch { observer: &mut *run.observer, stage: "vad" };
        let heard = speakers.finder.hear(samples, &mut watch);
        run.or_without(heard)
    }

    /// Diarizes the recording and adds the speakers to the transcript's words and segments.
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
    /// Diarizes a recording; returns the result and the speakers' labels in the order of their embeddings. `heard` is
    /// the segmentation output if the VAD stage has computed it, `words` the spans of the recognised words.
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
    /// Turns an error of diarization into `None` and reports it to the observer. Cancellation and device errors are
    /// returned.
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

/// Adapts the pipeline's observer to [`Watch`], for one stage.
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
