//! Where work is queued: one main queue, and one beside it for work that the main queue need not wait for.
//!
//! Encoding keeps the tensor cores busy and the memory idle, a decode step the other way round, so they share a card
//! well. Which queue a thread's calls go to is the thread's own business: [`beside`] redirects them while it runs, and
//! neither models nor stages see a stream.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::Device;
use super::driver::{self, check, sys};
use super::event::Event;
use super::memory::{self, Staging};
use crate::error::Result;

/// How urgent a queue's work is, of what the device offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// Before the other's: a decode step must not wait behind the thousands of blocks of a product.
    High,
    Low,
}

/// A stream with what only it may use: work of two streams runs at the same time.
pub(super) struct Queue {
    pub stream: sys::CUstream,
    staging: Mutex<Staging>,
    scratch: Mutex<Scratch>,
    scratch_moves: AtomicU64,
}

/// Memory for what lives no longer than one op, shared by all ops of a queue: it grows to what the largest needs.
#[derive(Default)]
struct Scratch {
    pointer: sys::CUdeviceptr,
    bytes: u64,
}

/// The scratch memory, while one op has it. Kernels queued meanwhile run before those of the next op that gets it.
pub(super) struct ScratchGuard<'a> {
    scratch: MutexGuard<'a, Scratch>,
}

impl ScratchGuard<'_> {
    /// Address of byte `at`, if `bytes` follow it.
    pub fn address(&self, at: usize, bytes: usize) -> Option<sys::CUdeviceptr> {
        let end = at.checked_add(bytes)? as u64;
        (end <= self.scratch.bytes).then_some(self.scratch.pointer + at as u64)
    }
}

impl Queue {
    /// No stream yet: nothing can be queued.
    pub fn none() -> Self {
        Queue {
            stream: std::ptr::null_mut(),
            staging: Mutex::new(Staging::none()),
            scratch: Mutex::new(Scratch::default()),
            scratch_moves: AtomicU64::new(0),
        }
    }

    /// An empty queue with `pieces` pieces of staging memory.
    pub fn new(device: &Device, pieces: usize, priority: Priority) -> Result<Self> {
        device.bind()?;
        let mut queue = Queue { stream: stream(priority)?, ..Queue::none() };
        match Staging::new(device, pieces) {
            Ok(staging) => *queue.staging() = staging,
            Err(error) => {
                queue.free(device);
                return Err(error);
            }
        }
        Ok(queue)
    }

    /// The way to the device's memory, for one thread at a time.
    pub fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least `bytes` bytes of scratch memory, for as long as the guard is held; what is in it is anybody's guess.
    pub fn scratch(&self, device: &Device, bytes: usize) -> Result<ScratchGuard<'_>> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = bytes as u64;
        if wanted > scratch.bytes {
            if super::graph::recording().is_some() {
                return Err(driver::refuse("scratch memory", "must not grow while launches are recorded"));
            }
            free_scratch(device, &mut scratch);
            scratch.pointer = memory::allocate(device, wanted, || "scratch memory of an op".into())?;
            scratch.bytes = wanted;
            self.scratch_moves.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ScratchGuard { scratch })
    }

    /// How often the scratch memory has moved: a graph recorded before the last time must not be used again.
    pub fn scratch_moves(&self) -> u64 {
        self.scratch_moves.load(Ordering::Relaxed)
    }

    /// Waits until everything queued has run.
    pub fn wait(&self, call: &str) -> Result<()> {
        if self.stream.is_null() {
            return Ok(());
        }
        // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours and whole; (3) waiting is in no one's way.
        check(call, unsafe { sys::cuStreamSynchronize(self.stream) })
    }

    /// Gives everything back; the queue must have run dry, or the device be lost.
    pub fn free(&mut self, device: &Device) {
        self.staging().free();
        free_scratch(device, &mut self.scratch.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.stream.is_null() {
            // SAFETY: (1) the signature is cuda.h's; (2) the stream is ours, destroyed once and forgotten; (3) it has run
            // dry.
            let _ = unsafe { sys::cuStreamDestroy_v2(std::mem::replace(&mut self.stream, std::ptr::null_mut())) };
        }
    }
}

fn free_scratch(device: &Device, scratch: &mut Scratch) {
    let Scratch { pointer, bytes } = std::mem::take(scratch);
    if bytes > 0 {
        // SAFETY: (1) `allocate` gave it with these bytes; (2) it is forgotten here; (3) the driver waits for the kernels
        // that use it, and graphs that name it are not launched again (`scratch_moves`).
        unsafe { memory::release(device, pointer, bytes) };
    }
}

/// A stream that waits for no other.
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

thread_local! {
    /// The device whose second queue this thread's calls go to, while they do.
    static BESIDE: Cell<*const Device> = const { Cell::new(std::ptr::null()) };
}

/// Whether this thread's calls go to the second queue of `device`.
pub(super) fn is_beside(device: &Device) -> bool {
    std::ptr::eq(BESIDE.get(), device)
}

/// A point in the work of a second queue.
pub struct Ticket(Option<Event>);

/// See [`Backend::beside`](crate::engine::Backend::beside). Where launches are timed or waited for one by one, they stay in
/// turn: a time or an error is then that of one op.
pub(super) fn beside(device: &Arc<Device>, f: impl FnOnce() -> Result<()>) -> Result<Ticket> {
    if device.synchronous || device.is_profiling() || is_beside(device) {
        return f().map(|()| Ticket(None));
    }
    let stream = device.second()?.stream;
    let (before, behind) = (Event::untimed(device)?, Event::untimed(device)?);
    before.record(device.main.stream)?;
    before.hold(stream)?;
    let redirected = Redirect::to(device);
    let done = f();
    drop(redirected);
    done?;
    device.bind()?;
    behind.record(stream)?;
    Ok(Ticket(Some(behind)))
}

/// See [`Backend::after`](crate::engine::Backend::after).
pub(super) fn after(device: &Device, ticket: &Ticket) -> Result<()> {
    let Some(event) = &ticket.0 else { return Ok(()) };
    device.bind()?;
    event.hold(device.main.stream)
}

/// Sends this thread's calls to the second queue until dropped, also by a panic.
struct Redirect;

impl Redirect {
    fn to(device: &Device) -> Self {
        BESIDE.set(device);
        Redirect
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        BESIDE.set(std::ptr::null());
    }
}
