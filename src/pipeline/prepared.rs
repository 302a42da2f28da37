//! A recording between the stages before the recogniser and those from it on.

use std::sync::Arc;

#[cfg(doc)]
use super::Pipeline;
use crate::asr::AsrResult;
use crate::diarize::diarizer::SegmentationOutput;
use crate::types::{Chunk, Transcript};
use crate::units::Seconds;

/// A decoded recording with the result of voice activity detection: the output of [`Pipeline::prepare`].
#[derive(Debug, Default)]
pub struct Prepared {
    /// 16 kHz mono samples; with channel speakers those of the first channel.
    pub(super) samples: Arc<Vec<f32>>,
    pub(super) chunks: Vec<Chunk>,
    /// Output of the diarizer's segmentation network, if the VAD stage has run it. Reused by diarization.
    pub(super) heard: Option<SegmentationOutput>,
    /// With channel speakers: the other channels.
    pub(super) others: Vec<Prepared>,
    /// With channel speakers: index of an earlier channel with the same samples. A duplicate is not transcribed again.
    pub(super) repeats: Option<usize>,
}

impl Prepared {
    pub(super) fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }

    /// The transcript of what the recogniser and the aligner found, without speakers.
    pub(super) fn transcript(&self, found: AsrResult) -> Transcript {
        Transcript {
            duration: self.duration(),
            language: (!found.language.is_empty()).then_some(found.language),
            language_probability: found.language_probability,
            word_segments: Transcript::words_of(&found.segments),
            segments: found.segments,
            ..Transcript::default()
        }
    }
}
