//! MP4 metadata that symphonia ignores: edit lists, start times of fragments, enabled tracks; and the AAC-LC core of
//! HE-AAC.
//!
//! Source: ISO 14496-12, sections 8.3.2 (tkhd), 8.6.6 (elst), 8.8 (moof); edit lists are applied as in ffmpeg
//! `libavformat/mov.c::mov_fix_index`.

mod aac_core;
mod boxes;

use std::io;

use symphonia::core::io::MediaSource;

pub(super) use aac_core::aac_core;

use super::timeline::Edit;

/// Metadata of an MP4 file.
#[derive(Debug, Default)]
pub(super) struct Movie {
    /// Movie time scale: ticks per second of the durations in edit lists.
    scale: u32,
    tracks: Vec<TrackInfo>,
    /// Encoder delay in samples from iTunes's gapless tag, for files without edit lists.
    gapless: u64,
}

/// Metadata of one track.
#[derive(Debug, Default)]
struct TrackInfo {
    id: u32,
    is_enabled: bool,
    is_audio: bool,
    /// Media time scale: ticks per second.
    scale: u32,
    /// Edit list entries: duration in movie ticks, start in media ticks.
    edits: Vec<(u64, i64)>,
    /// Default duration of a sample in fragments, in ticks.
    default_ticks: u32,
    /// For each fragment: its start time as symphonia counts it, and as stated in the file; in ticks.
    fragments: Vec<(u64, u64)>,
    /// Start time of the next fragment as symphonia counts it, in ticks.
    next_fragment: u64,
}

/// Reads the metadata of an MP4 file of `bytes` bytes; empty for other files.
pub(super) fn read(source: &mut Box<dyn MediaSource + '_>, bytes: u64) -> io::Result<Movie> {
    boxes::read(source, bytes)
}

impl Movie {
    fn track(&self, id: u32) -> Option<&TrackInfo> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// Whether a track is enabled; `None` for an unknown track, or if the file is not MP4.
    pub(super) fn is_enabled(&self, id: u32) -> Option<bool> {
        self.track(id).map(|track| track.is_enabled)
    }

    /// Ids of the audio tracks in the order of the file, including those with a codec that symphonia does not support.
    pub(super) fn audio_tracks(&self) -> Vec<u32> {
        self.tracks.iter().filter(|track| track.is_audio).map(|track| track.id).collect()
    }

    /// The edit list of a track; without one, an edit that skips the delay of the gapless tag. `delay` is the duration
    /// in seconds that the decoder drops at the start, `tick` the duration of a media tick in seconds.
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
            // A start of -1 is an empty edit, which becomes silence.
            if start >= 0 {
                let from = (start as f64 * tick - delay).max(0.0);
                // A duration of 0 extends to the end, in fragmented files.
                let until = if length > 0.0 { from + length } else { f64::INFINITY };
                edits.push(Edit { from, until, at });
            }
            at += length;
        }
        edits
    }

    /// Converts a time stamp of symphonia, in ticks, to the media time in seconds. Symphonia sums the durations of the
    /// samples and ignores the start times that fragments state.
    pub(super) fn true_time(&self, id: u32, ticks: i64, tick: f64) -> f64 {
        let fragment = self.track(id).and_then(|track| {
            let index = track.fragments.partition_point(|&(counted, _)| i128::from(counted) <= i128::from(ticks));
            track.fragments.get(index.checked_sub(1)?)
        });
        match fragment {
            Some(&(counted, stated)) => (ticks as f64 - counted as f64 + stated as f64) * tick - self.first_time(),
            None => ticks as f64 * tick,
        }
    }

    /// Start time of the first fragment in seconds. It is subtracted from all times, because a part of a longer stream
    /// starts late and is played immediately.
    fn first_time(&self) -> f64 {
        let first = |track: &TrackInfo| {
            let (counted, stated) = *track.fragments.first()?;
            Some((stated as f64 - counted as f64) / f64::from(track.scale.max(1)))
        };
        self.tracks.iter().filter_map(first).fold(f64::INFINITY, f64::min)
    }
}
