//! Matroska track headers: default flags and content encodings (packet compression), which symphonia ignores.
//!
//! Source: RFC 9559, sections 5.1.4.1 (Tracks) and 5.1.4.1.31 (ContentEncodings).

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;
use symphonia::core::io::MediaSource;

/// Largest number of elements scanned in search of the `Tracks` element.
const MAX_ELEMENTS: usize = 10_000;
/// Largest `Tracks` element, in bytes. The headers of one Vorbis track take some thousand bytes.
const MAX_TRACKS_LEN: u64 = 16 << 20;
/// Largest packet after decompression, in bytes.
const MAX_PACKET: u64 = 8 << 20;
/// Largest number of encodings per track: each copies every packet.
const MAX_ENCODINGS: usize = 8;

const SEGMENT: u64 = 0x1853_8067;
const TRACKS: u64 = 0x1654_ae6b;
const TRACK: u64 = 0xae;
const NUMBER: u64 = 0xd7;
const TYPE: u64 = 0x83;
const AUDIO: u64 = 2;
const DEFAULT: u64 = 0x88;
const ENCODINGS: u64 = 0x6d80;
const ENCODING: u64 = 0x6240;
const ENCODING_ORDER: u64 = 0x5031;
const ENCODING_SCOPE: u64 = 0x5032;
const ENCODING_TYPE: u64 = 0x5033;
const COMPRESSION: u64 = 0x5034;
const ALGORITHM: u64 = 0x4254;
const SETTINGS: u64 = 0x4255;

/// The tracks, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Tracks(Vec<TrackInfo>);

#[derive(Debug, Default)]
struct TrackInfo {
    number: u64,
    is_audio: bool,
    is_default: bool,
    encodings: Vec<Encoding>,
}

/// A content encoding: a transformation of packets that must be undone before decoding.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Encoding {
    order: u64,
    /// Bit 0 (value 1): packets. Bit 1 (value 2): the codec's header.
    scope: u64,
    method: Method,
}

#[derive(Clone, Debug, PartialEq)]
enum Method {
    Zlib,
    /// Header stripping: these bytes were removed from the start of every packet.
    Stripped(Vec<u8>),
    /// An unsupported method, in words for the error message.
    Unknown(String),
}

impl Tracks {
    /// Numbers of the audio tracks, in the order of the file.
    pub(super) fn audio_tracks(&self) -> Vec<u32> {
        self.0.iter().filter(|track| track.is_audio).filter_map(|track| u32::try_from(track.number).ok()).collect()
    }

    /// Whether the file marks a track as default; `None` for a track that was not found.
    pub(super) fn is_default(&self, track: u32) -> Option<bool> {
        self.0.iter().find(|info| info.number == u64::from(track)).map(|info| info.is_default)
    }

    /// The content encodings of a track, in the order in which they must be undone. The error describes an unsupported
    /// encoding.
    pub(super) fn encodings(&self, track: u32) -> Result<Vec<Encoding>, String> {
        let info = self.0.iter().find(|info| info.number == u64::from(track));
        let mut encodings = info.map_or_else(Vec::new, |info| info.encodings.clone());
        encodings.sort_by_key(|encoding| std::cmp::Reverse(encoding.order));
        match encodings.iter().find_map(|encoding| match &encoding.method {
            Method::Unknown(name) => Some(name.clone()),
            _ => None,
        }) {
            Some(name) => Err(name),
            None => Ok(encodings),
        }
    }
}

/// Undoes the encodings of a packet, or of a codec's header if `is_header`. `None` if the data is damaged.
pub(super) fn decode(encodings: &[Encoding], data: &[u8], is_header: bool) -> Option<Box<[u8]>> {
    let scope = if is_header { 2 } else { 1 };
    let mut data: Box<[u8]> = data.into();
    for encoding in encodings.iter().filter(|encoding| encoding.scope & scope != 0) {
        data = match &encoding.method {
            Method::Stripped(head) => head.iter().chain(&data[..]).copied().collect(),
            Method::Zlib => {
                let mut out = Vec::new();
                let got = ZlibDecoder::new(&data[..]).take(MAX_PACKET).read_to_end(&mut out).ok()?;
                (got as u64).lt(&MAX_PACKET).then_some(out)?.into()
            }
            Method::Unknown(_) => return None,
        };
    }
    Some(data)
}

