//! Frame headers of MPEG audio (MP1, MP2, MP3) and ADTS (AAC), the Xing, LAME and VBRI tags in the first MP3 frame, and
//! the length of ID3v2 tags.
//!
//! Sources: ISO 11172-3 section 2.4.1 and ISO 13818-3 for MPEG audio, ISO 13818-7 section 6.2 for ADTS; for the tags
//! and their trimming ffmpeg `libavformat/mp3dec.c`.

use symphonia::core::codecs::audio::AudioCodecId;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};

/// Size of the longest frame header in bytes.
pub(super) const HEADER: usize = 9;
/// Delay of a Layer 3 decoder, in samples.
const DECODER_DELAY: u64 = 528 + 1;

/// A parsed frame header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Size of the frame in bytes, including the header.
    pub(super) len: usize,
    /// Bytes that the decoder must not get: the ADTS header.
    pub(super) skip: usize,
    /// Samples per channel.
    pub(super) samples: u64,
}

/// Stream parameters. A change between frames requires a new decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) codec: AudioCodecId,
    /// In Hz.
    pub(super) rate: u32,
    /// MPEG audio: 1 or 2 channels. ADTS: the channel configuration; 0 means that the stream itself describes the
    /// layout.
    pub(super) channels: u8,
    /// MPEG audio: 1 for MPEG-1, 0 for MPEG-2 and 2.5. ADTS: the audio object type.
    pub(super) profile: u8,
}

impl Frame {
    /// Parses a frame header. `bytes` should have at least [`HEADER`] bytes.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, second, ..] if second & 0xf6 == 0xf0 => adts(bytes),
            [0xff, second, third, fourth, ..] if second & 0xe0 == 0xe0 => mpeg([*second, *third, *fourth]),
            _ => None,
        }
    }

    /// Whether two frames can be of one stream: the same codec and sample rate.
    pub(super) fn is_like(&self, other: &Frame) -> bool {
        (self.kind.codec, self.kind.rate) == (other.kind.codec, other.kind.rate)
    }
}

/// Size of the ID3v2 tag at the start in bytes, including header and footer.
pub(super) fn id3_len(head: &[u8]) -> Option<u64> {
    let head = head.get(..10)?;
    let sizes = &head[6..10];
    if &head[..3] != b"ID3" || head[3] == 0xff || sizes.iter().any(|&byte| byte >= 0x80) {
        return None;
    }
    // Synchsafe integer: four bytes with seven bits each. A footer repeats the header.
    let size = sizes.iter().fold(0u64, |size, &byte| size << 7 | u64::from(byte));
    Some(10 + size + if head[5] & 0x10 != 0 { 10 } else { 0 })
}

fn adts(bytes: &[u8]) -> Option<Frame> {
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let head = bytes.get(..7)?;
    let skip = if head[1] & 1 == 1 { 7 } else { 9 };
    let rate = *RATES.get(usize::from(head[2] >> 2 & 15))?;
    let channels = (head[2] & 1) << 2 | head[3] >> 6;
    let len = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
    // The standard allows several raw data blocks per frame, but no encoder writes them.
    let blocks = head[6] & 3;
    let kind = Kind { codec: CODEC_ID_AAC, rate, channels, profile: (head[2] >> 6) + 1 };
    (blocks == 0 && len > skip).then_some(Frame { kind, len, skip, samples: 1024 })
}

