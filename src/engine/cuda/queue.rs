//! The two streams of a device: a main stream of high priority, and a second stream of low priority for work that the
//! main stream need not wait for.
//!
//! Encoding is bound by the tensor cores and a decode step by memory, so both run well at the same time. Each thread
//! has its own current stream: [`fork`](super::fork::fork) redirects the calls of one thread to the second stream while
//! its closure runs. Models and pipeline stages never handle a stream. Models and pipeline stages never handle a
//! stream.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::context::Context;
use super::current;
use super::driver::{self, check, sys};
use super::memory::{self, Staging};
use crate::error::Result;

/// Priority of a stream, from the range that the device offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Scheduled first: a decode step must not wait behind the thousands of blocks of an encoder product.
    High,
    Low,
}

/// A stream with its own staging and scratch memory, because kernels of two streams run at the same time.
pub(super) struct Queue {
    pub stream: sys::CUstream,
    staging: Mutex<Staging>,
    scratch: Mutex<Scratch>,
    scratch_generation: AtomicU64,
}

/// Temporary memory of one op, shared by all ops of a queue. It grows to the largest request.
#[derive(Default)]
struct Scratch {
    pointer: sys::CUdeviceptr,
    bytes: u64,
}

/// Exclusive use of the scratch memory by one op. Kernels queued under the guard run before those of the next op that
/// takes it.
pub(super) struct ScratchGuard<'a> {
    scratch: MutexGuard<'a, Scratch>,
}

impl ScratchGuard<'_> {
    /// Address of byte `at`, or `None` if fewer than `bytes` bytes follow it.
    pub fn address(&self, at: usize, bytes: usize) -> Option<sys::CUdeviceptr> {
        let end = at.checked_add(bytes)? as u64;
        (end <= self.scratch.bytes).then_some(self.scratch.pointer + at as u64)
    }
}

impl Queue {
    /// A queue without a stream, on which nothing can be queued.
    pub fn none() -> Self {
        Queue {
            stream: std::ptr::null_mut(),
            staging: Mutex::new(Staging::none()),
            scratch: Mutex::new(Scratch::default()),
            scratch_generation: AtomicU64::new(0),
        }
    }

    /// A queue with `pieces` pieces of staging memory.
    pub fn new(context: &Context, pieces: usize, priority: Priority) -> Result<Self> {
        context.bind()?;
        let mut queue = Queue { stream: stream(priority)?, ..Queue::none() };
        match Staging::new(context, pieces) {
            Ok(staging) => *queue.staging() = staging,
            Err(error) => {
                queue.free(context);
                return Err(error);
            }
        }
        Ok(queue)
    }

    /// The staging memory for uploads, locked.
    pub fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least `bytes` bytes of uninitialised scratch memory, for as long as the guard is held.
    pub fn scratch(&self, context: &Context, bytes: usize) -> Result<ScratchGuard<'_>> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = bytes as u64;
        if wanted > scratch.bytes {
            if current::capturing().is_some() {
                return Err(driver::refuse("scratch memory", "must not grow while launches are recorded"));
            }
            free_scratch(context, &mut scratch);
            scratch.pointer = memory::allocate(context, wanted, || "scratch memory of an op".into())?;
            scratch.bytes = wanted;
            self.scratch_generation.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ScratchGuard { scratch })
    }

    /// How often the scratch memory was reallocated. A graph captured before the last reallocation must not be
    /// launched.
    pub fn scratch_generation(&self) -> u64 {
        self.scratch_generation.load(Ordering::Relaxed)
    }

    /// Waits until everything queued on this stream has run.
    pub fn wait(&self, call: &str) -> Result<()> {
        if self.stream.is_null() {
            return Ok(());
        }
        // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours and whole; (3) waiting has no side effects.
        check(call, unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// Frees the stream and its memory. All work must have finished, or the device be lost.
    pub fn free(&mut self, context: &Context) {
        self.staging().free();
        free_scratch(context, &mut self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.stream.is_null() {
            // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours, destroyed once and forgotten; (3) it has run
            // dry.
            let _ = unsafe { sys::cuStreamDestroy_v2(std::mem::replace(&mut self.stream, std::ptr::null_mut())) };
        }
    }
}

fn free_scratch(context: &Context, scratch: &mut Scratch) {
    let Scratch { pointer, bytes } = std::mem::take(scratch);
    if bytes > 0 {
        // SAFETY: (1) `allocate` gave it with these bytes; (2) it is forgotten here; (3) the driver waits for the kernels
        // that use it, and graphs that name it are not launched again (`scratch_generation`).
        unsafe { memory::release(context, pointer, bytes) };
    }
}

/// Creates a stream that does not synchronise with the default stream.
pub(super) fn stream(priority: Priority) -> Result<sys::CUstream> {
    let (mut least, mut greatest) = (0, 0);
    // SAFETY: (1) the signature is cuda.h's; (2) both numbers outlive the call; (3) the caller bound the context.
    check("cuCtxGetStreamPriorityRange", unsafe { sys::cuCtxGetStreamPriorityRange(&mut least, &mut greatest) })?;
    let urgency = if priority == Priority::High { greatest } else { least };
    let mut stream = std::ptr::null_mut();
    let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
    // SAFETY: (1) the signature is cuda.h's; (2) `stream` outlives the call; (3) the caller bound the context.
    check("cuStreamCreate", unsafe { sys::cuStreamCreateWithPriority(&mut stream, flags, urgency) })?;
    Ok(stream)
}
