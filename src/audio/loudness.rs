//! Floats far outside -1..1.
//!
//! Some programs store 16-bit or 32-bit integers as floats without dividing them. Every player clips those to noise, and so
//! does ffmpeg on its way to 16 bits; here they are scaled.

use std::path::Path;

use super::mix::Planes;

/// Mixing and resampling go a little beyond 1, and a float file may be mastered 12 dB too loud, but not more.
const FAR: f32 = 4.0;
/// Single clicks are clipped: to scale by them would leave nothing of the speech. One in this many samples.
const CLICKS: usize = 1000;

/// Scales a whole recording by its peak, or clips a few clicks, with a warning. All channels are treated alike.
pub(super) fn tame(planes: &mut Planes, name: &Path) {
    let peak = planes.iter().flatten().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    if peak <= FAR {
        return;
    }
    let beyond = planes.iter().flatten().filter(|sample| sample.abs() > 1.0).count();
    let few = planes.iter().map(Vec::len).sum::<usize>() / CLICKS;
    let samples = planes.iter_mut().flatten();
    if beyond < few {
        tracing::warn!(file = %name.display(), peak, beyond, "a few samples far outside -1..1 are clipped");
        samples.for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
    } else {
        tracing::warn!(file = %name.display(), peak, "its samples lie far outside -1..1; all are scaled by the peak");
        samples.for_each(|sample| *sample /= peak);
    }
}
