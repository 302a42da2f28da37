//! Lenient parser of WAV headers (RIFF, RF64, W64): replaces them by a canonical header that symphonia accepts.
//!
//! Recorders leave sizes of zero when they are stopped, programs that write to a pipe store a large placeholder, files
//! over 4 GB are RF64 or W64, and the format chunk has several lengths. This module reads the chunks as leniently as
//! players do. Its result is a canonical header in front of a window on the samples. CAF files without a size are
//! repaired, too.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::container::OpenError;
use super::mix;

/// Size that marks an unknown size, or one that is stored in the `ds64` chunk.
const UNKNOWN: u64 = 0xffff_ffff;
/// The last 12 bytes of a W64 chunk identifier. The first 4 are the chunk's name.
const W64_TAIL: [u8; 12] = *b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
/// Magic number of W64.
const W64_RIFF: [u8; 16] = *b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
/// Bytes read of a format chunk. It has up to 40 bytes, 50 for ADPCM; more is padding.
const MAX_FORMAT: u64 = 256;
/// Limit in bytes for the search for the `data` chunk of a CAF file.
const MAX_CAF_HEADER: u64 = 1 << 20;
/// Largest PCM sample in bytes.
const MAX_SAMPLE_BYTES: u16 = 8;

const PCM: u16 = 1;
const ADPCM_MS: u16 = 2;
const FLOAT: u16 = 3;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
const ADPCM_IMA: u16 = 0x11;
const MPEG: u16 = 0x50;
const MP3: u16 = 0x55;
const EXTENSIBLE: u16 = 0xfffe;

/// Result of [`normalise`].
pub(super) enum Normalised<'a> {
    /// Another file type; the source is unchanged.
    Other(Box<dyn MediaSource + 'a>),
    Wav(Window<'a>),
}

/// A canonical header followed by the samples, as one seekable source.
pub(super) struct Window<'a> {
    header: Vec<u8>,
    inner: Box<dyn MediaSource + 'a>,
    /// Offset of the samples in `inner`, and their size in bytes.
    start: u64,
    len: u64,
    /// Position in header and samples together.
    at: u64,
    /// The stated length of the samples divided by their actual length, if the header states one; above 1 for a
    /// truncated file.
    pub(super) promised: Option<f64>,
}

/// The chunks that matter.
struct Chunks {
    format: Vec<u8>,
    start: u64,
    /// Size of the data chunk according to its header, in bytes; `None` if unknown.
    claimed: Option<u64>,
}

/// Converts a WAV file of `bytes` bytes to canonical form; returns other files unchanged. The inner error is the reason
/// why a WAV file cannot be used.
pub(super) fn normalise<'a>(
    mut source: Box<dyn MediaSource + 'a>,
    bytes: u64,
) -> io::Result<Result<Normalised<'a>, OpenError>> {
    let mut head = [0; 40];
    let got = read_some(&mut source, &mut head)?;
    source.seek(SeekFrom::Start(0))?;
    let chunks = if got >= 12 && &head[8..12] == b"WAVE" && matches!(&head[..4], b"RIFF" | b"RF64" | b"BW64") {
        read_chunks(&mut source, bytes, Layout::Riff)?
    } else if got == 40 && head[..16] == W64_RIFF {
        read_chunks(&mut source, bytes, Layout::W64)?
    } else {
        return match caf_header(&mut source, &head, bytes)? {
            Some(header) => {
                let start = header.len() as u64;
                source.seek(SeekFrom::Start(start))?;
                let window = Window { header, inner: source, start, len: bytes - start, at: 0, promised: None };
                Ok(Ok(Normalised::Wav(window)))
            }
            None => {
                source.seek(SeekFrom::Start(0))?;
                Ok(Ok(Normalised::Other(source)))
            }
        };
    };
    let (chunks, format) =
        match chunks.and_then(|chunks| canonical_format(&chunks.format).map(|format| (chunks, format))) {
            Ok(usable) => usable,
            Err(refusal) => return Ok(Err(refusal)),
        };
    let available = bytes - chunks.start;
    let len = chunks.claimed.map_or(available, |claimed| claimed.min(available));
    // Compare whole blocks, as symphonia drops a partial block.
    let block = u64::from(u16::from_le_bytes([chunks.format[12], chunks.format[13]])).max(1);
    let promised =
        chunks.claimed.filter(|_| len >= block).map(|claimed| (claimed / block) as f64 / (len / block) as f64);
    let header = format.map_or(Vec::new(), |format| header(&format, len));
    source.seek(SeekFrom::Start(chunks.start))?;
    Ok(Ok(Normalised::Wav(Window { header, inner: source, start: chunks.start, len, at: 0, promised })))
}

