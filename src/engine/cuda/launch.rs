//! Kernel launches: the arguments of a kernel are checked against the parameter sizes that the
//! driver reports.

use std::ffi::c_void;
use std::sync::{Arc, PoisonError};

use super::buffer::Buffer;
use super::current;
use super::device::Device;
use super::driver::{self, check, sys};
use super::kernels::Kernel;
use super::queue::ScratchGuard;
use super::timer::Timer;
use crate::engine::Element;
use crate::engine::profile::Work;
use crate::error::Result;

/// Upper bounds for the arguments of a kernel: their number, and the 8-byte words they take.
const MAX_ARGUMENTS: usize = 24;
const MAX_WORDS: usize = 64;
const WARP: usize = 32;

/// A launch under construction: kernel, grid, block, and the arguments in the kernel's order.
///
/// An array argument is given with the number of elements that the kernel touches. It must be of this device and at
/// least that long. The first error is stored, and [`run`](Self::run) returns it.
pub(super) struct Launch<'a> {
    device: &'a Device,
    kernel: Arc<Kernel>,
    grid: [usize; 3],
    block: usize,
    shared: usize,
    /// The values of the arguments, each aligned to 8 bytes.
    words: [u64; MAX_WORDS],
    used: usize,
    /// First word and number of bytes of each argument.
    places: [(u8, u16); MAX_ARGUMENTS],
    count: usize,
    wrong: Option<String>,
}

impl Device {
    /// Starts a launch of kernel `stem_suffix`, or `stem` if the suffix is empty. The default is one block of one warp.
    pub fn launch(&self, stem: &'static str, suffix: &'static str) -> Result<Launch<'_>> {
        self.bind()?;
        Ok(Launch {
            kernel: self.kernels.get(stem, suffix)?,
            device: self,
            grid: [1; 3],
            block: WARP,
            shared: 0,
            words: [0; MAX_WORDS],
            used: 0,
            places: [(0, 0); MAX_ARGUMENTS],
            count: 0,
            wrong: None,
        })
    }
}

