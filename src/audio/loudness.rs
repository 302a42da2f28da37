//! Scaling of float recordings whose samples are far outside -1..1.
//!
//! Some programs store 16-bit or 32-bit integers as floats without scaling. Players clip such files to noise, as does
//! ffmpeg when it converts to 16 bits; this module scales them.

use std::path::Path;

use super::mix::Planes;

/// Largest peak that is left unchanged. Mixing and resampling overshoot 1 slightly, and a float file may be mastered 12
/// dB too loud.
const MAX_PEAK: f32 = 4.0;
/// If fewer than one in this many samples exceed 1, they are clicks. Clicks are clipped, because scaling by their peak
/// would make the speech inaudible.
const SAMPLES_PER_CLICK: usize = 1000;

/// Scales a whole recording by its peak, or clips single clicks, if the peak exceeds [`MAX_PEAK`]; logs a warning. All
/// channels get the same factor.
pub(super) fn limit_peak(planes: &mut Planes, name: &Path) {
    let peak = planes.iter().flatten().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    if peak <= MAX_PEAK {
        return;
    }
    let beyond = planes.iter().flatten().filter(|sample| sample.abs() > 1.0).count();
    let max_clicks = planes.iter().map(Vec::len).sum::<usize>() / SAMPLES_PER_CLICK;
    let samples = planes.iter_mut().flatten();
    if beyond < max_clicks {
        tracing::warn!(file = %name.display(), peak, beyond, "a few samples far outside -1..1 are clipped");
        samples.for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
    } else {
        tracing::warn!(file = %name.display(), peak, "its samples lie far outside -1..1; all are scaled by the peak");
        samples.for_each(|sample| *sample /= peak);
    }
}
