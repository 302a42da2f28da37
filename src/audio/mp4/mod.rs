//! Facts of MP4 that symphonia reads past: edit lists, the times of fragments, which tracks are switched on, and the core
//! of HE-AAC.
//!
//! Source: ISO 14496-12, sections 8.3.2 (tkhd), 8.6.6 (elst), 8.8 (moof); edit lists are applied as in ffmpeg
//! `libavformat/mov.c::mov_fix_index`.

mod aac_core;
mod boxes;

use std::io;

use symphonia::core::io::MediaSource;

pub(super) use aac_core::aac_core;

use super::timeline::Edit;

/// What the boxes say, for all tracks.
#[derive(Debug, Default)]
pub(super) struct Movie {
    /// Ticks per second of the lengths in edit lists.
    scale: u32,
    tracks: Vec<TrackFacts>,
    /// Samples before the beginning, from iTunes's gapless tag, for files without edit lists.
    gapless: u64,
}

/// What they say about one track.
#[derive(Debug, Default)]
struct TrackFacts {
    id: u32,
    is_enabled: bool,
    is_audio: bool,
    /// Ticks per second.
    scale: u32,
    /// Length and start of each entry of the edit list: the length in ticks of the movie, the start in ticks of the track.
    edits: Vec<(u64, i64)>,
    /// Ticks of a sample of a fragment that does not say.
    default_ticks: u32,
    /// For each fragment, the time that symphonia gives to its start and the true one, in ticks.
    fragments: Vec<(u64, u64)>,
    /// Where symphonia believes that the next fragment starts, in ticks.
    next_fragment: u64,
}

/// Reads the boxes; nothing if it is no MP4.
pub(super) fn read(source: &mut Box<dyn MediaSource + '_>, bytes: u64) -> io::Result<Movie> {
    boxes::read(source, bytes)
}

impl Movie {
    fn track(&self, id: u32) -> Option<&TrackFacts> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// Whether a track is switched on; `None` if it is no MP4.
    pub(super) fn is_enabled(&self, id: u32) -> Option<bool> {
        self.track(id).map(|track| track.is_enabled)
    }

    /// The audio tracks in the order of the file, those included that symphonia does not know.
    pub(super) fn audio_tracks(&self) -> Vec<u32> {
        self.tracks.iter().filter(|track| track.is_audio).map(|track| track.id).collect()
    }

    /// What is heard of a track and when. `delay` is what its decoder drops at the start, in seconds; `tick` the length of
    /// the track's ticks.
    pub(super) fn edits(&self, id: u32, delay: f64, tick: f64) -> Vec<Edit> {
        let whole = |from: f64| vec![Edit { from, until: f64::INFINITY, at: 0.0 }];
        let Some(track) = self.track(id).filter(|track| !track.edits.is_empty()) else {
            return if delay > 0.0 { Vec::new() } else { whole(self.gapless as f64 * tick) };
        };
        let movie_tick = 1.0 / f64::from(self.scale.max(1));
        let mut at = 0.0;
        let mut edits = Vec::new();
        for &(length, start) in &track.edits {
            let length = length as f64 * movie_tick;
            // A start of -1 is an empty edit: silence.
            if start >= 0 {
                let from = (start as f64 * tick - delay).max(0.0);
                // A length of 0 reaches to the end of a fragmented file.
                let until = if length > 0.0 { from + length } else { f64::INFINITY };
                edits.push(Edit { from, until, at });
            }
            at += length;
        }
        edits
    }

    /// Seconds from the start of the movie to a time stamp of symphonia, which adds up the lengths of the samples in
    /// fragments and does not look at where they say they are.
    pub(super) fn true_time(&self, id: u32, ticks: i64, tick: f64) -> f64 {
        let fragment = self.track(id).and_then(|track| {
            let index = track.fragments.partition_point(|&(believed, _)| i128::from(believed) <= i128::from(ticks));
            track.fragments.get(index.checked_sub(1)?)
        });
        match fragment {
            Some(&(believed, is)) => (ticks as f64 - believed as f64 + is as f64) * tick - self.first_time(),
            None => ticks as f64 * tick,
        }
    }

    /// When the first fragment starts, in seconds: a piece of a longer stream starts late, and is heard at once.
    fn first_time(&self) -> f64 {
        let first = |track: &TrackFacts| {
            let (believed, is) = *track.fragments.first()?;
            Some((is as f64 - believed as f64) / f64::from(track.scale.max(1)))
        };
        self.tracks.iter().filter_map(first).fold(f64::INFINITY, f64::min)
    }
}
