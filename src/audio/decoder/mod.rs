//! The built-in streaming decoder: reads packets, decodes, mixes and resamples them to blocks at 16 kHz.

mod ending;

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo};
use symphonia::core::packet::Packet;
use symphonia::core::units::Timestamp;

use super::container::{ContainerInfo, Length, OpenError};
use super::mix::{self, MixError, Mixer, Planes, plane_len};
use super::open::Opened;
use super::resample::{MAX_RATE, MIN_RATE, Resamplers};
use super::tracks::{self, SelectedTrack};
use super::{DecodeOptions, Source, mkv};
use crate::error::{Error, Result};
use crate::guard::guard;
use crate::units::Seconds;

/// Longest silence in seconds that replaces a lost packet, whose stated duration may be damaged.
const MAX_LOST_SECONDS: f64 = 1.0;

/// Seconds before an edit to seek to.
const SEEK_AHEAD: f64 = 0.1;

/// Largest number of changes of the sample rate; more mean that the file is damaged. Each change creates a resampler.
const MAX_RATE_CHANGES: usize = 16;

/// The built-in decoder, which holds at most one packet of a recording in memory.
pub(super) struct Decoder<'a> {
    name: PathBuf,
    options: DecodeOptions,
    format: Box<dyn FormatReader + 'a>,
    info: ContainerInfo,
    playing: SelectedTrack,
    source: Source,
    mixer: Mixer,
    /// `None` before the first block and after the end.
    resampler: Option<Resamplers>,
    /// The next block to return: the selected channels at 16 kHz.
    block: Planes,
    /// Whether `block` was decoded while opening and has not been returned yet.
    primed: bool,
    ended: bool,
    /// Duration in seconds of the audio decoded so far, including inserted silence.
    seconds: f64,
    /// Number of 16 kHz samples from resamplers that have been flushed.
    heard: u64,
    /// Whether any packet has been decoded to samples.
    has_samples: bool,
    /// Duration of the last block in seconds, for lost packets that do not state theirs.
    last_block: f64,
    rate_changes: usize,
    packets: u64,
    lost: u64,
    /// Time of the first lost packet, in seconds.
    first_lost: f64,
    /// Why the last packet was lost, or why reading stopped before the end.
    fault: Option<String>,
    /// Whether reading stopped because of `fault`.
    broken_off: bool,
}

