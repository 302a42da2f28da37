//! From a path or bytes to a container reader and a decoder for its first playable audio track.

use std::fs::{self, File};
use std::io::{Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_OPUS};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatId, FormatOptions, FormatReader, Track, TrackType, well_known as formats};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::mp4::{self, Starts};
use super::opus;
use super::wav::{self, Normalised};
use crate::error::{Error, Result};
use crate::guard::guard;

/// What a reader of an error can always do with a recording this crate cannot read.
const CONVERT: &str = "if another program plays it, convert it first, for example with `ffmpeg -i IN -ac 1 OUT.wav`";

/// An opened recording: the container's reader and the track that will be heard.
pub(super) struct Opened<'a> {
    pub(super) format: Box<dyn FormatReader + 'a>,
    pub(super) playing: Playing,
    /// Size of the file, in bytes.
    pub(super) bytes: u64,
}

/// A track and its decoder.
pub(super) struct Playing {
    pub(super) track_id: u32,
    pub(super) decoder: Box<dyn AudioDecoder>,
    pub(super) params: AudioCodecParameters,
    /// Seconds per tick of the track's time stamps.
    pub(super) tick: f64,
    /// Seconds to drop at the start.
    pub(super) start: f64,
    pub(super) length: Length,
}

/// What the container says about the length of the track, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Length {
    /// Written in the file: less than that is a truncated file.
    Stated(f64),
    /// Worked out from the size or the last page: good for a progress bar.
    Guessed(f64),
    Unknown,
}

impl Length {
    pub(super) fn seconds(self) -> Option<f64> {
        match self {
            Length::Stated(seconds) | Length::Guessed(seconds) => Some(seconds),
            Length::Unknown => None,
        }
    }

    /// Without what is dropped at the start.
    fn shortened(self, seconds: f64) -> Self {
        match self {
            Length::Stated(all) => Length::Stated((all - seconds).max(0.0)),
            Length::Guessed(all) => Length::Guessed((all - seconds).max(0.0)),
            Length::Unknown => Length::Unknown,
        }
    }
}

/// Opens a file.
pub(super) fn open_file(path: &Path) -> Result<Opened<'static>> {
    let refuse = |reason: &str| Err(Error::audio(path, reason));
    // Before opening: to open a pipe waits for its writer, for ever if there is none.
    let meta = fs::metadata(path).map_err(|error| Error::audio(path, io_reason(&error)))?;
    if meta.is_dir() {
        return refuse("is a folder, not a recording; name the files inside it");
    }
    if !meta.is_file() {
        return refuse("is a pipe or a device, which cannot be read twice; save the recording to a file first");
    }
    if meta.len() == 0 {
        return refuse("the file is empty (0 bytes); record or copy it again");
    }
    let file = File::open(path).map_err(|error| Error::audio(path, io_reason(&error)))?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    open_source(Box::new(file), meta.len(), path, extension)
}

/// Opens a recording that lies in memory. `name` stands for it in errors; its extension, if it has one, is a hint.
pub(super) fn open_bytes<'a>(bytes: &'a [u8], name: &Path) -> Result<Opened<'a>> {
    if bytes.is_empty() {
        return Err(Error::audio(name, "the recording is empty (0 bytes)"));
    }
    let extension = name.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    open_source(Box::new(Cursor::new(bytes)), bytes.len() as u64, name, extension)
}

fn open_source<'a>(mut source: Box<dyn MediaSource + 'a>, bytes: u64, name: &Path, ext: &str) -> Result<Opened<'a>> {
    let io_error = |error: std::io::Error| Error::audio(name, io_reason(&error));
    let mut facts = Facts { mp3_tag: has_mp3_length(&mut source).map_err(io_error)?, ..Facts::default() };
    // Damage there is as good as nothing there; symphonia will say what else is wrong.
    facts.starts = mp4::starts(&mut source, bytes).unwrap_or_default();
    source.seek(SeekFrom::Start(0)).map_err(io_error)?;
    let source = match wav::normalise(source, bytes).map_err(io_error)? {
        Ok(Normalised::Wav(window)) => {
            facts.wav = Some(window.promised);
            Box::new(window)
        }
        Ok(Normalised::Other(source)) => source,
        Err(reason) => return Err(Error::audio(name, reason)),
    };
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.with_extension(ext);
    let probe = || {
        let (format, meta) = (FormatOptions::default(), MetadataOptions::default());
        symphonia::default::get_probe().probe(&hint, stream, format, meta)
    };
    let damaged = |panic: String| Error::audio(name, format!("its header is damaged ({panic}); {CONVERT}"));
    let format = guard(probe).map_err(damaged)?.map_err(|error| Error::audio(name, probe_reason(&error)))?;
    let playing = guard(|| choose_track(format.as_ref(), &facts)).map_err(damaged)?;
    let playing = playing.map_err(|reason| Error::audio(name, reason))?;
    Ok(Opened { format, playing, bytes })
}

/// What was seen of the file before symphonia, which does not tell.
#[derive(Default)]
pub(super) struct Facts {
    /// The first frame of an MP3 holds its length.
    mp3_tag: bool,
    /// Where the tracks of an MP4 begin.
    starts: Starts,
    /// It is a WAV file; by what factor it ought to be longer, if it tells.
    wav: Option<Option<f64>>,
}

