//! Marks in the work of a queue.

use super::device::Device;
use super::driver::{check, sys};
use crate::error::Result;

/// An event of the driver, destroyed when dropped.
pub(super) struct Event(sys::CUevent);

// SAFETY: (1) an event is a handle of the driver, which any thread may use; (2) it is whole until dropped; (3) recording
// and asking are ordered by the stream.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// A mark that is nowhere yet.
    pub fn new(device: &Device, flags: sys::CUevent_flags) -> Result<Self> {
        device.bind()?;
        let mut event = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `event` outlives the call; (3) this thread has the context.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags as u32) })?;
        Ok(Event(event))
    }

    /// A mark that tells the time, put where the calls of this thread are queued.
    pub fn timed(device: &Device) -> Result<Self> {
        let event = Self::new(device, sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        event.record(device.stream())?;
        Ok(event)
    }

    /// A mark that only orders.
    pub fn untimed(device: &Device) -> Result<Self> {
        Self::new(device, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    /// Puts the mark behind everything queued on a stream of the bound context.
    pub fn record(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) event and stream are of the bound context; (3) it marks this point.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.0, stream) })
    }

    /// Waits until the device has passed the mark; one that was never put has been passed.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) the event is ours; (3) waiting is in no one's way.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.0) })
    }

    /// Whether the device has passed it.
    pub fn has_passed(&self) -> Result<bool> {
        // SAFETY: (1) the signature is cuda.h's; (2) the event is ours; (3) asking has no order.
        match unsafe { sys::cuEventQuery(self.0) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            code => check("cuEventQuery", code).map(|()| true),
        }
    }

    /// Makes what is queued on `stream` from now on wait for the mark.
    pub fn hold(&self, stream: sys::CUstream) -> Result<()> {
        // SAFETY: (1) the signature is cuda.h's; (2) event and stream are of the bound context; (3) the driver remembers
        // where the mark is now, whatever becomes of the event.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(stream, self.0, 0) })
    }

    /// For calls that need the handle.
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