impl<'a> Decoder<'a> {
    /// Decodes the beginning to determine sample rate and channels.
    ///
    /// # Errors
    /// As [`Decoder::open`](super::Decoder::open).
    pub(super) fn start(opened: Opened<'a>, name: &Path, options: &DecodeOptions) -> Result<Self> {
        let Opened { format, playing, info, bytes } = opened;
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
            info,
            playing,
            source,
            mixer: Mixer::new(options.channel),
            resampler: None,
            block: Vec::new(),
            primed: true,
            ended: false,
            seconds: 0.0,
            heard: 0,
            has_samples: false,
            last_block: 0.0,
            rate_changes: 0,
            packets: 0,
            lost: 0,
            first_lost: 0.0,
            fault: None,
            broken_off: false,
        };
        if decoder.source.channels > 0 {
            mix::check_channels(decoder.source.channels, options.channel).map_err(|reason| decoder.error(reason))?;
        }
        decoder.check_length()?;
        while plane_len(&decoder.block) == 0 && !decoder.ended {
            decoder.step()?;
        }
        Ok(decoder)
    }

    /// Properties of the recording. Rate and channels are those of the decoded audio; a header may state others.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// [`DecodeOptions::max_duration`].
    pub(super) fn max_duration(&self) -> Option<Seconds> {
        self.options.max_duration
    }

    /// Duration of the audio decoded so far.
    pub(super) fn decoded(&self) -> Seconds {
        Seconds(self.seconds)
    }

    /// The next samples of each selected channel: `[n]` f32 at 16 kHz, finite, usually within -1..1. Samples far
    /// outside that range are not scaled, because the peak is known only at the end; see [`decode`](super::decode). A
    /// block may be empty: after a packet of another track, or while the resampler has no output yet, so that the
    /// caller can stop. `None` is the end.
    ///
    /// # Errors
    /// [`Error::Audio`] if the recording turns out to be damaged, cut off, or not audio; [`Error::TooLong`] once it
    /// exceeds [`DecodeOptions::max_duration`]. Samples returned before are valid.
    pub(super) fn next_block(&mut self) -> Result<Option<&Planes>> {
        if self.primed {
            self.primed = false;
            return Ok(Some(&self.block));
        }
        if self.ended {
            return Ok(None);
        }
        self.block.iter_mut().for_each(Vec::clear);
        self.step()?;
        Ok(Some(&self.block))
    }

    /// Reads one packet and appends its samples to `block`, or finishes at the end.
    fn step(&mut self) -> Result<()> {
        let next = match guard(|| self.format.next_packet()) {
            Ok(next) => next,
            Err(panic) => return self.abort(panic),
        };
        match next {
            Ok(Some(packet)) => {
                self.see(&packet);
                if packet.track_id == self.playing.track_id { self.decode(packet) } else { Ok(()) }
            }
            Ok(None) => self.finish(),
            Err(SymphoniaError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => self.finish(),
            Err(SymphoniaError::ResetRequired) => self.next_chain_link(),
            Err(error) => self.abort(error.to_string()),
        }
    }

    /// Updates the start of the recording, which is the earliest time stamp of any track.
    fn see(&mut self, packet: &Packet) {
        if self.playing.is_timed && !self.playing.timeline.has_begun() {
            let track = self.format.tracks().iter().find(|track| track.id == packet.track_id);
            if let Some(base) = track.and_then(|track| track.time_base) {
                self.playing.timeline.see(packet.pts.get() as f64 * f64::from(base));
            }
        }
    }

    /// Selects the track again after a reset: the next stream of a chained Ogg file has its own tracks, and the
    /// parameters of an elementary stream may change.
    fn next_chain_link(&mut self) -> Result<()> {
        match guard(|| tracks::select_track(self.format.as_ref(), &self.info, &self.options)) {
            Ok(Ok(playing)) => {
                let timeline = playing.timeline.behind(self.seconds);
                self.playing = SelectedTrack { length: Length::Unknown, timeline, ..playing };
                Ok(())
            }
            Ok(Err(OpenError::Unsupported(reason) | OpenError::Damaged(reason))) | Err(reason) => self.abort(reason),
        }
    }

    fn decode(&mut self, mut packet: Packet) -> Result<()> {
        self.packets += 1;
        if !self.playing.encodings.is_empty() {
            match mkv::decode(&self.playing.encodings, &packet.data, false) {
                Some(data) => packet.data = data,
                None => return self.lose(&packet, "it cannot be decompressed".into()),
            }
        }
        let decoder = &mut self.playing.decoder;
        let decoded = match guard(|| decoder.decode(&packet)) {
            Ok(decoded) => decoded,
            Err(panic) => return self.replace_decoder(&packet, panic),
        };
        let buffer = match decoded {
            Ok(buffer) => buffer,
            Err(SymphoniaError::DecodeError(reason)) => return self.lose(&packet, reason.into()),
            Err(SymphoniaError::Unsupported(feature)) => return self.lose(&packet, feature.into()),
            Err(SymphoniaError::IoError(error)) => return self.lose(&packet, error.to_string()),
            Err(SymphoniaError::ResetRequired) => return Ok(()),
            Err(error) => return self.abort(error.to_string()),
        };
        if buffer.frames() == 0 {
            return Ok(());
        }
        let (rate, channels) = (buffer.spec().rate(), buffer.num_planes());
        let planes = match self.mixer.mix(&buffer) {
            Ok(planes) => planes,
            Err(MixError::File(reason)) => return Err(Error::audio(&self.name, reason)),
            Err(MixError::Sample { frame, value }) => {
                let at = self.seconds + frame as f64 / f64::from(rate.max(1));
                return Err(Error::audio(&self.name, sample_reason(at, value)));
            }
        };
        self.last_block = plane_len(&planes) as f64 / f64::from(rate.max(1));
        self.append(rate, &packet, planes)?;
        if !self.has_samples {
            self.has_samples = true;
            (self.source.rate, self.source.channels) = (rate, channels);
        }
        Ok(())
    }

    /// Appends the samples of a packet, placed by its time stamp.
    fn append(&mut self, rate: u32, packet: &Packet, planes: Planes) -> Result<()> {
        if let Some(before) = self.resampler.as_ref().map(Resamplers::channels).filter(|before| *before != planes.len())
        {
            let now = planes.len();
            return Err(self.error(format!(
                "it goes on with {now} channels after {before}, so that they cannot be heard one by one; give it one number \
                 of channels first, for example with `ffmpeg -i IN -ac {before} OUT.wav`"
            )));
        }
        if self.resampler.as_ref().is_none_or(|resampler| resampler.rate() != rate) {
            if let Some(before) = self.resampler.take() {
                self.heard += before.finish(&mut self.block).map_err(|reason| self.error(reason))?;
                self.rate_changes += 1;
            }
            if self.rate_changes > MAX_RATE_CHANGES {
                return Err(self.error("its sample rate changes all the time; the file is damaged"));
            }
            self.resampler = Some(Resamplers::new(rate, planes.len()).map_err(|reason| self.error(reason))?);
        }
        let time = self.time(packet);
        let placement = self.playing.timeline.place(time, plane_len(&planes), rate, self.seconds);
        for (silence, piece) in placement.pieces {
            self.check(self.seconds + silence)?;
            self.push_silence(rate, silence, planes.len())?;
            self.push(rate, &planes, piece)?;
        }
        self.mixer.give_back(planes);
        if let Some(time) = placement.seek {
            return self.seek(time);
        }
        if placement.is_end { self.finish() } else { Ok(()) }
    }

    /// The media time of a packet, in seconds.
    fn time(&self, packet: &Packet) -> f64 {
        let SelectedTrack { track_id, tick, delay, is_timed, .. } = self.playing;
        let is_mp4 = self.info.movie.is_enabled(track_id).is_some();
        match is_timed {
            false => self.seconds,
            true if is_mp4 => (self.info.movie.true_time(track_id, packet.pts.get(), tick) - delay).max(0.0),
            true => packet.pts.get() as f64 * tick,
        }
    }

    /// Appends silence, in small pieces because a gap may last hours.
    fn push_silence(&mut self, rate: u32, seconds: f64, channels: usize) -> Result<()> {
        let mut left = (seconds * f64::from(rate)).round() as usize;
        let zeros = vec![vec![0.0; left.min(1 << 16)]; channels];
        while left > 0 {
            let count = left.min(plane_len(&zeros));
            self.push(rate, &zeros, 0..count)?;
            left -= count;
        }
        Ok(())
    }

    fn push(&mut self, rate: u32, planes: &Planes, range: Range<usize>) -> Result<()> {
        self.seconds += range.len() as f64 / f64::from(rate);
        if let Some(resampler) = &mut self.resampler {
            resampler.push(planes, range, &mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
        }
        self.check(self.seconds)
    }

    /// Seeks to an earlier media time in seconds, for edit lists that repeat or reorder.
    fn seek(&mut self, time: f64) -> Result<()> {
        // Start at least one packet early, because the overlap-add of the transform needs the previous packet.
        let ticks = ((time - SEEK_AHEAD).max(0.0) / self.playing.tick.max(1e-12)) as i64;
        let to = SeekTo::Timestamp { ts: Timestamp::new(ticks), track_id: self.playing.track_id };
        match guard(|| self.format.seek(SeekMode::Accurate, to)) {
            Ok(Ok(_)) => {
                self.playing.decoder.reset();
                Ok(())
            }
            Ok(Err(error)) => self.abort(format!("its edit list cannot be followed: {error}")),
            Err(panic) => self.abort(panic),
        }
    }

    /// Continues with a new decoder after a packet that made the decoder panic.
    fn replace_decoder(&mut self, packet: &Packet, panic: String) -> Result<()> {
        match guard(|| tracks::make_decoder(&self.playing.params)) {
            Ok(Ok(decoder)) => {
                self.playing.decoder = decoder;
                self.lose(packet, panic)
            }
            _ => self.abort(panic),
        }
    }

    /// Replaces a packet that cannot be decoded by silence, so that later packets keep their time.
    fn lose(&mut self, packet: &Packet, reason: String) -> Result<()> {
        if self.lost == 0 {
            self.first_lost = self.seconds;
        }
        self.lost += 1;
        self.fault = Some(reason);
        let rate = self.resampler.as_ref().map(Resamplers::rate).or(self.playing.params.sample_rate);
        // Before the sample rate is known nothing has been output that could lose its time.
        let Some(rate) = rate.filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate)) else { return Ok(()) };
        let stated = packet.dur.get() as f64 * self.playing.tick;
        let seconds = if stated > 0.0 { stated } else { self.last_block }.min(MAX_LOST_SECONDS);
        let stated = self.options.channel.output_channels(self.source.channels.max(1));
        let channels = self.resampler.as_ref().map_or(stated, Resamplers::channels);
        self.append(rate, packet, vec![vec![0.0; (seconds * f64::from(rate)).round() as usize]; channels])
    }

    /// Ends decoding early because the container cannot be read further.
    fn abort(&mut self, reason: String) -> Result<()> {
        self.fault = Some(reason);
        self.broken_off = true;
        self.finish()
    }
}

/// The error message for an invalid sample at `at` seconds.
pub(super) fn sample_reason(at: f64, value: f32) -> String {
    let what = if value.is_finite() { "a sample far outside -1..1" } else { "a sample that is not a finite number" };
    format!("it holds {what} ({value}) at {at:.3} seconds; it was written wrongly: export it again, as 16-bit PCM")
}
