//! Splits a raw AAC-LC frame into its syntactic elements. Parses the bit stream syntax of ISO 14496-3, section 4.4.2,
//! only as far as needed to find where each element ends; values are skipped.

use std::ops::Range;

use super::tables::{Book, SCALE_FACTORS, SPECTRA, bands};

/// Largest number of elements in a frame. Each kind has 16 instance tags.
const MAX_ELEMENTS: usize = 64;

// Element identifiers.
/// Single channel element.
const SCE: u32 = 0;
/// Channel pair element.
const CPE: u32 = 1;
/// Coupling channel element.
const CCE: u32 = 2;
/// Low-frequency effects element.
const LFE: u32 = 3;
/// Data stream element.
const DSE: u32 = 4;
/// Program config element.
const PCE: u32 = 5;
/// Fill element.
const FIL: u32 = 6;

// Codebook numbers in section data.
const ZERO_BOOK: u8 = 0;
const RESERVED_BOOK: u8 = 12;
const NOISE_BOOK: u8 = 13;
/// Window sequence EIGHT_SHORT_SEQUENCE.
const EIGHT_SHORT: u32 = 2;

/// An element with audio: SCE, LFE (one channel) or CPE (two channels).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Element {
    /// 1 or 2.
    pub(super) channels: usize,
    /// Its range of bits in the frame, including the identifier.
    bits: Range<usize>,
}

impl Element {
    /// A frame with this element only.
    pub(super) fn as_frame(&self, frame: &[u8]) -> Vec<u8> {
        let mut out = vec![0; (self.bits.len() + 3).div_ceil(8)];
        let mut put = |at: usize, bit: bool| out[at / 8] |= u8::from(bit) << (7 - at % 8);
        for (to, from) in self.bits.clone().enumerate() {
            put(to, frame[from / 8] >> (7 - from % 8) & 1 == 1);
        }
        // The END element: three ones.
        (self.bits.len()..self.bits.len() + 3).for_each(|at| put(at, true));
        out
    }
}

/// The elements with audio in a frame; `None` if the frame is damaged or has a coupling channel element.
pub(super) fn split(frame: &[u8], rate_index: usize) -> Option<Vec<Element>> {
    let (long, short) = bands(rate_index)?;
    let mut bits = Bits { bytes: frame, at: 0, long, short };
    let mut elements = Vec::new();
    // Up to three remaining bits may be padding.
    while bits.left() > 3 && elements.len() < MAX_ELEMENTS {
        let start = bits.at;
        let channels = match bits.read(3)? {
            SCE | LFE => {
                bits.skip(4)?;
                bits.channel(None)?;
                1
            }
            CPE => {
                bits.skip(4)?;
                bits.pair()?;
                2
            }
            CCE => return None,
            DSE => {
                bits.data()?;
                0
            }
            PCE => {
                bits.program()?;
                0
            }
            FIL => {
                bits.fill()?;
                0
            }
            _ => break,
        };
        if channels > 0 {
            elements.push(Element { channels, bits: start..bits.at });
        }
    }
    Some(elements)
}

/// Window configuration of a channel (`ics_info`).
#[derive(Clone)]
struct Windows {
    is_short: bool,
    /// Number of coded scale factor bands (`max_sfb`).
    bands: usize,
    /// Number of windows in each group.
    groups: Vec<usize>,
}

/// Bit reader, with the scale factor band offsets of the stream's sample rate for long and short windows.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    long: &'static [u16],
    short: &'static [u16],
}

