//! Recordings: any file to 16 kHz mono samples.
//!
//! [`decode`] reads a whole file, [`decode_bytes`] one that lies in memory, [`from_samples`] takes samples that are
//! already decoded, and [`Decoder`] streams. The steps, in order:
//!
//! | file          | step                                                                                       |
//! |---------------|--------------------------------------------------------------------------------------------|
//! | `open.rs`     | path or bytes -> container reader, first audio track with a decoder, the length it states  |
//! | `wav.rs`      | WAV as it is found in the wild -> the form symphonia reads                                  |
//! | `mp4.rs`      | where an MP4 track begins to be heard; the core of HE-AAC                                  |
//! | `opus.rs`     | the one codec symphonia lacks                                                              |
//! | `decoder.rs`  | packets -> blocks, lost packets, truncation                                                |
//! | `mix.rs`      | any sample format and channel count -> one channel of finite f32                           |
//! | `resample.rs` | any rate -> 16 kHz, exactly `round(n * 16000 / rate)` samples, no delay                     |

mod decoder;
mod mix;
mod mp4;
mod names;
mod open;
mod opus;
mod resample;
mod wav;

use std::ops::ControlFlow;
use std::path::Path;

pub use decoder::Decoder;
pub use mix::{Channel, MAX_CHANNELS};
pub use resample::{MAX_RATE, MIN_RATE};

use crate::error::{Error, Result};
use crate::units::{SAMPLE_RATE, Seconds};

/// A decoded recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// `[n]` f32 at 16 kHz, mono, finite, usually within -1..1; never empty.
    pub samples: Vec<f32>,
    /// What the recording was before.
    pub source: Source,
}

impl Audio {
    /// Length, in seconds.
    pub fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }
}

/// Facts about a recording, for the log and for verbose output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Short name of the container, such as `wave` or `isomp4`; `samples` for [`from_samples`].
    pub container: String,
    /// Short name of the codec, such as `pcm_s16le` or `opus`.
    pub codec: String,
    /// Samples per second of the recording, in Hz.
    pub rate: u32,
    /// Channels of the recording, before mixing.
    pub channels: usize,
    /// Length as far as the container tells, in seconds. Not always right: [`Audio::duration`] is.
    pub length: Option<Seconds>,
    /// Size of the file, in bytes.
    pub bytes: u64,
}

/// How to read a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeOptions {
    /// Which channel is heard.
    pub channel: Channel,
    /// Take what is there of a recording that was cut off, instead of refusing it.
    pub allow_truncated: bool,
    /// Longer recordings are refused before they take more memory than this length does: a few bytes of a compressed file
    /// can decode to days of silence. 48 hours by default; `None` is no limit.
    pub max_duration: Option<Seconds>,
}

impl DecodeOptions {
    /// The default of [`max_duration`](Self::max_duration).
    pub const MAX_DURATION: Seconds = Seconds(48.0 * 3600.0);
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions { channel: Channel::Mix, allow_truncated: false, max_duration: Some(Self::MAX_DURATION) }
    }
}

/// How far decoding has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Seconds decoded.
    pub decoded: Seconds,
    /// Seconds in all, where the container tells.
    pub total: Option<Seconds>,
}

