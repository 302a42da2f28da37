//! Streams without a magic number: transport streams, MPEG audio frames and ADTS are known by the distance of their sync words.

/// Packets of a transport stream: plain, with a time stamp in front (Blu-ray), with a checksum behind.
const PACKETS: [usize; 3] = [188, 192, 204];

/// Sync bytes in a row that are looked for: at least, where the file begins with one; all of them, where it begins within a
/// packet. One in 256 bytes of anything is a sync byte.
const SYNCS: (usize, usize) = (3, 12);

/// Whether every packet of the first few begins with the sync byte.
pub(super) fn transport_stream(head: &[u8]) -> bool {
    let syncs = |start: usize, size: usize| {
        let mut syncs = head.iter().skip(start).step_by(size).take(SYNCS.1);
        if syncs.len() >= SYNCS.0 && syncs.all(|byte| *byte == 0x47) { head[start..].len().div_ceil(size) } else { 0 }
    };
    let at_start = |size: usize| syncs(if size == 192 { 4 } else { 0 }, size) >= SYNCS.0;
    let within = |size: usize| (0..size).any(|start| syncs(start, size) >= SYNCS.1);
    // Bytes that are all the same repeat at any distance.
    if constant(head) || frames_at(head, 0, 2) {
        return false;
    }
    PACKETS.into_iter().any(at_start) || PACKETS.into_iter().any(within)
}

fn constant(head: &[u8]) -> bool {
    head.get(..376).is_some_and(|start| start.iter().all(|byte| *byte == start[0]))
}

/// Whether frames of MPEG audio or ADTS follow one another: two where they begin at once, `whole` file or not, more behind
/// something else.
pub(super) fn audio_frames(head: &[u8], whole: bool) -> bool {
    /// Frames in a row behind junk; an unknown container may hold a few.
    const BEHIND_JUNK: usize = 8;
    let zeros = head.iter().take_while(|byte| **byte == 0).count();
    let only = || whole && frame(&head[zeros..]).is_some_and(|frame| zeros + frame.length == head.len());
    frames_at(head, zeros, 2)
        || only()
        || (0..head.len()).any(|start| head[start] == 0xff && frames_at(head, start, BEHIND_JUNK))
}

/// Whether `count` frames follow one another from `start`.
fn frames_at(head: &[u8], start: usize, count: usize) -> bool {
    let mut at = start;
    let mut kind = None;
    for _ in 0..count {
        let Some(frame) = head.get(at..).and_then(frame) else { return false };
        if *kind.get_or_insert(frame.kind) != frame.kind {
            return false;
        }
        at += frame.length;
    }
    true
}

/// A frame's header.
struct Frame {
    /// Bits that are the same in all frames of a stream: version, layer and sample rate.
    kind: (u8, u8),
    /// Bytes, header included.
    length: usize,
}

/// The frame that begins here. Free-format frames do not tell their length and are not recognised.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let header: &[u8; 6] = bytes.first_chunk()?;
    if header[0] != 0xff || header[1] & 0xe0 != 0xe0 {
        return None;
    }
    match header[1] & 0x06 {
        0 => adts(header),
        _ => layer(header),
    }
}

/// ISO 13818-7, table 8: `adts_fixed_header` and `aac_frame_length`.
fn adts(header: &[u8; 6]) -> Option<Frame> {
    let length = usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5]) >> 5;
    let rate = header[2] >> 2 & 0xf;
    (header[1] & 0xf0 == 0xf0 && length > 7 && rate < 13).then_some(Frame { kind: (header[1] & 0xfe, rate), length })
}

/// ISO 11172-3, 2.4.1.3 and ISO 13818-3: version, layer, bit rate, sample rate, padding.
fn layer(header: &[u8; 6]) -> Option<Frame> {
    const HZ: [usize; 3] = [44_100, 48_000, 32_000];
    #[rustfmt::skip]
    const KBITS: [[usize; 15]; 5] = [
        [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let (version, layer) = (header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3));
    let (first, table) = match (version, layer) {
        (1, _) => return None,
        (3, layer) => (true, usize::from(layer) - 1),
        (_, 1) => (false, 3),
        _ => (false, 4),
    };
    let kbits = *KBITS[table].get(usize::from(header[2] >> 4)).filter(|kbits| **kbits > 0)?;
    let hz =
        HZ.get(usize::from(header[2] >> 2 & 3))? / if version == 3 { 1 } else { 2 } / if version == 0 { 2 } else { 1 };
    let padding = usize::from(header[2] >> 1 & 1);
    let length = match layer {
        1 => (12_000 * kbits / hz + padding) * 4,
        3 if !first => 72_000 * kbits / hz + padding,
        _ => 144_000 * kbits / hz + padding,
    };
    Some(Frame { kind: (header[1] & 0xfe, header[2] & 0x0c), length })
}

/// Whether three frames of LOAS follow one another (ISO 14496-3, `AudioSyncStream`: eleven bits of sync, thirteen of length).
pub(super) fn loas_frames(head: &[u8]) -> bool {
    let mut at = 0;
    (0..3).all(|_| match head.get(at..at + 3) {
        Some([0x56, high, low]) if high & 0xe0 == 0xe0 => {
            at += 3 + (usize::from(high & 0x1f) << 8 | usize::from(*low));
            true
        }
        _ => false,
    })
}
