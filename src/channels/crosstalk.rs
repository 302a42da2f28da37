//! Crosstalk removal: drops the words of a channel that were said on another channel.
//!
//! This step handles the crosstalk that `src/channels/gate.rs` does not mute: reverberant copies, and copies whose
//! waveform was changed by processing.
//!
//! A word is crosstalk of another channel if that channel has words at the same time and is the source by level (by lag
//! if both are equally loud), and if one of these rules holds:
//!
//! | evidence | rule |
//! |---|---|
//! | the sound is a copy | the correlation is at least [`COPY`]; the text does not matter, since quiet copies are misrecognised |
//! | the sound is similar, the adjacent word is a copy | at least [`TRACE`], at the same lag as the adjacent word, and not louder |
//! | the sound is similar, the word is the same | at least [`RESEMBLES`], the same letters within the time tolerance |
//! | the words are the same | at least [`RUN`] words in a row, each 6 dB quieter: for processing that leaves no correlation |
//!
//! The same word said by both speakers at once meets none of the rules. A speaker who talks over crosstalk keeps the
//! words, since their sound is a mixture. A word is dropped only if its source is kept, so that each word is written
//! once.

use super::correlate::{Correlator, CrossCorrelation};
use super::units::{self, Unit};
use super::{Channel, pieces};
use crate::error::Result;
use crate::types::{Segment, Span};
use crate::units::SAMPLE_RATE;

/// Minimum correlation of a copy. Independent voices stay far below (see the table in `src/channels/correlate.rs`). A
/// mixture in which the channel's own speaker is 2.5 dB louder than the crosstalk has this correlation.
pub(super) const COPY: f64 = 0.6;
/// Minimum correlation of the same word: below nearly all reverberant copies, above 99 of 100 spans of independent
/// voices.
pub(super) const RESEMBLES: f64 = 0.2;
/// Minimum correlation of a word whose lag and level match an adjacent copy. Two lags match by chance in one case of
/// fifty.
pub(super) const TRACE: f64 = 0.15;
/// How much louder than an adjacent copy a word may be, relative to the source, as a ratio of energies: 3 dB. A louder
/// word is the channel's own speaker, who talks over the crosstalk.
const LOUDER: f64 = 2.0;
/// Lags count as the same up to this difference, in samples: 3 ms. Reverberation changes the lag by less between words.
const SAME_LAG: isize = 3 * SAMPLE_RATE as isize / 1000;
/// Minimum number of equal words in a row that are crosstalk by their letters alone.
const RUN: usize = 3;
/// How much quieter than the source the words of such a run must be, as a ratio of energies: 6 dB.
const QUIETER: f64 = 4.0;
/// Time tolerance: how much earlier and later than the source's word the same word may start, in seconds. Alignment is
/// exact to about 0.2 s, and a copy is up to 0.24 s late.
const EARLIER: f64 = 0.25;
const LATER: f64 = 0.6;
/// How far a source's word may be from the copy's span minus the lag, in seconds.
const NEAR: f64 = 0.25;

/// Drops the crosstalk from all channels. Returns the number of units dropped from each channel.
///
/// # Errors
/// As [`Correlator::correlation`].
pub(super) fn remove_crosstalk(channels: &mut [Channel]) -> Result<Vec<usize>> {
    let units: Vec<Vec<Unit>> = channels.iter().map(|channel| units::of(&channel.segments)).collect();
    let dropped = find(channels, &units)?;
    for ((channel, units), dropped) in channels.iter_mut().zip(&units).zip(&dropped) {
        let segments = std::mem::take(&mut channel.segments);
        channel.segments = without(segments, units, dropped);
    }
    Ok(dropped.iter().map(|dropped| dropped.iter().filter(|dropped| **dropped).count()).collect())
}

/// A unit of another channel that may be the source of a copy: the index of the channel, and of the unit in it.
type Source = (usize, usize);

/// Whether each unit of each channel is crosstalk.
fn find(channels: &[Channel], units: &[Vec<Unit>]) -> Result<Vec<Vec<bool>>> {
    let mut correlator = Correlator::new();
    let mut sources: Vec<Vec<Vec<Source>>> = units.iter().map(|units| vec![Vec::new(); units.len()]).collect();
    let mut energies: Vec<(f64, usize, usize)> = Vec::new();
    for (copy, own) in units.iter().enumerate() {
        let mut levels = vec![0.0; own.len()];
        for (source, other) in units.iter().enumerate().filter(|(source, other)| *source != copy && !other.is_empty()) {
            let correlation = correlate_units(&mut correlator, channels, own, (copy, source))?;
            levels = correlation.iter().map(|correlation| correlation.energy).collect();
            for (unit, _) in copies(own, other, &correlation).into_iter().enumerate().filter(|(_, is_copy)| *is_copy) {
                let near = near(other, own[unit].span, correlation[unit].lag);
                sources[copy][unit].extend(near.map(|number| (source, number)));
            }
        }
        energies.extend(levels.into_iter().enumerate().map(|(unit, energy)| (energy, copy, unit)));
    }
    // Loudest first, so that every source is decided before its copies.
    energies.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut dropped: Vec<Vec<bool>> = units.iter().map(|units| vec![false; units.len()]).collect();
    for (_, channel, unit) in energies {
        dropped[channel][unit] = sources[channel][unit].iter().any(|&(source, number)| !dropped[source][number]);
    }
    Ok(dropped)
}

