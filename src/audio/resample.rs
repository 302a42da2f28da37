//! Streaming resampler from any sample rate to 16 kHz: `n` input samples give exactly `round(n * 16000 / rate)` output
//! samples, without delay.

use std::ops::Range;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::mix::Planes;
use crate::units::SAMPLE_RATE;

/// Lowest input rate accepted, in Hz.
pub const MIN_RATE: u32 = 1_000;
/// Highest input rate accepted, in Hz: twice the highest rate of audio converters.
pub const MAX_RATE: u32 = 768_000;

/// Length of the anti-aliasing filter, in samples of the lower of the two rates. With 1024 the pass band ends at 98.7 %
/// of the lower rate's Nyquist frequency (7.89 kHz at 16 kHz), and the filter rings for less than 64 ms, inaudibly.
const FILTER_LEN: usize = 1024;

/// A stream resampler for one channel.
///
/// Input at 16 kHz is returned unchanged, bit for bit. Other rates use rubato's FFT resampler (a Blackman-Harris²
/// windowed sinc applied in the frequency domain); its delay is removed.
pub(super) struct Resampler {
    /// `None` at 16 kHz.
    fft: Option<FftStage>,
    /// Input rate in Hz.
    rate: u32,
    /// Number of input samples so far, at the input rate.
    taken: u64,
    /// Number of output samples so far, at 16 kHz.
    given: u64,
}

/// One resampler per channel; all channels get the same number of samples.
pub(super) struct Resamplers(Vec<Resampler>);

impl Resamplers {
    /// Resamplers from `rate` Hz for `channels` channels. Errors as [`Resampler::new`].
    pub(super) fn new(rate: u32, channels: usize) -> Result<Self, String> {
        (0..channels.max(1)).map(|_| Resampler::new(rate)).collect::<Result<_, _>>().map(Resamplers)
    }

    /// Input rate in Hz.
    pub(super) fn rate(&self) -> u32 {
        self.0[0].rate()
    }

    /// Number of channels.
    pub(super) fn channels(&self) -> usize {
        self.0.len()
    }

    /// Resamples `range` of each channel and appends the available output to the channels of `out`.
    pub(super) fn push(&mut self, planes: &Planes, range: Range<usize>, out: &mut Planes) -> Result<(), String> {
        out.resize_with(self.0.len(), Vec::new);
        let mut channels = self.0.iter_mut().zip(planes).zip(out);
        channels.try_for_each(|((resampler, plane), out)| resampler.push(&plane[range.clone()], out))
    }

    /// Flushes all channels to `out`; returns the total number of output samples per channel, see
    /// [`Resampler::finish`].
    pub(super) fn finish(self, out: &mut Planes) -> Result<u64, String> {
        out.resize_with(self.0.len(), Vec::new);
        let mut total = 0;
        for (resampler, out) in self.0.into_iter().zip(out) {
            total = resampler.finish(out)?;
        }
        Ok(total)
    }
}

struct FftStage {
    fft: Fft<f32>,
    /// Input samples of an incomplete block.
    pending: Vec<f32>,
    /// Output buffer for one block.
    block: Vec<f32>,
    /// Output samples that are still to be dropped to remove the filter's delay.
    delay: usize,
}

impl Resampler {
    /// A resampler from `rate` Hz. The error is a reason without the file's name, which the caller adds.
    pub(super) fn new(rate: u32) -> Result<Self, String> {
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return Err(format!(
                "its header says {rate} samples per second, which cannot be speech; {MIN_RATE} to {MAX_RATE} Hz are \
                 accepted. The header is probably damaged: write the file anew with the true rate"
            ));
        }
        let fft = if rate as usize == SAMPLE_RATE { None } else { Some(FftStage::new(rate)?) };
        Ok(Resampler { fft, rate, taken: 0, given: 0 })
    }

    /// Input rate in Hz.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Resamples `samples` and appends the available output to `out`.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> Result<(), String> {
        self.taken += samples.len() as u64;
        let before = out.len();
        match &mut self.fft {
            None => out.extend_from_slice(samples),
            Some(stage) => stage.push(samples, out)?,
        }
        self.given += (out.len() - before) as u64;
        Ok(())
    }

    /// Flushes the resampler to `out`. Returns the total number of output samples, which is exactly
    /// `round(taken * 16000 / rate)`.
    pub(super) fn finish(mut self, out: &mut Vec<f32>) -> Result<u64, String> {
        let rate = u64::from(self.rate);
        let total = (self.taken * SAMPLE_RATE as u64 + rate / 2) / rate;
        let Some(stage) = &mut self.fft else { return Ok(total) };
        while self.given < total {
            let before = out.len();
            stage.flush_block(out)?;
            self.given += (out.len() - before) as u64;
        }
        out.truncate(out.len() - (self.given - total) as usize);
        Ok(total)
    }
}

impl FftStage {
    fn new(rate: u32) -> Result<Self, String> {
        let (rate_in, rate_out) = (rate as usize, SAMPLE_RATE);
        let common = gcd(rate_in, rate_out);
        let (unit_in, unit_out) = (rate_in / common, rate_out / common);
        // Even, so that the filter's delay, half a block, is an integer number of samples at both rates.
        let units = FILTER_LEN.div_ceil(unit_in.min(unit_out)).next_multiple_of(2);
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(rate_in, rate_out, units * unit_in, 1, 1, window, FixedSync::Both)
            .map_err(|error| format!("no resampler from {rate} Hz: {error}"))?;
        let block = vec![0.0; fft.output_frames_max()];
        let delay = fft.output_delay();
        Ok(FftStage { pending: Vec::with_capacity(fft.input_frames_max()), block, delay, fft })
    }

    fn push(&mut self, mut samples: &[f32], out: &mut Vec<f32>) -> Result<(), String> {
        let block = self.fft.input_frames_next();
        while self.pending.len() + samples.len() >= block {
            let (head, tail) = samples.split_at(block - self.pending.len());
            self.pending.extend_from_slice(head);
            samples = tail;
            self.run_block(out)?;
        }
        self.pending.extend_from_slice(samples);
        Ok(())
    }

    /// Pads the pending block with zeros and resamples it.
    fn flush_block(&mut self, out: &mut Vec<f32>) -> Result<(), String> {
        self.pending.resize(self.fft.input_frames_next(), 0.0);
        self.run_block(out)
    }

    fn run_block(&mut self, out: &mut Vec<f32>) -> Result<(), String> {
        let frames = self.block.len();
        let input = SequentialSlice::new(&self.pending[..], 1, self.pending.len()).map_err(|e| e.to_string())?;
        let mut output = SequentialSlice::new_mut(&mut self.block[..], 1, frames).map_err(|e| e.to_string())?;
        let (_, written) =
            self.fft.process_into_buffer(&input, &mut output, None).map_err(|e| format!("resampling: {e}"))?;
        self.pending.clear();
        let skip = self.delay.min(written);
        self.delay -= skip;
        out.extend_from_slice(&self.block[skip..written]);
        Ok(())
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
