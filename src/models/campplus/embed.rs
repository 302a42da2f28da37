//! [`SpeakerEmbedding`] for [`CamPlus`]: embeddings of masked windows and of spans, in batches of clips.

use std::ops::Range;

use super::spans::{SpeechFrames, spans_of_frames};
use super::{CamPlus, FEWEST_FRAMES, Scratch};
use crate::engine::campplus_ops::Clips;
use crate::engine::embedding_ops;
use crate::engine::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::features::fbank;
use crate::models::embedding::{SpeakerEmbedding, Windows, mask_frames, nearest_frames, within};

/// Maximum frames whose features are computed at once. Overlapping spans share features.
const FEATURE_FRAMES: usize = 12_000;

impl<B: Backend> SpeakerEmbedding<B> for CamPlus<B> {
    fn name(&self) -> &'static str {
        "3D-Speaker CAM++"
    }

    fn size(&self) -> usize {
        self.size()
    }

    fn min_frames(&self, frames: usize, window: usize) -> usize {
        (frames * fbank::samples(FEWEST_FRAMES)).div_ceil(window.max(1))
    }

    /// The input of an embedding are the frames of features for which the speaker's mask is set; the mean of each band
    /// over them is subtracted. If they are fewer than three, all values of the embedding are NaN.
    fn embed_windows(&self, be: &B, samples: &[f32], windows: &Windows<'_>) -> Result<Vec<f32>> {
        let &Windows { starts, length, masks, speakers } = windows;
        let frames = fbank::frames(length);
        if frames == 0 {
            return Err(Error::config(
                "window",
                length,
                format!("an embedding needs {} samples at least", fbank::FRAME),
            ));
        }
        let given = mask_frames(masks.len(), starts.len(), speakers)?;
        let nearest = nearest_frames(given, frames);
        let spans = masks
            .chunks_exact(given.max(1))
            .enumerate()
            .map(|(row, mask)| spans_of_frames(starts[row / speakers], nearest.iter().map(|at| mask[*at])));
        self.embed(be, samples, &spans.collect::<Vec<_>>())
    }

    /// The input of an embedding are the frames of features that lie completely in its spans, each span starting with a
    /// frame at its first sample. The mean of each band over the frames of all spans is subtracted.
    fn embed_spans(&self, be: &B, samples: &[f32], spans: &[Vec<Range<usize>>]) -> Result<Vec<f32>> {
        let spans = spans.iter().map(|spans| {
            within(spans, samples.len()).filter(|span| fbank::frames(span.len()) > 0).collect::<Vec<Range<usize>>>()
        });
        self.embed(be, samples, &spans.collect::<Vec<_>>())
    }
}

impl<B: Backend> CamPlus<B> {
    /// Embeddings `[N, D]` of lists of spans, each at least one frame long. Samples past the end are zeros.
    fn embed(&self, be: &B, samples: &[f32], spans: &[Vec<Range<usize>>]) -> Result<Vec<f32>> {
        let size = self.size();
        let frames = |spans: &[Range<usize>]| spans.iter().map(|span| fbank::frames(span.len())).sum::<usize>();
        let has_embedding = |spans: &[Range<usize>]| {
            let finite = |span: &Range<usize>| {
                let samples = samples.get(span.start..span.end.min(samples.len())).unwrap_or_default();
                samples.iter().all(|v| v.is_finite())
            };
            frames(spans) >= FEWEST_FRAMES && spans.iter().all(finite)
        };
        let mut embeddings = vec![f32::NAN; spans.len() * size];
        let wanted: Vec<usize> = (0..spans.len()).filter(|n| has_embedding(&spans[*n])).collect();
        let groups = in_groups(&wanted, FEATURE_FRAMES, |n| frames(&spans[n]));
        let longest = wanted.iter().map(|n| frames(&spans[*n])).max().unwrap_or_default();
        let total = wanted.iter().map(|n| frames(&spans[*n])).sum::<usize>();
        let most = be.clip_frames().min(total).max(longest);
        let mut scratch = self.scratch(be, most)?;
        for group in groups {
            let listed: Vec<&[Range<usize>]> = group.iter().map(|n| spans[*n].as_slice()).collect();
            let speech = SpeechFrames::new(samples, &listed);
            let features = be.scope(|| self.features(be, &speech.samples))?;
            let order: Vec<usize> = (0..group.len()).collect();
            for batch in in_groups(&order, most, |i| speech.rows[i].len()) {
                let found = be.scope(|| {
                    self.clips(be, &mut scratch, &features, &speech.rows[batch[0]..=batch[batch.len() - 1]])
                })?;
                for (i, found) in batch.iter().zip(found.chunks_exact(size)) {
                    embeddings[group[*i] * size..][..size].copy_from_slice(found);
                }
            }
        }
        Ok(embeddings)
    }

    /// Features `[F, M]` of `samples` `[S]`.
    fn features(&self, be: &B, samples: &[f32]) -> Result<Tensor<B, f32>> {
        let samples = Tensor::from_host(be, &[samples.len()], samples)?;
        let mut features = Tensor::zeros(be, &[fbank::frames(samples.len()), self.bands])?;
        embedding_ops::fbank(be, &mut features, &samples, &self.plan)?;
        Ok(features)
    }

    /// Embeddings `[N, D]` of clips, each given as its rows of `features`.
    fn clips(
        &self,
        be: &B,
        scratch: &mut Scratch<B>,
        features: &Tensor<B, f32>,
        rows: &[Vec<usize>],
    ) -> Result<Vec<f32>> {
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        self.batch(be, scratch, features, &rows.concat(), &Clips::new(be, &lengths)?)
    }
}

/// Splits `all` into consecutive groups of at most `most` frames; a single element with more frames is a group.
fn in_groups(all: &[usize], most: usize, frames: impl Fn(usize) -> usize) -> Vec<&[usize]> {
    let mut groups = Vec::new();
    let (mut first, mut sum) = (0, 0);
    for (at, n) in all.iter().enumerate() {
        let more = frames(*n);
        if at > first && sum + more > most {
            groups.push(&all[first..at]);
            (first, sum) = (at, 0);
        }
        sum += more;
    }
    if first < all.len() {
        groups.push(&all[first..]);
    }
    groups
}
