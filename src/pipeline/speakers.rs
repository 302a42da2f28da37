//! The diarization stage, and the assignment of speakers to words. If diarization fails, the transcript has no
//! speakers.

use super::observer::StageWatch;
use super::word_times::spans;
use super::{Pipeline, Prepared, Run};
use crate::asr::Recognizer;
use crate::config::SpeakerOptions;
use crate::diarize::diarizer::{DynDiarizer, SegmentationOutput};
use crate::diarize::words::assign;
use crate::diarize::{Diarization, Gallery, turns};
use crate::engine::Backend;
use crate::error::{Error, Result};
use crate::types::{Span, Transcript};
use crate::watch::{Half, Watch};

/// A diarizer and, optionally, the embeddings of known speakers.
pub struct Speakers {
    /// The diarizer, on its device.
    pub diarizer: Box<dyn DynDiarizer>,
    /// Names and embeddings of known speakers.
    pub gallery: Option<Gallery>,
}

impl Speakers {
    /// Renames the speakers that match an entry of the gallery, if there is one. Returns the labels of all speakers in
    /// the order of their embeddings ([`Diarization::embeddings`]).
    ///
    /// # Errors
    /// [`Error::Diarization`] for a gallery whose embeddings come from another network.
    pub fn name(&self, found: &mut Diarization) -> Result<Vec<String>> {
        match &self.gallery {
            Some(gallery) => {
                let (network, size) = self.diarizer.network();
                gallery.check(network, size)?;
                gallery.rename(found)
            }
            None => Ok((0..found.speakers()).map(turns::name).collect()),
        }
    }
}

/// Turns of a recording with the labels of its speakers, to be given to the words of a transcript.
pub(super) struct Found {
    diarization: Diarization,
    labels: Vec<String>,
    options: SpeakerOptions,
}

impl Found {
    /// The transcript with the speakers of its words and segments.
    pub fn assign(self, transcript: Transcript) -> Transcript {
        let Found { diarization: found, labels, options } = self;
        let segments = assign(transcript.segments, &found.exclusive, &found.turns, &options.words);
        Transcript {
            word_segments: Transcript::words_of(&segments),
            segments,
            speaker_embeddings: options.embeddings.then(|| found.embeddings_by_label(labels)),
            turns: found.turns,
            diarization: found.version,
            warnings: found.warnings,
            ..transcript
        }
    }
}

impl<B: Backend, R: Recognizer> Pipeline<B, R> {
    /// Output of the diarizer's segmentation network. `None` if it fails; the reason is reported to the observer.
    pub(super) fn segment(&self, samples: &[f32], run: &mut Run) -> Result<Option<SegmentationOutput>> {
        let Some(speakers) = &self.speakers else { return Ok(None) };
        let mut watch = StageWatch { observer: &mut *run.observer, stage: "segmentation" };
        let heard = speakers.diarizer.segment(samples, &mut watch);
        run.or_without(heard)
    }

    /// The stage "diarize". `None` if speakers were not requested or if it fails; the reason is reported to the observer.
    pub(super) fn find_speakers(
        &self,
        prepared: &Prepared,
        transcript: &Transcript,
        options: Option<&SpeakerOptions>,
        run: &mut Run,
    ) -> Result<Option<Found>> {
        let (Some(speakers), Some(options)) = (&self.speakers, options) else { return Ok(None) };
        run.stage("diarize", |run| {
            let mut watch = StageWatch { observer: &mut *run.observer, stage: "diarize" };
            let words = spans(&transcript.word_segments);
            let found = speakers.find(&prepared.samples, prepared.heard.as_ref(), &words, options, &mut watch);
            run.or_without(found)
        })
    }
}

impl Speakers {
    /// Diarizes a recording; returns the result and the speakers' labels in the order of their embeddings. `heard` is
    /// the segmentation output if the VAD stage has computed it, `words` the spans of the recognised words.
    fn find(
        &self,
        samples: &[f32],
        heard: Option<&SegmentationOutput>,
        words: &[Span],
        options: &SpeakerOptions,
        watch: &mut dyn Watch,
    ) -> Result<Found> {
        let heard = match heard {
            Some(heard) => heard,
            None => &self.diarizer.segment(samples, &mut Half { watch, second: false })?,
        };
        let mut watch = Half { watch, second: true };
        let mut diarization = self.diarizer.cluster_speakers(samples, heard, words, &options.diarize, &mut watch)?;
        let labels = self.name(&mut diarization)?;
        Ok(Found { diarization, labels, options: *options })
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
