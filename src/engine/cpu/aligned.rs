//! Memory for vectors: a `Vec` that starts on a cache line, so that no vector load touches two lines.

use bytemuck::Zeroable;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// `len` elements whose first one lies on a cache line.
pub(super) struct Aligned<T> {
    buf: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Zeroable + Copy> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let slack = LINE / size_of::<T>();
        let buf = vec![T::zeroed(); len + slack];
        // `align_offset` may decline to answer (it never does outside const evaluation); then alignment is only lost.
        let start = buf.as_ptr().align_offset(LINE).min(slack);
        Aligned { buf, start, len }
    }

    /// Makes room for at least `len` elements; what they hold afterwards is unspecified.
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
