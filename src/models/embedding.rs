//! Speaker embeddings: networks that turn speech of one person into a vector, and vectors of the same voice are alike:
//! [`SpeakerEmbedding`].

mod load;

use std::ops::Range;

pub use self::load::{load, open};
use crate::engine::embedding_ops::EmbeddingOps;
use crate::error::{Error, Result};

/// Windows of a recording, and who speaks in them.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// `[N]` the sample at which each window begins. Samples past the end of the recording are zeros.
    pub starts: &'a [usize],
    /// Samples of a window.
    pub length: usize,
    /// `[N, S, F]` in which of `F` equal parts of a window each speaker is to be heard.
    pub masks: &'a [bool],
    /// `S`: speakers of a window.
    pub speakers: usize,
}

/// A speaker embedding network on a device. No number of an embedding depends on what else is computed in the same call.
pub trait SpeakerEmbedding<B: EmbeddingOps>: Send + Sync {
    /// Name of the architecture, for messages.
    fn name(&self) -> &'static str;

    /// `D`: numbers of an embedding.
    fn size(&self) -> usize;

    /// The `min_num_frames` of pyannote's pipeline: a mask with more frames than this, of `frames` for `window` samples, is
    /// long enough for an embedding; with less, one that includes other speakers is better.
    fn min_frames(&self, frames: usize, window: usize) -> usize;

    /// Embeddings `[N, S, D]` of the speakers of windows of `samples` (16 kHz mono, in `[-1, 1]`). Where a mask is too short for
    /// the network, the embedding is NaN throughout, or what the network makes of silence: see the network.
    ///
    /// # Errors
    /// [`Error::Config`] for a window without a frame of features; [`Error::Diarization`] for masks that do not divide into
    /// `N * S` parts; those of the device.
    fn embed_windows(&self, be: &B, samples: &[f32], windows: &Windows<'_>) -> Result<Vec<f32>>;

    /// Embeddings `[N, D]` of lists of spans of `samples` (16 kHz mono, in `[-1, 1]`): each of the `N` embeddings is that of
    /// its spans joined together. Spans are in samples, and may overlap those of other embeddings. Of a span only what lies
    /// in the recording is heard. An embedding whose spans are too short for the network, or hold a sample that is no number,
    /// is NaN throughout.
    ///
    /// # Errors
    /// Those of the device.
    fn embed_spans(&self, be: &B, samples: &[f32], spans: &[Vec<Range<usize>>]) -> Result<Vec<f32>>;
}

/// The parts of `spans` that lie in a recording of `samples` samples.
pub(super) fn within(spans: &[Range<usize>], samples: usize) -> impl Iterator<Item = Range<usize>> {
    let cut = move |span: &Range<usize>| span.start.min(samples)..span.end.min(samples);
    spans.iter().map(cut).filter(|span| !span.is_empty())
}

/// Frames `F` of each mask, where there are so many values for `windows` windows of `speakers` speakers.
pub(super) fn mask_frames(values: usize, windows: usize, speakers: usize) -> Result<usize> {
    let rows = windows * speakers;
    let frames = values.checked_div(rows).unwrap_or_default();
    if frames * rows != values || (frames == 0 && rows > 0) {
        let reason = format!("{values} values for {windows} windows with {speakers} speakers");
        return Err(Error::diarization("masks", format!("{reason}; expected the same number of frames for each")));
    }
    Ok(frames)
}

/// Which of `from` frames stands for each of `to` frames: that at or before its beginning.
///
/// The quotient is rounded to f32 first, as PyTorch does it in `interpolate(mode="nearest")`: in rare sizes that shows.
pub fn nearest_frames(from: usize, to: usize) -> Vec<usize> {
    let scale = from as f32 / to.max(1) as f32;
    (0..to).map(|at| ((at as f32 * scale) as usize).min(from.saturating_sub(1))).collect()
}
