//! How much of the device's memory is in use, and the way from the host's memory to it.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};

use super::device::Device;
use super::driver::{self, check, sys};
use crate::error::{Error, Result};

/// Bytes in use, and the most there may be.
#[derive(Debug)]
pub(super) struct Account {
    used: AtomicU64,
    peak: AtomicU64,
    limit: u64,
}

/// What the engine's buffers take of the device's memory. The driver's own needs (context, kernels, graphs) come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes now.
    pub used: u64,
    /// Most bytes at any time.
    pub peak: u64,
    /// Most bytes allowed; [`u64::MAX`] without a limit.
    pub limit: u64,
}

impl Account {
    pub fn new(limit: Option<u64>) -> Self {
        Account { used: AtomicU64::new(0), peak: AtomicU64::new(0), limit: limit.unwrap_or(u64::MAX) }
    }

    /// Takes `bytes` off what is left under the limit, or tells how many are left.
    fn reserve(&self, bytes: u64) -> Result<(), u64> {
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(used) => Err(self.limit.saturating_sub(used)),
        }
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn state(&self) -> MemoryUse {
        MemoryUse {
            used: self.used.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            limit: self.limit,
        }
    }
}

/// Memory for `bytes` bytes, at least one; what is in it is anybody's guess.
pub(super) fn allocate(device: &Device, bytes: u64, during: impl FnOnce() -> String) -> Result<sys::CUdeviceptr> {
    device.bind()?;
    if let Err(free) = device.account.reserve(bytes) {
        let during = format!("{} (--gpu-memory-limit {})", during(), device.account.limit);
        return Err(Error::OutOfMemory { wanted: bytes, free, during });
    }
    let mut pointer = 0;
    // SAFETY: (1) the signature is cuda.h's; (2) `pointer` outlives the call; (3) allocating waits for nothing, and this
    // thread has the device's context.
    let code = unsafe { sys::cuMemAlloc_v2(&mut pointer, bytes as usize) };
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(pointer);
    }
    device.account.release(bytes);
    if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return Err(Error::OutOfMemory { wanted: bytes, free: free(device).unwrap_or(0), during: during() });
    }
    Err(driver::failure("cuMemAlloc", code))
}

/// Gives back what [`allocate`] gave.
///
/// # Safety
/// `pointer` came from [`allocate`] on this device with the same `bytes`, and nobody uses it any more.
pub(super) unsafe fn release(device: &Device, pointer: sys::CUdeviceptr, bytes: u64) {
    // A lost device cannot take anything back, and a destructor has nobody to tell.
    if device.bind().is_ok() {
        // SAFETY: (1) the signature is cuda.h's; (2) the caller gives an allocation of this device that is still whole;
        // (3) the driver waits for the kernels that use it.
        let _ = unsafe { sys::cuMemFree_v2(pointer) };
    }
    device.account.release(bytes);
}

/// Bytes the driver could still give.
pub(super) fn free(device: &Device) -> Result<u64> {
    device.bind()?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: (1) the signature is cuda.h's; (2) both numbers outlive the call; (3) asking has no order.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
    Ok(free as u64)
}

/// Page-locked memory through which everything goes to the device: the copy engine reads it behind the processor's back,
/// so that [`upload`](Self::upload) returns while the bytes are still on their way.
///
/// It is used from front to back, one half after the other; a half is written again only after the device has read it.
pub(super) struct Staging {
    /// Of `2 * HALF` bytes.
    memory: *mut u8,
    /// Recorded behind the last copy out of each half.
    read: [sys::CUevent; 2],
    /// The half in use, and how much of it.
    half: usize,
    filled: usize,
}

/// Bytes of a half: long enough to keep the bus busy, short enough not to matter.
const HALF: usize = 8 << 20;

// SAFETY: (1) the pointers are the driver's handles and page-locked memory, which belong to no thread; (2) `memory` is
// whole until `free`; (3) every use is behind the mutex of its device.
unsafe impl Send for Staging {}

impl Staging {
    /// No memory yet: nothing can be uploaded.
    pub fn none() -> Self {
        Staging { memory: std::ptr::null_mut(), read: [std::ptr::null_mut(); 2], half: 0, filled: HALF }
    }

