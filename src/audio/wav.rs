//! WAV as it is found in the wild, put into the one form that symphonia's strict reader takes.
//!
//! Recorders leave sizes of zero when they are stopped, streams write 0xFFFFFFFF, files over 4 GB come as RF64 or W64,
//! and the format chunk has grown several lengths. Here the chunks are read leniently, as every player does, and what
//! goes on is a canonical header in front of a window on the data.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::mix;

/// The marker for a size that is not known, or stands elsewhere.
const UNKNOWN: u64 = 0xffff_ffff;
/// Tail of the identifiers of W64, in front of which stands the chunk's name.
const W64_TAIL: [u8; 12] = *b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a";
/// A W64 file begins with this.
const W64_RIFF: [u8; 16] = *b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";
/// A format chunk is 40 bytes, or 50 for ADPCM; what is longer is padding.
const MAX_FORMAT: u64 = 256;
/// A PCM sample of more bytes is none.
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

/// What became of the source.
pub(super) enum Normalised<'a> {
    /// It is no WAV file and passes unchanged.
    Other(Box<dyn MediaSource + 'a>),
    Wav(Window<'a>),
}

/// A canonical header and the samples behind it, as one seekable source.
pub(super) struct Window<'a> {
    header: Vec<u8>,
    inner: Box<dyn MediaSource + 'a>,
    /// Where the samples begin in `inner`, and how many bytes of them there are.
    start: u64,
    len: u64,
    /// Position in header and samples together.
    at: u64,
    /// How many times longer the samples ought to be than they are, where the header tells their length.
    pub(super) promised: Option<f64>,
}

/// The chunks that matter.
struct Chunks {
    format: Vec<u8>,
    start: u64,
    /// What the data chunk says it holds, in bytes.
    claimed: Option<u64>,
}

/// Looks whether the source is a WAV file and puts it into canonical form. The inner error is the reason why it cannot
/// be used.
pub(super) fn normalise<'a>(
    mut source: Box<dyn MediaSource + 'a>,
    bytes: u64,
) -> io::Result<Result<Normalised<'a>, String>> {
    let mut head = [0; 40];
    let got = read_some(&mut source, &mut head)?;
    source.seek(SeekFrom::Start(0))?;
    let chunks = if got >= 12 && &head[8..12] == b"WAVE" && matches!(&head[..4], b"RIFF" | b"RF64" | b"BW64") {
        read_chunks(&mut source, bytes, Layout::Riff)?
    } else if got == 40 && head[..16] == W64_RIFF {
        read_chunks(&mut source, bytes, Layout::W64)?
    } else {
        return Ok(Ok(Normalised::Other(source)));
    };
    let (chunks, format) =
        match chunks.and_then(|chunks| canonical_format(&chunks.format).map(|format| (chunks, format))) {
            Ok(usable) => usable,
            Err(reason) => return Ok(Err(reason)),
        };
    let there = bytes - chunks.start;
    let len = chunks.claimed.map_or(there, |claimed| claimed.min(there));
    // Symphonia counts whole blocks too.
    let block = u64::from(u16::from_le_bytes([chunks.format[12], chunks.format[13]])).max(1);
    let promised =
        chunks.claimed.filter(|_| len >= block).map(|claimed| (claimed / block) as f64 / (len / block) as f64);
    let header = format.map_or(Vec::new(), |format| header(&format, len));
    source.seek(SeekFrom::Start(chunks.start))?;
    Ok(Ok(Normalised::Wav(Window { header, inner: source, start: chunks.start, len, at: 0, promised })))
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Four bytes of name, four of size, even positions.
    Riff,
    /// Sixteen bytes of identifier, eight of size that counts itself and the identifier, positions by eight.
    W64,
}

