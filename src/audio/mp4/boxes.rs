//! Parser of MP4 boxes: track headers, edit lists, fragments, and iTunes's gapless tag.

use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

use super::{Movie, TrackInfo};

/// Largest number of boxes read in a file. A fragmented recording has about ten per fragment.
const MAX_BOXES: usize = 1_000_000;
/// Largest nesting depth of boxes.
const MAX_DEPTH: usize = 8;
/// Number of bytes of user data searched for iTunes's gapless tag; cover art can make user data long.
const MAX_USER_DATA: u64 = 1 << 20;
/// Largest number of entries read of an edit list.
const MAX_EDITS: usize = 4096;
/// Entries of a run of samples that are read at once.
const RUN_PIECE: u64 = 4096;
/// Largest number of tracks and of fragments per track.
const MAX_TRACKS: usize = 1024;
const MAX_FRAGMENTS: usize = 1 << 20;

/// Reads the boxes of an MP4 file of `bytes` bytes; empty for other files.
pub(super) fn read(source: &mut Box<dyn MediaSource + '_>, bytes: u64) -> io::Result<Movie> {
    let mut walk = Walk { source, boxes: 0, movie: Movie::default(), fragment: Fragment::default() };
    let mut kind = [0; 4];
    walk.source.seek(SeekFrom::Start(4))?;
    let is_mp4 = walk.source.read_exact(&mut kind).is_ok() && &kind == b"ftyp";
    if is_mp4 {
        // Keep what was read before a damaged box.
        let _ = walk.boxes(0, bytes, 0);
    }
    Ok(walk.movie)
}

/// The part of a fragment that belongs to one track (`traf`).
#[derive(Default)]
struct Fragment {
    /// Index of the track.
    track: Option<usize>,
    /// Default duration of a sample, in ticks.
    default_ticks: u32,
    /// Start time stated in `tfdt`, in ticks.
    start: Option<u64>,
    /// Duration, in ticks.
    ticks: u64,
}

struct Walk<'w, 'a> {
    source: &'w mut Box<dyn MediaSource + 'a>,
    boxes: usize,
    movie: Movie,
    fragment: Fragment,
}

