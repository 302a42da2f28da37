//! Crosstalk gate: mutes a channel where it holds only a copy of another channel, before voice activity detection.
//!
//! If both sides of a call are audible on one channel, a recogniser writes both sides, misses quiet answers between
//! loud copies, and confuses the words of the two. The gate depends neither on the recognised text nor on the alignment
//! of words, because it compares waveforms only. Each channel is divided into cells of 0.1 s. A cell is compared
//! together with 75 ms on both sides: the channel's own speaker, audible anywhere in these, lowers the correlation, and
//! the cell is kept. If several channels leak into a cell at once, the shares of energy that they explain are added.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::correlate::{Correlator, CrossCorrelation};
use super::crosstalk::{COPY, RESEMBLES, TRACE, has_same_lag_and_level};
use crate::error::{Error, Result};
use crate::units::SAMPLE_RATE;

/// Length of a cell, in samples: 0.1 s.
const CELL: usize = SAMPLE_RATE / 10;
/// Context on both sides of a cell that is compared with it, in samples: 75 ms.
const MARGIN: usize = 3 * SAMPLE_RATE / 40;
/// Length of a fade-out or fade-in, in samples: 5 ms.
const RAMP: usize = SAMPLE_RATE / 200;
/// Mean energy of a pre-emphasised sample below which a channel is silent: -90 dB of full scale.
const SILENT: f64 = 1e-9;
/// Longest gap between muted cells that is muted as well if it is not louder, in cells: 0.3 s, too short for a word.
const ISLAND: usize = 3;
/// Interval at which `stop` is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Mutes the cells of every channel that are copies of another channel. Returns the share of each channel's cells that
/// was muted, in `[0, 1]`. The channels are at 16 kHz. `stop` is polled every 2 ms, and cancels when it returns true.
///
/// # Errors
/// [`Error::Cancelled`] if `stop` returned true; [`Error::Config`] if a Fourier transform cannot be planned, which does
/// not happen for the lengths used here.
pub fn gate_crosstalk(channels: &mut [Vec<f32>], stop: &dyn Fn() -> bool) -> Result<Vec<f64>> {
    let found = (0..channels.len()).map(|copy| cells(channels, copy, stop)).collect::<Result<Vec<_>>>()?;
    let share = |cells: &Vec<bool>| cells.iter().filter(|muted| **muted).count() as f64 / cells.len().max(1) as f64;
    channels.iter_mut().zip(&found).for_each(|(samples, cells)| mute(samples, cells));
    Ok(found.iter().map(share).collect())
}

/// Whether each cell of channel `copy` is to be muted, as a copy of one or several other channels.
fn cells(channels: &[Vec<f32>], copy: usize, stop: &dyn Fn() -> bool) -> Result<Vec<bool>> {
    let own = &channels[copy];
    let mut muted = vec![false; own.len().div_ceil(CELL)];
    // For each cell: the share of its energy that all sources together explain, and its energy.
    let (mut explained, mut energies) = (vec![0.0; muted.len()], vec![0.0; muted.len()]);
    for (at, source) in channels.iter().enumerate().filter(|(at, _)| *at != copy) {
        let correlation = correlate_cells(own, source, at < copy, stop)?;
        copies(&correlation).into_iter().zip(&mut muted).for_each(|(is_copy, muted)| *muted |= is_copy);
        for (cell, correlation) in correlation.iter().enumerate() {
            energies[cell] = correlation.energy;
            explained[cell] += if correlation.correlation >= RESEMBLES { correlation.correlation.powi(2) } else { 0.0 };
        }
    }
    for (cell, muted) in muted.iter_mut().enumerate() {
        *muted |= energies[cell] > SILENT && explained[cell] >= COPY * COPY;
    }
    mute_islands(&mut muted, &energies);
    Ok(muted)
}

