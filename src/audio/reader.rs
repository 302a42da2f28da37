//! Selection of the decoder (built-in or ffmpeg), and the public streaming [`Decoder`].

use std::path::Path;

use super::container::{KNOWN, OpenError};
use super::decoder;
use super::ffmpeg::{self, Ffmpeg, program};
use super::input::{Recording, Watch};
use super::open::Opened;
use super::recognise::Content;
use super::{DecodeOptions, DecoderKind, Source, ignore_progress};
use crate::error::{Error, Result};
use crate::units::Seconds;

/// Streaming decoder: reads a recording block by block and holds about one packet in memory.
///
/// ```no_run
/// # use diarist::audio::{DecodeOptions, Decoder};
/// let mut decoder = Decoder::open("talk.mp3".as_ref(), &DecodeOptions::default())?;
/// while let Some(block) = decoder.next_block()? {
///     println!("{} samples at 16 kHz", block.len());
/// }
/// # Ok::<(), diarist::Error>(())
/// ```
pub struct Decoder<'a>(Inner<'a>);

enum Inner<'a> {
    Builtin(Box<decoder::Decoder<'a>>),
    Ffmpeg(Box<Ffmpeg>),
}

impl<'a> Decoder<'a> {
    /// Opens a file and decodes its beginning to determine sample rate and channels. A named pipe is first read to its
    /// end.
    ///
    /// # Errors
    /// [`Error::Audio`] if the file cannot be read, is not a recording, has a format that no decoder allowed by
    /// [`DecodeOptions::decoder`] supports, has no audio track, or contains no audio; [`Error::TooLong`] if its stated
    /// length exceeds [`DecodeOptions::max_duration`].
    pub fn open(path: &Path, options: &DecodeOptions) -> Result<Decoder<'static>> {
        Decoder::open_watched(path, options, &mut ignore_progress)
    }

    /// Opens a recording in memory. `name` is used in errors; its extension, if any, is a hint at the format.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn from_bytes(bytes: &'a [u8], name: &str, options: &DecodeOptions) -> Result<Self> {
        Decoder::start(&Recording::of_bytes(bytes, name)?, options, &mut ignore_progress)
    }

    /// [`open`](Self::open) with a callback that can cancel while waiting for a pipe or for ffmpeg.
    pub(super) fn open_watched(path: &Path, options: &DecodeOptions, watch: Watch) -> Result<Decoder<'static>> {
        Decoder::start(&Recording::of_path(path, watch)?, options, watch)
    }

    pub(super) fn start(recording: &Recording<'a>, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        let content = recording.content()?;
        if options.decoder == DecoderKind::Ffmpeg {
            let missing =
                || Error::audio(&recording.name, "ffmpeg was asked for, and none was found on PATH; install it");
            return Decoder::with_ffmpeg(&program::find().ok_or_else(missing)?, recording, options, watch);
        }
        let reason = match content {
            Content::Builtin => match recording.open(options) {
                Ok(opened) => return Decoder::with_builtin(opened, recording, options, watch),
                Err(OpenError::Unsupported(reason)) => match recording.mp4_entry() {
                    Some(codec) if !reason.contains(codec) => {
                        format!("its audio is {codec}, which the built-in reader does not know")
                    }
                    _ => reason,
                },
                Err(damaged) => {
                    return Decoder::or_ffmpeg(damaged.into_error(&recording.name), recording, options, watch);
                }
            },
            Content::FfmpegOnly(what) => format!("is {what}, which the built-in reader does not know"),
            Content::NotAudio(_) | Content::Unknown => format!("is not a recording in a known format ({KNOWN})"),
        };
        let refuse = |cure: &str| Err(Error::audio(&recording.name, format!("{reason}; {cure}")));
        match options.decoder {
            DecoderKind::Builtin => refuse(CURE_BUILTIN),
            _ => match program::find() {
                Some(program) => Decoder::with_ffmpeg(&program, recording, options, watch),
                None => refuse(CURE_INSTALL),
            },
        }
    }

    /// Uses the built-in reader; falls back to ffmpeg if it cannot decode the beginning, since a supported codec may
    /// have unsupported variants.
    fn with_builtin(
        opened: Opened<'a>,
        recording: &Recording<'a>,
        options: &DecodeOptions,
        watch: Watch,
    ) -> Result<Self> {
        match decoder::Decoder::start(opened, &recording.name, options) {
            Ok(decoder) => Ok(Decoder(Inner::Builtin(Box::new(decoder)))),
            Err(error) => Decoder::or_ffmpeg(error, recording, options, watch),
        }
    }

    /// Falls back to ffmpeg if the options allow it and it can read the recording; otherwise returns `error`, which is
    /// that of the built-in reader.
    fn or_ffmpeg(error: Error, recording: &Recording<'a>, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        let allowed = options.decoder == DecoderKind::Auto && matches!(error, Error::Audio { .. });
        let program = program::find().filter(|_| allowed);
        match program.map(|program| Decoder::with_ffmpeg(&program, recording, options, watch)) {
            Some(Ok(decoder)) => Ok(decoder),
            Some(Err(Error::Cancelled)) => Err(Error::Cancelled),
            _ => Err(error),
        }
    }

    fn with_ffmpeg(program: &Path, recording: &Recording, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        Ok(Decoder(Inner::Ffmpeg(Box::new(Ffmpeg::start(
            program,
            recording,
            options,
            ffmpeg::Limits::default(),
            watch,
        )?))))
    }

    /// Properties of the recording. Rate and channels are those of the decoded audio; a header may state others.
    pub fn source(&self) -> &Source {
        match &self.0 {
            Inner::Builtin(decoder) => decoder.source(),
            Inner::Ffmpeg(decoder) => decoder.source(),
        }
    }

    /// [`DecodeOptions::max_duration`].
    pub(super) fn max_duration(&self) -> Option<Seconds> {
        match &self.0 {
            Inner::Builtin(decoder) => decoder.max_duration(),
            Inner::Ffmpeg(decoder) => decoder.max_duration(),
        }
    }

    /// Duration of the audio decoded so far.
    pub fn decoded(&self) -> Seconds {
        match &self.0 {
            Inner::Builtin(decoder) => decoder.decoded(),
            Inner::Ffmpeg(decoder) => decoder.decoded(),
        }
    }

    /// The next samples: `[n]` f32 at 16 kHz, mono, finite, usually within -1..1; with
    /// [`Channel::Each`](super::Channel::Each) those of the first channel. A block may be empty: after a packet of
    /// another track, or while the resampler or ffmpeg has no output yet, so that the caller can stop. `None` is the
    /// end.
    ///
    /// # Errors
    /// [`Error::Audio`] if the recording turns out to be damaged, cut off, or not audio; [`Error::TooLong`] once it
    /// exceeds [`DecodeOptions::max_duration`]. Samples returned before are valid.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>> {
        Ok(self.next_channels()?.map(|channels| channels.first().map_or(&[][..], Vec::as_slice)))
    }

    /// Like [`next_block`](Self::next_block), but returns all selected channels, `[channels][n]`: more than one with
    /// [`Channel::Each`](super::Channel::Each). An empty block may have no channels.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub fn next_channels(&mut self) -> Result<Option<&Vec<Vec<f32>>>> {
        match &mut self.0 {
            Inner::Builtin(decoder) => decoder.next_block(),
            Inner::Ffmpeg(decoder) => decoder.next_block(),
        }
    }
}

const CURE_BUILTIN: &str = "let ffmpeg read it (`decoder` auto), or convert it first, for example \
     with `ffmpeg -i IN -ac 1 OUT.wav`";

const CURE_INSTALL: &str = "install ffmpeg, which then reads it (none was found on PATH), or convert it first, for example with `ffmpeg -i IN -ac 1 OUT.wav`";