impl Walk<'_, '_> {
    /// Reads the boxes between two file positions, and recursively those in container boxes of interest.
    fn boxes(&mut self, mut at: u64, end: u64, depth: usize) -> io::Result<()> {
        while at + 8 <= end && self.boxes < MAX_BOXES && depth < MAX_DEPTH {
            self.boxes += 1;
            self.source.seek(SeekFrom::Start(at))?;
            let mut head = [0; 16];
            self.source.read_exact(&mut head[..8])?;
            let (size, header) = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
                0 => (end - at, 8),
                1 if at + 16 <= end => {
                    self.source.read_exact(&mut head[8..])?;
                    (number(&head[8..]), 16)
                }
                size => (u64::from(size), 8),
            };
            // An invalid size only ends this search; symphonia reports damage.
            if size < header || size > end - at {
                return Ok(());
            }
            let (body, next) = (at + header, at + size);
            self.open(&[head[4], head[5], head[6], head[7]], body, next, depth)?;
            at = next;
        }
        Ok(())
    }

    fn open(&mut self, kind: &[u8; 4], body: u64, next: u64, depth: usize) -> io::Result<()> {
        let len = next - body;
        match kind {
            b"moov" | b"edts" | b"mdia" | b"mvex" | b"moof" => self.boxes(body, next, depth + 1)?,
            b"trak" if self.movie.tracks.len() < MAX_TRACKS => {
                self.movie.tracks.push(TrackInfo::default());
                self.boxes(body, next, depth + 1)?;
            }
            b"traf" => {
                self.fragment = Fragment::default();
                self.boxes(body, next, depth + 1)?;
                self.end_fragment();
            }
            b"udta" => self.gapless_tag(len)?,
            b"mvhd" | b"tkhd" | b"mdhd" | b"hdlr" | b"elst" | b"trex" | b"tfhd" | b"tfdt" => self.leaf(kind, len)?,
            b"trun" => {
                let ticks = self.run_ticks(len)?;
                self.fragment.ticks = self.fragment.ticks.saturating_add(ticks);
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a box without children, of an edit list at most [`MAX_EDITS`] entries.
    fn leaf(&mut self, kind: &[u8; 4], len: u64) -> io::Result<()> {
        let mut data = vec![0; len.min(20 * MAX_EDITS as u64 + 8) as usize];
        self.source.read_exact(&mut data)?;
        let is_long = data.first() == Some(&1);
        let field = |short: usize, long: usize| u32_at(&data, if is_long { long } else { short });
        let track = self.movie.tracks.last_mut();
        match (kind, track) {
            (b"mvhd", _) => self.movie.scale = field(12, 20),
            (b"tkhd", Some(track)) => {
                track.id = field(12, 20);
                track.is_enabled = data.get(3).is_some_and(|flags| flags & 1 == 1);
            }
            (b"mdhd", Some(track)) => track.scale = field(12, 20),
            (b"hdlr", Some(track)) => track.is_audio |= data.get(8..12) == Some(b"soun"),
            (b"elst", Some(track)) => track.edits = edit_list(&data, is_long),
            (b"trex", _) => {
                let id = u32_at(&data, 4);
                if let Some(track) = self.movie.tracks.iter_mut().find(|track| track.id == id) {
                    track.default_ticks = u32_at(&data, 12);
                }
            }
            (b"tfhd", _) => self.fragment_header(&data),
            (b"tfdt", _) => {
                let start = if is_long { data.get(4..12).map(number) } else { Some(u64::from(u32_at(&data, 4))) };
                self.fragment.start = start;
            }
            _ => {}
        }
        Ok(())
    }

    fn fragment_header(&mut self, data: &[u8]) {
        let (flags, id) = (u32_at(data, 0), u32_at(data, 4));
        self.fragment.track = self.movie.tracks.iter().position(|track| track.id == id);
        let track_default = self.fragment.track.map_or(0, |index| self.movie.tracks[index].default_ticks);
        // Optional fields before: `base_data_offset` (8 bytes) and `sample_description_index` (4 bytes).
        let at = 8 + if flags & 1 != 0 { 8 } else { 0 } + if flags & 2 != 0 { 4 } else { 0 };
        self.fragment.default_ticks = if flags & 8 != 0 { u32_at(data, at) } else { track_default };
    }

    /// The duration of a run of samples (`trun` with a body of `len` bytes), in ticks. A fragment of any length may have
    /// a single run, so that the run is read in pieces.
    fn run_ticks(&mut self, len: u64) -> io::Result<u64> {
        let mut head = [0; 8];
        self.source.read_exact(&mut head[..len.min(8) as usize])?;
        let (flags, count) = (u32_at(&head, 0), u64::from(u32_at(&head, 4)));
        if flags & 0x100 == 0 {
            return Ok(count.saturating_mul(u64::from(self.fragment.default_ticks)));
        }
        let optional = 4 * [1, 4].into_iter().filter(|flag| flags & flag != 0).count();
        let size = 4 * [0x100, 0x200, 0x400, 0x800].into_iter().filter(|flag| flags & flag != 0).count();
        let mut left = count.min(len.saturating_sub(8 + optional as u64) / size as u64);
        let mut piece = vec![0; size * left.min(RUN_PIECE) as usize];
        self.source.seek(SeekFrom::Current(optional as i64))?;
        let mut ticks = 0;
        while left > 0 {
            piece.truncate(size * left.min(RUN_PIECE) as usize);
            self.source.read_exact(&mut piece)?;
            ticks += piece.chunks_exact(size).map(|sample| u64::from(u32_at(sample, 0))).sum::<u64>();
            left -= (piece.len() / size) as u64;
        }
        Ok(ticks)
    }

    /// Records the start of a fragment, as symphonia counts it and as the file states it.
    fn end_fragment(&mut self) {
        let Some(track) = self.fragment.track.and_then(|index| self.movie.tracks.get_mut(index)) else { return };
        let counted = track.next_fragment;
        if let Some(start) = self.fragment.start
            && track.fragments.len() < MAX_FRAGMENTS
        {
            track.fragments.push((counted, start));
        }
        track.next_fragment = counted.saturating_add(self.fragment.ticks);
    }

    /// Reads the encoder delay from iTunes's gapless tag, if the user data has one.
    fn gapless_tag(&mut self, len: u64) -> io::Result<()> {
        let mut data = vec![0; len.min(MAX_USER_DATA) as usize];
        self.source.read_exact(&mut data)?;
        // Ignore implausible delays of a second or more.
        if let Some(delay) = gapless_delay(&data).filter(|&delay| delay < 48_000) {
            self.movie.gapless = delay;
        }
        Ok(())
    }
}

/// Parses `elst`: for each entry its duration in movie ticks, and its start in media ticks (-1: empty edit).
fn edit_list(data: &[u8], is_long: bool) -> Vec<(u64, i64)> {
    let entry = if is_long { 20 } else { 12 };
    let entries = data.get(8..).unwrap_or_default().chunks_exact(entry).take(u32_at(data, 4) as usize);
    let read = |entry: &[u8]| {
        if is_long {
            (number(&entry[..8]), number(&entry[8..16]) as i64)
        } else {
            (number(&entry[..4]), i64::from(number(&entry[4..8]) as u32 as i32))
        }
    };
    entries.map(read).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).map_or(0, |bytes| number(bytes) as u32)
}

/// The encoder delay in samples from an `iTunSMPB` tag: hexadecimal numbers, the first zero, the second the delay.
fn gapless_delay(user_data: &[u8]) -> Option<u64> {
    let name = user_data.windows(8).position(|window| window == b"iTunSMPB")?;
    let text = &user_data[name..];
    let zero = text.windows(10).position(|window| window == b" 00000000 ")?;
    let digits = std::str::from_utf8(text.get(zero + 10..zero + 18)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A box of this kind around the concatenated parts.
    fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        [&(body.len() as u32 + 8).to_be_bytes(), &kind[..], &body].concat()
    }

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    #[test]
    fn long_runs_of_samples_are_counted_to_their_end() {
        // Version, flags, creation, modification, track 1.
        let track = boxed(b"trak", &[&boxed(b"tkhd", &[&words(&[0, 0, 0, 1])])]);
        // A fragment of track 1 with one entry (duration, size) per sample.
        let fragment = |start: u32, samples: u32| {
            let head = boxed(b"tfhd", &[&words(&[0, 1])]);
            let time = boxed(b"tfdt", &[&words(&[0, start])]);
            let run = boxed(b"trun", &[&words(&[0x301, samples, 0]), &words(&[1024, 300]).repeat(samples as usize)]);
            boxed(b"moof", &[&boxed(b"traf", &[&head, &time, &run])])
        };
        // 8 bytes per sample: the first run has 1.6 MB.
        let (long, short) = (fragment(0, 200_001), fragment(204_801_024, 3));
        let file = [boxed(b"ftyp", &[b"isom"]), boxed(b"moov", &[&track]), long, short].concat();
        let bytes = file.len() as u64;
        let mut source: Box<dyn MediaSource> = Box::new(Cursor::new(file));
        let movie = read(&mut source, bytes).expect("boxes");
        assert_eq!(movie.tracks[0].fragments, [(0, 0), (204_801_024, 204_801_024)]);
        assert_eq!(movie.tracks[0].next_fragment, 204_801_024 + 3 * 1024);
    }

    #[test]
    fn the_gapless_tag_gives_the_delay() {
        let tag = b"....name....iTunSMPB....data........ 00000000 00000840 000000D4 00000000000766EC 00000000";
        assert_eq!(gapless_delay(tag), Some(2112));
        assert_eq!(gapless_delay(b"iTunSMPB 00000000 0000"), None);
        assert_eq!(gapless_delay(b"nothing of the kind"), None);
    }
}
