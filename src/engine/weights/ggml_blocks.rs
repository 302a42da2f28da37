//! Dequantisation of ggml blocks (q4_0, q4_1, q5_0, q5_1, q8_0): 32 elements with a common scale, and in the `_1` types
//! a common minimum.
//!
//! | type | layout of a block | value of an element |
//! |---|---|---|
//! | q4_0 | f16 `d`, 16 bytes of nibbles | `d (q - 8)` |
//! | q4_1 | f16 `d`, f16 `m`, 16 bytes of nibbles | `d q + m` |
//! | q5_0 | f16 `d`, u32 of fifth bits, 16 bytes of nibbles | `d (q - 16)` |
//! | q5_1 | f16 `d`, f16 `m`, u32 of fifth bits, 16 bytes of nibbles | `d q + m` |
//! | q8_0 | f16 `d`, 32 i8 | `d q` |
//!
//! The lower nibbles are elements 0 to 15, the upper ones 16 to 31. All arithmetic is f32, with a rounding after each
//! operation (no fused multiply-add).
//!
//! Source: ggml `ggml-common.h`, `ggml-quants.c` (`dequantize_row_*`).

use half::f16;

/// Elements per block.
const LEN: usize = 32;

/// A quantised type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocks {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
}

impl Blocks {
    /// The type of a number of `enum ggml_type`.
    pub fn of_type(number: u32) -> Option<Self> {
        match number {
            2 => Some(Blocks::Q4_0),
            3 => Some(Blocks::Q4_1),
            6 => Some(Blocks::Q5_0),
            7 => Some(Blocks::Q5_1),
            8 => Some(Blocks::Q8_0),
            _ => None,
        }
    }

    /// Bytes per block.
    fn size(self) -> usize {
        match self {
            Blocks::Q4_0 => 18,
            Blocks::Q4_1 => 20,
            Blocks::Q5_0 => 22,
            Blocks::Q5_1 => 24,
            Blocks::Q8_0 => 34,
        }
    }

    /// Bytes of `count` elements; `None` if they do not fill whole blocks.
    pub fn bytes(self, count: usize) -> Option<usize> {
        if count.is_multiple_of(LEN) { (count / LEN).checked_mul(self.size()) } else { None }
    }

    /// Converts whole blocks to f32.
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.chunks_exact(self.size());
        let mut out = vec![0.0; blocks.len() * LEN];
        for (block, out) in blocks.zip(out.chunks_exact_mut(LEN)) {
            self.dequantise_block(block, out);
        }
        out
    }

    fn dequantise_block(self, block: &[u8], out: &mut [f32]) {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
        let fifths = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let scale = half(0);
        match self {
            Blocks::Q4_0 => nibbles(&block[2..], 0, out, |q| scale * (q as f32 - 8.0)),
            Blocks::Q4_1 => nibbles(&block[4..], 0, out, |q| scale * q as f32 + half(2)),
            Blocks::Q5_0 => nibbles(&block[6..], fifths(2), out, |q| scale * (q as f32 - 16.0)),
            Blocks::Q5_1 => nibbles(&block[8..], fifths(4), out, |q| scale * q as f32 + half(2)),
            Blocks::Q8_0 => out.iter_mut().zip(&block[2..]).for_each(|(out, q)| *out = scale * f32::from(*q as i8)),
        }
    }
}

/// Unpacks 32 elements from 16 bytes of nibbles and their fifth bits.
fn nibbles(bytes: &[u8], fifths: u32, out: &mut [f32], value: impl Fn(u32) -> f32) {
    for (i, out) in out.iter_mut().enumerate() {
        let nibble = bytes[i % 16] >> (i / 16 * 4) & 15;
        *out = value(u32::from(nibble) | (fifths >> i & 1) << 4);
    }
}
