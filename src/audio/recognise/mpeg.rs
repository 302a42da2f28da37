//! Recognition of streams without a magic number by the distance of their sync words: MPEG transport streams, MPEG
//! audio, ADTS and LOAS.

/// Packet sizes of transport streams: plain, with a leading time stamp (Blu-ray), with a trailing checksum.
const PACKET_SIZES: [usize; 3] = [188, 192, 204];

/// Consecutive sync bytes required in a file that begins with a packet.
const MIN_SYNCS: usize = 3;
/// Consecutive sync bytes required in a file that begins within a packet, where chance matches are more likely: one in
/// 256 bytes of any data is a sync byte.
const MIN_SYNCS_WITHIN: usize = 12;

/// Whether the bytes begin an MPEG transport stream, at the start of a packet or within one.
pub(super) fn transport_stream(head: &[u8]) -> bool {
    let syncs = |start: usize, size: usize| {
        let mut syncs = head.iter().skip(start).step_by(size).take(MIN_SYNCS_WITHIN);
        let all_match = syncs.len() >= MIN_SYNCS && syncs.all(|byte| *byte == 0x47);
        if all_match { head[start..].len().div_ceil(size) } else { 0 }
    };
    let at_start = |size: usize| syncs(if size == 192 { 4 } else { 0 }, size) >= MIN_SYNCS;
    let within = |size: usize| (0..size).any(|start| syncs(start, size) >= MIN_SYNCS_WITHIN);
    // Constant bytes would match at any distance.
    if constant(head) || frames_at(head, 0, 2) {
        return false;
    }
    PACKET_SIZES.into_iter().any(at_start) || PACKET_SIZES.into_iter().any(within)
}

fn constant(head: &[u8]) -> bool {
    head.get(..376).is_some_and(|start| start.iter().all(|byte| *byte == start[0]))
}

/// Whether the bytes are MPEG audio or ADTS: two consecutive frames at the start (after zeros), a single frame that is
/// the `whole` file, or more consecutive frames after other data.
pub(super) fn audio_frames(head: &[u8], whole: bool) -> bool {
    /// Consecutive frames required after other data. An unknown container may contain a few frames in sequence.
    const MIN_FRAMES_AFTER_JUNK: usize = 8;
    let zeros = head.iter().take_while(|byte| **byte == 0).count();
    let only = || whole && frame(&head[zeros..]).is_some_and(|frame| zeros + frame.length == head.len());
    frames_at(head, zeros, 2)
        || only()
        || (0..head.len()).any(|start| head[start] == 0xff && frames_at(head, start, MIN_FRAMES_AFTER_JUNK))
}

/// Whether there are `count` consecutive frames from `start` on.
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
    /// Header bits that are constant in a stream: version, layer and sample rate.
    kind: (u8, u8),
    /// Size in bytes, including the header.
    length: usize,
}

/// Parses a frame header. Free-format frames, which do not state their size, are not recognised.
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

/// Whether there are three consecutive LOAS frames (ISO 14496-3, `AudioSyncStream`: 11 bits of sync, 13 bits of
/// length).
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