/// How well each unit of channel `copy` matches channel `source`.
fn correlate_units(
    correlator: &mut Correlator,
    channels: &[Channel],
    units: &[Unit],
    (copy, source): (usize, usize),
) -> Result<Vec<CrossCorrelation>> {
    let (own, other) = (channels[copy].samples, channels[source].samples);
    let span = |unit: &Unit| unit.span.start.to_samples_floor()..unit.span.end.to_samples_floor();
    units.iter().map(|unit| correlator.correlation(own, other, span(unit), source < copy)).collect()
}

/// The indices of the units around the time from which `span` was copied, given the lag.
fn near(units: &[Unit], span: Span, lag: isize) -> impl Iterator<Item = usize> {
    let lag = lag as f64 / SAMPLE_RATE as f64;
    let (start, end) = (span.start.0 - lag - NEAR, span.end.0 - lag + NEAR);
    let is_near = move |(_, unit): &(usize, &Unit)| unit.span.start.0 < end && unit.span.end.0 > start;
    units.iter().enumerate().filter(is_near).map(|(number, _)| number)
}

/// Whether a span has the same lag as an adjacent copy and is not louder relative to the source. The channel's own
/// speaker, talking over the crosstalk, would make it louder.
pub(super) fn has_same_lag_and_level(here: &CrossCorrelation, beside: &CrossCorrelation) -> bool {
    let louder = here.energy * beside.source_energy > LOUDER * beside.energy * here.source_energy;
    (here.lag - beside.lag).abs() <= SAME_LAG && !louder
}

/// Whether each unit of `own` is a copy from the channel of `other`, by the sound and by the letters.
fn copies(own: &[Unit], other: &[Unit], correlation: &[CrossCorrelation]) -> Vec<bool> {
    let mut is_copy: Vec<bool> = correlation.iter().map(|correlation| correlation.correlation >= COPY).collect();
    let neighbour = |is_copy: &[bool], unit: usize, beside: usize| {
        let same = own[unit].segment == own[beside].segment && is_copy[beside];
        same && correlation[unit].correlation >= TRACE
            && has_same_lag_and_level(&correlation[unit], &correlation[beside])
    };
    for unit in 1..own.len() {
        is_copy[unit] |= neighbour(&is_copy, unit, unit - 1);
    }
    for unit in (1..own.len()).rev() {
        is_copy[unit - 1] |= neighbour(&is_copy, unit - 1, unit);
    }
    let same: Vec<Vec<usize>> = own.iter().map(|unit| same_word(unit, other)).collect();
    for (unit, same) in same.iter().enumerate() {
        is_copy[unit] |= !same.is_empty() && correlation[unit].correlation >= RESEMBLES;
    }
    let quieter = |correlation: &CrossCorrelation| {
        correlation.energy > 0.0 && correlation.energy * QUIETER <= correlation.source_energy
    };
    for start in 0..own.len() {
        for &first in &same[start] {
            let follows = |&more: &usize| {
                let (unit, number) = (start + more, first + more);
                unit < own.len() && same[unit].contains(&number) && quieter(&correlation[unit])
            };
            let run = (0..).take_while(follows).count();
            if run >= RUN {
                is_copy[start..start + run].fill(true);
            }
        }
    }
    is_copy
}

/// The indices of the units of `other` with the same letters, within the time tolerance.
fn same_word(unit: &Unit, other: &[Unit]) -> Vec<usize> {
    let (start, text) = (unit.span.start.0, &unit.text);
    let is_same = |(_, candidate): &(usize, &Unit)| {
        !text.is_empty() && candidate.text == *text && (-EARLIER..=LATER).contains(&(start - candidate.span.start.0))
    };
    other.iter().enumerate().filter(is_same).map(|(number, _)| number).collect()
}

/// The segments without the units that are `dropped`. A word without a time is dropped or kept with the word before it;
/// at the start of a segment, with the word after it.
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
        let is_kept = |word: usize| {
            let before = own.iter().rev().find(|(number, _)| number.is_some_and(|number| number <= word));
            !before.or(own.first()).is_some_and(|(_, dropped)| *dropped)
        };
        let keep: Vec<bool> = (0..words).map(is_kept).collect();
        kept.extend(pieces::keep(segment, &keep));
    }
    kept
}
