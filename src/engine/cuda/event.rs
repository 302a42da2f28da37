//! CUDA events: ordering streams, waiting for a point in a stream, and timing.

use super::context::Context;
use super::driver::{check, sys};
use crate::error::Result;

/// A CUDA event, destroyed when dropped.
pub(super) struct Event(sys::CUevent);

// SAFETY: (1) an event is a handle of the driver, which any thread may use; (2) it is whole until dropped; (3) recording
// and querying are ordered by the stream.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// An event that is not recorded yet.
    pub fn new(context: &Context, flags: sys::CUevent_flags) -> Result<Self> {
        context.bind()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `event` outlives the call; (3) this thread has the context.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags as u32) })?;
        Ok(Event(event))
    }

    /// An event with timing, recorded on `stream`.
    pub fn timed(context: &Context, stream: sys::CUstream) -> Result<Self> {
        let event = Self::new(context, sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        event.record(stream)?;
        Ok(event)
    }

    /// An event without timing, for ordering only.
    pub fn untimed(context: &Context) -> Result<Self> {
        Self::new(context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// Records the event behind everything queued on `stream`, which must be of the bound context.
    pub fn record(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) event and stream are of the bound context; (3) recording is
        // asynchronous.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.0, stream) })
    }

    /// Blocks until the device has reached the event. Returns at once if the event was never recorded.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) the event is ours; (3) waiting has no side effects.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0) })
    }

    /// Whether the device has reached the event.
    pub fn is_complete(&self) -> Result<bool> {
        // SAFETY: (1) the signature is cuda.h's; (2) the event is ours; (3) the query has no side effects.
        match unsafe { sys::cuEventQuery(self.0) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => check("cuEventQuery", code).map(|()| true),
        }
    }

    /// Makes work queued on `stream` from now on wait for the event (`cuStreamWaitEvent`).
    pub fn hold_stream(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) event and stream are of the bound context; (3) the driver remembers
        // the recorded point, even if the event is recorded again or destroyed.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(stream, self.0, 0) })
    }

    /// The raw handle, for `cuEventElapsedTime`.
    pub fn handle(&self) -> sys::CUevent {
        self.0
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: (1) the signature is cuda.h's; (2) ours, destroyed once; (3) the driver keeps it until it has passed.
        let _ = unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}
