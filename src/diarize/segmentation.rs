//! Per-window results of the segmentation and embedding networks, and the times of windows and frames.

use crate::engine::cluster::{self, Activity, Cluster};
use crate::error::{Error, Result};
use crate::units::{FrameGrid, Seconds};

/// Lengths and steps of windows and frames, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowGrid {
    /// Length of a window.
    pub window: f64,
    /// Step between the starts of windows.
    pub step: f64,
    /// Step between the starts of frames.
    pub frame_step: f64,
    /// Length of a frame: the receptive field of the network.
    pub frame: f64,
}

impl Default for WindowGrid {
    /// segmentation-3.0 and community-1: windows of 10 s every second, frames of 991 samples every 270 samples.
    fn default() -> Self {
        WindowGrid { window: 10.0, step: 1.0, frame_step: 270.0 / 16_000.0, frame: 991.0 / 16_000.0 }
    }
}

impl WindowGrid {
    /// Times of the frames of the recording.
    pub fn grid(&self) -> FrameGrid {
        FrameGrid { start: 0.0, step: self.frame_step, duration: self.frame }
    }

    /// The frame of the recording at which a window starts.
    pub(super) fn first_frame(&self, window: usize) -> usize {
        self.grid().closest(window as f64 * self.step)
    }

    /// Number T of frames of a recording of `windows` windows.
    pub(super) fn frames(&self, windows: usize) -> usize {
        let last = windows.saturating_sub(1) as f64;
        self.grid().closest(self.window + last * self.step) + 1
    }

    /// Time of the middle of a frame of the recording.
    pub(super) fn middle(&self, frame: usize) -> Seconds {
        Seconds(self.grid().middle(frame))
    }
}

/// Active speakers in each frame of each window, as hard decisions `[W, F, S]`. Speaker indices are local to a window:
/// clustering maps them to speakers of the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// Times of the windows and frames.
    pub clock: WindowGrid,
    /// Number W of windows.
    pub windows: usize,
    /// Number F of frames of a window.
    pub frames: usize,
    /// Number S of speaker outputs of a window.
    pub speakers: usize,
    active: Vec<bool>,
}

impl Segmentation {
    /// From decisions `[W, F, S]`.
    ///
    /// # Errors
    /// [`Error::Diarization`] if they are not a whole number of windows, or if a window has no frames or no speakers.
    pub fn new(clock: WindowGrid, frames: usize, speakers: usize, active: Vec<bool>) -> Result<Self> {
        let per_window = frames * speakers;
        if per_window == 0 || !active.len().is_multiple_of(per_window) {
            let reason = format!("{} decisions are no whole number of windows of {frames} x {speakers}", active.len());
            return Err(Error::diarization("segmentation", reason));
        }
        Ok(Segmentation { clock, windows: active.len() / per_window, frames, speakers, active })
    }

    /// Appends the next windows, which must have the same numbers of frames and speakers.
    pub(super) fn append(&mut self, next: Segmentation) {
        self.windows += next.windows;
        self.active.extend(next.active);
    }

    /// Whether each speaker is active in a frame of a window, `[S]`.
    pub fn frame(&self, window: usize, frame: usize) -> &[bool] {
        let at = (window * self.frames + frame) * self.speakers;
        &self.active[at..at + self.speakers]
    }

    /// Number of speakers active in a frame of a window.
    pub fn together(&self, window: usize, frame: usize) -> usize {
        self.frame(window, frame).iter().filter(|active| **active).count()
    }

    /// Number of frames of a window in which a speaker is active.
    pub fn active_frames(&self, window: usize, speaker: usize) -> usize {
        (0..self.frames).filter(|&frame| self.frame(window, frame)[speaker]).count()
    }

    /// Number of frames of a window in which a speaker is the only active one.
    pub fn non_overlapped_frames(&self, window: usize, speaker: usize) -> usize {
        let alone = |&frame: &usize| self.frame(window, frame)[speaker] && self.together(window, frame) == 1;
        (0..self.frames).filter(alone).count()
    }

    /// The frame of the recording at which each window starts, `[W]`.
    pub fn first_frames(&self) -> Vec<usize> {
        (0..self.windows).map(|window| self.clock.first_frame(window)).collect()
    }

    /// The decisions as input of engine primitives; `first` are the [first frames](Self::first_frames) of the windows.
    pub fn activity<'a>(&'a self, first: &'a [usize]) -> Activity<'a> {
        let total = self.clock.frames(self.windows);
        Activity { active: &self.active, frames: self.frames, speakers: self.speakers, first, total }
    }

    /// Number of active speakers in each frame of the recording, `[T]`: the mean over the windows that contain the
    /// frame, rounded half to even.
    ///
    /// # Errors
    /// Those of the device.
    pub fn count(&self, be: &impl Cluster) -> Result<Vec<usize>> {
        cluster::speaker_count(be, &self.activity(&self.first_frames()))
    }

    /// The frames that a speaker's embedding is pooled over, `[F]`: those in which no other speaker is active, if there
    /// are more than `min_frames` of them, else all in which the speaker is active.
    pub fn embedding_mask(&self, window: usize, speaker: usize, min_frames: usize) -> Vec<bool> {
        let with_overlap = self.non_overlapped_frames(window, speaker) <= min_frames;
        let is_used = |frame| self.frame(window, frame)[speaker] && (with_overlap || self.together(window, frame) == 1);
        (0..self.frames).map(is_used).collect()
    }
}

/// The embedding of each speaker of each window, `[W, S, D]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Number W of windows.
    pub windows: usize,
    /// Number S of speakers of a window.
    pub speakers: usize,
    /// Dimension D of an embedding.
    pub size: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// From values `[W, S, D]`.
    ///
    /// # Errors
    /// [`Error::Diarization`] if they are not a whole number of windows, or if `speakers` or `size` is 0.
    pub fn new(speakers: usize, size: usize, values: Vec<f32>) -> Result<Self> {
        let per_window = speakers * size;
        if per_window == 0 || !values.len().is_multiple_of(per_window) {
            let reason = format!("{} values are no whole number of windows of {speakers} x {size}", values.len());
            return Err(Error::diarization("embeddings", reason));
        }
        Ok(Embeddings { windows: values.len() / per_window, speakers, size, values })
    }

    /// All embeddings, `[W, S, D]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The embedding of a speaker of a window, `[D]`.
    pub fn voice(&self, window: usize, speaker: usize) -> &[f32] {
        let at = (window * self.speakers + speaker) * self.size;
        &self.values[at..at + self.size]
    }

    /// The (window, speaker) pairs whose embeddings are used for clustering, in order: the embedding is finite, and the
    /// speaker is the only active one in at least a share `min_active` of the window's frames.
    pub fn fit(&self, segmentation: &Segmentation, min_active: f64) -> Vec<(usize, usize)> {
        let enough = min_active * segmentation.frames as f64;
        let all = (0..self.windows).flat_map(|window| (0..self.speakers).map(move |speaker| (window, speaker)));
        all.filter(|&(window, speaker)| segmentation.non_overlapped_frames(window, speaker) as f64 >= enough)
            .filter(|&(window, speaker)| self.voice(window, speaker).iter().all(|x| x.is_finite()))
            .collect()
    }

    /// The embeddings of N (window, speaker) pairs, `[N, D]`.
    pub fn gather(&self, list: &[(usize, usize)]) -> Vec<f64> {
        list.iter().flat_map(|&(window, speaker)| self.voice(window, speaker)).map(|&x| f64::from(x)).collect()
    }
}