/// A progress callback that does nothing and never cancels.
pub fn unwatched(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Decodes a file to 16 kHz mono.
///
/// `watch` is called after every packet, some tens of times per second of audio; it stops the decoding by returning
/// [`ControlFlow::Break`].
///
/// # Errors
/// [`Error::Audio`] and [`Error::TooLong`] as for [`Decoder`], [`Error::Cancelled`] if `watch` says so.
pub fn decode(path: &Path, options: &DecodeOptions, watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    collect(Decoder::open(path, options)?, path, watch)
}

/// Decodes a recording that lies in memory, as [`decode`] does a file. `name` stands for it in errors; an extension,
/// if it has one, is a hint at the format.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(
    bytes: &[u8],
    name: &str,
    options: &DecodeOptions,
    watch: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Audio> {
    collect(Decoder::from_bytes(bytes, name, options)?, Path::new(name), watch)
}

/// Takes samples that are decoded already: `[frames, channels]` interleaved f32 in -1..1 at `rate` Hz.
///
/// # Errors
/// [`Error::Audio`] if there are none, if one is not finite, if their number is no multiple of `channels`, or if the
/// rate or the number of channels is out of range.
pub fn from_samples(samples: &[f32], channels: usize, rate: u32, channel: Channel) -> Result<Audio> {
    let fail = |reason: String| Error::audio("samples", reason);
    if channels > 0 && !samples.len().is_multiple_of(channels) {
        return Err(fail(format!("{} samples do not make whole frames of {channels} channels", samples.len())));
    }
    let mut mono = Vec::new();
    mix::mix_interleaved(samples, channels, channel, &mut mono).map_err(|error| match error {
        mix::MixError::File(reason) => fail(reason),
        mix::MixError::Sample { frame, value } => {
            fail(decoder::sample_reason(frame as f64 / f64::from(rate.max(1)), value))
        }
    })?;
    let mut resampler = resample::Resampler::new(rate).map_err(fail)?;
    let mut out = Vec::with_capacity(mono.len() * SAMPLE_RATE / rate as usize + 1);
    resampler.push(&mono, &mut out).map_err(fail)?;
    if resampler.finish(&mut out).map_err(fail)? == 0 {
        return Err(fail("there is not a single sample at 16 kHz".into()));
    }
    let length = Some(Seconds(mono.len() as f64 / f64::from(rate)));
    let bytes = size_of_val(samples) as u64;
    let source = Source { container: "samples".into(), codec: "pcm_f32".into(), rate, channels, length, bytes };
    Ok(Audio { samples: out, source })
}

/// Gathers the blocks of a decoder.
fn collect(mut decoder: Decoder, name: &Path, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    let full = |_| Error::audio(name, "the decoded recording does not fit into memory; split it into shorter files");
    let total = decoder.source().length;
    // What a limit leaves out is never held.
    let most = decoder.max_duration().map_or(usize::MAX, |limit| (limit.0 * SAMPLE_RATE as f64) as usize);
    let mut samples: Vec<f32> = Vec::new();
    samples.try_reserve_exact(plausible_samples(decoder.source()).min(most)).map_err(full)?;
    while let Some(block) = decoder.next_block()? {
        if samples.capacity() - samples.len() < block.len() {
            // Doubling could take twice what a long recording needs; an eighth at a time copies little more.
            let more = (samples.len() / 8).min(most.saturating_sub(samples.len()));
            samples.try_reserve_exact(block.len().max(more)).map_err(full)?;
        }
        samples.extend_from_slice(block);
        if watch(Progress { decoded: decoder.decoded(), total }).is_break() {
            return Err(Error::Cancelled);
        }
    }
    let source = decoder.source().clone();
    let seconds = samples.len() as f64 / SAMPLE_RATE as f64;
    tracing::debug!(
        file = %name.display(), container = source.container, codec = source.codec, rate = source.rate,
        channels = source.channels, seconds, "decoded"
    );
    Ok(Audio { samples, source })
}

/// The length the container states, in samples at 16 kHz and a little more, but no more than a file of that size can
/// plausibly hold: a header can claim anything.
fn plausible_samples(source: &Source) -> usize {
    /// 16 kHz samples per byte at 3 kbit/s, half of what the leanest speech codecs use. Silence can be leaner: then
    /// the vector grows.
    const PER_BYTE: u64 = 16_000 * 8 / 3_000;
    /// An eighth of a second for encoders that pad.
    const SPARE: u64 = 2_000;
    let stated = source.length.map_or(0.0, |length| length.0.max(0.0) * SAMPLE_RATE as f64) as u64;
    stated.min(source.bytes.saturating_mul(PER_BYTE)).saturating_add(SPARE) as usize
}
