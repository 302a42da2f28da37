//! A diarizer together with its device, so that the device's type is hidden.

use super::{Diarizer, Heard};
use crate::diarize::{Diarization, Options};
use crate::engine::cluster::Cluster;
use crate::engine::embedding_ops::EmbeddingOps;
use crate::error::Result;
use crate::types::{PipelineVersion, Span};
use crate::watch::Watch;

/// A diarizer on some device: the device is known to whoever opened it. See the methods of [`Diarizer`].
pub trait FindSpeakers: Send + Sync {
    /// See [`Diarizer::diarize`].
    ///
    /// # Errors
    /// As there.
    fn diarize(&self, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization>;
    /// See [`Diarizer::hear`].
    ///
    /// # Errors
    /// As there.
    fn hear(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Heard>;
    /// See [`Diarizer::tell_apart`].
    ///
    /// # Errors
    /// As there.
    fn tell_apart(
        &self,
        samples: &[f32],
        heard: &Heard,
        words: &[Span],
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization>;
    /// See [`Diarizer::voice`].
    ///
    /// # Errors
    /// As there.
    fn voice(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>>;
    /// See [`Diarizer::version`].
    fn version(&self) -> &PipelineVersion;
    /// See [`Diarizer::network`].
    fn network(&self) -> (&'static str, usize);
}

/// A diarizer and its device.
pub struct OnDevice<B: EmbeddingOps> {
    /// The device.
    pub be: B,
    /// The diarizer, which was loaded on it.
    pub diarizer: Diarizer<B>,
}

impl<B: EmbeddingOps + Cluster> FindSpeakers for OnDevice<B> {
    fn diarize(&self, samples: &[f32], options: &Options, watch: &mut dyn Watch) -> Result<Diarization> {
        self.diarizer.diarize(&self.be, samples, options, watch)
    }

    fn hear(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Heard> {
        self.diarizer.hear(&self.be, samples, watch)
    }

    fn tell_apart(
        &self,
        samples: &[f32],
        heard: &Heard,
        words: &[Span],
        options: &Options,
        watch: &mut dyn Watch,
    ) -> Result<Diarization> {
        self.diarizer.tell_apart(&self.be, samples, heard, words, options, watch)
    }

    fn voice(&self, samples: &[f32], watch: &mut dyn Watch) -> Result<Vec<f32>> {
        self.diarizer.voice(&self.be, samples, watch)
    }

    fn version(&self) -> &PipelineVersion {
        self.diarizer.version()
    }

    fn network(&self) -> (&'static str, usize) {
        self.diarizer.network()
    }
}
