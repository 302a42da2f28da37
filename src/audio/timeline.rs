//! Places decoded blocks on the recording's time axis: edit lists, gaps and start offsets.

use std::collections::VecDeque;
use std::ops::Range;

/// Shortest gap that becomes silence, in seconds. Shorter ones are jitter: Matroska rounds to milliseconds, and
/// encoders have a priming of up to 50 ms.
const MIN_GAP: f64 = 0.1;
/// Longest gap, and longest sum of gaps, in seconds. Anything longer is a damaged time stamp.
const MAX_GAP: f64 = 6.0 * 3600.0;
/// Tolerance in seconds: an edit that starts this little before the current block needs no seek.
const NEAR: f64 = 1e-6;

/// An entry of an edit list: an interval of a track that is played, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edit {
    /// Start and end in the track's media time.
    pub(super) from: f64,
    pub(super) until: f64,
    /// Start in the recording's presentation time.
    pub(super) at: f64,
}

/// Places decoded blocks on the time axis of the recording.
#[derive(Debug)]
pub(super) struct Timeline {
    edits: VecDeque<Edit>,
    /// Whether gaps in the time stamps become silence.
    sync: bool,
    /// Start of this stream in the recording, in seconds: an Ogg file may contain several chained streams.
    base: f64,
    /// The earliest time stamp of any track, which is the start of the recording.
    origin: Option<f64>,
    /// Whether a block has been placed.
    has_begun: bool,
    /// Number of gaps that were filled with silence, and their total length in seconds.
    pub(super) gaps: (usize, f64),
    /// Without `sync`: seconds by which the output is shorter than the time stamps.
    ignored: f64,
}

/// Result of placing a block.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Placement {
    /// Frame ranges of the block to output, each after so many seconds of silence.
    pub(super) pieces: Vec<(f64, Range<usize>)>,
    /// Media time in seconds to seek to, if the next edit starts before the current position.
    pub(super) seek: Option<f64>,
    /// Whether the last edit has ended, so that no later packet is played.
    pub(super) is_end: bool,
}

impl Timeline {
    /// `edits` in presentation order. Empty: the whole track is played, from the earliest packet.
    pub(super) fn new(edits: Vec<Edit>, sync: bool) -> Self {
        let whole = Edit { from: f64::NEG_INFINITY, until: f64::INFINITY, at: f64::NEG_INFINITY };
        let edits = if edits.is_empty() { vec![whole] } else { edits };
        Timeline { edits: edits.into(), sync, base: 0.0, origin: None, has_begun: false, gaps: (0, 0.0), ignored: 0.0 }
    }

    /// Sets the start of this stream in the recording, in seconds.
    pub(super) fn behind(self, base: f64) -> Self {
        Timeline { base, ..self }
    }

    /// Presentation length in seconds of a track of `media` seconds; `None` without an edit list.
    pub(super) fn length(&self, media: f64) -> Option<f64> {
        let last = self.edits.back().filter(|edit| edit.from.is_finite())?;
        Some(last.at + (last.until.min(media) - last.from).max(0.0))
    }

    /// Whether a block has been placed.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Seconds by which the output is shorter than the last time stamp: ignored gaps and the start offset.
    pub(super) fn unheard(&self) -> f64 {
        self.ignored + self.origin.unwrap_or(0.0).max(0.0)
    }

    /// Updates the origin with the time stamp of a packet of any track, in seconds. Has no effect after the first
    /// block.
    pub(super) fn see(&mut self, time: f64) {
        if !self.has_begun && self.edits.front().is_some_and(|edit| edit.from == f64::NEG_INFINITY) {
            self.origin = Some(self.origin.map_or(time, |origin| origin.min(time)));
        }
    }

