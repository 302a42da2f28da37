//! The stream: packets in, blocks of 16 kHz mono out.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::FormatReader;
use symphonia::core::packet::Packet;

use super::mix::{self, MixError, Mixer};
use super::open::{self, Facts, Length, Opened, Playing};
use super::resample::Resampler;
use super::{DecodeOptions, Source};
use crate::error::{Error, Result};
use crate::guard::guard;
use crate::units::Seconds;

/// A lost packet is replaced by silence of its length, but of no more than this: its length is not to be trusted.
const MAX_LOST_SECONDS: f64 = 1.0;

/// A recording of which the sample rate changes more often than this is damaged. Each change costs a resampler.
const MAX_RATE_CHANGES: usize = 16;

/// Reads a recording block by block, without ever holding more than a packet of it.
///
/// ```no_run
/// # use diarist::audio::{DecodeOptions, Decoder};
/// let mut decoder = Decoder::open("talk.mp3".as_ref(), &DecodeOptions::default())?;
/// while let Some(block) = decoder.next_block()? {
///     println!("{} samples at 16 kHz", block.len());
/// }
/// # Ok::<(), diarist::Error>(())
/// ```
pub struct Decoder<'a> {
    name: PathBuf,
    options: DecodeOptions,
    format: Box<dyn FormatReader + 'a>,
    playing: Playing,
    source: Source,
    mixer: Mixer,
    /// `None` before the first block and after the end.
    resampler: Option<Resampler>,
    /// What is handed out next, at 16 kHz.
    block: Vec<f32>,
    /// Whether `block` was decoded while opening and has not been handed out yet.
    primed: bool,
    ended: bool,
    /// Seconds decoded, by the recording's own clock.
    seconds: f64,
    /// Samples at 16 kHz from the resamplers that have finished.
    heard: u64,
    rate_changes: usize,
    packets: u64,
    lost: u64,
    /// Why the last packet was lost, or why reading stopped before the end.
    fault: Option<String>,
    /// Whether reading stopped because of `fault`.
    broken_off: bool,
}

