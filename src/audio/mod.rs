//! Audio decoding: files of any supported format to 16 kHz mono samples.
//!
//! [`decode`] reads a whole file, [`decode_bytes`] a file in memory, [`from_samples`] takes decoded samples of another
//! rate or channel count, and [`Decoder`] is the streaming interface. The steps, in order:
//!
//! | file           | step                                                                                         |
//! |----------------|----------------------------------------------------------------------------------------------|
//! | `input.rs`     | path, pipe, standard input or memory -> seekable source                                      |
//! | `recognise.rs` | file type by magic numbers: for the built-in reader, for ffmpeg, or not a recording          |
//! | `reader.rs`    | selects the decoder: built-in or ffmpeg                                                      |
//! | `ffmpeg.rs`    | decodes with the ffmpeg program what the built-in reader does not support                    |
//! | `open.rs`      | opens the container with symphonia                                                           |
//! | `tracks.rs`    | selects the audio track and creates its decoder                                              |
//! | `wav.rs`       | repairs headers of WAV files that symphonia rejects                                          |
//! | `mp4/`         | MP4 edit lists and fragments; the AAC-LC core of HE-AAC                                      |
//! | `mkv.rs`       | compressed packets in Matroska                                                               |
//! | `elementary.rs`, `mpeg.rs` | MP3 and ADTS streams without a container                                         |
//! | `opus.rs`      | Opus decoder, which symphonia lacks                                                          |
//! | `aac/`         | AAC with more than two channels                                                              |
//! | `decoder/`     | packets -> blocks; counts lost packets, detects truncation                                   |
//! | `loudness.rs`  | scales or clips samples far outside -1..1                                                    |
//! | `timeline.rs`  | applies gaps, start offsets and edit lists                                                   |
//! | `mix.rs`       | any sample format and channel count -> finite f32, mixed to one channel or separate channels |
//! | `resample.rs`  | any rate -> 16 kHz, exactly `round(n * 16000 / rate)` samples, without delay                 |

mod aac;
mod container;
mod decoder;
mod decoder_kind;
mod elementary;
mod ffmpeg;
mod input;
mod loudness;
mod mix;
mod mkv;
mod mp4;
mod mpeg;
mod names;
mod open;
mod opus;
mod reader;
mod recognise;
mod resample;
mod timeline;
mod tracks;
mod wav;

use std::ops::ControlFlow;
use std::path::Path;

pub use decoder_kind::DecoderKind;
pub use mix::{Channel, MAX_CHANNELS};
pub use reader::Decoder;
pub use resample::{MAX_RATE, MIN_RATE};

use crate::error::{Error, Result};
use crate::units::{SAMPLE_RATE, Seconds};

/// A decoded recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// `[n]` f32 at 16 kHz, mono, finite, within -1..1 except for slight overshoot; never empty. Recordings far outside
    /// that range, such as 16-bit integers stored as floats, are scaled to it.
    pub samples: Vec<f32>,
    /// With [`Channel::Each`]: the channels after the first, each as long as [`samples`](Self::samples); else empty.
    pub others: Vec<Vec<f32>>,
    /// Properties of the recording before decoding.
    pub source: Source,
}

impl Audio {
    fn new(mut planes: mix::Planes, source: Source) -> Self {
        let others = planes.split_off(planes.len().min(1));
        Audio { samples: planes.pop().unwrap_or_default(), others, source }
    }

    /// Length, in seconds.
    pub fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }
}

/// Properties of a recording's file, for the log and for verbose output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Short name of the container, such as `wave` or `isomp4`; `samples` for [`from_samples`].
    pub container: String,
    /// Short name of the codec, such as `pcm_s16le` or `opus`.
    pub codec: String,
    /// Sample rate of the recording, in Hz.
    pub rate: u32,
    /// Channels of the recording, before mixing.
    pub channels: usize,
    /// Length that the container states, in seconds. May be wrong; [`Audio::duration`] is exact.
    pub length: Option<Seconds>,
    /// Size of the file, in bytes.
    pub bytes: u64,
}

