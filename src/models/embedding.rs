//! Speaker embedding networks ([`SpeakerEmbedding`]): map speech of one speaker to a vector; vectors of the same
//! speaker are similar.

mod load;

use std::ops::Range;

pub use self::load::{load, open};
use crate::engine::Backend;
use crate::error::{Error, Result};

/// Windows of a recording, with masks of the speakers in them.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a> {
    /// `[N]` first sample of each window. Samples past the end of the recording are zeros.
    pub starts: &'a [usize],
    /// Length of a window in samples.
    pub length: usize,
    /// `[N, S, F]` in which of `F` equal frames of a window each speaker is active.
    pub masks: &'a [bool],
    /// `S`: speakers per window.
    pub speakers: usize,
}

/// A speaker embedding network on a device. An embedding does not depend on what else is computed in the same call.
pub trait SpeakerEmbedding<B: Backend>: Send + Sync {
    /// Name of the architecture, for messages.
    fn name(&self) -> &'static str;

    /// `D`: dimensions of an embedding.
    fn size(&self) -> usize;

    /// The `min_num_frames` of pyannote's pipeline, for masks of `frames` frames over `window` samples. A mask without
    /// overlapping speech is used only if it has more active frames than this; otherwise the mask with overlapping
    /// speech is used.
    fn min_frames(&self, frames: usize, window: usize) -> usize;

    /// Embeddings `[N, S, D]` of the speakers of windows of `samples` (16 kHz mono, in `[-1, 1]`). If a mask is too
    /// short, all values of the embedding are NaN, or it is the network's output for silence, depending on the network.
    ///
    /// # Errors
    /// [`Error::Config`] for windows shorter than one frame of features; [`Error::Diarization`] if the masks do not
    /// divide into `N * S` equal parts; those of the device.
    fn embed_windows(&self, be: &B, samples: &[f32], windows: &Windows<'_>) -> Result<Vec<f32>>;

    /// Embeddings `[N, D]` of lists of spans of `samples` (16 kHz mono, in `[-1, 1]`): one embedding for each list, of
    /// its spans joined together. Spans are in samples, and may overlap those of other lists. They are clipped to the
    /// recording. All values of an embedding are NaN if its spans are too short for the network, or hold NaN or
    /// infinity.
    ///
    /// # Errors
    /// Those of the device.
    fn embed_spans(&self, be: &B, samples: &[f32], spans: &[Vec<Range<usize>>]) -> Result<Vec<f32>>;
}

/// `spans` clipped to a recording of `samples` samples, without empty ones.
pub(super) fn within(spans: &[Range<usize>], samples: usize) -> impl Iterator<Item = Range<usize>> {
    let cut = move |span: &Range<usize>| span.start.min(samples)..span.end.min(samples);
    spans.iter().map(cut).filter(|span| !span.is_empty())
}

/// Frames `F` of each mask, from the number of values in the masks of `windows` windows with `speakers` speakers.
pub(super) fn mask_frames(values: usize, windows: usize, speakers: usize) -> Result<usize> {
    let rows = windows * speakers;
    let frames = values.checked_div(rows).unwrap_or_default();
    if frames * rows != values || (frames == 0 && rows > 0) {
        let reason = format!("{values} values for {windows} windows with {speakers} speakers");
        return Err(Error::diarization("masks", format!("{reason}; expected the same number of frames for each")));
    }
    Ok(frames)
}

/// Nearest-neighbour resampling of `from` frames to `to` frames: for each output frame, the index of the input frame.
///
/// The ratio is rounded to f32 first, as in PyTorch's `interpolate(mode="nearest")`. For a few sizes that changes the
/// result.
pub fn nearest_frames(from: usize, to: usize) -> Vec<usize> {
    let scale = from as f32 / to.max(1) as f32;
    (0..to).map(|at| ((at as f32 * scale) as usize).min(from.saturating_sub(1))).collect()
}
