//! Sequential reading of little-endian numbers from a byte slice.

use std::ops::Range;

/// The error is the reason, as text.
type Result<T> = std::result::Result<T, String>;

/// The bytes of a file, and the current position.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Skips the next `len` bytes and returns their range.
    pub fn skip(&mut self, len: usize) -> Result<Range<usize>> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end =
            end.ok_or_else(|| format!("it ends at byte {}, within {len} bytes from {}", self.bytes.len(), self.at))?;
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    /// Reads the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let bytes = self.bytes;
        Ok(&bytes[self.skip(len)?])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Reads a 32-bit size of at most `i32::MAX`.
    pub fn size(&mut self) -> Result<usize> {
        let value = self.u32()?;
        let reason = || format!("the size {value} at byte {} is not possible", self.at - 4);
        i32::try_from(value).ok().and_then(|value| usize::try_from(value).ok()).ok_or_else(reason)
    }
}

/// The number of elements of a shape.
///
/// # Errors
/// If it overflows.
pub(super) fn elements(shape: &[usize]) -> Result<usize> {
    let product = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
    product.ok_or_else(|| format!("the shape {shape:?} is not possible"))
}
