//! Demuxer of elementary streams: MPEG audio and ADTS frames without a container, as in `.mp3` and `.aac` files.
//!
//! Symphonia's readers guess the length and trim to the guess, stop where a second file was appended, and pass all
//! frames to one decoder even if their headers change. This reader returns every frame: it skips tags and damage
//! between frames, and returns [`Error::ResetRequired`] if the next frame needs a new decoder.

use std::io::{self, Seek, SeekFrom};

use symphonia::core::audio::{Channels, layouts};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_MP1, CODEC_ID_MP2};
use symphonia::core::errors::{Error, Result, SeekErrorKind, seek_error};
use symphonia::core::formats::{FormatInfo, FormatReader, MediaInfo, SeekMode, SeekTo, SeekedTo, Track, well_known};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::{Metadata, MetadataLog};
use symphonia::core::packet::{Packet, PacketBuilder};
use symphonia::core::units::{Duration, Timestamp};

use super::container::Length;
use super::mpeg::{self, Frame, HEADER, Kind, Tag, id3_len};
use super::wav::read_some;

/// The first frame must begin within this many bytes after the leading tags.
const MAX_JUNK: usize = 64 * 1024;
/// Consecutive frames required to recognise a stream that begins with junk.
const MIN_FRAMES_AFTER_JUNK: usize = 8;
/// Bytes read at once.
const CHUNK: usize = 32 * 1024;

/// The demuxer; see the module's documentation.
pub(super) struct Elementary<'a> {
    source: Box<dyn MediaSource + 'a>,
    /// Bytes read from `source`; those before `at` have been consumed.
    buffer: Vec<u8>,
    at: usize,
    tracks: Vec<Track>,
    metadata: MetadataLog,
    media: MediaInfo,
    kind: Kind,
    /// Tag in the first frame (Xing, LAME, VBRI): length and trimming.
    tag: Tag,
    /// Samples per channel of the frames returned so far.
    done: u64,
}

