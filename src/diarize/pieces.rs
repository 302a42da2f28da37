//! The speakers of a window cut into pieces at their pauses, so that each piece has a voice of its own.
//!
//! A segmentation network that hears two people with similar voices take turns may take them for one speaker of the window. The voice of
//! that speaker is then a mixture, near to both, and whatever clusters voices takes the two people for one, too. Between two pauses there
//! is nearly always one person: the voice of a piece is pure, though it is made of less. Not pyannote's: it is done for a pipeline whose
//! `params.clustering` has a `pause`.

use super::windows::Segmentation;
use crate::units::Seconds;

/// A shorter piece tells too little of a voice, and goes to the nearer of its neighbours.
const SHORTEST: Seconds = Seconds(0.6);

/// A speaker's talk from one pause to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// First frame.
    start: usize,
    /// Frame behind the last.
    end: usize,
    /// Frames of talk, the pauses within that are too short to cut at among them.
    len: usize,
}

/// The same decisions with pieces in the speakers' places: a speaker is cut at pauses of `pause` or more.
///
/// Who is active in a frame stays, and so does the number of speakers that are.
pub fn cut_at_pauses(heard: &Segmentation, pause: Seconds) -> Segmentation {
    let pieces: Vec<Vec<(usize, Piece)>> = (0..heard.windows)
        .map(|window| {
            let of = |speaker| pieces_of(heard, window, speaker, pause).into_iter().map(move |piece| (speaker, piece));
            (0..heard.speakers).flat_map(of).collect()
        })
        .collect();
    let most = pieces.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut active = vec![false; heard.windows * heard.frames * most];
    let mut whose = vec![0; heard.windows * most];
    for (window, pieces) in pieces.iter().enumerate() {
        for (at, (speaker, piece)) in pieces.iter().enumerate() {
            whose[window * most + at] = *speaker;
            for frame in piece.start..piece.end {
                active[(window * heard.frames + frame) * most + at] = heard.frame(window, frame)[*speaker];
            }
        }
    }
    Segmentation::of_pieces(heard, most, active, whose)
}

/// In the order of time.
fn pieces_of(heard: &Segmentation, window: usize, speaker: usize, pause: Seconds) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for frame in (0..heard.frames).filter(|&frame| heard.frame(window, frame)[speaker]) {
        match pieces.last_mut() {
            Some(last) if frame == last.end || seconds(heard, frame - last.end) < pause => {
                (last.len, last.end) = (last.len + frame + 1 - last.end, frame + 1);
            }
            _ => pieces.push(Piece { start: frame, end: frame + 1, len: 1 }),
        }
    }
    while pieces.len() > 1
        && let Some(shortest) = (0..pieces.len()).min_by_key(|&at| pieces[at].len)
        && seconds(heard, pieces[shortest].len) < SHORTEST
    {
        let pause_before = |at: usize| pieces[at].start - pieces[at - 1].end;
        let is_last = shortest + 1 == pieces.len();
        let to_earlier = is_last || shortest > 0 && pause_before(shortest) <= pause_before(shortest + 1);
        let first = if to_earlier { shortest - 1 } else { shortest };
        let second = pieces.remove(first + 1);
        let Piece { start, len, .. } = pieces[first];
        pieces[first] = Piece { start, end: second.end, len: len + second.len };
    }
    pieces
}

fn seconds(heard: &Segmentation, frames: usize) -> Seconds {
    Seconds(frames as f64 * heard.clock.frame_step)
}
