//! Mutes a channel where it holds nothing but another channel's sound, before speech is looked for.
//!
//! A recogniser that hears both sides of a call on one channel writes both, loses quiet answers between loud copies, and takes words
//! of the one for those of the other. What is muted here is never heard; it does not depend on what the recogniser writes, nor on
//! how well words are aligned. The sound is judged in cells of 0.1 s, each with 75 ms around it: where the channel's own
//! speaker is heard in one of these, the cell is no copy. Of several sources at once the shares of energy that they explain are added.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::correlate::{Correlator, Likeness};
use super::crosstalk::{COPY, RESEMBLES, TRACE, is_alike};
use crate::error::{Error, Result};
use crate::units::SAMPLE_RATE;

/// Samples of a cell: 0.1 s.
const CELL: usize = SAMPLE_RATE / 10;
/// Samples on both sides of it that are looked at, too: 75 ms.
const MARGIN: usize = 3 * SAMPLE_RATE / 40;
/// Samples over which a channel is faded out and in: 5 ms.
const RAMP: usize = SAMPLE_RATE / 200;
/// Mean energy of a pre-emphasised sample below which a channel is silent: -90 dB of full scale.
const SILENT: f64 = 1e-9;
/// Cells between muted ones that are muted as well where they are not louder: 0.3 s, in which a word would be.
const ISLAND: usize = 3;
/// How often the caller is asked whether to stop.
const LOOK: Duration = Duration::from_millis(2);

/// Mutes every channel where it is a copy of another one; the share of each that was muted. `stop` is asked now and then.
///
/// # Errors
/// [`Error::Cancelled`] if `stop` says so; [`Error::Config`] if a Fourier transform cannot be planned: never, for its lengths.
pub fn mute_copies(channels: &mut [Vec<f32>], stop: &dyn Fn() -> bool) -> Result<Vec<f64>> {
    let found = (0..channels.len()).map(|copy| cells(channels, copy, stop)).collect::<Result<Vec<_>>>()?;
    let share = |cells: &Vec<bool>| cells.iter().filter(|muted| **muted).count() as f64 / cells.len().max(1) as f64;
    channels.iter_mut().zip(&found).for_each(|(samples, cells)| mute(samples, cells));
    Ok(found.iter().map(share).collect())
}

/// Which cells of channel `copy` are copies of another channel.
fn cells(channels: &[Vec<f32>], copy: usize, stop: &dyn Fn() -> bool) -> Result<Vec<bool>> {
    let own = &channels[copy];
    let mut muted = vec![false; own.len().div_ceil(CELL)];
    // The share of each cell's energy that all sources explain, and the energy.
    let (mut explained, mut energies) = (vec![0.0; muted.len()], vec![0.0; muted.len()]);
    for (at, source) in channels.iter().enumerate().filter(|(at, _)| *at != copy) {
        let heard = listen(own, source, at < copy, stop)?;
        copies(&heard).into_iter().zip(&mut muted).for_each(|(is_copy, muted)| *muted |= is_copy);
        for (cell, heard) in heard.iter().enumerate() {
            energies[cell] = heard.energy;
            explained[cell] += if heard.correlation >= RESEMBLES { heard.correlation.powi(2) } else { 0.0 };
        }
    }
    for (cell, muted) in muted.iter_mut().enumerate() {
        *muted |= energies[cell] > SILENT && explained[cell] >= COPY * COPY;
    }
    mute_islands(&mut muted, &energies);
    Ok(muted)
}

/// What each cell of `own` has of `source`, with all threads of the machine.
fn listen(own: &[f32], source: &[f32], source_first: bool, stop: &dyn Fn() -> bool) -> Result<Vec<Likeness>> {
    let cells = own.len().div_ceil(CELL);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = cells.div_ceil(threads).max(1);
    let stopped = AtomicBool::new(false);
    let some = |cells: Range<usize>| -> Result<Vec<Likeness>> {
        let mut ears = Correlator::new();
        let likeness = |cell: usize| match stopped.load(Ordering::Relaxed) {
            true => Err(Error::Cancelled),
            false => ears.piece(own, source, around(cell, own.len()), source_first),
        };
        cells.map(likeness).collect()
    };
    std::thread::scope(|scope| {
        let starts = (0..cells).step_by(share);
        let threads: Vec<_> = starts.map(|start| scope.spawn(move || some(start..cells.min(start + share)))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            stopped.fetch_or(stop(), Ordering::Relaxed);
            std::thread::sleep(LOOK);
        }
        let mut heard = Vec::with_capacity(cells);
        for thread in threads {
            heard.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(heard)
    })
}

/// Mutes up to [`ISLAND`] cells between muted ones, none of which is louder than the louder neighbour.
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

/// The samples that a cell is judged by.
fn around(cell: usize, length: usize) -> Range<usize> {
    (cell * CELL).saturating_sub(MARGIN)..((cell + 1) * CELL + MARGIN).min(length)
}

/// The cells that are copies, and those beside them that are by their lag and level.
fn copies(heard: &[Likeness]) -> Vec<bool> {
    let mut is_copy: Vec<bool> = heard.iter().map(|heard| heard.energy > SILENT && heard.correlation >= COPY).collect();
    let is_beside = |is_copy: &[bool], cell: usize, beside: usize| {
        is_copy[beside] && heard[cell].correlation >= TRACE && is_alike(&heard[cell], &heard[beside])
    };
    for cell in 1..heard.len() {
        is_copy[cell] |= is_beside(&is_copy, cell, cell - 1);
    }
    for cell in (1..heard.len()).rev() {
        is_copy[cell - 1] |= is_beside(&is_copy, cell - 1, cell);
    }
    is_copy
}

/// Fades the channel out of the cells that are muted.
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
    fn short_gaps_are_muted_unless_somebody_speaks_in_them() {
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
