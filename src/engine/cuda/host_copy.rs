//! Asynchronous readback: a device array is copied to page-locked memory while the host continues.

use std::sync::Arc;

use super::buffer::Buffer;
use super::device::Device;
use super::driver::{check, sys};
use super::event::Event;
use super::memory::Pinned;
use crate::error::Result;

/// Page-locked memory for a readback of `len` integers.
pub struct HostCopy {
    memory: Pinned,
    len: usize,
    /// Recorded behind the most recent copy.
    complete: Event,
    /// Declared last: the fields above must be dropped while the device exists.
    device: Arc<Device>,
}

impl HostCopy {
    pub(super) fn new(device: &Arc<Device>, len: usize) -> Result<Self> {
        let memory = Pinned::new(&device.context, (len * size_of::<i32>()).max(1))?;
        Ok(HostCopy { memory, len, complete: Event::untimed(&device.context)?, device: device.clone() })
    }

    /// Queues a copy of the first `len` elements of `source`.
    pub(super) fn start(&mut self, source: &Buffer<i32>) -> Result<()> {
        let from = source.range("start_copy", 0, self.len)?;
        if self.len == 0 {
            return Ok(());
        }
        self.device.bind()?;
        let stream = self.device.stream();
        // SAFETY: (1) the signature is cuda.h's; (2) both sides have that many bytes, and the memory is whole until `drop`
        // has waited for the event below; (3) it is not read before the event has passed: `values` waits.
        let code = unsafe {
            sys::cuMemcpyDtoHAsync_v2(self.memory.pointer().cast(), from, self.len * size_of::<i32>(), stream)
        };
        check("cuMemcpyDtoHAsync", code)?;
        self.complete.record(stream)
    }

    pub(super) fn is_copy_complete(&self) -> Result<bool> {
        self.device.bind()?;
        self.complete.is_complete()
    }

    pub(super) fn values(&mut self) -> Result<&[i32]> {
        self.device.bind()?;
        self.complete.wait()?;
        // SAFETY: (1) the memory has room for `len` integers and is aligned for them; (2) the copy is complete, and none
        // can be started while the slice borrows `self`; (3) memory that was never copied to is whatever the driver gave,
        // which is a number, too.
        Ok(unsafe { std::slice::from_raw_parts(self.memory.pointer().cast(), self.len) })
    }
}

impl Drop for HostCopy {
    fn drop(&mut self) {
        // A lost device does not write any more, so there is nothing to wait for.
        if self.device.bind().is_ok() {
            let _ = self.complete.wait();
        }
    }
}