    pub fn new(device: &Device) -> Result<Self> {
        device.bind()?;
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `memory` outlives the call; (3) this thread has the context.
        let code = unsafe { sys::cuMemHostAlloc(&mut memory, 2 * HALF, 0) };
        if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            let during = "locking host memory for copies to the device".into();
            return Err(Error::OutOfMemory { wanted: 2 * HALF as u64, free: 0, during });
        }
        check("cuMemHostAlloc", code)?;
        let mut staging = Staging { memory: memory.cast(), read: [std::ptr::null_mut(); 2], half: 0, filled: 0 };
        for slot in 0..2 {
            match device.event(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING) {
                Ok(event) => staging.read[slot] = event,
                Err(error) => {
                    staging.free();
                    return Err(error);
                }
            }
        }
        Ok(staging)
    }

    /// Queues a copy of `bytes` bytes to `target` on the compute stream. `fill` is called with pieces of page-locked
    /// memory, in order, and the position of each, and writes them; pieces are multiples of 16 bytes long, but the last.
    pub fn upload(
        &mut self,
        device: &Device,
        target: sys::CUdeviceptr,
        bytes: usize,
        mut fill: impl FnMut(&mut [u8], usize),
    ) -> Result<()> {
        device.bind()?;
        let mut at = 0;
        while at < bytes {
            if self.filled == HALF {
                self.turn()?;
            }
            let piece = (bytes - at).min(HALF - self.filled);
            let start = self.half * HALF + self.filled;
            // SAFETY: (1) `memory` has `2 * HALF` bytes and `start + piece` lies within; (2) no other slice of it
            // exists, since `self` is borrowed mutably; (3) the device has read what it held: `turn` waited for that.
            let staged = unsafe { std::slice::from_raw_parts_mut(self.memory.add(start), piece) };
            fill(staged, at);
            // SAFETY: (1) the signature is cuda.h's; (2) the source is `piece` bytes of page-locked memory that stay as
            // they are until the event below has passed, the target was checked by the caller; (3) it is queued behind
            // the kernels that still read the target's old content.
            let code = unsafe {
                let (target, source) = (target + at as u64, staged.as_ptr().cast());
                sys::cuMemcpyHtoDAsync_v2(target, source, piece, device.stream)
            };
            check("cuMemcpyHtoDAsync", code)?;
            // SAFETY: (1) the signature is cuda.h's; (2) event and stream are this device's; (3) it marks the copy above.
            check("cuEventRecord", unsafe { sys::cuEventRecord(self.read[self.half], device.stream) })?;
            // 16 keeps the next piece aligned for any element.
            self.filled = (self.filled + piece).next_multiple_of(16).min(HALF);
            at += piece;
        }
        Ok(())
    }

    /// Goes on to the other half, when the device has read it.
    fn turn(&mut self) -> Result<()> {
        self.half = 1 - self.half;
        self.filled = 0;
        // SAFETY: (1) the signature is cuda.h's; (2) the event is ours; (3) one that was never recorded has passed.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.read[self.half]) })
    }

    /// Gives the memory back; the device must have read everything, or be lost.
    pub fn free(&mut self) {
        // SAFETY: (1) the signatures are cuda.h's; (2) memory and events came from the driver, are given back once, and
        // are forgotten; (3) the caller waited for the stream.
        unsafe {
            for event in &mut self.read {
                if !event.is_null() {
                    let _ = sys::cuEventDestroy_v2(std::mem::replace(event, std::ptr::null_mut()));
                }
            }
            if !self.memory.is_null() {
                let _ = sys::cuMemFreeHost(std::mem::replace(&mut self.memory, std::ptr::null_mut()).cast());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_the_peak_stays() {
        let account = Account::new(Some(100));
        assert_eq!(account.reserve(60), Ok(()));
        assert_eq!(account.reserve(41), Err(40));
        assert_eq!(account.reserve(u64::MAX), Err(40));
        assert_eq!(account.reserve(40), Ok(()));
        account.release(60);
        assert_eq!(account.state(), MemoryUse { used: 40, peak: 100, limit: 100 });
    }
}
