//! Decoding with the `ffmpeg` program, for formats that the built-in reader does not support.
//!
//! For safety ffmpeg gets one file, no network access, and no format that opens other files. It writes all channels at
//! the recording's sample rate as float32 in AU format, whose header states rate and channels. Mixing and resampling
//! are those of the built-in reader, so that [`Channel`](super::Channel) means the same and both decoders give the same
//! samples.

mod command;
pub(super) mod program;
mod report;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::DecoderKind;
use super::input::{self, Recording, TICK, Watch};
use super::mix::{self, MixEnergy, MixError, Planes, plane_len};
use super::resample::Resamplers;
use super::{DecodeOptions, Progress, Source, decoder};
use crate::error::{Error, Result};
use crate::units::Seconds;

use report::{Report, Reporter};

/// Timeouts for ffmpeg. Only the time spent waiting for it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longest time without output.
    idle: Duration,
    /// Longest total time beyond the duration of the decoded audio, so that ffmpeg cannot stay slower than real time.
    behind: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { idle: Duration::from_secs(120), behind: Duration::from_secs(600) }
    }
}

/// How long ffmpeg may take to exit after it has closed its output.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an AU header before its annotation: magic, offset of the samples, their size, encoding, rate, channels.
const AU_HEADER: usize = 24;
/// The encoding "32-bit IEEE floating point" of AU.
const AU_FLOAT: u32 = 6;
/// Longest AU header accepted, including its annotation.
const MAX_AU_HEADER: usize = 65_536;

/// Assumed duration of a packet: most codecs have 20 ms (speech codecs) to 36 ms (AC-3). ffmpeg reports how many
/// packets were lost, but not how many there were.
const PACKET_SECONDS: f64 = 0.025;
/// A recording with a greater share of lost packets is rejected, as by the built-in reader.
const MAX_LOST_SHARE: f64 = 0.1;

/// A running ffmpeg process and its decoded output.
pub(super) struct Ffmpeg {
    name: PathBuf,
    options: DecodeOptions,
    limits: Limits,
    source: Source,
    child: KillOnDrop,
    output: Receiver<io::Result<Vec<u8>>>,
    report: Reporter,
    /// Bytes of an incomplete header or frame.
    pending: Vec<u8>,
    /// Interleaved samples at the recording's rate, `[frames, channels]`.
    frames: Vec<f32>,
    /// The selected channels at the recording's rate, each `[frames]`.
    planes: Planes,
    energy: MixEnergy,
    /// `None` before the header and after the end.
    resampler: Option<Resamplers>,
    /// The next block to return: the selected channels at 16 kHz.
    block: Planes,
    /// Whether `block` was decoded while opening and has not been returned yet.
    primed: bool,
    ended: bool,
    /// Seconds decoded.
    seconds: f64,
    /// Time waited since the last output, and in total.
    idle: Duration,
    waited: Duration,
}

impl Ffmpeg {
    /// Starts `program` and waits for its first samples.
    ///
    /// # Errors
    /// [`Error::Audio`] with ffmpeg's reason; [`Error::Cancelled`] if `watch` cancels.
    pub(super) fn start(
        program: &Path,
        recording: &Recording,
        options: &DecodeOptions,
        limits: Limits,
        watch: Watch,
    ) -> Result<Self> {
        let cannot_start = |error: io::Error| {
            Error::audio(&recording.name, format!("ffmpeg ({}) cannot be started: {error}", program.display()))
        };
        let mut command = command::command(program, recording, options)?;
        let mut child = KillOnDrop(command.spawn().map_err(cannot_start)?);
        let (stdout, stderr) = child
            .0
            .stdout
            .take()
            .zip(child.0.stderr.take())
            .ok_or_else(|| cannot_start(io::Error::from(io::ErrorKind::BrokenPipe)))?;
        let mut ffmpeg = Ffmpeg {
            name: recording.name.clone(),
            options: *options,
            limits,
            source: Source { bytes: recording.bytes(), container: "unknown".into(), ..Source::default() },
            child,
            output: input::read_in_background(move || Ok(stdout)).map_err(cannot_start)?,
            report: Reporter::start(stderr).map_err(cannot_start)?,
            pending: Vec::new(),
            frames: Vec::new(),
            planes: Vec::new(),
            energy: MixEnergy::default(),
            resampler: None,
            block: Vec::new(),
            primed: true,
            ended: false,
            seconds: 0.0,
            idle: Duration::ZERO,
            waited: Duration::ZERO,
        };
        while plane_len(&ffmpeg.block) == 0 && !ffmpeg.ended {
            let stepped = ffmpeg.step();
            if watch(Progress { decoded: Seconds(0.0), total: None }).is_break() {
                return Err(Error::Cancelled);
            }
            stepped?;
        }
        Ok(ffmpeg)
    }

