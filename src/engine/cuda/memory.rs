//! Device memory: allocation under a limit; page-locked host memory, and the staging ring for uploads.

use std::ffi::c_void;

use super::context::Context;
use super::driver::{self, check, sys};
use super::event::Event;
use crate::error::{Error, Result};

/// Allocates `bytes` (at least one) bytes of uninitialised device memory.
pub(super) fn allocate(context: &Context, bytes: u64, during: impl FnOnce() -> String) -> Result<sys::CUdeviceptr> {
    context.bind()?;
    if let Err(free) = context.account.reserve(bytes) {
        let during = format!("{} (`gpu_memory_limit` {})", during(), context.account.limit);
        return Err(Error::OutOfMemory { wanted: bytes, free, during });
    }
    let mut pointer = 0;
    // SAFETY: (1) the signature is cuda.h's; (2) `pointer` outlives the call; (3) allocating waits for nothing, and this
    // thread has the context.
    let code = unsafe { sys::cuMemAlloc_v2(&mut pointer, bytes as usize) };
    if code == sys::CUresult::CUDA_SUCCESS {
        return Ok(pointer);
    }
    context.account.release(bytes);
    if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return Err(Error::OutOfMemory { wanted: bytes, free: free(context).unwrap_or(0), during: during() });
    }
    Err(driver::failure("cuMemAlloc", code))
}

/// Frees memory of [`allocate`].
///
/// # Safety
/// `pointer` came from [`allocate`] in this context with the same `bytes`, and is not used any more.
pub(super) unsafe fn release(context: &Context, pointer: sys::CUdeviceptr, bytes: u64) {
    // A lost device cannot free anything, and a destructor cannot report errors.
    if context.bind().is_ok() {
        // SAFETY: (1) the signature is cuda.h's; (2) the caller gives an allocation of this context that is still whole;
        // (3) the driver waits for the kernels that use it.
        let _ = unsafe { sys::cuMemFree_v2(pointer) };
    }
    context.account.release(bytes);
}

/// Bytes of device memory that are free by the driver's count.
pub(super) fn free(context: &Context) -> Result<u64> {
    context.bind()?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: (1) the signature is cuda.h's; (2) both numbers outlive the call; (3) it is a query.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
    Ok(free as u64)
}

/// Page-locked host memory, which the GPU's copy engines read and write asynchronously.
pub(super) struct Pinned {
    memory: *mut u8,
}

// SAFETY: (1) page-locked memory belongs to no thread; (2) it is whole until dropped; (3) its owner orders the
// accesses.
unsafe impl Send for Pinned {}
// SAFETY: as above: a shared reference gives nothing but the address.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub fn new(context: &Context, bytes: usize) -> Result<Self> {
        context.bind()?;
        let mut memory: *mut c_void = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `memory` outlives the call; (3) this thread has the context.
        let code = unsafe { sys::cuMemHostAlloc(&mut memory, bytes, 0) };
        if code == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            let during = "locking host memory for copies to and from the device".into();
            return Err(Error::OutOfMemory { wanted: bytes as u64, free: 0, during });
        }
        check("cuMemHostAlloc", code)?;
        Ok(Pinned { memory: memory.cast() })
    }

    pub fn pointer(&self) -> *mut u8 {
        self.memory
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: (1) the signature is cuda.h's; (2) the memory came from the driver and is given back once; (3) the owner
        // waited for the copies.
        let _ = unsafe { sys::cuMemFreeHost(self.memory.cast()) };
    }
}

/// Page-locked staging memory for uploads: [`upload`](Self::upload) returns while the bytes are still being copied.
///
/// It is a ring of pieces. A piece is overwritten only after the device has read it.
pub(super) struct Staging {
    /// `read.len() * PIECE` bytes.
    memory: Option<Pinned>,
    /// Recorded behind the last copy out of each piece.
    read: Vec<Event>,
    /// The current piece, and the bytes used of it.
    piece: usize,
    filled: usize,
}

/// Bytes of a piece: large enough for the full bandwidth of the bus, small enough that the ring rarely waits.
pub(super) const PIECE: usize = 2 << 20;

impl Staging {
    /// No memory: nothing can be uploaded.
    pub fn none() -> Self {
        Staging { memory: None, read: Vec::new(), piece: 0, filled: PIECE }
    }

    /// A ring of `pieces` pieces.
    pub fn new(context: &Context, pieces: usize) -> Result<Self> {
        let memory = Some(Pinned::new(context, pieces * PIECE)?);
        let read = (0..pieces).map(|_| Event::untimed(context)).collect::<Result<_>>()?;
        Ok(Staging { memory, read, piece: 0, filled: 0 })
    }

    /// Queues a copy of `bytes` bytes to `target` on `stream`, the stream of this staging memory. `fill` writes the
    /// data: it is called with slices of page-locked memory, in order, and the byte offset of each. The lengths of all
    /// slices but the last are multiples of 16.
    pub fn upload(
        &mut self,
        stream: sys::CUstream,
        target: sys::CUdeviceptr,
        bytes: usize,
        mut fill: impl FnMut(&mut [u8], usize),
    ) -> Result<()> {
        let mut at = 0;
        while at < bytes {
            if self.filled == PIECE {
                self.turn()?;
            }
            let Some(memory) = &self.memory else {
                return Err(driver::refuse("staging memory", "is not there"));
            };
            let length = (bytes - at).min(PIECE - self.filled);
            let start = self.piece * PIECE + self.filled;
            // SAFETY: (1) `memory` has a `PIECE` for every event and `start + length` lies within its own; (2) no other
            // slice of it exists, since `self` is borrowed mutably; (3) the device has read what it held: `turn` waited.
            let staged = unsafe { std::slice::from_raw_parts_mut(memory.pointer().add(start), length) };
            fill(staged, at);
            // SAFETY: (1) the signature is cuda.h's; (2) the source is `length` bytes of page-locked memory that stay as
            // they are until the event below has passed, the target was checked by the caller; (3) it is queued behind
            // the kernels that still read the target's old content.
            let code = unsafe { sys::cuMemcpyHtoDAsync_v2(target + at as u64, staged.as_ptr().cast(), length, stream) };
            check("cuMemcpyHtoDAsync", code)?;
            self.read[self.piece].record(stream)?;
            // 16 keeps the next slice aligned for any element.
            self.filled = (self.filled + length).next_multiple_of(16).min(PIECE);
            at += length;
        }
        Ok(())
    }

    /// Advances to the next piece, after the device has read it.
    fn turn(&mut self) -> Result<()> {
        self.piece = (self.piece + 1) % self.read.len().max(1);
        self.filled = 0;
        self.read.get(self.piece).map_or(Ok(()), Event::wait)
    }

    /// Frees the memory; all copies must have finished, or the device be lost.
    pub fn free(&mut self) {
        *self = Staging::none();
    }
}
