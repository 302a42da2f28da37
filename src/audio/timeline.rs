//! When the packets of a track are heard: edit lists, gaps and start offsets.

use std::collections::VecDeque;
use std::ops::Range;

/// Shorter gaps are jitter: Matroska rounds to milliseconds, and encoders prime themselves with up to 50 ms.
const MIN_GAP: f64 = 0.1;
/// Longer gaps, or gaps that are longer together, are damaged time stamps, in seconds.
const MAX_GAP: f64 = 6.0 * 3600.0;
/// A start earlier than what was read last by less than this needs no seek, in seconds.
const NEAR: f64 = 1e-6;

/// A stretch of a track that is heard, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edit {
    /// Its start and end in the track's own time.
    pub(super) from: f64,
    pub(super) until: f64,
    /// When it is heard.
    pub(super) at: f64,
}

/// Places decoded blocks on the time axis of the recording.
#[derive(Debug)]
pub(super) struct Timeline {
    edits: VecDeque<Edit>,
    /// Whether time stamps are kept as time.
    sync: bool,
    /// When this stretch of the recording begins: several Ogg files may follow one another in one.
    base: f64,
    /// The earliest time stamp of any track, which is when the recording begins.
    origin: Option<f64>,
    /// Whether a block has been placed.
    has_begun: bool,
    /// Gaps that were filled, and how long they were together, in seconds.
    pub(super) gaps: (usize, f64),
    /// Seconds by which the recording is shorter than its time stamps say, because they are ignored.
    ignored: f64,
}

/// What to do with a block.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Placement {
    /// Pieces of it, each behind so many seconds of silence.
    pub(super) pieces: Vec<(f64, Range<usize>)>,
    /// Where to read on, in seconds of the track's time, if it is not what follows.
    pub(super) seek: Option<f64>,
    /// Nothing of what follows is heard.
    pub(super) is_end: bool,
}

impl Timeline {
    /// `edits` in the order in which they are heard; none for the whole track, which begins with the earliest packet.
    pub(super) fn new(edits: Vec<Edit>, sync: bool) -> Self {
        let whole = Edit { from: f64::NEG_INFINITY, until: f64::INFINITY, at: f64::NEG_INFINITY };
        let edits = if edits.is_empty() { vec![whole] } else { edits };
        Timeline { edits: edits.into(), sync, base: 0.0, origin: None, has_begun: false, gaps: (0, 0.0), ignored: 0.0 }
    }

    /// The same behind so many seconds of another stretch.
    pub(super) fn behind(self, base: f64) -> Self {
        Timeline { base, ..self }
    }

    /// How long the edits make the recording of a track of `media` seconds, where they say.
    pub(super) fn length(&self, media: f64) -> Option<f64> {
        let last = self.edits.back().filter(|edit| edit.from.is_finite())?;
        Some(last.at + (last.until.min(media) - last.from).max(0.0))
    }

    /// Whether a block has been placed.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Seconds by which what was heard is shorter than the last time stamp says.
    pub(super) fn unheard(&self) -> f64 {
        self.ignored + self.origin.unwrap_or(0.0).max(0.0)
    }

    /// Takes note of the time stamp of any packet, in seconds, until the first block has been placed.
    pub(super) fn see(&mut self, time: f64) {
        if !self.has_begun && self.edits.front().is_some_and(|edit| edit.from == f64::NEG_INFINITY) {
            self.origin = Some(self.origin.map_or(time, |origin| origin.min(time)));
        }
    }

    /// Places a block of `frames` at `rate` Hz that begins at `time` seconds of the track, behind `written` seconds.
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
                // The last packet is heard to its end, as by ffmpeg: what an encoder pads is not told from what it rounds.
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

    /// Silence between what was written and what is to be heard at `time` of the track, in seconds.
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
        // Back in time, and far beyond reason.
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
        // The last packet is heard to its end.
        let last = line.place(0.15, 100, 1000, 1.3);
        assert_eq!((last.pieces, last.is_end), (vec![(0.0, 0..100)], true));
    }
}
