//! The stages that find speech: the segmentation network of the diarizer, where one is loaded for it, and voice activity detection.

use super::{Pipeline, Prepared, Run};
use crate::asr::{Chunks, Recognizer};
use crate::diarize::diarizer::SegmentationOutput;
use crate::engine::Backend;
use crate::error::Result;
use crate::types::Chunk;
use crate::units::Seconds;
use crate::vad::{self, Detector, VadOptions};

impl<B: Backend, R: Recognizer> Pipeline<B, R> {
    /// Output of the diarizer's segmentation network, if it is the detector and does not fail.
    pub(super) fn segmentation(&self, samples: &[f32], run: &mut Run) -> Result<Option<SegmentationOutput>> {
        match self.detector {
            Detector::Diarizer => self.segment(samples, run),
            _ => Ok(None),
        }
    }

    /// Voice activity detection: speech merged into chunks no longer than `chunk_size` and the recogniser's window. `heard` is the
    /// output of the segmentation network, if that is the detector.
    pub(super) fn chunks(
        &self,
        samples: &[f32],
        heard: Option<&SegmentationOutput>,
        options: &VadOptions,
    ) -> Result<Vec<Chunk>> {
        let window = self.recognizer.capabilities().window;
        let chunk_size = if options.chunk_size.0 < window.0 { options.chunk_size } else { window };
        let options = VadOptions { chunk_size, ..*options };
        match heard {
            Some(heard) => {
                vad::chunks_of_scores(&heard.speech, heard.grid, Seconds::from_samples(samples.len()), &options)
            }
            None => self.detector.chunks(samples, &options),
        }
    }

    /// The recogniser's input; `None` if no speech was detected.
    pub(super) fn chunks_of<'a>(&self, prepared: &'a Prepared) -> Option<Chunks<'a>> {
        match self.detector {
            Detector::None => Some(Chunks::Windows),
            _ if prepared.chunks.is_empty() => None,
            _ => Some(Chunks::Speech(&prepared.chunks)),
        }
    }
}
