//! Gathering the samples of windows, and resampling speaker masks to the frames of the network's output.

use crate::error::Result;
use crate::features::fbank::{self, SHIFT};
use crate::models::embedding::{mask_frames, nearest_frames};

/// The samples of several windows, with one copy where windows overlap.
pub(super) struct WindowSamples {
    /// Stretches of samples; each window begins at a multiple of [`SHIFT`].
    pub samples: Vec<f32>,
    /// For each window, its first row in the features of `samples`.
    pub first: Vec<usize>,
}

impl WindowSamples {
    /// Gathers the windows of `frames` frames of features that begin at `starts` in `samples`, which are zero past
    /// their end.
    pub fn new(samples: &[f32], starts: &[usize], frames: usize) -> Self {
        let mut gathered = WindowSamples { samples: Vec::new(), first: Vec::new() };
        let window = fbank::samples(frames);
        // The first sample of the current stretch, in the recording and in `samples`.
        let (mut origin, mut base) = (0, 0);
        for start in starts {
            let known = gathered.samples.len() - base;
            let joins = start.checked_sub(origin).is_some_and(|at| at <= known && at.is_multiple_of(SHIFT));
            if gathered.first.is_empty() || !joins {
                base = gathered.samples.len().next_multiple_of(SHIFT);
                gathered.samples.resize(base, 0.0);
                origin = *start;
            }
            let end = base + (start - origin) + window;
            let next = origin.saturating_add(gathered.samples.len() - base);
            let new = samples.get(next..).unwrap_or_default();
            let wanted = end.saturating_sub(gathered.samples.len());
            gathered.samples.extend_from_slice(&new[..new.len().min(wanted)]);
            gathered.samples.resize(gathered.samples.len().max(end), 0.0);
            gathered.first.push((base + (start - origin)) / SHIFT);
        }
        gathered
    }
}

/// Speaker masks of windows, resampled to the frames of the last feature map.
pub(super) struct Masks {
    /// `[N, S, T']`: 1 if the speaker is active in the frame, else 0.
    values: Vec<f32>,
    /// `S * T'`: values of a window.
    window: usize,
}

impl Masks {
    /// Resamples `masks` `[N, S, F]` of `windows` (`N`) windows and `speakers` (`S`) speakers to `frames` (`T'`)
    /// frames.
    pub fn new(masks: &[bool], windows: usize, speakers: usize, frames: usize) -> Result<Self> {
        let given = mask_frames(masks.len(), windows, speakers)?;
        let nearest = nearest_frames(given, frames);
        let each = masks.chunks_exact(given.max(1));
        let values = each.flat_map(|mask| nearest.iter().map(|at| f32::from(u8::from(mask[*at])))).collect();
        Ok(Masks { values, window: speakers * frames })
    }

    /// Whether any speaker is active in a window.
    pub fn any_active(&self, window: usize) -> bool {
        self.values[window * self.window..][..self.window].iter().any(|v| *v != 0.0)
    }

    /// The masks of `windows`, concatenated.
    pub fn of(&self, windows: &[usize]) -> Vec<f32> {
        let each = windows.iter().flat_map(|n| &self.values[n * self.window..][..self.window]);
        each.copied().collect()
    }
}
