//! Callbacks of a caller, and the adapters that pass them to the stages.

use std::time::Duration;

use super::{Run, WordTimeFallback};
use crate::asr;
#[cfg(doc)]
use crate::config::Options;
use crate::error::Error;
use crate::types::Segment;
use crate::units::Seconds;
use crate::watch::Watch;

/// Callbacks for progress, results and cancellation. The default implementations do nothing.
pub trait Observer {
    /// `done` of `total` seconds of audio have passed `stage`. `total` is `None` if the container does not state a
    /// duration.
    fn progress(&mut self, stage: &'static str, done: Seconds, total: Option<Seconds>) {
        let _ = (stage, done, total);
    }
    /// New segments, in order of time. Called as soon as these and all earlier segments are final; with
    /// [`Options::channel_speakers`] called once with all segments.
    fn segments(&mut self, segments: &[Segment]) {
        let _ = segments;
    }
    /// There is no aligner for `language`: why, and the fallback that is used for the word times.
    fn unaligned(&mut self, language: &str, reason: &str, instead: WordTimeFallback) {
        let _ = (language, reason, instead);
    }
    /// Diarization of this recording failed: the transcript has no speakers.
    fn without_speakers(&mut self, reason: &Error) {
        let _ = reason;
    }
    /// `stage` has finished, after `took`.
    fn finished(&mut self, stage: &'static str, took: Duration) {
        let _ = (stage, took);
    }
    /// Whether to stop as soon as possible, with [`Error::Cancelled`].
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Ignores all events and never cancels.
impl Observer for () {}

/// Adapts the pipeline's observer to [`asr::Observer`].
pub(super) struct AsrWatch<'a, 'b> {
    pub run: &'a mut Run<'b>,
    pub duration: Seconds,
}

impl asr::Observer for AsrWatch<'_, '_> {
    fn chunk(&mut self, segments: &[Segment], progress: f64) {
        self.run.observer.segments(segments);
        self.run.observer.progress("asr", Seconds(progress * self.duration.0), Some(self.duration));
    }

    fn is_cancelled(&self) -> bool {
        self.run.observer.is_cancelled()
    }
}

/// Adapts the pipeline's observer to [`Watch`], for one stage.
pub(super) struct StageWatch<'a> {
    pub observer: &'a mut dyn Observer,
    pub stage: &'static str,
}

impl Watch for StageWatch<'_> {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        self.observer.progress(self.stage, done, Some(total));
    }

    fn is_cancelled(&self) -> bool {
        self.observer.is_cancelled()
    }
}
