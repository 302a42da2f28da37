//! Which samples and which frames belong to a window.

use crate::error::Result;
use crate::features::fbank::{self, SHIFT};
use crate::models::embedding::{mask_frames, nearest_frames};

/// The samples under some windows: of those that overlap, one copy.
pub(super) struct WindowSamples {
    /// Windows begin at multiples of [`SHIFT`].
    pub samples: Vec<f32>,
    /// The first row of features of each window.
    pub first: Vec<usize>,
}

impl WindowSamples {
    /// Windows of `frames` frames of features, from `starts` in `samples`, zeros past their end.
    pub fn new(samples: &[f32], starts: &[usize], frames: usize) -> Self {
        let mut heard = WindowSamples { samples: Vec::new(), first: Vec::new() };
        let window = fbank::samples(frames);
        // Where the current stretch begins: in the recording, and here.
        let (mut origin, mut base) = (0, 0);
        for start in starts {
            let known = heard.samples.len() - base;
            let joins = start.checked_sub(origin).is_some_and(|at| at <= known && at.is_multiple_of(SHIFT));
            if heard.first.is_empty() || !joins {
                base = heard.samples.len().next_multiple_of(SHIFT);
                heard.samples.resize(base, 0.0);
                origin = *start;
            }
            let end = base + (start - origin) + window;
            let next = origin.saturating_add(heard.samples.len() - base);
            let new = samples.get(next..).unwrap_or_default();
            let wanted = end.saturating_sub(heard.samples.len());
            heard.samples.extend_from_slice(&new[..new.len().min(wanted)]);
            heard.samples.resize(heard.samples.len().max(end), 0.0);
            heard.first.push((base + (start - origin)) / SHIFT);
        }
        heard
    }
}

/// Who speaks when, in the frames of the last pictures.
pub(super) struct Masks {
    /// `[N, S, T']`, 1 or 0.
    values: Vec<f32>,
    /// `S * T'`
    window: usize,
}

impl Masks {
    /// `masks` `[N, S, F]` of `windows` (`N`) windows and `speakers` (`S`), stretched to `frames` (`T'`).
    pub fn new(masks: &[bool], windows: usize, speakers: usize, frames: usize) -> Result<Self> {
        let given = mask_frames(masks.len(), windows, speakers)?;
        let nearest = nearest_frames(given, frames);
        let each = masks.chunks_exact(given.max(1));
        let values = each.flat_map(|mask| nearest.iter().map(|at| f32::from(u8::from(mask[*at])))).collect();
        Ok(Masks { values, window: speakers * frames })
    }

    /// Whether somebody speaks in a window.
    pub fn anybody(&self, window: usize) -> bool {
        self.values[window * self.window..][..self.window].iter().any(|v| *v != 0.0)
    }

    /// The masks of these windows.
    pub fn of(&self, windows: &[usize]) -> Vec<f32> {
        let each = windows.iter().flat_map(|n| &self.values[n * self.window..][..self.window]);
        each.copied().collect()
    }
}
