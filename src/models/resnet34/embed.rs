//! [`SpeakerEmbedding`] for [`ResNet34`].

use std::collections::BTreeMap;
use std::ops::Range;

use super::ResNet34;
use crate::engine::Backend;
use crate::error::Result;
use crate::features::fbank;
use crate::models::embedding::{SpeakerEmbedding, Windows, within};

impl<B: Backend> SpeakerEmbedding<B> for ResNet34<B> {
    fn name(&self) -> &'static str {
        "WeSpeaker ResNet34"
    }

    fn size(&self) -> usize {
        self.size()
    }

    fn min_frames(&self, frames: usize, window: usize) -> usize {
        Self::min_frames(frames, window)
    }

    fn embed_windows(&self, be: &B, samples: &[f32], windows: &Windows<'_>) -> Result<Vec<f32>> {
        let &Windows { starts, length, masks, speakers } = windows;
        self.embed_masked_windows(be, samples, starts, length, masks, speakers)
    }

    fn embed_spans(&self, be: &B, samples: &[f32], spans: &[Vec<Range<usize>>]) -> Result<Vec<f32>> {
        let length = |spans: &[Range<usize>]| within(spans, samples.len()).map(|span| span.len()).sum::<usize>();
        // The windows of a call have the same length, so embeddings are grouped by the total length of their spans.
        let mut by_length = BTreeMap::<usize, Vec<usize>>::new();
        for (n, spans) in spans.iter().enumerate() {
            by_length.entry(length(spans)).or_default().push(n);
        }
        let size = self.size();
        let mut embeddings = vec![f32::NAN; spans.len() * size];
        for (length, indices) in by_length.into_iter().filter(|(length, _)| fbank::frames(*length) > 0) {
            for indices in indices.chunks(be.embedding_batch().max(1)) {
                let joined = indices.iter().flat_map(|n| within(&spans[*n], samples.len()));
                let joined: Vec<f32> = joined.flat_map(|span| &samples[span]).copied().collect();
                let starts: Vec<usize> = (0..indices.len()).map(|i| i * length).collect();
                let masks = vec![true; indices.len()];
                let found = self.embed_masked_windows(be, &joined, &starts, length, &masks, 1)?;
                for (n, found) in indices.iter().zip(found.chunks_exact(size)) {
                    embeddings[n * size..][..size].copy_from_slice(found);
                }
            }
        }
        Ok(embeddings)
    }
}