impl Launch<'_> {
    /// Blocks along x, y and z. If one of them is 0, nothing is launched.
    pub fn grid(&mut self, x: usize, y: usize, z: usize) -> &mut Self {
        self.grid = [x, y, z];
        self
    }

    /// Threads per block.
    pub fn block(&mut self, threads: usize) -> &mut Self {
        self.block = threads;
        self
    }

    /// Dynamic shared memory per block, in bytes.
    pub fn shared(&mut self, bytes: usize) -> &mut Self {
        self.shared = bytes;
        self
    }

    fn argument(&mut self, bytes: &[u8]) -> &mut Self {
        let words = bytes.len().div_ceil(size_of::<u64>());
        if self.count == MAX_ARGUMENTS || self.used + words > MAX_WORDS {
            self.wrong.get_or_insert_with(|| "has more arguments than a launch has room for".into());
            return self;
        }
        bytemuck::cast_slice_mut(&mut self.words[self.used..self.used + words])[..bytes.len()].copy_from_slice(bytes);
        self.places[self.count] = (self.used as u8, bytes.len() as u16);
        self.used += words;
        self.count += 1;
        self
    }

    /// An array of at least `len` elements that the kernel writes, or reads and writes.
    pub fn output<T: Element>(&mut self, buffer: &mut Buffer<T>, len: usize) -> &mut Self {
        self.input(buffer, len)
    }

    /// An array of at least `len` elements that the kernel reads.
    pub fn input<T: Element>(&mut self, buffer: &Buffer<T>, len: usize) -> &mut Self {
        self.input_from(buffer, 0, len)
    }

    /// An array that the kernel reads: `len` elements from element `at` on.
    pub fn input_from<T: Element>(&mut self, buffer: &Buffer<T>, at: usize, len: usize) -> &mut Self {
        let pointer = self.address(buffer, at, len);
        self.argument(&pointer.to_ne_bytes())
    }

    /// An array that the kernel writes: `len` elements from element `at` on.
    pub fn output_from<T: Element>(&mut self, buffer: &mut Buffer<T>, at: usize, len: usize) -> &mut Self {
        self.input_from(buffer, at, len)
    }

    /// Address of element `at`; records an error if fewer than `len` elements follow it.
    pub fn address<T: Element>(&mut self, buffer: &Buffer<T>, at: usize, len: usize) -> sys::CUdeviceptr {
        let index = self.count;
        if !buffer.is_on(self.device) {
            self.wrong.get_or_insert_with(|| format!("argument {index} is an array of another device"));
        }
        match buffer.range("launch", at, len) {
            Ok(pointer) => pointer,
            Err(error) => {
                self.wrong.get_or_insert_with(|| format!("argument {index}: {error}"));
                0
            }
        }
    }

    /// An array that the kernel reads, or a null pointer.
    pub fn optional<T: Element>(&mut self, buffer: Option<&Buffer<T>>, len: usize) -> &mut Self {
        match buffer {
            Some(buffer) => self.input(buffer, len),
            None => self.argument(&0u64.to_ne_bytes()),
        }
    }

    /// `bytes` bytes of scratch memory, from byte `at` on.
    pub fn scratch(&mut self, scratch: &ScratchGuard, at: usize, bytes: usize) -> &mut Self {
        let index = self.count;
        let pointer = scratch.address(at, bytes);
        if pointer.is_none() {
            self.wrong.get_or_insert_with(|| format!("argument {index}: the scratch memory is too small"));
        }
        self.argument(&pointer.unwrap_or(0).to_ne_bytes())
    }

    /// A count or size, as a 32-bit `int`.
    pub fn int(&mut self, value: usize) -> &mut Self {
        if let Ok(value) = i32::try_from(value) {
            return self.argument(&value.to_ne_bytes());
        }
        let index = self.count;
        self.wrong.get_or_insert_with(|| format!("argument {index} is {value}, which is too large for an int"));
        self
    }

    /// A count or size, as a 64-bit `int64`.
    pub fn long(&mut self, value: usize) -> &mut Self {
        self.argument(&(value as u64).to_ne_bytes())
    }

    /// A 32-bit float.
    pub fn float(&mut self, value: f32) -> &mut Self {
        self.argument(&value.to_ne_bytes())
    }

    /// A `repr(C)` struct, passed by value.
    pub fn record<T: bytemuck::NoUninit>(&mut self, value: &T) -> &mut Self {
        self.argument(bytemuck::bytes_of(value))
    }

    /// Queues the launch; it runs after everything queued before it.
    ///
    /// # Safety
    /// The caller guarantees what cannot be checked here: (1) the arguments have the meaning and order given in the
    /// kernel's header (their number and sizes are checked); (2) the kernel touches no more elements of each array than
    /// were passed as its length; (3) grid, block and shared memory are those of the kernel's header.
    pub unsafe fn run(&mut self, work: Work) -> Result<()> {
        if self.grid.contains(&0) {
            return Ok(());
        }
        self.check_arguments()?;
        let [x, y, z] = self.grid;
        // For larger grids the driver only reports "invalid value".
        if x > i32::MAX as usize || y > 65535 || z > 65535 || !(1..=1024).contains(&self.block) {
            return Err(self.refuse(format!("{x} x {y} x {z} blocks of {} threads are beyond any GPU", self.block)));
        }
        self.allow_shared()?;
        let mut pointers = [std::ptr::null_mut::<c_void>(); MAX_ARGUMENTS];
        for (pointer, (word, _)) in pointers.iter_mut().zip(&self.places[..self.count]) {
            *pointer = std::ptr::from_mut(&mut self.words[usize::from(*word)]).cast();
        }
        let timer = self.start_timer()?;
        // SAFETY: (1) the caller guarantees the arguments, whose number and sizes were checked above; (2) the pointers
        // lead into `self.words`, which outlives the call, and the driver copies what they lead to; (3) stream and
        // function belong to the bound context, and `address` refused arrays that do not.
        let code = unsafe {
            let (function, stream) = (self.kernel.function, self.device.stream());
            let (x, y, z, block, shared) = (x as u32, y as u32, z as u32, self.block as u32, self.shared as u32);
            let (arguments, nothing) = (pointers.as_mut_ptr(), std::ptr::null_mut());
            sys::cuLaunchKernel(function, x, y, z, block, 1, 1, shared, stream, arguments, nothing)
        };
        check(&self.kernel.name, code)?;
        if let Some(timer) = timer {
            self.device.add_timed(timer.stop(&self.device.context, self.device.stream(), &self.kernel.name, work)?);
        }
        if self.device.synchronous && current::capturing().is_none() {
            self.device.wait(&self.kernel.name)?;
        }
        Ok(())
    }

    fn check_arguments(&self) -> Result<()> {
        if let Some(wrong) = &self.wrong {
            return Err(self.refuse(wrong.clone()));
        }
        let Some(expected) = &self.kernel.parameters else { return Ok(()) };
        let given = self.places[..self.count].iter().map(|(_, bytes)| usize::from(*bytes));
        if given.clone().eq(expected.iter().copied()) {
            return Ok(());
        }
        Err(self.refuse(format!("takes arguments of {expected:?} bytes, was given {:?}", given.collect::<Vec<_>>())))
    }

    /// Requests more than 48 KiB of shared memory, which CUDA requires once for each kernel.
    fn allow_shared(&self) -> Result<()> {
        let mut allowed = self.kernel.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared <= *allowed {
            return Ok(());
        }
        if self.shared > self.device.max_shared {
            let most = self.device.max_shared;
            return Err(self.refuse(format!("needs {} bytes of shared memory; a block has {most}", self.shared)));
        }
        let what = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: (1) the signature is cuda.h's; (2) no memory is passed; (3) launches queued already keep their size.
        let code = unsafe { sys::cuFuncSetAttribute(self.kernel.function, what, self.shared as i32) };
        check(&self.kernel.name, code)?;
        *allowed = self.shared;
        Ok(())
    }

    fn start_timer(&self) -> Result<Option<Timer>> {
        if !self.device.is_profiling() || current::capturing().is_some() {
            return Ok(None);
        }
        Timer::start(&self.device.context, self.device.stream()).map(Some)
    }

    fn refuse(&self, text: String) -> crate::error::Error {
        driver::refuse(self.kernel.name.clone(), text)
    }
}
