//! A `Vec` aligned to cache lines, so that no vector load crosses two lines.

use bytemuck::Zeroable;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// A slice of `len` elements that starts at a cache line.
pub(super) struct Aligned<T> {
    buf: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Zeroable + Copy> Aligned<T> {
    /// Allocates `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let slack = LINE / size_of::<T>();
        let buf = vec![T::zeroed(); len + slack];
        // `align_offset` may fail, returning `usize::MAX` (it never does outside const evaluation). Then the slice is
        // not aligned, which costs only speed.
        let start = buf.as_ptr().align_offset(LINE).min(slack);
        Aligned { buf, start, len }
    }

    /// Grows to at least `len` elements. The contents are unspecified afterwards.
    pub fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeros(len);
        }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Aligned { buf: Vec::new(), start: 0, len: 0 }
    }
}

impl<T> std::ops::Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.buf[self.start..self.start + self.len]
    }
}

impl<T> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buf[self.start..self.start + self.len]
    }
}
