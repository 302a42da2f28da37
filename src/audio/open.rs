//! Opens a container with symphonia's or this crate's demuxers, and selects the audio track.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Seek, SeekFrom};
use std::path::Path;
use std::sync::OnceLock;

use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::{Hint, Probe};
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::default::{formats as readers, meta as tags};

use super::mp4::{self, Movie};
use super::tracks::{self, Playing};
use super::wav::{self, Normalised};
use super::{DecodeOptions, elementary, mkv};
use crate::error::Error;
use crate::guard::guard;

/// Advice that ends the error messages about unreadable recordings.
pub(super) const CONVERT: &str =
    "if another program plays it, convert it first, for example with `ffmpeg -i IN -ac 1 OUT.wav`";

/// Why a recording is rejected, in words.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// The built-in reader does not support its container or codec; ffmpeg may. The caller appends the cure.
    Unsupported(String),
    /// It cannot be opened, is damaged, or contains no audio; ffmpeg would not help.
    Damaged(String),
}

impl Refusal {
    /// Converts to [`Error::Audio`]; `name` is the recording's name.
    pub(super) fn into_error(self, name: &Path) -> Error {
        let (Refusal::Unsupported(reason) | Refusal::Damaged(reason)) = self;
        Error::audio(name, reason)
    }
}

/// An opened recording: the demuxer and the selected track.
pub(super) struct Opened<'a> {
    pub(super) format: Box<dyn FormatReader + 'a>,
    pub(super) playing: Playing,
    pub(super) facts: Facts,
    /// Size of the file, in bytes.
    pub(super) bytes: u64,
}

/// Length of the track according to the container, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Length {
    /// Stated in the file: if less is decoded, the file is truncated.
    Stated(f64),
    /// Estimated from the file's size or its last page, for progress reports only.
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
}

/// Opens a recording in a file. The extension of its name, if any, is a hint at the format.
pub(super) fn open_file(
    file: io::Result<File>,
    name: &Path,
    options: &DecodeOptions,
) -> Result<Opened<'static>, Refusal> {
    let file = file.map_err(|error| io_refusal(&error))?;
    let bytes = file.metadata().map_err(|error| io_refusal(&error))?.len();
    open_source(Box::new(file), bytes, extension(name), options)
}

/// Opens a recording in memory. The extension of its name, if any, is a hint at the format.
pub(super) fn open_bytes<'a>(bytes: &'a [u8], name: &Path, options: &DecodeOptions) -> Result<Opened<'a>, Refusal> {
    open_source(Box::new(Cursor::new(bytes)), bytes.len() as u64, extension(name), options)
}

fn extension(name: &Path) -> &str {
    name.extension().and_then(|extension| extension.to_str()).unwrap_or("")
}

fn open_source<'a>(
    mut source: Box<dyn MediaSource + 'a>,
    bytes: u64,
    ext: &str,
    options: &DecodeOptions,
) -> Result<Opened<'a>, Refusal> {
    let io_error = |error: std::io::Error| io_refusal(&error);
    // Damaged headers count as missing here; symphonia reports damage.
    let mut facts = Facts {
        movie: mp4::read(&mut source, bytes).unwrap_or_default(),
        matroska: mkv::read(&mut source, bytes).unwrap_or_default(),
        ..Facts::default()
    };
    source.seek(SeekFrom::Start(0)).map_err(io_error)?;
    let (source, bytes_left): (Box<dyn MediaSource + 'a>, _) =
        match wav::normalise(source, bytes).map_err(io_error)?? {
            Normalised::Wav(window) => {
                facts.wav = Some(window.promised);
                let len = window.byte_len().unwrap_or(bytes);
                (Box::new(window), len)
            }
            Normalised::Other(source) => (source, bytes),
        };
    let damaged = |panic: String| Refusal::Damaged(format!("its header is damaged ({panic}); {CONVERT}"));
    let format: Box<dyn FormatReader + 'a> = match elementary::open(source, bytes_left).map_err(io_error)? {
        Ok((reader, length)) => {
            facts.frames = Some(length);
            Box::new(reader)
        }
        Err(source) => {
            let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
            let mut hint = Hint::new();
            hint.with_extension(ext);
            let (format, meta) = (FormatOptions::default(), MetadataOptions::default());
            guard(|| containers().probe(&hint, stream, format, meta))
                .map_err(damaged)?
                .map_err(|error| probe_refusal(&error))?
        }
    };
    let playing = guard(|| tracks::choose(format.as_ref(), &facts, options)).map_err(damaged)??;
    Ok(Opened { format, playing, facts, bytes })
}

/// Symphonia's demuxers, without those for elementary streams, which take many other files for MP3; see [`elementary`].
fn containers() -> &'static Probe {
    static CONTAINERS: OnceLock<Probe> = OnceLock::new();
    CONTAINERS.get_or_init(|| {
        let mut probe = Probe::default();
        probe.register_format::<readers::AiffReader<'_>>();
        probe.register_format::<readers::CafReader<'_>>();
        probe.register_format::<readers::FlacReader<'_>>();
        probe.register_format::<readers::IsoMp4Reader<'_>>();
        probe.register_format::<readers::MkvReader<'_>>();
        probe.register_format::<readers::OggReader<'_>>();
        probe.register_format::<readers::WavReader<'_>>();
        probe.register_metadata::<tags::ApeReader<'_>>();
        probe.register_metadata::<tags::Id3v1Reader<'_>>();
        probe.register_metadata::<tags::Id3v2Reader<'_>>();
        probe
    })
}

/// Properties of the container that symphonia does not provide.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// MP4: tracks and edit lists.
    pub(super) movie: Movie,
    /// Matroska: default flags and content encodings.
    pub(super) matroska: mkv::Tracks,
    /// Elementary stream: its length.
    pub(super) frames: Option<Length>,
    /// WAV: the stated length divided by the actual length, if the header states one.
    pub(super) wav: Option<Option<f64>>,
}

fn io_refusal(error: &std::io::Error) -> Refusal {
    Refusal::Damaged(io_reason(error))
}

/// Describes an I/O error of opening or reading a file.
pub(super) fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file; check the path".into(),
        ErrorKind::PermissionDenied => "may not be read (permission denied); change its permissions or copy it".into(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Converts symphonia's error of opening a container.
fn probe_refusal(error: &SymphoniaError) -> Refusal {
    match error {
        SymphoniaError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => Refusal::Damaged(format!(
            "the file ends within its header: it was cut off or never finished; get it whole, or {CONVERT}"
        )),
        SymphoniaError::IoError(io) => io_refusal(io),
        SymphoniaError::Unsupported("core (probe): no suitable format reader found") => {
            Refusal::Unsupported(format!("is not a recording in a known format ({})", super::reader::KNOWN))
        }
        SymphoniaError::Unsupported("isomp4: missing moov atom") => Refusal::Damaged(format!(
            "its index (moov) is missing: the recorder was stopped before it finished the file; {CONVERT}"
        )),
        SymphoniaError::Unsupported(what) => {
            Refusal::Unsupported(format!("it uses a feature of its container that is not known ({what})"))
        }
        other => Refusal::Damaged(format!(
            "its header cannot be used ({other}): the file is damaged, cut off or mislabelled; {CONVERT}"
        )),
    }
}
