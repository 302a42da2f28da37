//! An array in the device's memory.

use std::marker::PhantomData;
use std::sync::Arc;

use super::device::Device;
use super::driver::{check, sys};
use super::memory;
use crate::engine::Element;
use crate::error::{Error, Result};

/// A device array of `len` elements of `T`, freed when dropped.
pub struct Buffer<T: Element> {
    device: Arc<Device>,
    /// Null if `len` is 0.
    pointer: sys::CUdeviceptr,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Buffer<T> {
    /// A buffer of zeros.
    pub(super) fn zeros(device: &Arc<Device>, len: usize) -> Result<Self> {
        let buffer = Self::uninitialised(device, len)?;
        if len > 0 {
            let stream = device.queue().stream;
            // SAFETY: (1) the signature is cuda.h's; (2) the buffer has that many bytes; (3) it is new, so nothing queued
            // uses it.
            let code = unsafe { sys::cuMemsetD8Async(buffer.pointer, 0, buffer.bytes() as usize, stream) };
            check("cuMemsetD8Async", code)?;
        }
        Ok(buffer)
    }

    /// A buffer whose elements must be written before they are read.
    pub(super) fn uninitialised(device: &Arc<Device>, len: usize) -> Result<Self> {
        let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
        let during = || format!("allocation of {len} x {name}");
        let bytes = (len as u64).checked_mul(size_of::<T>() as u64).filter(|bytes| *bytes <= isize::MAX as u64);
        let Some(bytes) = bytes else {
            return Err(Error::OutOfMemory { wanted: u64::MAX, free: 0, during: during() });
        };
        let pointer = if bytes == 0 { 0 } else { memory::allocate(&device.context, bytes, during)? };
        Ok(Buffer { device: device.clone(), pointer, len, element: PhantomData })
    }

    /// A buffer with a copy of `values`.
    pub(super) fn upload(device: &Arc<Device>, values: &[T]) -> Result<Self> {
        let mut buffer = Self::uninitialised(device, values.len())?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the buffer is in the memory of `device`.
    pub(super) fn is_on(&self, device: &Device) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.device), device)
    }

    fn bytes(&self) -> u64 {
        (self.len * size_of::<T>()) as u64
    }

    /// Address of element `at`; an error if fewer than `len` elements follow it.
    pub(super) fn range(&self, op: &'static str, at: usize, len: usize) -> Result<sys::CUdeviceptr> {
        if at.checked_add(len).is_some_and(|end| end <= self.len) {
            return Ok(self.pointer + (at * size_of::<T>()) as u64);
        }
        Err(Error::Shape {
            op,
            what: "range",
            expected: format!("within {} elements", self.len),
            got: format!("{len} from {at}"),
        })
    }

    /// Queues a copy of `src` to the elements from `at` on. `src` may be reused at once: it is copied to staging
    /// memory.
    pub(super) fn write(&mut self, at: usize, src: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(src);
        let target = self.range("write", at, src.len())?;
        self.device.bind()?;
        let queue = self.device.queue();
        queue.staging().upload(queue.stream, target, bytes.len(), |staged, from| {
            staged.copy_from_slice(&bytes[from..from + staged.len()]);
        })
    }

    /// Like [`write`](Self::write), but `fill` computes the values directly into staging memory. It is called with
    /// slices and the index of the first element of each, relative to `at`.
    pub(super) fn write_with(&mut self, at: usize, len: usize, mut fill: impl FnMut(&mut [T], usize)) -> Result<()> {
        let target = self.range("write", at, len)?;
        self.device.bind()?;
        let queue = self.device.queue();
        queue.staging().upload(queue.stream, target, len * size_of::<T>(), |staged, from| {
            fill(bytemuck::cast_slice_mut(staged), from / size_of::<T>());
        })
    }

    /// Copies the elements from `at` on to `dst` and waits, after everything queued so far.
    pub(super) fn read(&self, dst: &mut [T], at: usize) -> Result<()> {
        let source = self.range("read", at, dst.len())?;
        if dst.is_empty() {
            return Ok(());
        }
        self.device.bind()?;
        let queue = self.device.queue();
        // SAFETY: (1) the signature is cuda.h's; (2) both sides have that many bytes: `range` and the slice say so; (3)
        // the copy is behind all work queued, and waited for below, before `dst` can move.
        let code =
            unsafe { sys::cuMemcpyDtoHAsync_v2(dst.as_mut_ptr().cast(), source, size_of_val(dst), queue.stream) };
        check("cuMemcpyDtoHAsync", code)?;
        queue.wait("reading results back")
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.pointer != 0 {
            // SAFETY: (1) `pointer` is what `allocate` gave for these bytes; (2) it is dropped once; (3) only this buffer
            // had it, and the driver waits for the kernels that still use it.
            unsafe { memory::release(&self.device.context, self.pointer, self.bytes()) };
        }
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} elements on the GPU", self.len)
    }
}
