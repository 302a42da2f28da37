//! Reconstruction of frame activity from window clusters, conversion to turns, and RTTM output.

use super::cluster::Clusters;
use super::segmentation::{Segmentation, WindowGrid};
use crate::engine::cluster::{self, Cluster};
use crate::error::{Error, Result};
use crate::types::Span;
pub use crate::types::Turn;
use crate::units::Seconds;

/// Active speakers in each frame of the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    /// Number K of speakers: the number of clusters, or the greatest number of speakers active at once, if that is
    /// larger.
    pub speakers: usize,
    /// Activity, `[T, K]`.
    pub active: Vec<bool>,
}

/// Marks the `count[t]` speakers with the most votes as active in each frame t of the recording. Each window that
/// contains the frame votes for its active speakers. Ties: the lowest index.
///
/// # Errors
/// Those of the device.
pub fn reconstruct(
    be: &impl Cluster,
    segmentation: &Segmentation,
    clusters: &Clusters,
    count: &[usize],
) -> Result<Frames> {
    let speakers = count.iter().copied().max().unwrap_or(0).max(clusters.speakers);
    let first = segmentation.first_frames();
    let activity = segmentation.activity(&first);
    let active = cluster::reconstruct(be, &activity, &clusters.labels, clusters.speakers, count, speakers)?;
    Ok(Frames { speakers, active })
}

/// The spans in which each speaker is active, with the speaker's index in `frames`, sorted by start, end and speaker. A
/// span goes from the middle of its first active frame to the middle of the first inactive frame after it, or of the
/// last frame of the recording. Pauses of a speaker shorter than `min_off` are filled.
pub fn spans(frames: &Frames, clock: &WindowGrid, min_off: Seconds) -> Vec<(Span, usize)> {
    let total = frames.active.len().checked_div(frames.speakers).unwrap_or(0);
    let mut all = Vec::new();
    for speaker in 0..frames.speakers {
        let mut own: Vec<Span> = Vec::new();
        let mut since = None;
        for frame in 0..total {
            let active = frames.active[frame * frames.speakers + speaker];
            match since {
                None if active && frame + 1 < total => since = Some(frame),
                Some(start) if !active || frame + 1 == total => {
                    let span = Span { start: clock.middle(start), end: clock.middle(frame) };
                    match own.last_mut() {
                        Some(last) if span.start.0 - last.end.0 < min_off.0 => last.end = span.end,
                        _ => own.push(span),
                    }
                    since = None;
                }
                _ => {}
            }
        }
        all.extend(own.into_iter().map(|span| (span, speaker)));
    }
    all.sort_by(|(a, _), (b, _)| a.start.0.total_cmp(&b.start.0).then(a.end.0.total_cmp(&b.end.0)));
    all
}

/// The speakers that have a span, in the order of their labels SPEAKER_00, SPEAKER_01 and so on. As in pyannote, the
/// indices are sorted as text: 10 comes before 2.
pub fn label_order(spans: &[(Span, usize)]) -> Vec<usize> {
    let mut order: Vec<usize> = spans.iter().map(|(_, speaker)| *speaker).collect();
    order.sort_by_cached_key(usize::to_string);
    order.dedup();
    order
}

/// The turns of `spans`, labelled in the order that [`label_order`] returned.
pub fn label(spans: &[(Span, usize)], order: &[usize]) -> Vec<Turn> {
    let labelled = |(span, speaker): &(Span, usize)| {
        let place = order.iter().position(|other| other == speaker)?;
        Some(Turn { span: *span, speaker: name(place) })
    };
    spans.iter().filter_map(labelled).collect()
}

/// The label of the speaker at index `place`: SPEAKER_00 and so on.
pub fn name(place: usize) -> String {
    format!("SPEAKER_{place:02}")
}

/// The turns as RTTM, one line each, as `pyannote.core` writes them.
///
/// # Errors
/// [`Error::Diarization`] if the name of the recording or a speaker is empty or has white space.
pub fn rttm(recording: &str, turns: &[Turn]) -> Result<String> {
    let mut text = String::new();
    for name in std::iter::once(recording).chain(turns.iter().map(|turn| turn.speaker.as_str())) {
        if name.is_empty() || name.contains(char::is_whitespace) {
            let reason = format!("`{name}` cannot stand in a file whose fields are separated by spaces");
            return Err(Error::diarization("RTTM", reason));
        }
    }
    for Turn { span, speaker } in turns {
        let (start, length) = (span.start.0, span.duration());
        text += &format!("SPEAKER {recording} 1 {start:.3} {length:.3} <NA> <NA> {speaker} <NA> <NA>\n");
    }
    Ok(text)
}
