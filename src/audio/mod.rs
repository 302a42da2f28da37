//! Recordings: any file to 16 kHz mono samples.
//!
//! [`decode`] reads a whole file, [`decode_bytes`] one that lies in memory, [`from_samples`] takes samples that are
//! already decoded, and [`Decoder`] streams. The steps, in order:
//!
//! | file          | step                                                                                       |
//! |---------------|--------------------------------------------------------------------------------------------|
//! | `input.rs`    | path, pipe, standard input or memory -> bytes that can be read again                       |
//! | `recognise.rs`| the first bytes -> what it is: for the built-in reader, for ffmpeg, or no recording        |
//! | `reader.rs`   | which decoder reads it                                                                     |
//! | `ffmpeg.rs`   | what the built-in reader does not know -> blocks                                           |
//! | `open.rs`     | path or bytes -> container reader                                                          |
//! | `tracks.rs`   | the track that is heard, its decoder, the length it states                                 |
//! | `wav.rs`      | WAV as it is found in the wild -> the form symphonia reads                                 |
//! | `mp4/`        | edit lists and times of fragments; the core of HE-AAC                                      |
//! | `mkv.rs`      | compressed packets of Matroska                                                             |
//! | `elementary.rs`, `mpeg.rs` | MP3 and ADTS without a container                                              |
//! | `opus.rs`     | the one codec symphonia lacks                                                              |
//! | `aac/`        | AAC with more than two channels                                                            |
//! | `decoder/`    | packets -> blocks, lost packets, truncation                                                |
//! | `loudness.rs` | floats far outside -1..1 -> scaled                                                       |
//! | `timeline.rs` | gaps, start offsets and edit lists -> time                                                 |
//! | `mix.rs`      | any sample format and channel count -> one channel of finite f32, or each by itself        |
//! | `resample.rs` | any rate -> 16 kHz, exactly `round(n * 16000 / rate)` samples, no delay                     |

mod aac;
mod decoder;
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

pub use mix::{Channel, MAX_CHANNELS};
pub use reader::{Decoder, DecoderKind};
pub use resample::{MAX_RATE, MIN_RATE};

use crate::error::{Error, Result};
use crate::units::{SAMPLE_RATE, Seconds};

/// A decoded recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Audio {
    /// `[n]` f32 at 16 kHz, mono, finite, within -1..1 but for a little clipping; never empty. Recordings far beyond, such
    /// as 16-bit numbers stored as floats, are scaled to that.
    pub samples: Vec<f32>,
    /// With [`Channel::Each`] the channels after the first, which is [`samples`](Self::samples), each as long as that; else none.
    pub others: Vec<Vec<f32>>,
    /// What the recording was before.
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
    /// Which audio track is heard, counted from 1 among the audio tracks of the file. `None` is the track that the file
    /// marks as its default, as ffmpeg chooses it: of several, the one with the most channels, then the first.
    pub track: Option<usize>,
    /// Keep the times of the file: gaps between packets and a start later than that of the video become silence. False
    /// puts the packets one behind another, as ffmpeg does when it writes a WAV file.
    pub sync: bool,
    /// Take what is there of a recording that was cut off, or of which more than a tenth of the packets cannot be
    /// decoded, instead of refusing it.
    pub allow_truncated: bool,
    /// Longer recordings are refused before they take more memory than this length does: a few bytes of a compressed file
    /// can decode to days of silence. 48 hours by default; `None` is no limit.
    pub max_duration: Option<Seconds>,
    /// Who decodes. Unless asked for, no other program is started.
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

/// Decodes a file, or what comes through a named pipe, to 16 kHz mono.
///
/// `watch` is called after every packet, some tens of times per second of audio; it stops the decoding by returning
/// [`ControlFlow::Break`]. It is also called, ten times a second, while a pipe or ffmpeg is waited for.
///
/// # Errors
/// [`Error::Audio`] and [`Error::TooLong`] as for [`Decoder`], [`Error::Cancelled`] if `watch` says so.
pub fn decode(
    path: &Path,
    options: &DecodeOptions,
    mut watch: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Audio> {
    collect(Decoder::open_watched(path, options, &mut watch)?, path, watch)
}

/// Decodes what comes through the standard input, as [`decode`] does a file. It is read to its end, and is empty afterwards.
///
/// # Errors
/// As [`decode`]; [`Error::Audio`] if the standard input is a terminal.
pub fn decode_stdin(options: &DecodeOptions, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    let recording = input::Recording::of_stdin(&mut watch)?;
    collect(Decoder::start(&recording, options, &mut watch)?, &recording.name, watch)
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
    mut watch: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Audio> {
    let recording = input::Recording::of_bytes(bytes, name)?;
    collect(Decoder::start(&recording, options, &mut watch)?, &recording.name, watch)
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
    let mut planes = Vec::new();
    mix::mix_interleaved(samples, channels, channel, &mut planes).map_err(|error| match error {
        mix::MixError::File(reason) => fail(reason),
        mix::MixError::Sample { frame, value } => {
            fail(decoder::sample_reason(frame as f64 / f64::from(rate.max(1)), value))
        }
    })?;
    let mut resampler = resample::Resamplers::new(rate, planes.len()).map_err(fail)?;
    let (frames, mut out) = (mix::samples_of(&planes), Vec::new());
    resampler.push(&planes, 0..frames, &mut out).map_err(fail)?;
    if resampler.finish(&mut out).map_err(fail)? == 0 {
        return Err(fail("there is not a single sample at 16 kHz".into()));
    }
    loudness::tame(&mut out, Path::new("samples"));
    let length = Some(Seconds(frames as f64 / f64::from(rate)));
    let bytes = size_of_val(samples) as u64;
    let source = Source { container: "samples".into(), codec: "pcm_f32".into(), rate, channels, length, bytes };
    Ok(Audio::new(out, source))
}

/// Gathers the blocks of a decoder.
fn collect(mut decoder: Decoder, name: &Path, mut watch: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Audio> {
    let full = |_| Error::audio(name, "the decoded recording does not fit into memory; split it into shorter files");
    let total = decoder.source().length;
    // What a limit leaves out is never held.
    let most = decoder.max_duration().map_or(usize::MAX, |limit| (limit.0 * SAMPLE_RATE as f64) as usize);
    let mut before = Progress { decoded: Seconds(0.0), total };
    let expected = plausible_samples(decoder.source());
    let mut planes: mix::Planes = Vec::new();
    loop {
        let block = match decoder.next_channels() {
            Ok(Some(block)) => block,
            Ok(None) => break,
            // Ctrl-C reaches ffmpeg as well: that it failed is then no news.
            Err(error) => return Err(if watch(before).is_break() { Error::Cancelled } else { error }),
        };
        if planes.is_empty() {
            planes.resize_with(block.len(), Vec::new);
            let expected = (expected / block.len().max(1)).min(most);
            planes.iter_mut().try_for_each(|samples| samples.try_reserve_exact(expected)).map_err(full)?;
        }
        for (samples, block) in planes.iter_mut().zip(block) {
            if samples.capacity() - samples.len() < block.len() {
                // Doubling could take twice what a long recording needs; an eighth at a time copies little more.
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
    loudness::tame(&mut planes, name);
    let seconds = mix::samples_of(&planes) as f64 / SAMPLE_RATE as f64;
    tracing::debug!(
        file = %name.display(), container = source.container, codec = source.codec, rate = source.rate,
        channels = source.channels, seconds, "decoded"
    );
    Ok(Audio::new(planes, source))
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