/// Options of audio decoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeOptions {
    /// The channel to decode.
    pub channel: Channel,
    /// The audio track to decode, counted from 1 among the audio tracks of the file. `None`: the track that the file
    /// marks as default; of several, the one with the most channels, then the first (as ffmpeg).
    pub track: Option<usize>,
    /// Whether to keep the file's time stamps: gaps between packets, and a start later than that of the video, become
    /// silence. `false` concatenates the packets, as ffmpeg does when it writes a WAV file.
    pub sync: bool,
    /// Whether to accept a recording that is cut off, or of which more than a tenth of the packets cannot be decoded,
    /// instead of returning an error.
    pub allow_truncated: bool,
    /// Limit on the length of a recording. Longer ones are rejected before they need more memory than this length does:
    /// a few bytes of a compressed file can decode to days of silence. Default: 48 hours; `None`: no limit.
    pub max_duration: Option<Seconds>,
    /// The built-in reader or ffmpeg. By default no other program is started.
    pub decoder: DecoderKind,
}

impl DecodeOptions {
    /// The default of [`max_duration`](Self::max_duration).
    pub const MAX_DURATION: Seconds = Seconds(48.0 * 3600.0);
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            channel: Channel::Mix,
            track: None,
            sync: true,
            allow_truncated: false,
            max_duration: Some(Self::MAX_DURATION),
            decoder: DecoderKind::Builtin,
        }
    }
}

/// Progress of decoding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Seconds decoded.
    pub decoded: Seconds,
    /// Length in seconds, if the container states one.
    pub total: Option<Seconds>,
}

