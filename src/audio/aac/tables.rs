//! Tables of AAC (ISO 14496-3): Huffman codebooks of spectra and scale factors, and scale factor bands.
//!
//! All codebooks are canonical, so that the number of codes of each length defines them. The parser only needs to know
//! where a code ends. Therefore the decoded values are not stored, only the number of bits that follow a code.

/// A Huffman codebook.
pub(super) struct Book {
    /// Number of codes with 1, 2, 3, ... bits.
    pub(super) lengths: &'static [u16],
    /// Number of coefficients per code.
    pub(super) values: usize,
    /// For each code, by length and then value: the number of nonzero coefficients as a digit. A sign bit follows for
    /// each of them. In the escape codebook (11), where a code has two coefficients, the digits 3, 4 and 5 mean: one
    /// nonzero coefficient, with an escape sequence; two, one of them with an escape sequence; two, both with escape
    /// sequences. Empty for codebooks of signed values.
    pub(super) signs: &'static [u8],
}

/// Table 4.A.1: scale factors.
pub(super) const SCALE_FACTORS: Book =
    Book { lengths: &[1, 0, 1, 3, 2, 4, 3, 5, 4, 6, 6, 6, 5, 8, 4, 7, 3, 7, 46], values: 1, signs: b"" };

/// Tables 4.A.2 to 4.A.12: spectra. Index 0 is codebook 1.
#[rustfmt::skip]
pub(super) const SPECTRA: [Book; 11] = [
    Book {
        lengths: &[1, 0, 0, 0, 8, 0, 24, 0, 24, 8, 16],
        values: 4,
        signs: b"",
    },
    Book {
        lengths: &[0, 0, 1, 1, 7, 24, 15, 19, 14],
        values: 4,
        signs: b"",
    },
    Book {
        lengths: &[1, 0, 0, 4, 2, 6, 3, 5, 15, 15, 8, 9, 3, 3, 5, 2],
        values: 4,
        signs: b"011112222232343311223232331221224334323244332333223243344233333344442233434443233",
    },
    Book {
        lengths: &[0, 0, 0, 10, 6, 0, 9, 21, 8, 14, 11, 2],
        values: 4,
        signs: b"433331202222121144443333333333332222222222221111444444333333333433344422222243333",
    },
    Book {
        lengths: &[1, 0, 0, 4, 4, 0, 4, 12, 12, 12, 18, 10, 4],
        values: 2,
        signs: b"",
    },
    Book {
        lengths: &[0, 0, 0, 9, 0, 16, 13, 8, 23, 8, 4],
        values: 2,
        signs: b"",
    },
    Book {
        lengths: &[1, 0, 2, 1, 0, 4, 5, 10, 14, 15, 8, 4],
        values: 2,
        signs: b"0112221122211222222221122212122222222211222222222222112222222222",
    },
    Book {
        lengths: &[0, 0, 1, 5, 7, 10, 14, 15, 8, 4],
        values: 2,
        signs: b"2212120112222222221122222222221212222222121222222222221212222112",
    },
    Book {
        lengths: &[1, 0, 2, 1, 0, 4, 3, 8, 11, 20, 31, 38, 32, 14, 4],
        values: 2,
        signs: b"\
          011222112221122222222112222222121222222221222222221222122221222211222222222222212221222222222222\
          2222222212212222222122222222222222212212222122222222222222222222222222222",
    },
    Book {
        lengths: &[0, 0, 0, 3, 8, 14, 17, 25, 31, 41, 22, 8],
        values: 2,
        signs: b"\
          222211222221122220221122222222222212122222222222212122222222222222222212222212222222222222222212\
          1222222212222221222222222222222221212122222222222222212122212221222222122",
    },
    Book {
        lengths: &[0, 0, 0, 2, 6, 7, 16, 59, 55, 95, 43, 6],
        values: 2,
        signs: b"\
          025112222221212222222112222222222222224444424121424444222224422444224244424224422214422221244224\
          242222222422122222212222222222222212222222222232222223212222222222222222222222222222221222222222\
          222222222122222222222222222222222222211222222222222222222222222221221212221222221122221221211211\
          2",
    },
];

/// Offsets of the scale factor bands for long and for short windows, by sampling frequency index.
pub(super) fn bands(rate_index: usize) -> Option<(&'static [u16], &'static [u16])> {
    Some(match rate_index {
        0 | 1 => (&LONG_96, &SHORT_64),
        2 => (&LONG_64, &SHORT_64),
        3 | 4 => (&LONG_48, &SHORT_48),
        5 => (&LONG_32, &SHORT_48),
        6 | 7 => (&LONG_24, &SHORT_24),
        8..=10 => (&LONG_16, &SHORT_16),
        11 | 12 => (&LONG_8, &SHORT_8),
        _ => return None,
    })
}

#[rustfmt::skip]
const LONG_96: [u16; 42] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 156, 172,
    188, 212, 240, 276, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024,
];
#[rustfmt::skip]
const LONG_64: [u16; 48] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 88, 100, 112, 124, 140, 156, 172, 192,
    216, 240, 268, 304, 344, 384, 424, 464, 504, 544, 584, 624, 664, 704, 744, 784, 824, 864, 904, 944, 984, 1024,
];
#[rustfmt::skip]
const LONG_48: [u16; 50] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 160, 176, 196, 216,
    240, 264, 292, 320, 352, 384, 416, 448, 480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800, 832, 864, 896,
    928, 1024,
];
#[rustfmt::skip]
const LONG_32: [u16; 52] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 160, 176, 196, 216,
    240, 264, 292, 320, 352, 384, 416, 448, 480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800, 832, 864, 896,
    928, 960, 992, 1024,
];
#[rustfmt::skip]
const LONG_24: [u16; 48] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 52, 60, 68, 76, 84, 92, 100, 108, 116, 124, 136, 148, 160, 172,
    188, 204, 220, 240, 260, 284, 308, 336, 364, 396, 432, 468, 508, 552, 600, 652, 704, 768, 832, 896, 960, 1024,
];
#[rustfmt::skip]
const LONG_16: [u16; 44] = [
    0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 100, 112, 124, 136, 148, 160, 172, 184, 196, 212, 228, 244, 260,
    280, 300, 320, 344, 368, 396, 424, 456, 492, 532, 572, 616, 664, 716, 772, 832, 896, 960, 1024,
];
#[rustfmt::skip]
const LONG_8: [u16; 41] = [
    0, 12, 24, 36, 48, 60, 72, 84, 96, 108, 120, 132, 144, 156, 172, 188, 204, 220, 236, 252, 268, 288, 308, 328,
    348, 372, 396, 420, 448, 476, 508, 544, 580, 620, 664, 712, 764, 820, 880, 944, 1024,
];
#[rustfmt::skip]
const SHORT_64: [u16; 13] = [
    0, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 92, 128,
];
#[rustfmt::skip]
const SHORT_48: [u16; 15] = [
    0, 4, 8, 12, 16, 20, 28, 36, 44, 56, 68, 80, 96, 112, 128,
];
#[rustfmt::skip]
const SHORT_24: [u16; 16] = [
    0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 52, 64, 76, 92, 108, 128,
];
#[rustfmt::skip]
const SHORT_16: [u16; 16] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 60, 72, 88, 108, 128,
];
#[rustfmt::skip]
const SHORT_8: [u16; 16] = [
    0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 52, 60, 72, 88, 108, 128,
];
