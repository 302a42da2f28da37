//! Normalised cross-correlation of two channels: how much of a span of one is a delayed copy of the other.
//!
//! Both signals are pre-emphasised, and the result is the correlation at the best lag. Pre-emphasis removes most of the
//! power of the first formant, which is similar in any two voices. Measured on 28 pairs of LibriSpeech voices, over 168
//! spans of 0.4 s and lags of -20 to 300 ms, a wider range than is searched here:
//!
//! | | median | 10 % are below | 1 % are below |
//! |---|---|---|---|
//! | independent voices | 0.06 | | (1 % are above 0.16) |
//! | a copy 12 dB quieter, noise 50 dB below the source | 1.00 | 1.00 | 0.98 |
//! | a copy 30 dB quieter, same noise | 0.93 | 0.83 | 0.71 |
//! | a copy 12 dB quieter, 0.4 s reverberation as strong as the direct sound | 0.71 | 0.62 | 0.57 |
//! | the same, reverberation 6 dB stronger | 0.47 | 0.39 | 0.30 |

use std::ops::Range;

use realfft::RealFftPlanner;

use crate::error::{Error, Result};
use crate::units::SAMPLE_RATE;

/// Largest delay of a copy behind its source, in samples: 240 ms, an echo of a telephone network. With a span of 0.25 s
/// the Fourier transform then has 8192 samples.
const LATEST: usize = 24 * SAMPLE_RATE / 100;
/// Largest lead of a copy before its source, in samples: 20 ms, since recorders shift channels a little.
const EARLIEST: usize = SAMPLE_RATE / 50;
/// Coefficient `a` of the pre-emphasis filter `y[n] = x[n] - a x[n - 1]`.
const PRE_EMPHASIS: f32 = 0.97;
/// Minimum length of a span, in samples: 0.4 s. Shorter spans are widened, because they correlate by chance.
const SHORTEST: usize = 2 * SAMPLE_RATE / 5;
/// Maximum length that is correlated at once, in samples: 1 s. Longer spans are split into pieces.
const PIECE: usize = SAMPLE_RATE;
/// Levels count as equal up to this ratio of energies: 1 dB.
const EQUAL_LEVEL: f64 = 1.259;
/// Lags up to this many samples count as zero: 2 ms.
const ZERO_LAG: isize = SAMPLE_RATE as isize / 500;

/// How well a span of one channel (the copy) matches another channel (the source) at the best lag.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CrossCorrelation {
    /// Normalised cross-correlation in `[0, 1]`; 0 if level and lag rule out that the other channel is the source.
    pub correlation: f64,
    /// Delay of the copy behind the source, in samples.
    pub lag: isize,
    /// Mean energy per sample of the pre-emphasised span.
    pub energy: f64,
    /// Mean energy per sample of the pre-emphasised source, in the span shifted by the lag.
    pub source_energy: f64,
}

/// Correlates spans of channels, and caches the plans of the Fourier transforms.
pub(super) struct Correlator {
    planner: RealFftPlanner<f32>,
}

impl Correlator {
    pub fn new() -> Self {
        Correlator { planner: RealFftPlanner::new() }
    }

    /// How well `span` of `copy` matches `source`, as the energy-weighted mean over pieces of at most one second.
    /// `span` is in samples of the recording. `source_first` is whether the source is the channel with the lower
    /// number: that channel is the source if both are equally loud and the lag is zero.
    ///
    /// # Errors
    /// [`Error::Config`] if a Fourier transform cannot be planned: never, for its lengths.
    pub fn correlation(
        &mut self,
        copy: &[f32],
        source: &[f32],
        span: Range<usize>,
        source_first: bool,
    ) -> Result<CrossCorrelation> {
        let span = widened(span, copy.len());
        let pieces = span.len().div_ceil(PIECE).max(1);
        let length = span.len().div_ceil(pieces).max(1);
        let (mut sum, mut best) = (CrossCorrelation::default(), 0.0);
        for start in span.clone().step_by(length) {
            let piece = start..span.end.min(start + length);
            let samples = piece.len() as f64;
            let found = self.piece(copy, source, piece, source_first)?;
            let energy = found.energy * samples;
            if found.correlation * energy >= best {
                (best, sum.lag) = (found.correlation * energy, found.lag);
            }
            sum.correlation += found.correlation * energy;
            sum.energy += energy;
            sum.source_energy += found.source_energy * samples;
        }
        if sum.energy > 0.0 {
            sum.correlation /= sum.energy;
        }
        let samples = span.len().max(1) as f64;
        Ok(CrossCorrelation { energy: sum.energy / samples, source_energy: sum.source_energy / samples, ..sum })
    }