/// Parses an MPEG audio header from its second to fourth byte.
fn mpeg([second, third, fourth]: [u8; 3]) -> Option<Frame> {
    const RATES: [u32; 3] = [44_100, 48_000, 32_000];
    /// In kbit/s. 0 is free format, which symphonia does not support.
    #[rustfmt::skip]
    const BIT_RATES: [[u32; 15]; 5] = [
        [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [0, 32, 48, 56,  64,  80,  96, 112, 128, 160, 192, 224, 256, 320, 384],
        [0, 32, 40, 48,  56,  64,  80,  96, 112, 128, 160, 192, 224, 256, 320],
        [0, 32, 48, 56,  64,  80,  96, 112, 128, 144, 160, 176, 192, 224, 256],
        [0,  8, 16, 24,  32,  40,  48,  56,  64,  80,  96, 112, 128, 144, 160],
    ];
    let (shift, first) = match second >> 3 & 3 {
        0 => (2, false),
        2 => (1, false),
        3 => (0, true),
        _ => return None,
    };
    let layer = 4 - (second >> 1 & 3);
    let table = match (first, layer) {
        (_, 4) => return None,
        (true, layer) => usize::from(layer - 1),
        (false, 1) => 3,
        (false, _) => 4,
    };
    let bit_rate = 1000 * *BIT_RATES[table].get(usize::from(third >> 4))?;
    let rate = *RATES.get(usize::from(third >> 2 & 3))? >> shift;
    // Emphasis 2 is reserved; rejecting it reduces false matches in noise.
    if bit_rate == 0 || fourth & 3 == 2 {
        return None;
    }
    let padding = u32::from(third >> 1 & 1);
    let (codec, samples, len) = match layer {
        1 => (CODEC_ID_MP1, 384, 4 * (12 * bit_rate / rate + padding)),
        2 => (CODEC_ID_MP2, 1152, 144 * bit_rate / rate + padding),
        _ if first => (CODEC_ID_MP3, 1152, 144 * bit_rate / rate + padding),
        _ => (CODEC_ID_MP3, 576, 72 * bit_rate / rate + padding),
    };
    let channels = if fourth >> 6 == 3 { 1 } else { 2 };
    let kind = Kind { codec, rate, channels, profile: u8::from(first) };
    Some(Frame { kind, len: len as usize, skip: 0, samples })
}

/// Size in bytes of a Layer 3 frame's side information, which follows the header.
fn side_len(kind: &Kind) -> usize {
    match (kind.profile, kind.channels) {
        (1, 1) => 17,
        (1, _) => 32,
        (_, 1) => 9,
        _ => 17,
    }
}

/// The encoder's tag in the first frame: length and trimming, in samples per channel. The frame with the tag contains
/// no audio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tag {
    /// Samples of all frames, before trimming.
    pub(super) total: Option<u64>,
    /// Samples to trim at the start (encoder and decoder delay).
    pub(super) start: u64,
    /// Samples to trim at the end (padding), counted back from `total`.
    pub(super) end: u64,
    /// Bytes from the frame with the tag to the end of the last frame.
    bytes: Option<u64>,
}

impl Tag {
    /// Drops everything but the trimming at the start if the file is longer than the tag states by more than a
    /// sixteenth: then other files were appended to the one that the tag describes. `bytes` is the number of bytes from
    /// the frame with the tag to the end of the file.
    ///
    /// Source: ffmpeg `libavformat/mp3dec.c::mp3_parse_vbr_tags`.
    pub(super) fn for_file(self, bytes: u64) -> Self {
        match self.bytes {
            Some(stated) if bytes.saturating_sub(stated) > stated / 16 => Tag { start: self.start, ..Tag::default() },
            _ => self,
        }
    }
}

/// Parses the Xing, LAME or Fraunhofer (VBRI) tag in a Layer 3 frame.
pub(super) fn tag(frame: &Frame, bytes: &[u8]) -> Option<Tag> {
    if frame.kind.codec != CODEC_ID_MP3 {
        return None;
    }
    let number = |at: usize| bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    if bytes.get(36..40) == Some(b"VBRI") {
        let frames = number(36 + 14).filter(|&frames| frames > 0);
        return Some(Tag { total: frames.map(|frames| u64::from(frames) * frame.samples), ..Tag::default() });
    }
    // The side information follows the header, or a checksum of 2 bytes. Encoders place the tag without regard to the
    // checksum, so try both offsets.
    let at = [4, 6]
        .map(|head| head + side_len(&frame.kind))
        .into_iter()
        .find(|&at| matches!(bytes.get(at..at + 4), Some(b"Xing" | b"Info")))?;
    let flags = number(at + 4)?;
    let fields = [(1, 4), (2, 4), (4, 100), (8, 4)];
    let mut end = at + 8;
    let (mut total, mut bytes_of_file) = (None, None);
    for (flag, len) in fields.into_iter().filter(|field| flags & field.0 != 0) {
        if flag == 1 {
            total = number(end).filter(|&frames| frames > 0).map(|frames| u64::from(frames) * frame.samples);
        } else if flag == 2 {
            bytes_of_file = number(end).filter(|&bytes| bytes > 0).map(u64::from);
        }
        end += len;
    }
    let mut tag = Tag { total, bytes: bytes_of_file, ..Tag::default() };
    if let (Some(b"LAME" | b"Lavf" | b"Lavc"), Some(&[a, b, c])) =
        (bytes.get(end..end + 4), bytes.get(end + 21..end + 24))
    {
        tag.start = (u64::from(a) << 4 | u64::from(b) >> 4) + DECODER_DELAY;
        tag.end = (u64::from(b & 15) << 8 | u64::from(c)).saturating_sub(DECODER_DELAY);
    }
    Some(tag)
}

