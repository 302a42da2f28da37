//! Which words of a channel were said on another one, for what is left of crosstalk after `src/channels/gate.rs`: reverberant sound, and
//! processing that leaves no waveform in common.
//!
//! A word is crosstalk of another channel where that channel has words at the time and is its source by level (by lag where both are
//! equally loud), and one of these holds:
//!
//! | evidence | rule |
//! |---|---|
//! | the sound is a copy | correlation of [`COPY`] at least, whatever the recogniser wrote: it mishears quiet copies |
//! | the sound resembles it, and the neighbour is a copy | [`TRACE`] at least, at the neighbour's lag, and not louder than that |
//! | the sound resembles it, and the word is the same | [`RESEMBLES`] at least, the same letters within the tolerance of time |
//! | the words are the same | [`RUN`] words in a row, 6 dB quieter: for processing that leaves no correlation |
//!
//! The same word said by both speakers at once fails all of them. A speaker who talks over crosstalk keeps the words, since their
//! sound is a mixture; and no word is left out whose source is left out itself, so that each is there once.

use super::correlate::{Correlator, Likeness};
use super::units::{self, Unit};
use super::{Channel, pieces};
use crate::error::Result;
use crate::types::{Segment, Span};
use crate::units::SAMPLE_RATE;

/// Correlation of a copy. Independent voices stay far below (`src/channels/correlate.rs` has the numbers); the value is that of a mixture
/// in which the channel's own speaker is 2.5 dB louder than the crosstalk.
pub(super) const COPY: f64 = 0.6;
/// Correlation with which the same word is crosstalk: below that of nearly all reverberant copies, above that of 99 in 100 spans of
/// independent voices.
pub(super) const RESEMBLES: f64 = 0.2;
/// Correlation with which a word is crosstalk where it is alike to its neighbour: by chance two lags are the same in one case of
/// fifty.
pub(super) const TRACE: f64 = 0.15;
/// How much more of the source's energy it may have than its neighbour: 3 dB. More is a speaker who talks over the crosstalk.
const LOUDER: f64 = 2.0;
/// Lags that differ by less are the same, in samples: 3 ms, more than reverberation moves them between words.
const SAME_LAG: isize = 3 * SAMPLE_RATE as isize / 1000;
/// Words in a row that are crosstalk by their letters alone.
const RUN: usize = 3;
/// How much quieter those must be, as a ratio of energies: 6 dB.
const QUIETER: f64 = 4.0;
/// How much earlier and later than the source's word the same word may begin, in seconds: alignment is exact to about 0.2 s, and a
/// copy is up to 0.24 s late.
const EARLIER: f64 = 0.25;
const LATER: f64 = 0.6;
/// How far a source's word may be from the time of the copy, in seconds.
const NEAR: f64 = 0.25;

/// Leaves the crosstalk out of all channels; how much of each.
///
/// # Errors
/// As [`Correlator::likeness`].
pub(super) fn leave_out(channels: &mut [Channel]) -> Result<Vec<usize>> {
    let units: Vec<Vec<Unit>> = channels.iter().map(|channel| units::of(&channel.segments)).collect();
    let dropped = find(channels, &units)?;
    for ((channel, units), dropped) in channels.iter_mut().zip(&units).zip(&dropped) {
        let segments = std::mem::take(&mut channel.segments);
        channel.segments = without(segments, units, dropped);
    }
    Ok(dropped.iter().map(|dropped| dropped.iter().filter(|dropped| **dropped).count()).collect())
}

/// A unit of another channel that a unit may repeat: its channel and its number.
type Source = (usize, usize);

/// Whether each unit of each channel is crosstalk.
fn find(channels: &[Channel], units: &[Vec<Unit>]) -> Result<Vec<Vec<bool>>> {
    let mut ears = Correlator::new();
    let mut sources: Vec<Vec<Vec<Source>>> = units.iter().map(|units| vec![Vec::new(); units.len()]).collect();
    let mut energies: Vec<(f64, usize, usize)> = Vec::new();
    for (copy, own) in units.iter().enumerate() {
        let mut levels = vec![0.0; own.len()];
        for (source, other) in units.iter().enumerate().filter(|(source, other)| *source != copy && !other.is_empty()) {
            let heard = listen(&mut ears, channels, own, (copy, source))?;
            levels = heard.iter().map(|heard| heard.energy).collect();
            for (unit, _) in copies(own, other, &heard).into_iter().enumerate().filter(|(_, is_copy)| *is_copy) {
                let near = near(other, own[unit].span, heard[unit].lag);
                sources[copy][unit].extend(near.map(|number| (source, number)));
            }
        }
        energies.extend(levels.into_iter().enumerate().map(|(unit, energy)| (energy, copy, unit)));
    }
    // Loud ones first, so that what became of a source is known before its copies are asked for.
    energies.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut dropped: Vec<Vec<bool>> = units.iter().map(|units| vec![false; units.len()]).collect();
    for (_, channel, unit) in energies {
        dropped[channel][unit] = sources[channel][unit].iter().any(|&(source, number)| !dropped[source][number]);
    }
    Ok(dropped)
}

