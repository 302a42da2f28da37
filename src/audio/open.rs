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

use super::container::{CONVERT, ContainerInfo, KNOWN, OpenError, io_refusal};
use super::mp4;
use super::tracks::{self, SelectedTrack};
use super::wav::{self, Normalised};
use super::{DecodeOptions, elementary, mkv};
use crate::guard::guard;

/// An opened recording: the demuxer and the selected track.
pub(super) struct Opened<'a> {
    pub(super) format: Box<dyn FormatReader + 'a>,
    pub(super) playing: SelectedTrack,
    pub(super) info: ContainerInfo,
    /// Size of the file, in bytes.
    pub(super) bytes: u64,
}

/// Opens a recording in a file. The extension of its name, if any, is a hint at the format.
pub(super) fn open_file(
    file: io::Result<File>,
    name: &Path,
    options: &DecodeOptions,
) -> Result<Opened<'static>, OpenError> {
    let file = file.map_err(|error| io_refusal(&error))?;
    let bytes = file.metadata().map_err(|error| io_refusal(&error))?.len();
    open_source(Box::new(file), bytes, extension(name), options)
}

/// Opens a recording in memory. The extension of its name, if any, is a hint at the format.
pub(super) fn open_bytes<'a>(bytes: &'a [u8], name: &Path, options: &DecodeOptions) -> Result<Opened<'a>, OpenError> {
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
) -> Result<Opened<'a>, OpenError> {
    let io_error = |error: std::io::Error| io_refusal(&error);
    // Damaged headers count as missing here; symphonia reports damage.
    let mut info = ContainerInfo {
        movie: mp4::read(&mut source, bytes).unwrap_or_default(),
        matroska: mkv::read(&mut source, bytes).unwrap_or_default(),
        ..ContainerInfo::default()
    };
    source.seek(SeekFrom::Start(0)).map_err(io_error)?;
    let (source, bytes_left): (Box<dyn MediaSource + 'a>, _) =
        match wav::normalise(source, bytes).map_err(io_error)?? {
            Normalised::Wav(window) => {
                info.wav = Some(window.promised);
                let len = window.byte_len().unwrap_or(bytes);
                (Box::new(window), len)
            }
            Normalised::Other(source) => (source, bytes),
        };
    let damaged = |panic: String| OpenError::Damaged(format!("its header is damaged ({panic}); {CONVERT}"));
    let format: Box<dyn FormatReader + 'a> = match elementary::open(source, bytes_left).map_err(io_error)? {
        Ok((reader, length)) => {
            info.frames = Some(length);
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
    let playing = guard(|| tracks::select_track(format.as_ref(), &info, options)).map_err(damaged)??;
    Ok(Opened { format, playing, info, bytes })
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

/// Converts symphonia's error of opening a container.
fn probe_refusal(error: &SymphoniaError) -> OpenError {
    match error {
        SymphoniaError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => OpenError::Damaged(format!(
            "the file ends within its header: it was cut off or never finished; get it whole, or {CONVERT}"
        )),
        SymphoniaError::IoError(io) => io_refusal(io),
        SymphoniaError::Unsupported("core (probe): no suitable format reader found") => {
            OpenError::Unsupported(format!("is not a recording in a known format ({})", KNOWN))
        }
        SymphoniaError::Unsupported("isomp4: missing moov atom") => OpenError::Damaged(format!(
            "its index (moov) is missing: the recorder was stopped before it finished the file; {CONVERT}"
        )),
        SymphoniaError::Unsupported(what) => {
            OpenError::Unsupported(format!("it uses a feature of its container that is not known ({what})"))
        }
        other => OpenError::Damaged(format!(
            "its header cannot be used ({other}): the file is damaged, cut off or mislabelled; {CONVERT}"
        )),
    }
}