    /// How well `span` of `copy` matches `source`, without widening or splitting the span.
    ///
    /// # Errors
    /// As [`correlation`](Self::correlation).
    pub fn piece(
        &mut self,
        copy: &[f32],
        source: &[f32],
        span: Range<usize>,
        source_first: bool,
    ) -> Result<CrossCorrelation> {
        let own = emphasised(copy, span.start as isize, span.len());
        let energy = own.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
        let from = span.start as isize - LATEST as isize;
        let other = emphasised(source, from, span.len() + LATEST + EARLIEST);
        let powers = powers(&other, own.len());
        let samples = own.len().max(1) as f64;
        let loudest = powers.iter().copied().fold(0.0, f64::max);
        if energy == 0.0 || energy > EQUAL_LEVEL * loudest {
            // No lag makes the other channel the source.
            return Ok(CrossCorrelation {
                energy: energy / samples,
                source_energy: loudest / samples,
                ..CrossCorrelation::default()
            });
        }
        let cross_correlation = self.cross_correlation(&other, &own)?;
        let (mut best, mut at) = (0.0, LATEST);
        for (shift, (product, power)) in cross_correlation.iter().zip(&powers).enumerate() {
            let norm = (power * energy).sqrt();
            let correlation = if norm > f64::MIN_POSITIVE { f64::from(*product).abs() / norm } else { 0.0 };
            if correlation > best {
                (best, at) = (correlation, shift);
            }
        }
        let power = powers.get(at).copied().unwrap_or_default();
        let lag = LATEST as isize - at as isize;
        let is_source = match () {
            () if power > EQUAL_LEVEL * energy => true,
            () if energy > EQUAL_LEVEL * power => false,
            () if lag.abs() > ZERO_LAG => lag > 0,
            () => source_first,
        };
        let correlation = if is_source { best.min(1.0) } else { 0.0 };
        Ok(CrossCorrelation { correlation, lag, energy: energy / samples, source_energy: power / samples })
    }

    /// Cross-correlation by FFT: the sum of `long[shift + i] * short[i]` over `i`, for every shift at which `short`
    /// lies within `long`.
    fn cross_correlation(&mut self, long: &[f32], short: &[f32]) -> Result<Vec<f32>> {
        let size = long.len().next_power_of_two();
        let (forward, inverse) = (self.planner.plan_fft_forward(size), self.planner.plan_fft_inverse(size));
        let transform = |samples: &[f32]| {
            let mut input = samples.to_vec();
            input.resize(size, 0.0);
            let mut out = forward.make_output_vec();
            forward.process(&mut input, &mut out).map(|()| out)
        };
        let refuse = |reason: realfft::FftError| Error::config("channel_speakers", "given", reason.to_string());
        let (mut a, b) = (transform(long).map_err(refuse)?, transform(short).map_err(refuse)?);
        a.iter_mut().zip(&b).for_each(|(a, b)| *a *= b.conj());
        let mut out = inverse.make_output_vec();
        // The inverse transform requires that these bins are real; rounding leaves a small imaginary part.
        a[0].im = 0.0;
        a[size / 2].im = 0.0;
        inverse.process(&mut a, &mut out).map_err(refuse)?;
        out.truncate(long.len() - short.len() + 1);
        out.iter_mut().for_each(|x| *x /= size as f32);
        Ok(out)
    }
}

/// The energy of every run of `count` consecutive samples.
fn powers(samples: &[f32], count: usize) -> Vec<f64> {
    let square = |at: usize| f64::from(samples[at]).powi(2);
    let mut power: f64 = (0..count).map(square).sum();
    let mut powers = vec![power.max(0.0)];
    for at in count..samples.len() {
        power += square(at) - square(at - count);
        powers.push(power.max(0.0));
    }
    powers
}

/// The span, widened around its middle to at least [`SHORTEST`], and clipped to a recording of `length` samples.
fn widened(span: Range<usize>, length: usize) -> Range<usize> {
    let (start, end) = (span.start.min(length), span.end.clamp(span.start, length.max(span.start)).min(length));
    let missing = SHORTEST.saturating_sub(end.saturating_sub(start));
    let start = start.saturating_sub(missing / 2);
    let end = (end + missing - missing / 2).min(length);
    start.min(end)..end
}

/// `count` pre-emphasised samples from `start` on, zero-padded beyond both ends of the recording.
fn emphasised(samples: &[f32], start: isize, count: usize) -> Vec<f32> {
    let at = |index: isize| usize::try_from(index).ok().and_then(|index| samples.get(index)).copied().unwrap_or(0.0);
    (start..start + count as isize).map(|index| at(index) - PRE_EMPHASIS * at(index - 1)).collect()
}
