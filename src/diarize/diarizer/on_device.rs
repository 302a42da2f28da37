//! Type erasure: a [`Diarizer`] and its backend as a trait object.

use super::{Diarizer, SegmentationOutput};
use crate::diarize::{Diarization, Options};
use crate::engine::Backend;

use crate::error::Result;
use crate::types::{PipelineVersion, Span};
use crate::watch::Watch;

/// Object-safe interface of a [`Diarizer`] on any backend.
pub trait DynDiarizer: Send + Sync {
    /// See [`Diarizer::diarize`].
    ///
    /// # Errors
    /// As there.
    fn diarize(&self, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization>;
    /// See [`Diarizer::segment`].
    ///
    /// # Errors
    /// As there.
    fn segment(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<SegmentationOutput>;
    /// See [`Diarizer::cluster_speakers`].
    ///
    /// # Errors
    /// As there.
    fn cluster_speakers(
        &self,
        samples: &[f32],
        output: &SegmentationOutput,
        words: &[Span],
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization>;
    /// See [`Diarizer::embed_speaker`].
    ///
    /// # Errors
    /// As there.
    fn embed_speaker(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>>;
    /// See [`Diarizer::version`].
    fn version(&self) -> &PipelineVersion;
    /// See [`Diarizer::network`].
    fn network(&self) -> (&'static str, usize);
}

/// A diarizer and its backend.
pub struct OnDevice<B: Backend> {
    /// The backend.
    pub be: B,
    /// The diarizer, loaded on that backend.
    pub diarizer: Diarizer<B>,
}

impl<B: Backend> DynDiarizer for OnDevice<B> {
    fn diarize(&self, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization> {
        self.diarizer.diarize(&self.be, samples, options, watch)
    }

    fn segment(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<SegmentationOutput> {
        self.diarizer.segment(&self.be, samples, watch)
    }

    fn cluster_speakers(
        &self,
        samples: &[f32],
        output: &SegmentationOutput,
        words: &[Span],
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization> {
        self.diarizer.cluster_speakers(&self.be, samples, output, words, options, watch)
    }

    fn embed_speaker(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>> {
        self.diarizer.embed_speaker(&self.be, samples, watch)
    }

    fn version(&self) -> &PipelineVersion {
        self.diarizer.version()
    }

    fn network(&self) -> (&'static str, usize) {
        self.diarizer.network()
    }
}
