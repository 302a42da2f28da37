//! What the two networks say about the windows of a recording, and how the frames of the windows lie on one clock.

use crate::engine::cluster::{self, Activity, Cluster};
use crate::error::{Error, Result};
use crate::units::{FrameGrid, Seconds};

/// How windows and the frames in them lie in time, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Length of a window.
    pub window: f64,
    /// From the start of a window to the start of the next.
    pub step: f64,
    /// From the start of a frame to the start of the next.
    pub frame_step: f64,
    /// Length of the stretch that a frame sees.
    pub frame: f64,
}

impl Default for Clock {
    /// segmentation-3.0 and community-1: 10 s every second, frames of 991 samples every 270.
    fn default() -> Self {
        Clock { window: 10.0, step: 1.0, frame_step: 270.0 / 16_000.0, frame: 991.0 / 16_000.0 }
    }
}

impl Clock {
    /// When the frames of the recording are.
    pub fn grid(&self) -> FrameGrid {
        FrameGrid { start: 0.0, step: self.frame_step, duration: self.frame }
    }

    /// Frame of the recording that is the first of a window.
    pub(super) fn first_frame(&self, window: usize) -> usize {
        self.grid().closest(window as f64 * self.step)
    }

    /// Frames of the recording, given its windows.
    pub(super) fn frames(&self, windows: usize) -> usize {
        let last = windows.saturating_sub(1) as f64;
        self.grid().closest(self.window + last * self.step) + 1
    }

    /// Middle of a frame.
    pub(super) fn middle(&self, frame: usize) -> Seconds {
        Seconds(self.grid().middle(frame))
    }
}

/// Who speaks in each frame of each window: hard decisions. The speakers of one window are not those of the next;
/// clustering says who is who.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmentation {
    /// The clock.
    pub clock: Clock,
    /// Windows W.
    pub windows: usize,
    /// Frames F of a window.
    pub frames: usize,
    /// Speakers S that the network tells apart in a window.
    pub speakers: usize,
    active: Vec<bool>,
}

impl Segmentation {
    /// From decisions `[W, F, S]`.
    pub fn new(clock: Clock, frames: usize, speakers: usize, active: Vec<bool>) -> Result<Self> {
        let per_window = frames * speakers;
        if per_window == 0 || !active.len().is_multiple_of(per_window) {
            let reason = format!("{} decisions are no whole number of windows of {frames} x {speakers}", active.len());
            return Err(Error::diarization("segmentation", reason));
        }
        Ok(Segmentation { clock, windows: active.len() / per_window, frames, speakers, active })
    }

    /// Adds the windows that follow, of the same frames and speakers.
    pub(super) fn append(&mut self, next: Segmentation) {
        self.windows += next.windows;
        self.active.extend(next.active);
    }

    /// Whether each speaker of a window is active in a frame of it.
    pub fn frame(&self, window: usize, frame: usize) -> &[bool] {
        let at = (window * self.frames + frame) * self.speakers;
        &self.active[at..at + self.speakers]
    }

    /// Number of speakers active at once.
    pub fn together(&self, window: usize, frame: usize) -> usize {
        self.frame(window, frame).iter().filter(|active| **active).count()
    }

    /// Frames in which a speaker of a window is active.
    pub fn active_frames(&self, window: usize, speaker: usize) -> usize {
        (0..self.frames).filter(|&frame| self.frame(window, frame)[speaker]).count()
    }

    /// Frames in which a speaker of a window is the only one active.
    pub fn alone_frames(&self, window: usize, speaker: usize) -> usize {
        let alone = |&frame: &usize| self.frame(window, frame)[speaker] && self.together(window, frame) == 1;
        (0..self.frames).filter(alone).count()
    }

    /// Frame of the recording that is the first of each window, `[W]`.
    pub fn first_frames(&self) -> Vec<usize> {
        (0..self.windows).map(|window| self.clock.first_frame(window)).collect()
    }

    /// The decisions as the engine takes them, with the [first frames](Self::first_frames) of the windows.
    pub fn activity<'a>(&'a self, first: &'a [usize]) -> Activity<'a> {
        let total = self.clock.frames(self.windows);
        Activity { active: &self.active, frames: self.frames, speakers: self.speakers, first, total }
    }

    /// Number of speakers in each frame of the recording: the mean over the windows that see it, rounded with halves
    /// to even.
    ///
    /// # Errors
    /// Those of the device.
    pub fn count(&self, be: &impl Cluster) -> Result<Vec<usize>> {
        cluster::speaker_count(be, &self.activity(&self.first_frames()))
    }

    /// The frames that tell a speaker's voice, `[F]`: those in which nobody else speaks, unless there are at most
    /// `min_frames` of them; then all in which the speaker is active.
    pub fn embedding_mask(&self, window: usize, speaker: usize, min_frames: usize) -> Vec<bool> {
        let overlap = self.alone_frames(window, speaker) <= min_frames;
        let told = |frame| self.frame(window, frame)[speaker] && (overlap || self.together(window, frame) == 1);
        (0..self.frames).map(told).collect()
    }
}

/// The voice of each speaker of each window, as the embedding network hears it.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Windows W.
    pub windows: usize,
    /// Speakers S of a window.
    pub speakers: usize,
    /// Numbers D of a voice.
    pub size: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// From values `[W, S, D]`.
    pub fn new(speakers: usize, size: usize, values: Vec<f32>) -> Result<Self> {
        let per_window = speakers * size;
        if per_window == 0 || !values.len().is_multiple_of(per_window) {
            let reason = format!("{} values are no whole number of windows of {speakers} x {size}", values.len());
            return Err(Error::diarization("embeddings", reason));
        }
        Ok(Embeddings { windows: values.len() / per_window, speakers, size, values })
    }

    /// All of them, `[W, S, D]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The voice of a speaker of a window, `[D]`.
    pub fn voice(&self, window: usize, speaker: usize) -> &[f32] {
        let at = (window * self.speakers + speaker) * self.size;
        &self.values[at..at + self.size]
    }

    /// Those fit for clustering, as (window, speaker) in order: finite, and the only one active in at least
    /// `min_active` of the window's frames.
    pub fn fit(&self, segmentation: &Segmentation, min_active: f64) -> Vec<(usize, usize)> {
        let enough = min_active * segmentation.frames as f64;
        let all = (0..self.windows).flat_map(|window| (0..self.speakers).map(move |speaker| (window, speaker)));
        all.filter(|&(window, speaker)| segmentation.alone_frames(window, speaker) as f64 >= enough)
            .filter(|&(window, speaker)| self.voice(window, speaker).iter().all(|x| x.is_finite()))
            .collect()
    }

    /// The voices of a list, `[N, D]`.
    pub fn gather(&self, list: &[(usize, usize)]) -> Vec<f64> {
        list.iter().flat_map(|&(window, speaker)| self.voice(window, speaker)).map(|&x| f64::from(x)).collect()
    }
}