/// How well each cell of `own` matches `source`, computed on all processor threads.
fn correlate_cells(
    own: &[f32],
    source: &[f32],
    source_first: bool,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<CrossCorrelation>> {
    let cells = own.len().div_ceil(CELL);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = cells.div_ceil(threads).max(1);
    let stopped = AtomicBool::new(false);
    let some = |cells: Range<usize>| -> Result<Vec<CrossCorrelation>> {
        let mut correlator = Correlator::new();
        let correlate_cell = |cell: usize| match stopped.load(Ordering::Relaxed) {
            true => Err(Error::Cancelled),
            false => correlator.piece(own, source, around(cell, own.len()), source_first),
        };
        cells.map(correlate_cell).collect()
    };
    std::thread::scope(|scope| {
        let starts = (0..cells).step_by(share);
        let threads: Vec<_> = starts.map(|start| scope.spawn(move || some(start..cells.min(start + share)))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            stopped.fetch_or(stop(), Ordering::Relaxed);
            std::thread::sleep(POLL_INTERVAL);
        }
        let mut correlation = Vec::with_capacity(cells);
        for thread in threads {
            correlation.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(correlation)
    })
}

/// Mutes gaps of up to [`ISLAND`] cells between muted cells, if no cell of the gap is louder than the louder of the
/// two.
fn mute_islands(muted: &mut [bool], energies: &[f64]) {
    let mut last: Option<usize> = None;
    for cell in 0..muted.len() {
        if !muted[cell] {
            continue;
        }
        if let Some(before) = last.filter(|before| (2..=ISLAND + 1).contains(&(cell - before))) {
            let loudest = energies[before].max(energies[cell]);
            if energies[before + 1..cell].iter().all(|energy| *energy <= loudest) {
                muted[before + 1..cell].fill(true);
            }
        }
        last = Some(cell);
    }
}

/// The samples of a cell and its context.
fn around(cell: usize, length: usize) -> Range<usize> {
    (cell * CELL).saturating_sub(MARGIN)..((cell + 1) * CELL + MARGIN).min(length)
}

/// Whether each cell is a copy by its correlation, or by the lag and level of an adjacent copy.
fn copies(correlation: &[CrossCorrelation]) -> Vec<bool> {
    let mut is_copy: Vec<bool> =
        correlation.iter().map(|correlation| correlation.energy > SILENT && correlation.correlation >= COPY).collect();
    let is_beside = |is_copy: &[bool], cell: usize, beside: usize| {
        is_copy[beside]
            && correlation[cell].correlation >= TRACE
            && has_same_lag_and_level(&correlation[cell], &correlation[beside])
    };
    for cell in 1..correlation.len() {
        is_copy[cell] |= is_beside(&is_copy, cell, cell - 1);
    }
    for cell in (1..correlation.len()).rev() {
        is_copy[cell - 1] |= is_beside(&is_copy, cell - 1, cell);
    }
    is_copy
}

/// Silences the muted cells, with a fade at each end of a muted run.
fn mute(samples: &mut [f32], cells: &[bool]) {
    let is_muted = |cell: Option<usize>| cell.and_then(|cell| cells.get(cell)).copied().unwrap_or(true);
    for (cell, _) in cells.iter().enumerate().filter(|(_, muted)| **muted) {
        let span = cell * CELL..((cell + 1) * CELL).min(samples.len());
        let (fades_out, fades_in) = (!is_muted(cell.checked_sub(1)), !is_muted(Some(cell + 1)));
        let length = span.len();
        for (at, sample) in samples[span].iter_mut().enumerate() {
            let ramp = |distance: usize| 1.0 - (distance as f32 / RAMP as f32).min(1.0);
            let before = if fades_out { ramp(at) } else { 0.0 };
            let after = if fades_in { ramp(length - 1 - at) } else { 0.0 };
            *sample *= before.max(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_gaps_are_muted_unless_they_are_louder() {
        let (x, o) = (true, false);
        let mut muted = [o, x, o, o, x, o, x, o, o, o, o, x, o];
        mute_islands(&mut muted, &[1.0, 1.0, 0.5, 2.0, 2.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(muted, [o, x, x, x, x, o, x, o, o, o, o, x, o]);
    }

    #[test]
    fn muted_cells_are_silent_and_fade_at_their_edges() {
        let mut samples = vec![1.0; 4 * CELL + 10];
        mute(&mut samples, &[false, true, true, false, true]);
        assert!(samples[..CELL].iter().chain(&samples[3 * CELL..4 * CELL]).all(|sample| *sample == 1.0));
        assert!(samples[CELL + RAMP..3 * CELL - RAMP].iter().all(|sample| *sample == 0.0));
        assert!(samples.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= 1.1 / RAMP as f32 + 1e-6), "a click");
        assert!(samples[4 * CELL] == 1.0 && samples[4 * CELL + 9] < 1.0);
    }
}