    /// Properties of the recording, as ffmpeg reports them.
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

    /// See [`Decoder::next_channels`](super::Decoder::next_channels). The block is empty if ffmpeg wrote nothing within
    /// [`TICK`].
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

    /// Waits up to [`TICK`] for output and appends its samples to `block`; at the end of the output checks how ffmpeg
    /// ended.
    fn step(&mut self) -> Result<()> {
        let begun = Instant::now();
        let received = self.output.recv_timeout(TICK);
        self.waited += begun.elapsed();
        match received {
            Ok(Ok(bytes)) => {
                self.idle = Duration::ZERO;
                self.pending.extend_from_slice(&bytes);
                self.decode()?;
                self.check_time()
            }
            Ok(Err(error)) => Err(self.error(format!("what ffmpeg decodes cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout) => {
                self.idle += begun.elapsed();
                self.check_time()
            }
            Err(RecvTimeoutError::Disconnected) => self.finish(),
        }
    }

    fn check_time(&self) -> Result<()> {
        if self.idle > self.limits.idle {
            let seconds = self.limits.idle.as_secs_f64();
            return Err(self.error(format!("ffmpeg was stopped: it decoded nothing for {seconds} seconds")));
        }
        if self.waited.as_secs_f64() > self.limits.behind.as_secs_f64() + self.seconds {
            let seconds = self.waited.as_secs_f64();
            return Err(self.error(format!(
                "ffmpeg was stopped: it decoded {:.1} seconds of sound in {seconds:.0}",
                self.seconds
            )));
        }
        Ok(())
    }

    /// Converts the complete frames in `pending`, mixes and resamples them.
    fn decode(&mut self) -> Result<()> {
        if self.resampler.is_none() && !self.read_header()? {
            return Ok(());
        }
        let Some(resampler) = &mut self.resampler else { return Ok(()) };
        let (rate, channels) = (f64::from(self.source.rate), self.source.channels);
        let whole = self.pending.len() - self.pending.len() % (4 * channels);
        self.frames.clear();
        self.frames.extend(self.pending[..whole].chunks_exact(4).map(|b| f32::from_be_bytes([b[0], b[1], b[2], b[3]])));
        self.pending.drain(..whole);
        let (channel, planes) = (self.options.channel, &mut self.planes);
        mix::mix_interleaved(&self.frames, channels, channel, planes, &mut self.energy).map_err(
            |error| match error {
                MixError::File(reason) => Error::audio(&self.name, reason),
                MixError::Sample { frame, value } => {
                    Error::audio(&self.name, decoder::sample_reason(self.seconds + frame as f64 / rate, value))
                }
            },
        )?;
        let count = plane_len(&self.planes);
        self.seconds += count as f64 / rate;
        if let Some(limit) = self.options.max_duration.filter(|limit| !(self.seconds <= limit.0)) {
            return Err(Error::TooLong { path: self.name.clone(), limit });
        }
        resampler.push(&self.planes, 0..count, &mut self.block).map_err(|reason| Error::audio(&self.name, reason))
    }

    /// Reads the AU header if it is complete; returns whether it was.
    fn read_header(&mut self) -> Result<bool> {
        let word = |at: usize| -> Option<u32> { self.pending.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes) };
        let [Some(offset), Some(encoding), Some(rate), Some(channels)] = [4, 12, 16, 20].map(word) else {
            return Ok(false);
        };
        let offset = offset as usize;
        let is_au = self.pending.starts_with(b".snd") && encoding == AU_FLOAT;
        if !is_au || !(AU_HEADER..MAX_AU_HEADER).contains(&offset) {
            return Err(self.error("ffmpeg gave something else than the samples that it was asked for".into()));
        }
        if self.pending.len() < offset {
            return Ok(false);
        }
        self.pending.drain(..offset);
        mix::check_channels(channels as usize, self.options.channel).map_err(|reason| self.error(reason))?;
        let selected = self.options.channel.output_channels(channels as usize);
        self.resampler = Some(Resamplers::new(rate, selected).map_err(|reason| self.error(reason))?);
        (self.source.rate, self.source.channels) = (rate, channels as usize);
        let report = self.report.so_far();
        let stated = report.stated_length().filter(|_| !self.options.allow_truncated);
        self.source.length = report.length.map(Seconds);
        (self.source.container, self.source.codec) = (report.container, report.codec);
        if let (Some(limit), Some(stated)) = (self.options.max_duration, stated)
            && stated > limit.0
        {
            return Err(Error::TooLong { path: self.name.clone(), limit });
        }
        Ok(true)
    }

    /// At the end of the output: flushes the resampler and checks that the recording is complete.
    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        let mut samples = 0;
        if let Some(resampler) = self.resampler.take() {
            samples = resampler.finish(&mut self.block).map_err(|reason| Error::audio(&self.name, reason))?;
        }
        let status = self.child.wait(EXIT_TIMEOUT);
        let report = self.report.finish();
        if samples == 0 {
            return Err(self.error(no_samples_reason(&report, &self.options)));
        }
        self.energy.warn_if_cancelled(&self.name);
        let Some(reason) = self.damage(status, &report) else {
            if report.lost > 0 {
                let reasons = report.reasons();
                let (lost, reason) = (report.lost, reasons.trim_start_matches(": "));
                tracing::warn!(file = %self.name.display(), lost, reason, "some packets could not be decoded");
            }
            self.warn_if_short(&report);
            return Ok(());
        };
        if self.options.allow_truncated {
            tracing::warn!(file = %self.name.display(), reason, "going on with what is there");
            return Ok(());
        }
        let cure = "get the file whole, or pass `allow_truncated` to transcribe what is there";
        Err(self.error(format!("{reason}; {cure}")))
    }