/// What the units of channel `copy` have of channel `source`.
fn listen(
    ears: &mut Correlator,
    channels: &[Channel],
    units: &[Unit],
    (copy, source): (usize, usize),
) -> Result<Vec<Likeness>> {
    let (own, other) = (channels[copy].samples, channels[source].samples);
    let span = |unit: &Unit| unit.span.start.to_samples_floor()..unit.span.end.to_samples_floor();
    units.iter().map(|unit| ears.likeness(own, other, span(unit), source < copy)).collect()
}

/// The units that are said around the time from which `span` would be copied.
fn near(units: &[Unit], span: Span, lag: isize) -> impl Iterator<Item = usize> {
    let lag = lag as f64 / SAMPLE_RATE as f64;
    let (start, end) = (span.start.0 - lag - NEAR, span.end.0 - lag + NEAR);
    let is_near = move |(_, unit): &(usize, &Unit)| unit.span.start.0 < end && unit.span.end.0 > start;
    units.iter().enumerate().filter(is_near).map(|(number, _)| number)
}

/// Whether a span has the lag of its neighbour, and no more of the source's energy: somebody who talks over crosstalk adds to it.
pub(super) fn is_alike(here: &Likeness, beside: &Likeness) -> bool {
    let louder = here.energy * beside.source_energy > LOUDER * beside.energy * here.source_energy;
    (here.lag - beside.lag).abs() <= SAME_LAG && !louder
}

/// Which units are copies, by the sound and by the letters.
fn copies(own: &[Unit], other: &[Unit], heard: &[Likeness]) -> Vec<bool> {
    let mut is_copy: Vec<bool> = heard.iter().map(|heard| heard.correlation >= COPY).collect();
    let neighbour = |is_copy: &[bool], unit: usize, beside: usize| {
        let same = own[unit].segment == own[beside].segment && is_copy[beside];
        same && heard[unit].correlation >= TRACE && is_alike(&heard[unit], &heard[beside])
    };
    for unit in 1..own.len() {
        is_copy[unit] |= neighbour(&is_copy, unit, unit - 1);
    }
    for unit in (1..own.len()).rev() {
        is_copy[unit - 1] |= neighbour(&is_copy, unit - 1, unit);
    }
    let same: Vec<Vec<usize>> = own.iter().map(|unit| same_word(unit, other)).collect();
    for (unit, same) in same.iter().enumerate() {
        is_copy[unit] |= !same.is_empty() && heard[unit].correlation >= RESEMBLES;
    }
    let quieter = |heard: &Likeness| heard.energy > 0.0 && heard.energy * QUIETER <= heard.source_energy;
    for start in 0..own.len() {
        for &first in &same[start] {
            let follows = |&more: &usize| {
                let (unit, number) = (start + more, first + more);
                unit < own.len() && same[unit].contains(&number) && quieter(&heard[unit])
            };
            let run = (0..).take_while(follows).count();
            if run >= RUN {
                is_copy[start..start + run].fill(true);
            }
        }
    }
    is_copy
}

/// The units with the same letters at nearly the same time.
fn same_word(unit: &Unit, other: &[Unit]) -> Vec<usize> {
    let (start, text) = (unit.span.start.0, &unit.text);
    let is_same = |(_, candidate): &(usize, &Unit)| {
        !text.is_empty() && candidate.text == *text && (-EARLIER..=LATER).contains(&(start - candidate.span.start.0))
    };
    other.iter().enumerate().filter(is_same).map(|(number, _)| number).collect()
}

/// The segments without the units that are `dropped`. Words without a time go with the word before them, else with the one after.
fn without(segments: Vec<Segment>, units: &[Unit], dropped: &[bool]) -> Vec<Segment> {
    let mut rest = units.iter().zip(dropped).peekable();
    let mut kept = Vec::with_capacity(segments.len());
    for (at, segment) in segments.into_iter().enumerate() {
        let mut own = Vec::new();
        while let Some((unit, dropped)) = rest.next_if(|(unit, _)| unit.segment == at) {
            own.push((unit.word, *dropped));
        }
        if own.iter().all(|(_, dropped)| !dropped) {
            kept.push(segment);
            continue;
        }
        let words = segment.words.as_ref().map_or(0, Vec::len);
        let fate = |word: usize| {
            let before = own.iter().rev().find(|(number, _)| number.is_some_and(|number| number <= word));
            !before.or(own.first()).is_some_and(|(_, dropped)| *dropped)
        };
        let keep: Vec<bool> = (0..words).map(fate).collect();
        kept.extend(pieces::keep(segment, &keep));
    }
    kept
}