/// Reads the track headers; empty for files that are not Matroska.
pub(super) fn read(source: &mut Box<dyn MediaSource + '_>, bytes: u64) -> io::Result<Tracks> {
    let mut magic = [0; 4];
    source.seek(SeekFrom::Start(0))?;
    if source.read_exact(&mut magic).is_err() || magic != [0x1a, 0x45, 0xdf, 0xa3] {
        return Ok(Tracks::default());
    }
    // Damaged headers count as missing here; symphonia reports damage.
    Ok(find(source, bytes)?.map(|data| tracks(&data)).unwrap_or_default())
}

/// The body of the `Tracks` element.
fn find(source: &mut Box<dyn MediaSource + '_>, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut at = 0;
    for _ in 0..MAX_ELEMENTS {
        let mut head = [0; 12];
        source.seek(SeekFrom::Start(at))?;
        let got = source.take(12).read(&mut head)?;
        let Some((id, size, header)) = element(&head[..got]) else { return Ok(None) };
        at += header as u64;
        match (id, size) {
            (SEGMENT, _) => {}
            (TRACKS, Some(size)) if size <= MAX_TRACKS_LEN && size <= bytes.saturating_sub(at) => {
                let mut data = vec![0; size as usize];
                source.seek(SeekFrom::Start(at))?;
                source.read_exact(&mut data)?;
                return Ok(Some(data));
            }
            (_, Some(size)) if size <= bytes.saturating_sub(at) => at += size,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Parses an EBML element header: the identifier, the size of the body if known, and the length of the header.
fn element(bytes: &[u8]) -> Option<(u64, Option<u64>, usize)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    let id_len = bytes.first()?.leading_zeros() as usize + 1;
    let id = number(bytes.get(..id_len).filter(|_| id_len <= 4)?);
    let rest = bytes.get(id_len..)?;
    let size_len = rest.first()?.leading_zeros() as usize + 1;
    let size = number(rest.get(..size_len).filter(|_| size_len <= 8)?) & ((1u64 << (7 * size_len)) - 1);
    // All ones: unknown size.
    let is_known = size != (1u64 << (7 * size_len)) - 1;
    Some((id, is_known.then_some(size), id_len + size_len))
}

/// Iterates over the child elements in a body: identifier and body.
fn children(mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let (id, size, header) = element(bytes)?;
        let end = header.checked_add(usize::try_from(size?).ok()?)?;
        let body = bytes.get(header..end)?;
        bytes = &bytes[end..];
        Some((id, body))
    })
}

fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn tracks(data: &[u8]) -> Tracks {
    let tracks = children(data).filter(|(id, _)| *id == TRACK).map(|(_, body)| {
        // FlagDefault is 1 if the element is absent.
        let mut info = TrackInfo { is_default: true, ..TrackInfo::default() };
        for (id, body) in children(body) {
            match id {
                NUMBER => info.number = unsigned(body),
                TYPE => info.is_audio = unsigned(body) == AUDIO,
                DEFAULT => info.is_default = unsigned(body) != 0,
                ENCODINGS => {
                    info.encodings = children(body)
                        .filter(|(id, _)| *id == ENCODING)
                        .map(|(_, e)| encoding(e))
                        .take(MAX_ENCODINGS + 1)
                        .collect();
                    if info.encodings.len() > MAX_ENCODINGS {
                        let method = Method::Unknown("encoded too many times".into());
                        info.encodings = vec![Encoding { order: 0, scope: 1, method }];
                    }
                }
                _ => {}
            }
        }
        info
    });
    Tracks(tracks.take(MAX_ELEMENTS).collect())
}

fn encoding(body: &[u8]) -> Encoding {
    let mut encoding = Encoding { order: 0, scope: 1, method: Method::Zlib };
    let (mut algorithm, mut settings, mut is_encrypted) = (0, Vec::new(), false);
    for (id, body) in children(body) {
        match id {
            ENCODING_ORDER => encoding.order = unsigned(body),
            ENCODING_SCOPE => encoding.scope = unsigned(body),
            ENCODING_TYPE => is_encrypted = unsigned(body) != 0,
            COMPRESSION => {
                for (id, body) in children(body) {
                    match id {
                        ALGORITHM => algorithm = unsigned(body),
                        SETTINGS => settings = body.to_vec(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    encoding.method = match algorithm {
        _ if is_encrypted => Method::Unknown("encrypted".into()),
        0 => Method::Zlib,
        1 => Method::Unknown("compressed with bzip2".into()),
        2 => Method::Unknown("compressed with LZO".into()),
        3 => Method::Stripped(settings),
        other => Method::Unknown(format!("compressed with algorithm {other}")),
    };
    encoding
}
