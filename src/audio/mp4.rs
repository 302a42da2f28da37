//! Two facts of MP4 that symphonia reads past: where a track begins to be heard, and the core of HE-AAC.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// Boxes looked at in one file. A real one has a few dozen outside its media data.
const MAX_BOXES: usize = 10_000;

/// Longest user data looked through for iTunes's gapless tag; cover art makes it long.
const MAX_USER_DATA: u64 = 1 << 20;

/// Where the tracks begin to be heard, in ticks of their own time: their encoders' delay lies before.
#[derive(Default)]
pub(super) struct Starts {
    /// Track and start, from edit lists with just one entry; players disagree about more.
    edits: Vec<(u32, u64)>,
    /// From iTunes's gapless tag, for files without edit lists.
    gapless: u64,
}

impl Starts {
    /// The start of one track.
    pub(super) fn of(&self, track_id: u32) -> u64 {
        self.edits.iter().find(|edit| edit.0 == track_id).map_or(self.gapless, |edit| edit.1)
    }
}

/// Reads the starts; none if it is no MP4.
pub(super) fn starts(source: &mut Box<dyn MediaSource + '_>, bytes: u64) -> io::Result<Starts> {
    let mut walk = Walk { source, boxes: 0, track_id: 0, starts: Starts::default() };
    let mut kind = [0; 4];
    walk.source.seek(SeekFrom::Start(4))?;
    let is_mp4 = walk.source.read_exact(&mut kind).is_ok() && &kind == b"ftyp";
    if is_mp4 {
        walk.boxes(0, bytes)?;
    }
    Ok(walk.starts)
}

struct Walk<'w, 'a> {
    source: &'w mut Box<dyn MediaSource + 'a>,
    boxes: usize,
    track_id: u32,
    starts: Starts,
}

impl Walk<'_, '_> {
    /// Walks the boxes between two positions, and into those on the way to the edit lists.
    fn boxes(&mut self, mut at: u64, end: u64) -> io::Result<()> {
        while at + 8 <= end && self.boxes < MAX_BOXES {
            self.boxes += 1;
            self.source.seek(SeekFrom::Start(at))?;
            let mut head = [0; 16];
            self.source.read_exact(&mut head[..8])?;
            let (size, header) = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
                0 => (end - at, 8),
                1 if at + 16 <= end => {
                    self.source.read_exact(&mut head[8..])?;
                    (u64::from_be_bytes(head[8..].try_into().unwrap_or_default()), 16)
                }
                size => (u64::from(size), 8),
            };
            // Symphonia judges the file; a box that does not fit only ends this walk.
            if size < header || size > end - at {
                return Ok(());
            }
            let (body, next) = (at + header, at + size);
            match &head[4..8] {
                b"moov" | b"trak" | b"edts" => self.boxes(body, next)?,
                b"tkhd" => self.track_id = self.track_header(next - body)?,
                b"udta" => self.starts.gapless = self.gapless_tag(next - body)?,
                b"elst" => self.edit_list(next - body)?,
                _ => {}
            }
            at = next;
        }
        Ok(())
    }

    /// The track's number, behind two dates that are longer in version 1.
    fn track_header(&mut self, len: u64) -> io::Result<u32> {
        let mut data = [0; 24];
        let len = len.min(24) as usize;
        self.source.read_exact(&mut data[..len])?;
        let at = if data[0] == 1 { 20 } else { 12 };
        Ok(u32::from_be_bytes(data[at..at + 4].try_into().unwrap_or_default()))
    }

    /// The start after iTunes's tag, 0 without one.
    fn gapless_tag(&mut self, len: u64) -> io::Result<u64> {
        let mut data = vec![0; len.min(MAX_USER_DATA) as usize];
        self.source.read_exact(&mut data)?;
        // A second of delay would be absurd.
        Ok(gapless_delay(&data).filter(|&delay| delay < 48_000).unwrap_or(self.starts.gapless))
    }

    fn edit_list(&mut self, len: u64) -> io::Result<()> {
        let mut data = vec![0; len.min(512) as usize];
        self.source.read_exact(&mut data)?;
        let long = data.first() == Some(&1);
        let entry = if long { 20 } else { 12 };
        let starts = data.get(8..).unwrap_or_default().chunks_exact(entry).map(|entry| {
            let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
            if long { number(&entry[8..16]) as i64 } else { number(&entry[4..8]) as u32 as i32 as i64 }
        });
        // A start of -1 is an empty edit: silence before the track, which nobody plays when it is heard alone.
        let starts: Vec<u64> = starts.filter_map(|start| u64::try_from(start).ok()).collect();
        if let [start] = starts[..] {
            self.starts.edits.push((self.track_id, start));
        }
        Ok(())
    }
}

