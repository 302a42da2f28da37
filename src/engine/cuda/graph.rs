//! CUDA graphs: a sequence of launches is captured once and then replayed with one call.
//!
//! A decode step is hundreds of small kernels. Launching them one by one takes the CPU longer than the GPU needs to run
//! them.

use std::sync::Arc;

use super::current::{Capturing, is_forked};
use super::device::Device;
use super::driver::{check, sys};
use crate::error::Result;

/// Most graphs cached for one sequence, one for each key; the least recently used one is evicted.
const KEPT: usize = 32;

/// The graphs of one sequence of launches, by key. It does not keep the buffers of the launches alive: the caller must
/// keep them allocated at the same addresses.
#[derive(Default)]
pub struct GraphCache {
    /// Least recently used first.
    entries: Vec<(usize, State)>,
}

enum State {
    /// Ran once without a graph, so the driver has loaded its kernels.
    Seen,
    Ready(Graph),
    /// Capture failed; the launches always run one by one.
    Eager,
}

impl GraphCache {
    /// Runs the launches of `f`. The first call for a `key` runs them one by one, the second captures and launches
    /// them, and later calls replay the graph without calling `f`.
    pub(super) fn replay(&mut self, device: &Arc<Device>, key: usize, mut f: impl FnMut() -> Result<()>) -> Result<()> {
        if device.synchronous || device.is_profiling() || is_forked(&device.context) {
            return f();
        }
        let found = self.entries.iter().position(|(k, _)| *k == key).map(|at| self.entries.remove(at).1);
        let state = match found {
            Some(State::Ready(graph)) if graph.launch()? => State::Ready(graph),
            Some(State::Seen) => match Graph::record(device, &mut f) {
                Ok(graph) if graph.launch()? => State::Ready(graph),
                Ok(_) => {
                    f()?;
                    State::Seen
                }
                Err(error) => {
                    tracing::debug!(%error, "launches could not be recorded; they go on one by one");
                    f()?;
                    State::Eager
                }
            },
            Some(State::Eager) => {
                f()?;
                State::Eager
            }
            Some(State::Ready(_)) | None => {
                f()?;
                State::Seen
            }
        };
        if self.entries.len() == KEPT {
            self.entries.remove(0);
        }
        self.entries.push((key, state));
        Ok(())
    }
}

/// An executable graph (`CUgraphExec`).
struct Graph {
    device: Arc<Device>,
    executable: sys::CUgraphExec,
    /// `scratch_generation` of the main queue at the time of the capture.
    scratch_generation: u64,
}

// SAFETY: (1) the handle is the driver's, which any thread may use; (2) it is whole until dropped; (3) launches of it
// need `&mut GraphCache`, so they come one after another.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl Graph {
    fn record(device: &Arc<Device>, f: &mut impl FnMut() -> Result<()>) -> Result<Self> {
        device.bind()?;
        let recording_stream = device.recording_stream();
        // Thread-local mode: launches of other threads still run on the main stream.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: (1) the signature is cuda.h's; (2) the stream is this device's, and locked; (3) the
        // capture is ended below, unless `f` panics.
        check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(recording_stream.0, mode) })?;
        let scratch_generation = device.main.scratch_generation();
        let redirected = Capturing::to(recording_stream.0);
        let done = f();
        drop(redirected);
        let mut graph = std::ptr::null_mut();
        // SAFETY: (1) the signature is cuda.h's; (2) `graph` outlives the call; (3) the recording was begun above.
        let ended = unsafe { sys::cuStreamEndCapture(recording_stream.0, &mut graph) };
        let recorded = done.and_then(|()| check("cuStreamEndCapture", ended)).and_then(|()| {
            let mut executable = std::ptr::null_mut();
            // SAFETY: (1) the signature is cuda.h's; (2) the graph is whole and `executable` outlives the call; (3)
            // nothing runs yet.
            let code = unsafe { sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0) };
            check("cuGraphInstantiate", code)?;
            Ok(Graph { device: device.clone(), executable, scratch_generation })
        });
        if !graph.is_null() {
            // SAFETY: (1) the signature is cuda.h's; (2) ours, destroyed once; (3) the executable is a copy.
            let _ = unsafe { sys::cuGraphDestroy(graph) };
        }
        recorded
    }

    /// Queues the graph. Returns false if the scratch memory has been reallocated since the capture.
    fn launch(&self) -> Result<bool> {
        self.device.bind()?;
        let scratch = self.device.main.scratch(&self.device.context, 0)?;
        if self.scratch_generation != self.device.main.scratch_generation() {
            return Ok(false);
        }
        // SAFETY: (1) the signature is cuda.h's; (2) the caller of `replay` keeps the recorded buffers where they were,
        // and the scratch memory is held here; (3) the compute stream orders it with everything else.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.executable, self.device.main.stream) })?;
        drop(scratch);
        Ok(true)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.device.bind().is_ok() {
            // SAFETY: (1) the signature is cuda.h's; (2) ours, destroyed once; (3) the driver keeps it while it runs.
            let _ = unsafe { sys::cuGraphExecDestroy(self.executable) };
        }
    }
}