/// Opens an elementary stream and returns its length. If `source` is something else, returns it, rewound, as the inner
/// error. `bytes` is its size.
pub(super) fn open<'a>(
    mut source: Box<dyn MediaSource + 'a>,
    bytes: u64,
) -> io::Result<std::result::Result<(Elementary<'a>, Length), Box<dyn MediaSource + 'a>>> {
    source.seek(SeekFrom::Start(0))?;
    let mut start = 0;
    // Some files have several consecutive ID3 tags.
    for _ in 0..8 {
        let mut head = [0; 10];
        source.seek(SeekFrom::Start(start))?;
        let got = read_some(&mut source, &mut head)?;
        match id3_len(&head[..got]) {
            Some(len) if start + len < bytes => start += len,
            _ => break,
        }
    }
    source.seek(SeekFrom::Start(start))?;
    let mut head = vec![0; 2 * MAX_JUNK];
    let got = read_some(&mut source, &mut head)?;
    head.truncate(got);
    let Some((offset, frame)) = first_frame(&head, start + got as u64 >= bytes) else {
        source.seek(SeekFrom::Start(0))?;
        return Ok(Err(source));
    };
    let tag = mpeg::tag(&frame, head.get(offset..offset + frame.len).unwrap_or_default())
        .map(|tag| tag.for_file(bytes.saturating_sub(start + offset as u64)));
    let audio = start + offset as u64 + if tag.is_some() { frame.len as u64 } else { 0 };
    source.seek(SeekFrom::Start(audio))?;
    let length = length(&frame, tag, bytes.saturating_sub(audio));
    let mut reader = Elementary {
        source,
        buffer: Vec::new(),
        at: 0,
        tracks: Vec::new(),
        metadata: MetadataLog::default(),
        media: MediaInfo::default(),
        kind: frame.kind,
        tag: tag.unwrap_or_default(),
        done: 0,
    };
    reader.tracks = vec![track(&frame.kind)];
    Ok(Ok((reader, length)))
}

/// Whether the bytes begin a container, in which frames may occur, too.
fn is_container(head: &[u8]) -> bool {
    const STARTS: [&[u8]; 20] = [
        b"RIFF",
        b"RIFX",
        b"RF64",
        b"BW64",
        b"riff",
        b"FORM",
        b"OggS",
        b"fLaC",
        b"caff",
        b"FLV",
        b".snd",
        b".RMF",
        b"#!AMR",
        b"Creative Voice File",
        b"PK\x03\x04",
        b"\x1a\x45\xdf\xa3",
        b"\x30\x26\xb2\x75",
        b"\x06\x0e\x2b\x34",
        b"\0\0\x01\xba",
        b"\0\0\x01\xb3",
    ];
    const BOXES: [&[u8; 4]; 6] = [b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"];
    let is_transport = [0, 188, 376].iter().all(|&at| head.get(at) == Some(&0x47));
    let is_box = head.get(4..8).is_some_and(|kind| BOXES.iter().any(|name| kind == *name));
    is_transport || is_box || STARTS.iter().any(|start| head.starts_with(start))
}

/// The offset and header of the first frame. Bytes of junk can look like a header, so that after junk several
/// consecutive frames are required. `whole`: `head` is the whole file.
fn first_frame(head: &[u8], whole: bool) -> Option<(usize, Frame)> {
    let limit = if is_container(head) { 0 } else { head.len().min(MAX_JUNK) };
    (0..limit).filter(|&at| head[at] == 0xff).find_map(|at| {
        let frame = Frame::parse(&head[at..])?;
        let (count, to_the_end) = consecutive_frames(&head[at..], &frame);
        let required = if at == 0 { 2 } else { MIN_FRAMES_AFTER_JUNK };
        let enough = count >= required || (to_the_end && whole && (at == 0 || count > 2));
        enough.then_some((at, frame))
    })
}

/// Number of consecutive frames with the codec and rate of `first`, at most [`MIN_FRAMES_AFTER_JUNK`], and whether they
/// reach the end of the bytes.
fn consecutive_frames(bytes: &[u8], first: &Frame) -> (usize, bool) {
    let mut at = 0;
    for count in 0..MIN_FRAMES_AFTER_JUNK {
        match bytes.get(at..) {
            Some([]) => return (count, true),
            None => return (count, count > 0),
            Some(rest) => match Frame::parse(rest) {
                Some(frame) if frame.is_like(first) => at += frame.len,
                // A tag after the last frame.
                _ => return (count, rest.len() < HEADER || tag_len(rest).is_some()),
            },
        }
    }
    (MIN_FRAMES_AFTER_JUNK, false)
}

fn length(frame: &Frame, tag: Option<Tag>, bytes: u64) -> Length {
    let rate = f64::from(frame.kind.rate);
    match tag {
        Some(Tag { total: Some(total), start, end, .. }) => {
            Length::Stated(total.saturating_sub(start).saturating_sub(end) as f64 / rate)
        }
        _ => Length::Estimated((bytes / frame.len.max(1) as u64 * frame.samples) as f64 / rate),
    }
}

fn track(kind: &Kind) -> Track {
    let mut params = AudioCodecParameters::new();
    params.for_codec(kind.codec).with_sample_rate(kind.rate);
    if kind.codec == CODEC_ID_AAC {
        params.with_extra_data(super::aac::config(kind.profile, kind.rate, kind.channels));
    }
    match kind.channels {
        0 => {}
        1 => drop(params.with_channels(layouts::CHANNEL_LAYOUT_MONO)),
        2 => drop(params.with_channels(layouts::CHANNEL_LAYOUT_STEREO)),
        7 => drop(params.with_channels(Channels::Discrete(8))),
        more => drop(params.with_channels(Channels::Discrete(u16::from(more)))),
    }
    let mut track = Track::new(0);
    track.with_codec_params(CodecParameters::Audio(params));
    track
}

/// Size of an ID3v2, ID3v1 or APE tag in bytes.
fn tag_len(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [b'I', b'D', b'3', ..] => id3_len(bytes),
        [b'T', b'A', b'G', ..] => Some(128),
        [b'A', b'P', b'E', b'T', b'A', b'G', b'E', b'X', _, _, _, _, size @ ..] => {
            let size = u32::from_le_bytes(size.get(..4)?.try_into().ok()?);
            // The size includes the footer but not the header.
            Some(u64::from(size) + 32)
        }
        _ => None,
    }
}

impl Elementary<'_> {
    /// The next `count` bytes without consuming them; fewer only at the end of the file.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.at < count {
            self.buffer.drain(..self.at);
            self.at = 0;
            let got = self.buffer.len();
            self.buffer.resize(count.max(CHUNK), 0);
            let more = read_some(&mut self.source, &mut self.buffer[got..]);
            self.buffer.truncate(got + *more.as_ref().unwrap_or(&0));
            more?;
        }
        let rest = &self.buffer[self.at..];
        Ok(&rest[..rest.len().min(count)])
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let held = (self.buffer.len() - self.at) as u64;
        if count <= held {
            self.at += count as usize;
        } else {
            self.buffer.clear();
            self.at = 0;
            let by = i64::try_from(count - held).map_err(|_| io::ErrorKind::InvalidData)?;
            self.source.seek(SeekFrom::Current(by))?;
        }
        Ok(())
    }

    /// Advances to the next frame. `None` at the end.
    fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let head = self.peek(32)?;
            if head.len() < HEADER {
                return Ok(None);
            }
            let (tag, frame) = (tag_len(head), Frame::parse(head));
            if let Some(tag) = tag {
                self.skip(tag)?;
                continue;
            }
            if let Some(frame) = frame
                && (frame.kind == self.kind || self.is_confirmed(&frame)?)
            {
                return Ok(Some(frame).filter(|frame| self.peek(frame.len).is_ok_and(|bytes| bytes.len() == frame.len)));
            }
            self.skip(1)?;
        }
    }

    /// Whether a frame is followed by another frame of its kind, a tag, or the end of the file.
    fn is_confirmed(&mut self, frame: &Frame) -> io::Result<bool> {
        let bytes = self.peek(frame.len + 32)?;
        let Some(next) = bytes.get(frame.len..) else { return Ok(false) };
        let follows = Frame::parse(next).is_some_and(|next| next.kind == frame.kind);
        Ok(follows || next.is_empty() || tag_len(next).is_some())
    }
}