/// The delay in an `iTunSMPB` tag: numbers in hexadecimal, a zero and then the samples before the beginning.
fn gapless_delay(user_data: &[u8]) -> Option<u64> {
    let name = user_data.windows(8).position(|window| window == b"iTunSMPB")?;
    let text = &user_data[name..];
    let zero = text.windows(10).position(|window| window == b" 00000000 ")?;
    let digits = std::str::from_utf8(text.get(zero + 10..zero + 18)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// The AAC-LC description inside an HE-AAC one (ISO 14496-3, AudioSpecificConfig), which symphonia can decode: the
/// lower half of the spectrum, at half the rate. For 44.1 and 48 kHz it reaches beyond the 8 kHz that are used here.
pub(super) fn aac_core(config: &[u8]) -> Option<Box<[u8]>> {
    const LC: u32 = 2;
    const SBR: u32 = 5;
    const PARAMETRIC_STEREO: u32 = 29;
    /// The rate is written out instead of its index.
    const EXPLICIT_RATE: u32 = 15;
    let mut at = 0;
    let mut bits = |count: usize| -> Option<u32> {
        (0..count).try_fold(0, |value, _| {
            let byte = config.get(at / 8)?;
            let bit = byte >> (7 - at % 8) & 1;
            at += 1;
            Some(value << 1 | u32::from(bit))
        })
    };
    let mut object = bits(5)?;
    let (rate, channels) = (bits(4)?, bits(4)?);
    if rate == EXPLICIT_RATE {
        return None;
    }
    if matches!(object, SBR | PARAMETRIC_STEREO) {
        if bits(4)? == EXPLICIT_RATE {
            bits(24)?;
        }
        object = bits(5)?;
    }
    if object != LC {
        return None;
    }
    let frame = bits(3)?;
    let core = (object << 11 | rate << 7 | channels << 3 | frame) as u16;
    Some(Box::new(core.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn he_aac_is_described_by_its_core() {
        // AAC-LC, 22.05 kHz, mono, as written by encoders of plain AAC.
        let core = [0x13, 0x88];
        assert_eq!(aac_core(&core).as_deref(), Some(&core[..]));
        // The same with SBR to 44.1 kHz and with parametric stereo: object type, 22.05 kHz, mono, 44.1 kHz, LC, 000.
        assert_eq!(aac_core(&[0x2b, 0x8a, 0x08, 0x00]).as_deref(), Some(&core[..]));
        assert_eq!(aac_core(&[0xeb, 0x8a, 0x08, 0x00]).as_deref(), Some(&core[..]));
        // AAC Main, and nothing.
        assert_eq!(aac_core(&[0x0b, 0x88]), None);
        assert_eq!(aac_core(&[]), None);
    }

    #[test]
    fn the_gapless_tag_gives_the_delay() {
        let tag = b"....name....iTunSMPB....data........ 00000000 00000840 000000D4 00000000000766EC 00000000";
        assert_eq!(gapless_delay(tag), Some(2112));
        assert_eq!(gapless_delay(b"iTunSMPB 00000000 0000"), None);
        assert_eq!(gapless_delay(b"nothing of the kind"), None);
    }
}
