//! Redirecting work to the second stream of a device, and waiting for it.

use std::sync::Arc;

use super::current::{Forked, is_forked};
use super::device::Device;
use super::event::Event;
use crate::error::Result;

/// A point in the work of the second stream; `None` if the work went to the main stream.
pub struct Fence(Option<Event>);

/// See [`Device::fork`](crate::engine::backend::Device::fork). With profiling or `DIARIST_SYNC` the work goes to the
/// main stream instead, so that a measured time or an error belongs to one op.
pub(super) fn fork(device: &Arc<Device>, f: impl FnOnce() -> Result<()>) -> Result<Fence> {
    if device.synchronous || device.is_profiling() || is_forked(&device.context) {
        return f().map(|()| Fence(None));
    }
    let stream = device.second()?.stream;
    let (before, behind) = (Event::untimed(&device.context)?, Event::untimed(&device.context)?);
    before.record(device.main.stream)?;
    before.hold_stream(stream)?;
    let forked = Forked::to(&device.context);
    let done = f();
    drop(forked);
    done?;
    device.bind()?;
    behind.record(stream)?;
    Ok(Fence(Some(behind)))
}

/// See [`Device::join`](crate::engine::backend::Device::join).
pub(super) fn join(device: &Device, fence: &Fence) -> Result<()> {
    let Some(event) = &fence.0 else { return Ok(()) };
    device.bind()?;
    event.hold_stream(device.main.stream)
}