    /// Why the decoded audio is incomplete; `None` if it is complete.
    fn damage(&self, status: Option<ExitStatus>, report: &Report) -> Option<String> {
        let (seconds, reasons) = (self.seconds, report.reasons());
        if !status.is_some_and(|status| status.success()) {
            let how = status.map_or("it did not end".into(), |status| status.to_string());
            return Some(format!("ffmpeg failed after {seconds:.1} seconds ({how}{reasons})"));
        }
        if report.cut_off {
            return Some(format!("it is cut off after {seconds:.1} seconds (ffmpeg{reasons})"));
        }
        let lost = report.lost as f64 * PACKET_SECONDS;
        if lost > MAX_LOST_SHARE * (seconds + lost) {
            return Some(format!("{} of its packets cannot be decoded (ffmpeg{reasons})", report.lost));
        }
        // Without `sync` gaps are dropped, so that the audio is shorter than the stated length.
        let stated = report.stated_length().filter(|_| self.options.sync)?;
        // Some encoders include their delay in the length and others do not: ignore small differences.
        let slack = (stated * 0.01).clamp(0.1, 1.0);
        (seconds < stated - slack)
            .then(|| format!("it is cut off: its header promises {stated:.1} seconds, but only {seconds:.1} are there"))
    }

    /// Logs a warning if the audio is much shorter than the file. That is no error, because the length of a file is
    /// that of its longest track.
    fn warn_if_short(&self, report: &Report) {
        let (seconds, length) = (self.seconds, report.guessed_length().filter(|_| self.options.sync).unwrap_or(0.0));
        if seconds < 0.9 * length - 1.0 {
            let reason = format!("its sound ends after {seconds:.1} of {length:.1} seconds");
            tracing::warn!(file = %self.name.display(), reason, "the file may be cut off");
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::audio(&self.name, reason)
    }
}

/// Why ffmpeg decoded no sample.
fn no_samples_reason(report: &Report, options: &DecodeOptions) -> String {
    if report.no_audio {
        let number = options.track.map_or(String::new(), |track| format!(" {track}"));
        return format!("there is no audio track{number} in it");
    }
    match report.reasons() {
        reasons if reasons.is_empty() => "there is no audio in it: ffmpeg decodes not a single sample".into(),
        reasons if options.decoder == DecoderKind::Ffmpeg => format!("ffmpeg cannot read it{reasons}"),
        reasons => format!("neither the built-in reader nor ffmpeg can read it; ffmpeg{reasons}"),
    }
}

/// A child process that is killed and reaped on drop, so that it leaves no zombie process.
struct KillOnDrop(Child);

impl KillOnDrop {
    /// Waits up to `timeout` for the exit status; `None` if the process is still running or cannot be waited for.
    fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + timeout;
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Both calls fail harmlessly if the process has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(all(test, unix))]
mod tests;