/// The first audio track that there is a decoder for; the error is the reason why there is none.
pub(super) fn choose_track(format: &dyn FormatReader, facts: &Facts) -> Result<Playing, String> {
    let mut refused = None;
    for track in format.tracks() {
        let Some(CodecParameters::Audio(params)) = &track.codec_params else { continue };
        match make_decoder(params) {
            Ok(decoder) => {
                let tick = track.time_base.map_or(0.0, f64::from);
                let start = start_ticks(track.id, params, facts) as f64 * tick;
                let length = track_length(format, track, tick, facts).shortened(start);
                return Ok(Playing { track_id: track.id, decoder, params: params.clone(), tick, start, length });
            }
            Err(error) => refused = refused.or(Some((params.codec, error))),
        }
    }
    let container = format.format_info().long_name;
    match refused {
        Some((codec, error)) => Err(format!(
            "its audio is in a codec that cannot be read ({}: {error}); {CONVERT}",
            super::names::codec(codec)
        )),
        None if format.first_track(TrackType::Video).is_some() => {
            Err(format!("there is no audio track in it ({container} with video only); nothing to transcribe"))
        }
        None => Err(format!("there is no audio track in it ({container}); {CONVERT}")),
    }
}

/// A decoder for a track.
pub(super) fn make_decoder(params: &AudioCodecParameters) -> symphonia::core::errors::Result<Box<dyn AudioDecoder>> {
    let options = AudioDecoderOptions::default();
    opus::codecs().make_audio_decoder(params, &options).or_else(|error| {
        let core = params.extra_data.as_deref().filter(|_| params.codec == CODEC_ID_AAC).and_then(mp4::aac_core);
        let Some(core) = core else { return Err(error) };
        let mut core_params = params.clone();
        core_params.with_extra_data(core);
        opus::codecs().make_audio_decoder(&core_params, &options)
    })
}

/// Ticks before the track begins to be heard. Opus has its own header for that, which says the same.
fn start_ticks(track_id: u32, params: &AudioCodecParameters, facts: &Facts) -> u64 {
    if params.codec == CODEC_ID_OPUS { 0 } else { facts.starts.of(track_id) }
}

/// The length of a track as its container tells it.
fn track_length(format: &dyn FormatReader, track: &Track, tick: f64, facts: &Facts) -> Length {
    let ticks = match (track.duration, track.num_frames) {
        (Some(duration), _) => duration.get(),
        (None, Some(frames)) => frames,
        (None, None) => return media_length(format),
    };
    // Ogg counts what the decoder of Opus drops at the start.
    let dropped = match format.format_info().format {
        formats::FORMAT_ID_OGG => u64::from(track.delay.unwrap_or(0)),
        _ => 0,
    };
    let seconds = ticks.saturating_sub(dropped) as f64 * tick;
    if ticks == 0 || tick == 0.0 {
        return Length::Unknown;
    }
    match facts.wav {
        Some(Some(factor)) => return Length::Stated(seconds * factor),
        Some(None) => return Length::Guessed(seconds),
        None => {}
    }
    let stated = states_length(format.format_info().format, facts.mp3_tag);
    if stated { Length::Stated(seconds) } else { Length::Guessed(seconds) }
}

/// Matroska's length is that of the longest track, so it binds only where there is one.
fn media_length(format: &dyn FormatReader) -> Length {
    let info = format.media_info();
    match (info.time_base, info.duration) {
        (Some(base), Some(duration)) if duration.get() > 0 => {
            let seconds = duration.get() as f64 * f64::from(base);
            if format.tracks().len() == 1 { Length::Stated(seconds) } else { Length::Guessed(seconds) }
        }
        _ => Length::Unknown,
    }
}

/// Whether the container writes its length down. Symphonia computes one for the others: Ogg's from the last page it
/// finds, ADTS's and an untagged MP3's from the size of the file, which junk at the end makes too long.
fn states_length(format: FormatId, mp3_tag: bool) -> bool {
    match format {
        formats::FORMAT_ID_OGG | formats::FORMAT_ID_ADTS => false,
        formats::FORMAT_ID_MP1 | formats::FORMAT_ID_MP2 | formats::FORMAT_ID_MP3 => mp3_tag,
        _ => true,
    }
}

/// Whether the first frame after an ID3v2 tag holds the length of an MP3 (Xing's, LAME's or Fraunhofer's tag).
/// Symphonia uses the tag but does not tell whether it did. Leaves the source at its start.
fn has_mp3_length(source: &mut Box<dyn MediaSource + '_>) -> std::io::Result<bool> {
    let mut head = [0; 10];
    let mut start = 0;
    if source.read_exact(&mut head).is_ok() && &head[..3] == b"ID3" {
        // Four bytes of seven bits each.
        let size = head[6..10].iter().fold(0u64, |size, &byte| size << 7 | u64::from(byte & 0x7f));
        start = 10 + size;
    }
    source.seek(SeekFrom::Start(start))?;
    let mut frame = Vec::new();
    source.by_ref().take(2048).read_to_end(&mut frame)?;
    source.seek(SeekFrom::Start(0))?;
    Ok([b"Xing", b"Info", b"VBRI"].iter().any(|tag| frame.windows(4).any(|window| window == *tag)))
}

/// What went wrong with a file, in words.
fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file; check the path".into(),
        ErrorKind::PermissionDenied => "may not be read (permission denied); change its permissions or copy it".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Why the container could not be opened.
fn probe_reason(error: &SymphoniaError) -> String {
    match error {
        SymphoniaError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => {
            format!("the file ends within its header: it was cut off or never finished; get it whole, or {CONVERT}")
        }
        SymphoniaError::IoError(io) => io_reason(io),
        SymphoniaError::Unsupported("core (probe): no suitable format reader found") => format!(
            "is not a recording in a known format (wav, flac, mp3, m4a/mp4, aac, ogg, opus, webm/mkv, aiff, caf); {CONVERT}"
        ),
        SymphoniaError::Unsupported("isomp4: missing moov atom") => {
            format!("its index (moov) is missing: the recorder was stopped before it finished the file; {CONVERT}")
        }
        other => format!("its header cannot be used ({other}): the file is damaged, cut off or mislabelled; {CONVERT}"),
    }
}
