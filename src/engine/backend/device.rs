//! [`Device`]: memory, streams and recorded op sequences of a device.
//!
//! The interface assumes that a device has its own memory. Every argument of an op is a device buffer, and the host
//! reads results only when it asks for them, so that a sequence of ops can be captured as one CUDA graph.

use super::Backend;
use super::element::Element;
use crate::error::Result;

/// A device: its memory, its streams, and copies between it and the host.
pub trait Device: Clone + Send + Sync + Sized + 'static {
    /// Type in which activations are stored; accumulators are always f32.
    type Act: Element;
    /// Device memory.
    type Buffer<T: Element>: Send + Sync;
    /// The op sequences recorded by [`replay`](Self::replay).
    type GraphCache: Default + Send + Sync;
    /// A host buffer for an asynchronous copy of a device array.
    type HostCopy: Send + Sync;
    /// Marks the end of the work queued by one [`fork`](Self::fork).
    type Fence: Send + Sync;
    /// The device that runs the op families this one lacks (the default bodies of their traits). A device that
    /// implements every op names itself.
    type Host: Backend;

    /// See [`Host`](Self::Host).
    fn host(&self) -> &Self::Host;

    /// A one-line description for display: the device, and its threads or memory.
    fn describe(&self) -> String;
    /// Runs `f`, a pass of many ops, where this device starts ops fastest. On the CPU that is one of the threads of its
    /// pool: an op called from any other thread first has to wake a pool thread, which costs as much as a small op.
    /// Concurrent callers share the pool's threads. While `f` waits for other threads, its thread may start the pass of
    /// another caller, so do not hold a lock while calling this.
    fn scope<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        f()
    }
    /// Runs `f`, a sequence of ops that is repeated often. A device with a high launch cost may record the sequence and
    /// run the recording the next time, without calling `f`.
    ///
    /// Within one `recorded`, calls with equal keys must run equal ops: the same shapes and scalars, on tensors that
    /// are not reallocated while `recorded` is in use. `f` must not copy data between host and device.
    fn replay(&self, recorded: &mut Self::GraphCache, key: usize, mut f: impl FnMut() -> Result<()>) -> Result<()> {
        let _ = (recorded, key);
        f()
    }
    /// Queues the ops and writes of `f` on a second stream. They wait for all work queued before; work queued
    /// afterwards does not wait for them until [`join`](Self::join) is called with the returned fence. Before that call
    /// no other op may access what `f` writes, or write what it reads. A device without concurrent streams runs `f` in
    /// order.
    fn fork(&self, f: impl FnOnce() -> Result<()>) -> Result<Self::Fence>;
    /// Makes all work queued from now on wait for the work that `fence` marks.
    fn join(&self, fence: &Self::Fence) -> Result<()>;
    /// Whether [`fork`](Self::fork) runs ops concurrently with others, so that it pays to start them before their
    /// results are needed.
    fn has_concurrent_streams(&self) -> bool {
        false
    }
    /// Bytes still available for buffers; `None` if the device does not track memory, as on the CPU.
    fn available_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }
    /// Allocates `len` elements, all zero.
    fn zeros<T: Element>(&self, len: usize) -> Result<Self::Buffer<T>>;
    /// Copies `src` from host to device, to element `at` of `dst`.
    fn write<T: Element>(&self, dst: &mut Self::Buffer<T>, at: usize, src: &[T]) -> Result<()>;
    /// Copies from device to host, from element `at` of `src`; waits for the work queued before.
    fn read<T: Element>(&self, dst: &mut [T], src: &Self::Buffer<T>, at: usize) -> Result<()>;
    /// Allocates a host buffer of `len` elements for asynchronous copies.
    fn host_copy(&self, len: usize) -> Result<Self::HostCopy>;
    /// Queues a copy of the first elements of `src`, as many as `copy` holds; returns at once.
    fn start_copy(&self, copy: &mut Self::HostCopy, src: &Self::Buffer<i32>) -> Result<()>;
    /// Whether the last copy started is complete; does not wait.
    fn is_copy_complete(&self, copy: &Self::HostCopy) -> Result<bool>;
    /// The result of the last copy started; waits for the copy, but not for work queued after it.
    fn finish_copy<'c>(&self, copy: &'c mut Self::HostCopy) -> Result<&'c [i32]>;
    /// Copies f32 from host to device activations, converting the type.
    fn write_act(&self, dst: &mut Self::Buffer<Self::Act>, at: usize, src: &[f32]) -> Result<()>;
    /// Copies device activations to host f32, converting the type.
    fn read_act(&self, dst: &mut [f32], src: &Self::Buffer<Self::Act>, at: usize) -> Result<()>;
}