impl Bits<'_> {
    fn left(&self) -> usize {
        8 * self.bytes.len() - self.at
    }

    fn bit(&mut self) -> Option<u32> {
        let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn read(&mut self, count: usize) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        (count <= self.left()).then(|| self.at += count)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// Reads a code of a canonical Huffman codebook; returns its index in the order of length, then value.
    fn code(&mut self, book: &Book) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for &count in book.lengths {
            code = code << 1 | self.bit()?;
            first <<= 1;
            let count = u32::from(count);
            if code - first < count {
                return Some((index + code - first) as usize);
            }
            first += count;
            index += count;
        }
        None
    }

    fn data(&mut self) -> Option<()> {
        self.skip(4)?;
        let align = self.bit()? == 1;
        let mut count = self.read(8)?;
        if count == 255 {
            count += self.read(8)?;
        }
        if align {
            self.align();
        }
        self.skip(8 * count as usize)
    }

    fn fill(&mut self) -> Option<()> {
        let mut count = self.read(4)? as usize;
        if count == 15 {
            count = (count + self.read(8)? as usize).saturating_sub(1);
        }
        self.skip(8 * count)
    }

    fn program(&mut self) -> Option<()> {
        self.skip(4 + 2 + 4)?;
        let mut count = |bits: usize| self.read(bits).map(|count| count as usize);
        let (pairs, low) = (count(4)? + count(4)? + count(4)?, count(2)?);
        let (data, coupling) = (count(3)?, count(4)?);
        // Three optional fields for downmixing, each after a presence bit.
        for len in [4, 4, 3] {
            if self.bit()? == 1 {
                self.skip(len)?;
            }
        }
        self.skip(5 * pairs + 4 * low + 4 * data + 5 * coupling)?;
        self.align();
        let comment = self.read(8)? as usize;
        self.skip(8 * comment)
    }

    fn pair(&mut self) -> Option<()> {
        let common = if self.bit()? == 1 { Some(self.windows()?) } else { None };
        if let Some(windows) = &common {
            match self.read(2)? {
                // `ms_used`: one bit per group and band.
                1 => self.skip(windows.groups.len() * windows.bands)?,
                3 => return None,
                _ => {}
            }
        }
        self.channel(common.as_ref())?;
        self.channel(common.as_ref())
    }

    fn windows(&mut self) -> Option<Windows> {
        if self.bit()? == 1 {
            return None;
        }
        let is_short = self.read(2)? == EIGHT_SHORT;
        self.skip(1)?;
        let bands = self.read(if is_short { 4 } else { 6 })? as usize;
        let mut groups = vec![1];
        if is_short {
            for _ in 0..7 {
                match (self.bit()?, groups.last_mut()) {
                    (1, Some(last)) => *last += 1,
                    _ => groups.push(1),
                }
            }
        } else if self.bit()? == 1 {
            // `predictor_data_present`: AAC-LC has no prediction.
            return None;
        }
        let offsets = if is_short { self.short } else { self.long };
        (bands < offsets.len()).then_some(Windows { is_short, bands, groups })
    }

    /// `individual_channel_stream`, with its own `ics_info` unless it is shared.
    fn channel(&mut self, common: Option<&Windows>) -> Option<()> {
        self.skip(8)?;
        let own = if common.is_none() { Some(self.windows()?) } else { None };
        let windows = common.or(own.as_ref())?;
        let books = self.sections(windows)?;
        self.scale_factors(&books)?;
        // `pulse_data`.
        if self.bit()? == 1 {
            let count = self.read(2)? as usize + 1;
            self.skip(6 + 9 * count)?;
        }
        if self.bit()? == 1 {
            self.noise_shaping(windows)?;
        }
        // `gain_control_data_present`: AAC-LC has no gain control.
        if self.bit()? == 1 {
            return None;
        }
        self.spectrum(windows, &books)
    }

    /// `section_data`: the codebook number of each band, group by group.
    fn sections(&mut self, windows: &Windows) -> Option<Vec<u8>> {
        let len_bits = if windows.is_short { 3 } else { 5 };
        let escape = (1 << len_bits) - 1;
        let mut books = Vec::with_capacity(windows.groups.len() * windows.bands);
        for group in 1..=windows.groups.len() {
            let end = group * windows.bands;
            while books.len() < end {
                let book = self.read(4)? as u8;
                let mut len = 0;
                loop {
                    let more = self.read(len_bits)? as usize;
                    len += more;
                    if more < escape {
                        break;
                    }
                }
                if book == RESERVED_BOOK || books.len() + len > end {
                    return None;
                }
                books.resize(books.len() + len, book);
            }
        }
        Some(books)
    }

    fn scale_factors(&mut self, books: &[u8]) -> Option<()> {
        let mut is_first_noise = true;
        for &book in books.iter().filter(|&&book| book != ZERO_BOOK) {
            if book == NOISE_BOOK && is_first_noise {
                is_first_noise = false;
                self.skip(9)?;
            } else {
                self.code(&SCALE_FACTORS)?;
            }
        }
        Some(())
    }

    /// `tns_data` (temporal noise shaping).
    fn noise_shaping(&mut self, windows: &Windows) -> Option<()> {
        let (windows, count_bits, len_bits, order_bits) = if windows.is_short { (8, 1, 4, 3) } else { (1, 2, 6, 5) };
        for _ in 0..windows {
            let filters = self.read(count_bits)?;
            if filters == 0 {
                continue;
            }
            let resolution = self.bit()? as usize + 3;
            for _ in 0..filters {
                self.skip(len_bits)?;
                let order = self.read(order_bits)? as usize;
                if order > 0 {
                    self.skip(1)?;
                    let compressed = self.bit()? as usize;
                    self.skip(order * (resolution - compressed))?;
                }
            }
        }
        Some(())
    }

    fn spectrum(&mut self, windows: &Windows, books: &[u8]) -> Option<()> {
        let offsets = if windows.is_short { self.short } else { self.long };
        for (index, &number) in books.iter().enumerate() {
            let Some(book) = usize::from(number).checked_sub(1).and_then(|number| SPECTRA.get(number)) else {
                continue;
            };
            let (group, band) = (index / windows.bands, index % windows.bands);
            let width = usize::from(offsets.get(band + 1)? - offsets.get(band)?);
            for _ in 0..width * windows.groups.get(group)? / book.values {
                let code = self.code(book)?;
                let (signs, escapes) = match book.signs.get(code) {
                    None => (0, 0),
                    Some(b'3') if book.values == 2 => (1, 1),
                    Some(b'4') if book.values == 2 => (2, 1),
                    Some(b'5') => (2, 2),
                    Some(digit) => (usize::from(digit - b'0'), 0),
                };
                self.skip(signs)?;
                for _ in 0..escapes {
                    self.escape()?;
                }
            }
        }
        Some(())
    }

    /// An escape sequence for a large value: N ones, a zero, and N + 4 bits.
    fn escape(&mut self) -> Option<()> {
        let mut ones = 0;
        while self.bit()? == 1 {
            ones += 1;
            if ones > 8 {
                return None;
            }
        }
        self.skip(ones + 4)
    }
}