    /// Places a block of `frames` frames at `rate` Hz with media time `time`; `written` is the length of the output so
    /// far. Times in seconds.
    pub(super) fn place(&mut self, time: f64, frames: usize, rate: u32, mut written: f64) -> Placement {
        let rate = f64::from(rate.max(1));
        let end = time + frames as f64 / rate;
        let frame_at = |at: f64| (((at - time) * rate).round().max(0.0) as usize).min(frames);
        let mut placement = Placement::default();
        self.has_begun = true;
        while let Some(&edit) = self.edits.front() {
            let is_last = self.edits.len() == 1;
            if time < edit.until {
                if end <= edit.from {
                    return placement;
                }
                // Play the last packet to its end, as ffmpeg does: encoder padding cannot be told from rounding.
                let until = if is_last { frames } else { frame_at(edit.until) };
                let piece = frame_at(edit.from)..until;
                if !piece.is_empty() {
                    let silence = self.gap(&edit, time + piece.start as f64 / rate, written);
                    written += silence + piece.len() as f64 / rate;
                    placement.pieces.push((silence, piece));
                }
                if end <= edit.until {
                    return placement;
                }
            }
            self.edits.pop_front();
            match self.edits.front() {
                Some(next) if next.from < time - NEAR => {
                    placement.seek = Some(next.from);
                    return placement;
                }
                _ => {}
            }
        }
        placement.is_end = true;
        placement
    }

    /// Silence in seconds between the output so far (`written` seconds) and the media time `time`.
    fn gap(&mut self, edit: &Edit, time: f64, written: f64) -> f64 {
        let target = if edit.from.is_finite() { edit.at + time - edit.from } else { time - self.origin.unwrap_or(0.0) };
        let gap = target + self.base - written;
        if !(MIN_GAP..=MAX_GAP).contains(&gap) || self.gaps.1 + gap > MAX_GAP {
            return 0.0;
        }
        if !self.sync {
            self.ignored = self.ignored.max(gap);
            return 0.0;
        }
        self.gaps.0 += 1;
        self.gaps.1 += gap;
        gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(placement: Placement) -> Vec<(f64, Range<usize>)> {
        placement.pieces
    }

    #[test]
    fn jitter_is_no_gap_and_a_gap_is_silence() {
        let mut line = Timeline::new(Vec::new(), true);
        line.see(5.0);
        assert_eq!(pieces(line.place(5.0, 100, 1000, 0.0)), [(0.0, 0..100)]);
        assert_eq!(pieces(line.place(5.15, 100, 1000, 0.1)), [(0.0, 0..100)]);
        assert_eq!(pieces(line.place(15.25, 100, 1000, 0.25)), [(10.0, 0..100)]);
        // A time stamp that goes back, and one beyond MAX_GAP.
        assert_eq!(pieces(line.place(1.0, 100, 1000, 10.0)), [(0.0, 0..100)]);
        assert_eq!(pieces(line.place(1e9, 100, 1000, 10.0)), [(0.0, 0..100)]);
        let mut line = Timeline::new(Vec::new(), false);
        line.see(0.0);
        assert_eq!(pieces(line.place(10.0, 100, 1000, 0.0)), [(0.0, 0..100)]);
    }

    #[test]
    fn edits_cut_repeat_and_delay() {
        let edit = |from, until, at| Edit { from, until, at };
        let mut line = Timeline::new(vec![edit(0.05, 0.15, 1.0), edit(0.35, 0.4, 1.1), edit(0.0, 0.2, 1.15)], true);
        assert!((line.length(9.0).expect("a length") - 1.35).abs() < 1e-9);
        assert_eq!(pieces(line.place(0.0, 100, 1000, 0.0)), [(1.0, 50..100)]);
        assert_eq!(pieces(line.place(0.1, 100, 1000, 1.05)), [(0.0, 0..50)]);
        assert_eq!(pieces(line.place(0.2, 100, 1000, 1.1)), []);
        let back = line.place(0.3, 110, 1000, 1.1);
        assert_eq!((back.seek, back.is_end), (Some(0.0), false));
        assert_eq!(back.pieces, [(0.0, 50..100)]);
        assert_eq!(pieces(line.place(0.0, 150, 1000, 1.15)), [(0.0, 0..150)]);
        // The last packet is played to its end.
        let last = line.place(0.15, 100, 1000, 1.3);
        assert_eq!((last.pieces, last.is_end), (vec![(0.0, 0..100)], true));
    }
}