/// A progress callback that does nothing and never cancels.
pub fn ignore_progress(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Decodes a file or a named pipe to 16 kHz mono.
///
/// `watch` is called after every packet (tens of times per second of audio), and ten times a second while waiting for a
/// pipe or for ffmpeg. It cancels by returning [`ControlFlow::Break`].
///
/// # Errors
/// [`Error::Audio`] and [`Error::TooLong`] as for [`Decoder`]; [`Error::Cancelled`] if `watch` cancels.
pub fn decode(
    path: &Path,
    options: &DecodeOptions,
    mut watch: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Audio> {
    collect(Decoder::open_watched(path, options, &mut watch)?, path, watch)
}

/// Decodes an audio file on the standard input, which is read to its end; otherwise like [`decode`].
///
/// # Errors
/// As [`decode`]; [`Error::Audio`] if the standard input is a terminal.
pub fn decode_stdin(options: &DecodeOptions, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    let recording = input::Recording::of_stdin(&mut watch)?;
    collect(Decoder::start(&recording, options, &mut watch)?, &recording.name, watch)
}

/// Decodes an audio file in memory; otherwise like [`decode`]. `name` is used in errors; its extension, if any, is a
/// hint at the format.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(
    bytes: &[u8],
    name: &str,
    options: &DecodeOptions,
    mut watch: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Audio> {
    let recording = input::Recording::of_bytes(bytes, name)?;
    collect(Decoder::start(&recording, options, &mut watch)?, &recording.name, watch)
}

/// Mixes and resamples decoded samples: `[frames, channels]` interleaved f32 in -1..1 at `rate` Hz.
///
/// # Errors
/// [`Error::Audio`] if there are none, if one is not finite, if their number is no multiple of `channels`, or if the
/// rate or the number of channels is out of range.
pub fn from_samples(samples: &[f32], channels: usize, rate: u32, channel: Channel) -> Result<Audio> {
    let fail = |reason: String| Error::audio("samples", reason);
    if channels > 0 && !samples.len().is_multiple_of(channels) {
        return Err(fail(format!("{} samples do not make whole frames of {channels} channels", samples.len())));
    }
    let mut planes = Vec::new();
    let mut energy = mix::MixEnergy::default();
    mix::mix_interleaved(samples, channels, channel, &mut planes, &mut energy).map_err(|error| match error {
        mix::MixError::File(reason) => fail(reason),
        mix::MixError::Sample { frame, value } => {
            fail(decoder::sample_reason(frame as f64 / f64::from(rate.max(1)), value))
        }
    })?;
    let mut resampler = resample::Resamplers::new(rate, planes.len()).map_err(fail)?;
    let (frames, mut out) = (mix::plane_len(&planes), Vec::new());
    resampler.push(&planes, 0..frames, &mut out).map_err(fail)?;
    if resampler.finish(&mut out).map_err(fail)? == 0 {
        return Err(fail("there is not a single sample at 16 kHz".into()));
    }
    loudness::limit_peak(&mut out, Path::new("samples"));
    energy.warn_if_cancelled(Path::new("samples"));
    let length = Some(Seconds(frames as f64 / f64::from(rate)));
    let bytes = size_of_val(samples) as u64;
    let source = Source { container: "samples".into(), codec: "pcm_f32".into(), rate, channels, length, bytes };
    Ok(Audio::new(out, source))
}

/// Decodes a whole recording: concatenates the blocks of `decoder`.
fn collect(mut decoder: Decoder, name: &Path, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    let full = |_| Error::audio(name, "the decoded recording does not fit into memory; split it into shorter files");
    let total = decoder.source().length;
    // Never reserve more memory than the duration limit allows.
    let most = decoder.max_duration().map_or(usize::MAX, |limit| (limit.0 * SAMPLE_RATE as f64) as usize);
    let mut before = Progress { decoded: Seconds(0.0), total };
    let expected = plausible_samples(decoder.source());
    let mut planes: mix::Planes = Vec::new();
    loop {
        let block = match decoder.next_channels() {
            Ok(Some(block)) => block,
            Ok(None) => break,
            // Ctrl-C also stops ffmpeg; report the cancellation, not ffmpeg's failure.
            Err(error) => return Err(if watch(before).is_break() { Error::Cancelled } else { error }),
        };
        if planes.is_empty() {
            planes.resize_with(block.len(), Vec::new);
            let expected = (expected / block.len().max(1)).min(most);
            planes.iter_mut().try_for_each(|samples| samples.try_reserve_exact(expected)).map_err(full)?;
        }
        for (samples, block) in planes.iter_mut().zip(block) {
            if samples.capacity() - samples.len() < block.len() {
                // Grow by an eighth: doubling could take twice the memory that a long recording needs.
                let more = (samples.len() / 8).min(most.saturating_sub(samples.len()));
                samples.try_reserve_exact(block.len().max(more)).map_err(full)?;
            }
            samples.extend_from_slice(block);
        }
        before = Progress { decoded: decoder.decoded(), total };
        if watch(before).is_break() {
            return Err(Error::Cancelled);
        }
    }
    let source = decoder.source().clone();
    loudness::limit_peak(&mut planes, name);
    let seconds = mix::plane_len(&planes) as f64 / SAMPLE_RATE as f64;
    tracing::debug!(
        file = %name.display(), container = source.container, codec = source.codec, rate = source.rate,
        channels = source.channels, seconds, "decoded"
    );
    Ok(Audio::new(planes, source))
}

/// Number of 16 kHz samples to reserve memory for: the length that the container states, plus a margin. Limited by the
/// file's size, because a damaged or malicious header can state any length.
fn plausible_samples(source: &Source) -> usize {
    /// 16 kHz samples per byte at 3 kbit/s, half of the lowest bit rate of speech codecs. If compressed silence needs
    /// less, the vector grows.
    const PER_BYTE: u64 = 16_000 * 8 / 3_000;
    /// An eighth of a second, for encoder padding.
    const SPARE: u64 = 2_000;
    let stated = source.length.map_or(0.0, |length| length.0.max(0.0) * SAMPLE_RATE as f64) as u64;
    stated.min(source.bytes.saturating_mul(PER_BYTE)).saturating_add(SPARE) as usize
}