/// Clears `scalefac_compress` of empty granules. LAME writes silence as a granule with `part2_3_length` 0 whose
/// `scalefac_compress` would require bits. Other decoders skip such a granule; symphonia rejects the frame.
pub(super) fn clear_empty_granules(frame: &Frame, bytes: &mut [u8]) {
    if frame.kind.codec != CODEC_ID_MP3 {
        return;
    }
    // Bit 0 of the second byte is 0 if a checksum of two bytes follows the header.
    let start = if bytes.get(1).is_some_and(|byte| byte & 1 == 0) { 6 } else { 4 };
    let Some(side) = bytes.get_mut(start..start + side_len(&frame.kind)) else { return };
    let channels = usize::from(frame.kind.channels);
    // Bits before the granules, number of granules, bits per granule, bits of `scalefac_compress`.
    let (front, granules, size, scale_bits) = match (frame.kind.profile, channels) {
        (1, 1) => (18, 2, 59, 4),
        (1, _) => (20, 2, 59, 4),
        (_, 1) => (9, 1, 63, 9),
        _ => (10, 1, 63, 9),
    };
    for granule in 0..granules * channels {
        let at = front + granule * size;
        let bit = |at: usize| side[at / 8] >> (7 - at % 8) & 1;
        if (at..at + 12).all(|at| bit(at) == 0) {
            // `part2_3_length` (12 bits), `big_values` (9) and `global_gain` (8) precede `scalefac_compress`.
            (at + 29..at + 29 + scale_bits).for_each(|at| side[at / 8] &= !(1 << (7 - at % 8)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_give_kind_length_and_samples() {
        let frame = Frame::parse(&[0xff, 0xfb, 0x90, 0x64, 0, 0, 0, 0, 0]).expect("128 kbit/s, 44.1 kHz, joint stereo");
        assert_eq!((frame.kind.rate, frame.kind.channels, frame.len, frame.samples), (44_100, 2, 417, 1152));
        let frame = Frame::parse(&[0xff, 0xe3, 0x18, 0xc4, 0, 0, 0, 0, 0]).expect("8 kbit/s, 8 kHz, mono");
        assert_eq!((frame.kind.rate, frame.kind.channels, frame.len, frame.samples), (8_000, 1, 72, 576));
        let frame = Frame::parse(&[0xff, 0xf1, 0x4c, 0x80, 0x20, 0x1f, 0xfc, 0, 0]).expect("48 kHz, stereo");
        assert_eq!((frame.kind.codec, frame.kind.channels, frame.len, frame.skip), (CODEC_ID_AAC, 2, 256, 7));
        for none in [&[0xff, 0xfb, 0xf0, 0x64][..], &[0xff, 0xfb, 0x9c, 0x64], &[0xff, 0xeb, 0x90, 0x64], &[0xff], &[]]
        {
            assert_eq!(Frame::parse(none), None, "{none:x?}");
        }
    }

    #[test]
    fn empty_granules_lose_their_scale_factors() {
        let mut bytes = [0u8; 104];
        bytes[..16].copy_from_slice(&[0xff, 0xfb, 0x10, 0xc4, 0, 0, 0, 0, 1, 0xa5, 0xe0, 0, 0, 0, 0, 0]);
        let frame = Frame::parse(&bytes).expect("a frame of silence");
        clear_empty_granules(&frame, &mut bytes);
        // `global_gain` is unchanged; the four bits after it are cleared.
        assert_eq!(bytes[8..11], [1, 0xa4, 0]);
    }
}