impl<'a> Decoder<'a> {
    /// Opens a file and decodes as much as is needed to know its rate and channels.
    ///
    /// # Errors
    /// [`Error::Audio`] if it is no regular file, cannot be read, is in no known format, has no audio track that can
    /// be decoded, or holds no audio; [`Error::TooLong`] if it says that it is longer than it may be.
    pub fn open(path: &Path, options: &DecodeOptions) -> Result<Decoder<'static>> {
        Decoder::start(open::open_file(path)?, path, options)
    }

    /// The same for a recording in memory. `name` stands for it in errors; an extension, if it has one, is a hint.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn from_bytes(bytes: &'a [u8], name: &str, options: &DecodeOptions) -> Result<Self> {
        let name = if name.is_empty() { Path::new("recording") } else { Path::new(name) };
        Decoder::start(open::open_bytes(bytes, name)?, name, options)
    }

    fn start(opened: Opened<'a>, name: &Path, options: &DecodeOptions) -> Result<Self> {
        let Opened { format, playing, bytes } = opened;
        let source = Source {
            container: format.format_info().short_name.into(),
            codec: playing.decoder.codec_info().short_name.into(),
            rate: playing.params.sample_rate.unwrap_or(0),
            channels: playing.params.channels.as_ref().map_or(0, |channels| channels.count()),
            length: playing.length.seconds().map(Seconds),
            bytes,
        };
        let mut decoder = Decoder {
            name: name.into(),
            options: *options,
            format,
            playing,
            source,
            mixer: Mixer::new(options.channel),
            resampler: None,
            block: Vec::new(),
            primed: true,
            ended: false,
            seconds: 0.0,
            heard: 0,
            rate_changes: 0,
            packets: 0,
            lost: 0,
            fault: None,
            broken_off: false,
        };
        if decoder.source.channels > 0 {
            mix::check_channels(decoder.source.channels, options.channel).map_err(|reason| decoder.error(reason))?;
        }
        decoder.check_length()?;
        while decoder.block.is_empty() && !decoder.ended {
            decoder.step()?;
        }
        Ok(decoder)
    }

    /// What the recording is. The rate and channels are those of the audio, not of a header that may be wrong.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The longest that the recording may be.
    pub(super) fn max_duration(&self) -> Option<Seconds> {
        self.options.max_duration
    }

    /// How much has been decoded, by the recording's own clock.
    pub fn decoded(&self) -> Seconds {
        Seconds(self.seconds)
    }

    /// The next samples: `[n]` f32 at 16 kHz, mono, finite, usually within -1..1. A block may be empty, when a packet
    /// of another track was passed over or the resampler still waits for more: it is a chance to stop. `None` is the
    /// end.
    ///
    /// # Errors
    /// [`Error::Audio`] if the recording turns out to be damaged, cut off, or not audio; [`Error::TooLong`] once it
    /// exceeds [`DecodeOptions::max_duration`]. What was handed out before is good.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>> {
        if self.primed {
            self.primed = false;
            return Ok(Some(&self.block));
        }
        if self.ended {
            return Ok(None);
        }
        self.block.clear();
        self.step()?;
        Ok(Some(&self.block))
    }

    /// Reads one packet, appending to `block`, or ends.
    fn step(&mut self) -> Result<()> {
        let next = match guard(|| self.format.next_packet()) {
            Ok(next) => next,
            Err(panic) => return self.break_off(panic),
        };
        match next {
            Ok(Some(packet)) if packet.track_id == self.playing.track_id => self.decode(&packet),
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.finish(),
            Err(SymphoniaError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => self.finish(),
            Err(SymphoniaError::ResetRequired) => self.next_chain_link(),
            Err(error) => self.break_off(error.to_string()),
        }
    }

    /// Ogg files may follow one another in one file, each with its own tracks.
    fn next_chain_link(&mut self) -> Result<()> {
        match guard(|| open::choose_track(self.format.as_ref(), &Facts::default())).flatten() {
            Ok(playing) => {
                self.playing = Playing { length: Length::Unknown, ..playing };
                Ok(())
            }
            Err(reason) => self.break_off(reason),
        }
    }

    fn decode(&mut self, packet: &Packet) -> Result<()> {
        self.packets += 1;
        let decoder = &mut self.playing.decoder;
        let decoded = match guard(move || decoder.decode(packet)) {
            Ok(decoded) => decoded,
            Err(panic) => return self.replace_decoder(packet, panic),
        };
        let buffer = match decoded {
            Ok(buffer) => buffer,
            Err(SymphoniaError::DecodeError(reason)) => return self.lose(packet, reason.into()),
            Err(SymphoniaError::IoError(error)) => return self.lose(packet, error.to_string()),
            Err(SymphoniaError::ResetRequired) => return Ok(()),
            Err(error) => return self.break_off(error.to_string()),
        };
        if buffer.frames() == 0 {
            return Ok(());
        }
        let (rate, channels) = (buffer.spec().rate(), buffer.num_planes());
        let mono = match self.mixer.mix(&buffer) {
            Ok(mono) => mono,
            Err(MixError::File(reason)) => return Err(Error::audio(&self.name, reason)),
            Err(MixError::Sample { frame, value }) => {
                let at = self.seconds + frame as f64 / f64::from(rate.max(1));
                return Err(Error::audio(&self.name, sample_reason(at, value)));
            }
        };
        if self.resampler.as_ref().is_none_or(|resampler| resampler.rate() != rate) {
            if let Some(before) = self.resampler.take() {
                self.heard += before.finish(&mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
                self.rate_changes += 1;
            }
            if self.rate_changes > MAX_RATE_CHANGES {
                return Err(Error::audio(&self.name, "its sample rate changes all the time; the file is damaged"));
            }
            self.resampler = Some(Resampler::new(rate).map_err(|reason| Error::audio(&self.name, reason))?);
        }
        if self.seconds == 0.0 {
            (self.source.rate, self.source.channels) = (rate, channels);
        }
        let skipped = mono.len().min((self.playing.start * f64::from(rate)).round() as usize);
        self.playing.start -= skipped as f64 / f64::from(rate);
        let mono = &mono[skipped..];
        self.seconds += mono.len() as f64 / f64::from(rate);
        if let Some(resampler) = &mut self.resampler {
            resampler.push(mono, &mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
        }
        self.check_duration()
    }

    /// Goes on behind a packet that made the decoder panic, with a new one.
    fn replace_decoder(&mut self, packet: &Packet, panic: String) -> Result<()> {
        match guard(|| open::make_decoder(&self.playing.params)) {
            Ok(Ok(decoder)) => {
                self.playing.decoder = decoder;
                self.lose(packet, panic)
            }
            _ => self.break_off(panic),
        }
    }

    /// A packet that cannot be decoded becomes silence, so that everything after it keeps its time.
    fn lose(&mut self, packet: &Packet, reason: String) -> Result<()> {
        self.lost += 1;
        if self.lost <= 3 {
            let at = self.seconds;
            tracing::warn!(file = %self.name.display(), at, reason, "a packet cannot be decoded; silence in its place");
        }
        self.fault = Some(reason);
        let Some(resampler) = &mut self.resampler else { return Ok(()) };
        let seconds = (packet.dur.get() as f64 * self.playing.tick).min(MAX_LOST_SECONDS);
        let silence = vec![0.0; (seconds * f64::from(resampler.rate())).round() as usize];
        self.seconds += silence.len() as f64 / f64::from(resampler.rate());
        resampler.push(&silence, &mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
        self.check_duration()
    }

    /// The container cannot be followed any further.
    fn break_off(&mut self, reason: String) -> Result<()> {
        self.fault = Some(reason);
        self.broken_off = true;
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        if let Some(resampler) = self.resampler.take() {
            self.heard += resampler.finish(&mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
        }
        if self.heard == 0 {
            return Err(self.error(self.nothing_reason()));
        }
        if self.lost > 0 {
            let (lost, packets) = (self.lost, self.packets);
            tracing::warn!(file = %self.name.display(), lost, packets, "some packets could not be decoded");
        }
        match self.cut_off_reason() {
            Some(reason) if self.options.allow_truncated => {
                tracing::warn!(file = %self.name.display(), reason, "going on with what is there");
                Ok(())
            }
            Some(reason) => {
                let cure = "get the file whole, or pass --allow-truncated to transcribe what is there";
                Err(self.error(format!("{reason}; {cure}")))
            }
            None => Ok(()),
        }
    }

    /// Why there is not a single sample.
    fn nothing_reason(&self) -> String {
        match &self.fault {
            Some(reason) if self.lost > 0 => {
                format!("none of its {} packets can be decoded ({reason}); the file is damaged", self.packets)
            }
            Some(reason) => format!("it cannot be read beyond its header ({reason}); the file is damaged"),
            None if self.seconds > 0.0 => "it is shorter than one sample at 16 kHz; there is nothing to hear".into(),
            None => "there is no audio in it: the header is there, the samples are not; record or copy it again".into(),
        }
    }

    /// Why what was decoded is not the whole recording, if it is not.
    fn cut_off_reason(&self) -> Option<String> {
        let seconds = self.seconds;
        if self.broken_off {
            let fault = self.fault.as_deref().unwrap_or_default();
            return Some(format!("it is damaged after {seconds:.1} seconds ({fault})"));
        }
        let Length::Stated(stated) = self.playing.length else { return None };
        // Encoders count their own delay in or out, so small differences mean nothing.
        let slack = (stated * 0.01).clamp(0.1, 1.0);
        (seconds < stated - slack)
            .then(|| format!("it is cut off: its header promises {stated:.1} seconds, but only {seconds:.1} are there"))
    }

    /// Refuses what the container itself says is too long. A guess at the length is no reason, and where a recording may
    /// be cut off, what its header promises is none either.
    fn check_length(&self) -> Result<()> {
        match self.playing.length {
            Length::Stated(stated) if !self.options.allow_truncated => self.check(stated),
            _ => Ok(()),
        }
    }

    fn check_duration(&self) -> Result<()> {
        self.check(self.seconds)
    }

    fn check(&self, seconds: f64) -> Result<()> {
        match self.options.max_duration {
            Some(limit) if !(seconds <= limit.0) => Err(Error::TooLong { path: self.name.clone(), limit }),
            _ => Ok(()),
        }
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::audio(&self.name, reason)
    }
}

/// Why a sample is no sample.
pub(super) fn sample_reason(at: f64, value: f32) -> String {
    let what = if value.is_finite() { "a sample far outside -1..1" } else { "a sample that is not a finite number" };
    format!("it holds {what} ({value}) at {at:.3} seconds; it was written wrongly: export it again, as 16-bit PCM")
}
