//! Which decoder reads a recording: the built-in one, or ffmpeg.

use std::path::Path;
use std::str::FromStr;

use super::decoder;
use super::ffmpeg::{self, Ffmpeg};
use super::input::{Recording, Watch};
use super::open::{Opened, Refusal};
use super::recognise::Content;
use super::{DecodeOptions, Source, unwatched};
use crate::error::{Error, Result};
use crate::units::Seconds;

/// Who decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DecoderKind {
    /// The built-in reader, which starts no other program. What it does not know is refused by its name.
    #[default]
    Builtin,
    /// The built-in reader, and for containers and codecs that it does not know an `ffmpeg` found on PATH. A recording of which the
    /// built-in reader decodes a part, and finds the rest damaged, is not tried again.
    Auto,
    /// The `ffmpeg` found on PATH, for every recording.
    Ffmpeg,
}

impl FromStr for DecoderKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "builtin" => Ok(DecoderKind::Builtin),
            "auto" => Ok(DecoderKind::Auto),
            "ffmpeg" => Ok(DecoderKind::Ffmpeg),
            _ => Err("expected auto, builtin or ffmpeg".into()),
        }
    }
}

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
pub struct Decoder<'a>(By<'a>);

enum By<'a> {
    Builtin(Box<decoder::Decoder<'a>>),
    Ffmpeg(Box<Ffmpeg>),
}

