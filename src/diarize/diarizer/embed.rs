//! Batched speaker embeddings: one per speaker and window, or one per segment.

use super::{Diarizer, stop_if};
use crate::diarize::segmentation::{Embeddings, Segmentation};
use crate::diarize::segments::{self, Posteriors, Run};
use crate::engine::Backend;

use crate::error::Result;
use crate::models::embedding::Windows;
use crate::units::{SAMPLE_RATE, Seconds};
use crate::watch::Watch;

/// Windows per batch of the embedding network. Windows that overlap share their filterbank features.
const BATCH: usize = 64;
/// Segments per batch of the embedding network.
const SEGMENT_BATCH: usize = 256;

impl<B: Backend> Diarizer<B> {
    /// The embeddings of N runs, `[N, D]`.
    pub(super) fn embeddings(
        &self,
        be: &B,
        samples: &[f32],
        posteriors: &Posteriors,
        runs: &[Run],
        watch: &mut dyn Watch,
    ) -> Result<Vec<f32>> {
        let (window, step, total) =
            (self.segmentation.specification().window, self.step(), Seconds::from_samples(samples.len()));
        let mut embeddings = Vec::with_capacity(runs.len() * self.embedding.size());
        for runs in runs.chunks(SEGMENT_BATCH) {
            stop_if(watch)?;
            let spans: Vec<_> = runs.iter().map(|run| segments::samples_of(run, posteriors, window, step)).collect();
            embeddings.extend(self.embedding.embed_spans(be, samples, &spans)?);
            let done = runs.last().map_or(0.0, |run| (run.window * step) as f64 / SAMPLE_RATE as f64);
            watch.progress(Seconds(done.min(total.0)), total);
        }
        Ok(embeddings)
    }

    /// The embeddings of the speakers of all windows, `[W, S, D]`; zeros for windows without speech.
    pub(super) fn window_embeddings(
        &self,
        be: &B,
        samples: &[f32],
        segmentation: &Segmentation,
        watch: &mut dyn Watch,
    ) -> Result<Embeddings> {
        let &Segmentation { windows, frames, speakers, .. } = segmentation;
        let (size, window) = (self.embedding.size(), self.segmentation.specification().window);
        // `usize::MAX` keeps overlapped frames: no speaker has more frames without overlap than that.
        let min_frames = if self.exclude_overlap { self.embedding.min_frames(frames, window) } else { usize::MAX };
        let has_speech = |window: &usize| (0..speakers).any(|speaker| segmentation.active_frames(*window, speaker) > 0);
        let with_speech: Vec<usize> = (0..windows).filter(has_speech).collect();
        let mut values = vec![0.0; windows * speakers * size];
        let mask = |window: usize, masks: &mut Vec<bool>| {
            (0..speakers).for_each(|speaker| masks.extend(segmentation.embedding_mask(window, speaker, min_frames)));
        };
        let wanted = Wanted { windows: &with_speech, speakers, mask: &mask };
        self.in_batches(be, samples, &wanted, watch, |window, embeddings| {
            values[window * speakers * size..][..speakers * size].copy_from_slice(embeddings);
        })?;
        Embeddings::new(speakers, size, values)
    }

    /// Computes the embeddings of the `wanted` windows; calls `each` with the index of a window and its embeddings `[S,
    /// D]`.
    pub(super) fn in_batches(
        &self,
        be: &B,
        samples: &[f32],
        wanted: &Wanted<'_>,
        watch: &mut dyn Watch,
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        let Wanted { windows, speakers, mask } = *wanted;
        let (length, step) = (self.segmentation.specification().window, self.step());
        let total = Seconds::from_samples(samples.len());
        for (i, batch) in windows.chunks(BATCH).enumerate() {
            stop_if(watch)?;
            let starts: Vec<usize> = batch.iter().map(|window| window * step).collect();
            let mut masks = Vec::new();
            batch.iter().for_each(|window| mask(*window, &mut masks));
            let wanted = Windows { starts: &starts, length, masks: &masks, speakers };
            let embeddings = self.embedding.embed_windows(be, samples, &wanted)?;
            for (window, embeddings) in batch.iter().zip(embeddings.chunks_exact(speakers * self.embedding.size())) {
                each(*window, embeddings);
            }
            let share = (i * BATCH + batch.len()) as f64 / windows.len() as f64;
            watch.progress(Seconds(share * total.0), total);
        }
        Ok(())
    }
}

/// Windows whose embeddings are to be computed.
pub(super) struct Wanted<'a> {
    /// Indices of the windows.
    pub windows: &'a [usize],
    /// Speakers S of a window.
    pub speakers: usize,
    /// Appends the mask `[S, F]` of a window: the frames that each speaker's embedding is pooled over.
    pub mask: &'a dyn Fn(usize, &mut Vec<bool>),
}