/// Walks the chunks up to the samples.
fn read_chunks(
    source: &mut Box<dyn MediaSource + '_>,
    bytes: u64,
    layout: Layout,
) -> io::Result<Result<Chunks, String>> {
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
                return Ok(Err("its header lacks the format of the samples (no `fmt ` chunk): it is damaged".into()));
            }
            let claimed = if size == UNKNOWN { long_size.filter(|&size| size != 0) } else { Some(size) };
            let claimed = if size == 0 && !chunk_follows(source, body, bytes)? { None } else { claimed };
            return Ok(Ok(Chunks { format, start: body, claimed }));
        }
        if size > bytes - body {
            let name = String::from_utf8_lossy(name).into_owned();
            let rest = bytes - body;
            return Ok(Err(format!(
                "its header is damaged: the `{name}` chunk claims {size} bytes, but only {rest} follow; record or copy it again"
            )));
        }
        if matches!(name, b"fmt " | b"ds64") {
            let mut data = vec![0; size.min(MAX_FORMAT) as usize];
            source.read_exact(&mut data)?;
            match name {
                b"fmt " => format = data,
                // Size of the RIFF chunk, then of the data chunk.
                _ => long_size = data.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes),
            }
        }
        at = (body + size).next_multiple_of(align);
    }
    Ok(Err("it ends within its header, before the samples: it was cut off or never finished; record or copy it again"
        .into()))
}

/// Whether a data chunk of size zero is truly empty: another chunk follows. Otherwise its writer was stopped before it
/// filled the size in, and the samples go on to the end of the file.
fn chunk_follows(source: &mut Box<dyn MediaSource + '_>, at: u64, bytes: u64) -> io::Result<bool> {
    if bytes - at < 8 {
        return Ok(true);
    }
    source.seek(SeekFrom::Start(at))?;
    let mut name = [0; 4];
    source.read_exact(&mut name)?;
    Ok(matches!(&name, b"LIST" | b"fact" | b"id3 " | b"ID3 " | b"bext" | b"cue " | b"JUNK" | b"junk" | b"_PMX"))
}

/// The format chunk in the shortest form of its kind; `None` for MPEG audio, which brings its own headers.
fn canonical_format(format: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if format.len() < 16 {
        return Err("its header is damaged: the format chunk is too short".into());
    }
    let u16_at = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    // The extensible form keeps the true tag at the start of an identifier.
    let tag = if u16_at(0) == EXTENSIBLE && format.len() >= 26 { u16_at(24) } else { u16_at(0) };
    let (channels, align, bits) = (u16_at(2), u16_at(12), u16_at(14));
    if matches!(tag, MPEG | MP3) {
        return Ok(None);
    }
    mix::check_channels(usize::from(channels), mix::Channel::Mix)?;
    // Samples of, say, 20 bits lie in whole bytes, counted by the size of a frame.
    let whole = |align: u16| align > 0 && align.is_multiple_of(channels) && align / channels <= MAX_SAMPLE_BYTES;
    let bits = if tag == PCM && whole(align) { 8 * (align / channels) } else { bits };
    let mut out = format[..16].to_vec();
    out[..2].copy_from_slice(&tag.to_le_bytes());
    out[14..16].copy_from_slice(&bits.to_le_bytes());
    match tag {
        PCM | FLOAT => {}
        ALAW | MULAW => out.extend([0, 0]),
        ADPCM_MS | ADPCM_IMA => out = format.to_vec(),
        _ => return Err(format!("its samples are in a format that cannot be read (WAV format tag {tag:#06x})")),
    }
    Ok(Some(out))
}

fn header(format: &[u8], len: u64) -> Vec<u8> {
    let mut out = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    out.extend((format.len() as u32).to_le_bytes());
    out.extend(format);
    out.extend(b"data");
    // Above 4 GB the window's end is the end.
    out.extend((len.min(UNKNOWN) as u32).to_le_bytes());
    out
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Fills as much of `buffer` as there is.
fn read_some(source: &mut Box<dyn MediaSource + '_>, buffer: &mut [u8]) -> io::Result<usize> {
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