impl<'a> Decoder<'a> {
    /// Opens a file and decodes as much as is needed to know its rate and channels. Of a named pipe everything is read first.
    ///
    /// # Errors
    /// [`Error::Audio`] if it cannot be read, is no recording, is in a format that no decoder knows that
    /// [`DecodeOptions::decoder`] allows, has no audio track, or holds no audio; [`Error::TooLong`] if it says that it is longer
    /// than it may be.
    pub fn open(path: &Path, options: &DecodeOptions) -> Result<Decoder<'static>> {
        Decoder::open_watched(path, options, &mut unwatched)
    }

    /// The same for a recording in memory. `name` stands for it in errors; an extension, if it has one, is a hint.
    ///
    /// # Errors
    /// As [`Decoder::open`].
    pub fn from_bytes(bytes: &'a [u8], name: &str, options: &DecodeOptions) -> Result<Self> {
        Decoder::start(&Recording::of_bytes(bytes, name)?, options, &mut unwatched)
    }

    /// [`open`](Self::open), which may be cancelled while it waits for a pipe or for ffmpeg.
    pub(super) fn open_watched(path: &Path, options: &DecodeOptions, watch: Watch) -> Result<Decoder<'static>> {
        Decoder::start(&Recording::of_path(path, watch)?, options, watch)
    }

    pub(super) fn start(recording: &Recording<'a>, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        let content = recording.content()?;
        if options.decoder == DecoderKind::Ffmpeg {
            let nobody =
                || Error::audio(&recording.name, "ffmpeg was asked for, and none was found on PATH; install it");
            return Decoder::by_ffmpeg(&ffmpeg::find().ok_or_else(nobody)?, recording, options, watch);
        }
        let reason = match content {
            Content::Builtin => match recording.open(options) {
                Ok(opened) => return Decoder::by_us(opened, recording, options, watch),
                Err(Refusal::Unsupported(reason)) => match recording.mp4_entry() {
                    Some(codec) if !reason.contains(codec) => {
                        format!("its audio is {codec}, which the built-in reader does not know")
                    }
                    _ => reason,
                },
                Err(damaged) => {
                    return Decoder::or_ffmpeg(damaged.into_error(&recording.name), recording, options, watch);
                }
            },
            Content::Foreign(what) => format!("is {what}, which the built-in reader does not know"),
            Content::NoRecording(_) | Content::Unknown => format!("is not a recording in a known format ({KNOWN})"),
        };
        let refuse = |cure: &str| Err(Error::audio(&recording.name, format!("{reason}; {cure}")));
        match options.decoder {
            DecoderKind::Builtin => refuse(CURE_BUILTIN),
            _ => match ffmpeg::find() {
                Some(program) => Decoder::by_ffmpeg(&program, recording, options, watch),
                None => refuse(CURE_INSTALL),
            },
        }
    }

    /// With the built-in reader, unless it cannot decode anything of it: a codec may have forms that are not known.
    fn by_us(opened: Opened<'a>, recording: &Recording<'a>, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        match decoder::Decoder::start(opened, &recording.name, options) {
            Ok(decoder) => Ok(Decoder(By::Builtin(Box::new(decoder)))),
            Err(error) => Decoder::or_ffmpeg(error, recording, options, watch),
        }
    }

    /// With ffmpeg where it may be asked and can read the recording; otherwise the error of the built-in reader.
    fn or_ffmpeg(error: Error, recording: &Recording<'a>, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        let may = options.decoder == DecoderKind::Auto && matches!(error, Error::Audio { .. });
        match ffmpeg::find().filter(|_| may).map(|program| Decoder::by_ffmpeg(&program, recording, options, watch)) {
            Some(Ok(decoder)) => Ok(decoder),
            Some(Err(Error::Cancelled)) => Err(Error::Cancelled),
            _ => Err(error),
        }
    }

    fn by_ffmpeg(program: &Path, recording: &Recording, options: &DecodeOptions, watch: Watch) -> Result<Self> {
        Ok(Decoder(By::Ffmpeg(Box::new(Ffmpeg::start(program, recording, options, ffmpeg::Limits::default(), watch)?))))
    }

    /// What the recording is. The rate and channels are those of the audio, not of a header that may be wrong.
    pub fn source(&self) -> &Source {
        match &self.0 {
            By::Builtin(decoder) => decoder.source(),
            By::Ffmpeg(decoder) => decoder.source(),
        }
    }

    /// The longest that the recording may be.
    pub(super) fn max_duration(&self) -> Option<Seconds> {
        match &self.0 {
            By::Builtin(decoder) => decoder.max_duration(),
            By::Ffmpeg(decoder) => decoder.max_duration(),
        }
    }

    /// How much has been decoded, by the recording's own clock.
    pub fn decoded(&self) -> Seconds {
        match &self.0 {
            By::Builtin(decoder) => decoder.decoded(),
            By::Ffmpeg(decoder) => decoder.decoded(),
        }
    }

    /// The next samples: `[n]` f32 at 16 kHz, mono, finite, usually within -1..1; with [`Channel::Each`](super::Channel::Each)
    /// those of the first channel. A block may be empty, when a packet of another track was passed over, or the resampler or
    /// ffmpeg is still waited for: it is a chance to stop. `None` is the end.
    ///
    /// # Errors
    /// [`Error::Audio`] if the recording turns out to be damaged, cut off, or not audio; [`Error::TooLong`] once it
    /// exceeds [`DecodeOptions::max_duration`]. What was handed out before is good.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>> {
        Ok(self.next_channels()?.map(|channels| channels.first().map_or(&[][..], Vec::as_slice)))
    }

    /// The same for all channels that are heard, `[channels][n]`: more than one with [`Channel::Each`](super::Channel::Each).
    /// An empty block may have no channels yet.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub fn next_channels(&mut self) -> Result<Option<&Vec<Vec<f32>>>> {
        match &mut self.0 {
            By::Builtin(decoder) => decoder.next_block(),
            By::Ffmpeg(decoder) => decoder.next_block(),
        }
    }
}

/// What the built-in reader knows.
pub(super) const KNOWN: &str = "wav, flac, mp3, m4a/mp4, aac, ogg, opus, webm/mkv, aiff, caf";

const CURE_BUILTIN: &str = "let ffmpeg read it (`decoder` auto), or convert it first, for example \
     with `ffmpeg -i IN -ac 1 OUT.wav`";

const CURE_INSTALL: &str = "install ffmpeg, which then reads it (none was found on PATH), or convert it first, for example with `ffmpeg -i IN -ac 1 OUT.wav`";
