//! Recognition of streams without a magic number by the distance of their sync words: MPEG transport streams, MPEG
//! audio, ADTS and LOAS.

use crate::audio::mpeg::Frame;

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
    let only = || whole && Frame::parse(&head[zeros..]).is_some_and(|frame| zeros + frame.len == head.len());
    frames_at(head, zeros, 2)
        || only()
        || (0..head.len()).any(|start| head[start] == 0xff && frames_at(head, start, MIN_FRAMES_AFTER_JUNK))
}

/// Whether there are `count` consecutive frames from `start` on.
fn frames_at(head: &[u8], start: usize, count: usize) -> bool {
    let mut at = start;
    let mut first = None;
    for _ in 0..count {
        let Some(frame) = head.get(at..).and_then(Frame::parse) else { return false };
        if !frame.is_like(first.get_or_insert(frame)) {
            return false;
        }
        at += frame.len;
    }
    true
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