impl FormatReader for Elementary<'_> {
    fn format_info(&self) -> &FormatInfo {
        const fn info(
            format: symphonia::core::formats::FormatId,
            short: &'static str,
            long: &'static str,
        ) -> FormatInfo {
            FormatInfo { format, short_name: short, long_name: long }
        }
        const ADTS: FormatInfo = info(well_known::FORMAT_ID_ADTS, "adts", "ADTS");
        const MP1: FormatInfo = info(well_known::FORMAT_ID_MP1, "mp1", "MPEG audio layer 1");
        const MP2: FormatInfo = info(well_known::FORMAT_ID_MP2, "mp2", "MPEG audio layer 2");
        const MP3: FormatInfo = info(well_known::FORMAT_ID_MP3, "mp3", "MPEG audio layer 3");
        match self.kind.codec {
            CODEC_ID_AAC => &ADTS,
            CODEC_ID_MP1 => &MP1,
            CODEC_ID_MP2 => &MP2,
            _ => &MP3,
        }
    }

    fn media_info(&self) -> &MediaInfo {
        &self.media
    }

    fn metadata(&mut self) -> Metadata<'_> {
        self.metadata.metadata()
    }

    fn seek(&mut self, _: SeekMode, _: SeekTo) -> Result<SeekedTo> {
        seek_error(SeekErrorKind::Unseekable)
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(frame) = self.next_frame()? else { return Ok(None) };
        if frame.kind != self.kind {
            self.kind = frame.kind;
            self.tracks = vec![track(&frame.kind)];
            return Err(Error::ResetRequired);
        }
        let mut data = self.peek(frame.len)?.get(frame.skip..).unwrap_or_default().to_vec();
        mpeg::clear_empty_granules(&frame, &mut data);
        self.skip(frame.len as u64)?;
        let (first, last) = (self.done, self.done + frame.samples);
        self.done = last;
        let trim_start = self.tag.start.saturating_sub(first).min(frame.samples);
        // End trimming applies to the last frame that the tag counts; frames of an appended file may follow.
        let trim_end = match self.tag.total {
            Some(total) if last <= total => last.saturating_sub(total.saturating_sub(self.tag.end)),
            _ => 0,
        };
        let trim_end = trim_end.min(frame.samples - trim_start);
        let packet = PacketBuilder::new()
            .track_id(0)
            .pts(Timestamp::new(i64::try_from(first).unwrap_or(i64::MAX)))
            .dur(Duration::new(frame.samples - trim_start - trim_end))
            .trim_start(Duration::new(trim_start))
            .trim_end(Duration::new(trim_end))
            .data(data);
        Ok(Some(packet.build()))
    }

    fn into_inner<'s>(self: Box<Self>) -> MediaSourceStream<'s>
    where
        Self: 's,
    {
        MediaSourceStream::new(self.source, MediaSourceStreamOptions::default())
    }
}