/// For a CAF file with a `data` chunk of size -1 ("until the end of the file"), which symphonia cannot read: everything
/// before the samples, with the actual size filled in. `None` for other files.
///
/// Source: Apple Core Audio Format Specification, "Audio Data Chunk".
fn caf_header(source: &mut Box<dyn MediaSource + '_>, head: &[u8], bytes: u64) -> io::Result<Option<Vec<u8>>> {
    if !head.starts_with(b"caff") {
        return Ok(None);
    }
    let mut at = 8;
    while at + 12 <= bytes.min(MAX_CAF_HEADER) {
        let mut chunk = [0; 12];
        source.seek(SeekFrom::Start(at))?;
        source.read_exact(&mut chunk)?;
        let size = i64::from_be_bytes(chunk[4..].try_into().unwrap_or_default());
        let body = at + 12;
        match u64::try_from(size) {
            Err(_) if &chunk[..4] == b"data" && size == -1 => {
                let mut header = vec![0; body as usize];
                source.seek(SeekFrom::Start(0))?;
                source.read_exact(&mut header)?;
                header[at as usize + 4..].copy_from_slice(&(bytes - body).to_be_bytes());
                return Ok(Some(header));
            }
            Ok(size) if size <= bytes - body => at = body + size,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Chunk header: 4 bytes of name, 4 bytes of size. Chunks are aligned to 2 bytes.
    Riff,
    /// Chunk header: 16 bytes of identifier, 8 bytes of size, which includes the header. Chunks are aligned to 8 bytes.
    W64,
}

/// Reads the chunks up to the samples.
fn read_chunks(
    source: &mut Box<dyn MediaSource + '_>,
    bytes: u64,
    layout: Layout,
) -> io::Result<Result<Chunks, OpenError>> {
    let (header, align) = if layout == Layout::Riff { (8, 2) } else { (24, 8) };
    let mut at: u64 = if layout == Layout::Riff { 12 } else { 40 };
    let mut format = Vec::new();
    let mut long_size = None;
    while at + header <= bytes {
        source.seek(SeekFrom::Start(at))?;
        let mut head = [0; 24];
        source.read_exact(&mut head[..header as usize])?;
        let size = if layout == Layout::Riff {
            u64::from(u32_at(&head, 4))
        } else {
            u64::from_le_bytes(head[16..24].try_into().unwrap_or_default()).saturating_sub(header)
        };
        let name = &head[..4];
        let body = at + header;
        if name == b"data" && (layout == Layout::Riff || head[4..16] == W64_TAIL) {
            if format.is_empty() {
                return damaged("its header lacks the format of the samples (no `fmt ` chunk): it is damaged");
            }
            let claimed = if size == UNKNOWN { long_size.filter(|&size| size != 0) } else { Some(size) };
            let claimed = claimed.filter(|&size| size <= bytes - body || !is_placeholder(size));
            let claimed = if size == 0 && !chunk_follows(source, body, bytes)? { None } else { claimed };
            return Ok(Ok(Chunks { format, start: body, claimed }));
        }
        if size > bytes - body {
            let name = String::from_utf8_lossy(name).into_owned();
            let rest = bytes - body;
            return damaged(&format!(
                "its header is damaged: the `{name}` chunk claims {size} bytes, but only {rest} follow; record or copy it again"
            ));
        }
        if matches!(name, b"fmt " | b"ds64") {
            let mut data = vec![0; size.min(MAX_FORMAT) as usize];
            source.read_exact(&mut data)?;
            match name {
                b"fmt " => format = data,
                // `ds64`: 8 bytes with the size of the RIFF chunk, then 8 bytes with that of the data chunk.
                _ => long_size = data.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes),
            }
        }
        at = (body + size).next_multiple_of(align);
    }
    damaged("it ends within its header, before the samples: it was cut off or never finished; record or copy it again")
}

fn damaged<T>(reason: &str) -> io::Result<Result<T, OpenError>> {
    Ok(Err(OpenError::Damaged(reason.into())))
}

/// Whether a size that exceeds the file is a placeholder of a program that did not know the size when it wrote the
/// header. Placeholders are close to the ends of the signed and unsigned 32-bit range (0x7ffff000 by sox and espeak,
/// 0x7fff0000 by GStreamer, 0x7fffffff and 0x80000000 by arecord, 0xffffffff by ffmpeg, some of them minus the header's
/// size), or beyond any file size.
fn is_placeholder(size: u64) -> bool {
    matches!(size, 0x7fff_0000..=0x8000_ffff | 0xffff_0000..=0xffff_ffff | 0x0400_0000_0000_0000..)
}

/// Whether a data chunk of size zero is really empty, that is, followed by the end of the file or another chunk.
/// Otherwise its writer was stopped before it filled in the size, and the samples extend to the end of the file.
fn chunk_follows(source: &mut Box<dyn MediaSource + '_>, at: u64, bytes: u64) -> io::Result<bool> {
    if bytes - at < 8 {
        return Ok(true);
    }
    source.seek(SeekFrom::Start(at))?;
    let mut name = [0; 4];
    source.read_exact(&mut name)?;
    Ok(matches!(&name, b"LIST" | b"fact" | b"id3 " | b"ID3 " | b"bext" | b"cue " | b"JUNK" | b"junk" | b"_PMX"))
}

/// The canonical format chunk; `None` for MPEG audio, whose frames have headers of their own.
fn canonical_format(format: &[u8]) -> Result<Option<Vec<u8>>, OpenError> {
    if format.len() < 16 {
        return Err(OpenError::Damaged("its header is damaged: the format chunk is too short".into()));
    }
    let u16_at = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    // WAVE_FORMAT_EXTENSIBLE stores the actual format tag in the first two bytes of the subformat GUID.
    let tag = if u16_at(0) == EXTENSIBLE && format.len() >= 26 { u16_at(24) } else { u16_at(0) };
    let (channels, align, bits) = (u16_at(2), u16_at(12), u16_at(14));
    if matches!(tag, MPEG | MP3) {
        return Ok(None);
    }
    mix::check_channels(usize::from(channels), mix::Channel::Mix).map_err(OpenError::Damaged)?;
    // Samples of, for example, 20 bits are stored in whole bytes; the block size gives their number.
    let is_valid = |align: u16| align > 0 && align.is_multiple_of(channels) && align / channels <= MAX_SAMPLE_BYTES;
    let bits = if tag == PCM && is_valid(align) { 8 * (align / channels) } else { bits };
    let mut out = format[..16].to_vec();
    out[..2].copy_from_slice(&tag.to_le_bytes());
    out[14..16].copy_from_slice(&bits.to_le_bytes());
    match tag {
        PCM | FLOAT => {}
        ALAW | MULAW => out.extend([0, 0]),
        ADPCM_MS | ADPCM_IMA => out = format.to_vec(),
        _ => {
            let name = super::names::wav_tag(tag);
            let reason = format!("its samples are in {name}, which cannot be read (WAV format tag {tag:#06x})");
            return Err(OpenError::Unsupported(reason));
        }
    }
    Ok(Some(out))
}

fn header(format: &[u8], len: u64) -> Vec<u8> {
    let mut out = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    out.extend((format.len() as u32).to_le_bytes());
    out.extend(format);
    out.extend(b"data");
    // Above 4 GB the size does not fit; the end of the window then ends the samples.
    out.extend((len.min(UNKNOWN) as u32).to_le_bytes());
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Reads until `buffer` is full or the source ends; returns the number of bytes read.
pub(super) fn read_some(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match source.read(&mut buffer[got..])? {
            0 => break,
            count => got += count,
        }
    }
    Ok(got)
}

impl Window<'_> {
    fn total(&self) -> u64 {
        self.header.len() as u64 + self.len
    }
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let header = self.header.len() as u64;
        let count = if self.at < header {
            let rest = &self.header[self.at as usize..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        } else {
            let left = (self.total() - self.at).min(buffer.len() as u64) as usize;
            self.inner.read(&mut buffer[..left])?
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.total().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?.min(self.total());
        self.inner.seek(SeekFrom::Start(self.start + target.saturating_sub(self.header.len() as u64)))?;
        self.at = target;
        Ok(target)
    }
}

impl MediaSource for Window<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.total())
    }
}
