//! cuBLASLt, loaded at run time if installed: an alternative implementation of the products of `linear`.
//!
//! cuBLASLt is column-major, so it sees a row-major `[R, K]` as a `K x R` matrix. It therefore computes `out^T = w
//! x^T`.

mod descriptors;

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cublaslt::sys as lt;

use descriptors::{Description, Layout, Preference, check};

use super::buffer::Buffer;
use super::device::Device;
use super::gemm::RowKind;
use super::launch::Timer;
use super::matrix::{Matrix, Storage};
use super::queue::{self, ScratchGuard};
use super::{Activation, Cuda, graph};
use crate::engine::profile::Work;
use crate::engine::{Epilogue, Tensor};
use crate::error::{Error, Result};

/// Workspace of its kernels in bytes: the size NVIDIA recommends for Hopper, which is more than older GPUs use.
const WORKSPACE: usize = 32 << 20;

/// `CUBLAS_OP_T` of cublas_api.h.
const TRANSPOSED: i32 = 1;

/// Every function of cuBLASLt that is called.
const SYMBOLS: &[&str] = &[
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtGetVersion",
    "cublasLtMatmul",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
];

/// The products that share one algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    rows: RowKind,
    n: usize,
    k: usize,
    epilogue: u8,
    bias: bool,
    suffix: &'static str,
}

/// The library, opened for one device.
pub(super) struct CublasLt {
    device: Arc<Device>,
    handle: lt::cublasLtHandle_t,
    /// One for each queue, because products of the two queues run at the same time.
    workspaces: [Buffer<u8>; 2],
    /// The algorithms selected so far; `None` if cuBLASLt has none for the product.
    algorithms: Mutex<HashMap<Key, Option<lt::cublasLtMatmulAlgo_t>>>,
}

// SAFETY: (1) a handle of cuBLASLt may be used by any thread; (2) it is whole until dropped; (3) what changes is behind a
// mutex.
unsafe impl Send for CublasLt {}
// SAFETY: as above.
unsafe impl Sync for CublasLt {}

impl CublasLt {
    /// Loads the library and allocates its workspaces.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is missing.
    pub fn open(device: &Arc<Device>) -> Result<Self> {
        let missing = |rule: String| Error::config("gemm", "cublaslt", rule);
        // SAFETY: (1) the library is only opened; (2) its initialisers are the vendor's; (3) it is never closed.
        if !unsafe { lt::is_culib_present() } {
            let file = if cfg!(windows) { "cublasLt64_13.dll" } else { "libcublasLt.so" };
            return Err(missing(format!(
                "{file} is not on this machine; install cuBLAS (part of the CUDA toolkit, or pip install nvidia-cublas) and \
                 put its folder on the library path, or use `gemm` own"
            )));
        }
        for symbol in SYMBOLS {
            // SAFETY: (1) the symbol's address is looked at and never called through this type; (2) the library was
            // found, so `culib` returns; (3) the lookup has no side effects.
            if unsafe { lt::culib().get::<*const ()>(symbol.as_bytes()).is_err() } {
                return Err(missing(format!("the cuBLASLt on this machine has no {symbol}; 11.4 or newer is needed")));
            }
        }
        device.bind()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: (1) the signature is cublasLt.h's; (2) `handle` outlives the call; (3) the context is bound.
        check("cublasLtCreate", unsafe { lt::cublasLtCreate(&mut handle) })?;
        // SAFETY: (1) the signature is cublasLt.h's, without arguments; (2) no memory is passed; (3) it has no side
        // effects.
        let version = unsafe { lt::cublasLtGetVersion() };
        tracing::info!(version, "cuBLASLt loaded");
        let algorithms = Mutex::new(HashMap::new());
        // Empty at first, so that the handle is destroyed if the allocation below fails.
        let workspaces = [Buffer::uninitialised(device, 0)?, Buffer::uninitialised(device, 0)?];
        let mut library = CublasLt { device: device.clone(), handle, workspaces, algorithms };
        for workspace in &mut library.workspaces {
            *workspace = Buffer::uninitialised(device, WORKSPACE)?;
        }
        Ok(library)
    }

    /// [`Backend::linear`](crate::engine::Backend::linear) for 16-bit weights. Returns false, having done nothing, for
    /// 8-bit weights and for products for which cuBLASLt has no algorithm.
    pub fn linear<A: Activation>(
        &self,
        out: &mut Tensor<Cuda<A>>,
        x: &Tensor<Cuda<A>>,
        weight: &Matrix<A>,
        bias: Option<&Tensor<Cuda<A>, f32>>,
        epilogue: Epilogue,
    ) -> Result<bool> {
        let Storage::Plain(values) = &weight.storage else { return Ok(false) };
        let (rows, n, k) = (x.rows(), weight.n, weight.k);
        let kind = RowKind::of(x.shape());
        // With GELU the bias is added by our own kernel, see `gelu`.
        let own_bias = epilogue == Epilogue::GeluErf;
        let biased = bias.is_some() && !own_bias;
        let code = super::matrix::epilogue_code(epilogue) as u8;
        let key = Key { rows: kind, n, k, epilogue: code, bias: biased, suffix: A::SUFFIX };
        let product = Product::new(weight, rows, biased)?;
        let Some(algorithm) = self.algorithm(key, &product, weight)? else { return Ok(false) };

        let narrow = match bias {
            Some(bias) if biased => Some(self.narrow_bias::<A>(&bias.buf, n)?),
            _ => None,
        };
        if let Some(bias) = &narrow {
            product.set_bias(bias.address(0, n * size_of::<A>()).unwrap_or(0))?;
        }
        let len = out.len();
        let operands = Operands {
            weight: values.range("linear", 0, n * weight.stride)?,
            x: x.buf.range("linear", 0, x.len())?,
            out: out.buf.range("linear", 0, len)?,
            add: epilogue == Epilogue::Add,
        };
        self.device.timed("cublaslt", weight.work(rows, x.len(), size_of::<A>(), epilogue), || {
            self.multiply(&product, &operands, &algorithm)
        })?;
        drop(narrow);
        if own_bias {
            self.gelu(out, bias.map(|bias| &bias.buf), n)?;
        }
        Ok(true)
    }

    /// The algorithm for all products of `key`, selected once for a typical number of rows, so that results do not
    /// depend on the actual number. Algorithms with split-K reductions are excluded.
    fn algorithm<A: Activation>(
        &self,
        key: Key,
        product: &Product,
        weight: &Matrix<A>,
    ) -> Result<Option<lt::cublasLtMatmulAlgo_t>> {
        let mut algorithms = self.algorithms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = algorithms.get(&key) {
            return Ok(*found);
        }
        self.device.bind()?;
        let typical = Product::new(weight, key.rows.typical(), key.bias)?;
        let preference = Preference::new(WORKSPACE)?;
        let unset = lt::cublasLtMatmulHeuristicResult_t {
            algo: lt::cublasLtMatmulAlgo_t { data: [0; 8] },
            workspaceSize: 0,
            state: lt::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
            wavesCount: 0.0,
            reserved: [0; 4],
        };
        let (mut best, mut count) = ([unset], 0);
        // SAFETY: (1) the signature is cublasLt.h's; (2) all descriptors are whole, and `best` has the one place asked
        // for; (3) the context is bound, and nothing is queued.
        let code = unsafe {
            let (weight, x, out) = (product.weight.0, typical.x.0, typical.out.0);
            let (description, best) = (product.description.0, best.as_mut_ptr());
            lt::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                description,
                weight,
                x,
                out,
                out,
                preference.0,
                1,
                best,
                &mut count,
            )
        };
        let usable = code == lt::cublasStatus_t::CUBLAS_STATUS_SUCCESS
            && count > 0
            && best[0].state == lt::cublasStatus_t::CUBLAS_STATUS_SUCCESS;
        if !usable && code != lt::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED {
            check("cublasLtMatmulAlgoGetHeuristic", code)?;
        }
        if !usable {
            tracing::debug!(n = key.n, k = key.k, "cuBLASLt has no algorithm; our own kernel serves");
        }
        let found = usable.then_some(best[0].algo);
        algorithms.insert(key, found);
        Ok(found)
    }

    /// Queues the product.
    fn multiply(&self, product: &Product, operands: &Operands, algorithm: &lt::cublasLtMatmulAlgo_t) -> Result<()> {
        let (alpha, beta) = (1.0f32, if operands.add { 1.0f32 } else { 0.0 });
        let workspace = self.workspaces[usize::from(queue::is_beside(&self.device))].range("linear", 0, WORKSPACE)?;
        let pointer = |address: u64| address as *mut c_void;
        let (alpha, beta) = (std::ptr::from_ref(&alpha).cast(), std::ptr::from_ref(&beta).cast());
        // SAFETY: (1) the signature is cublasLt.h's; (2) the descriptors give each array the shape that `ops::linear` and
        // `range` checked: w [N, stride], x [R, K], out [R, N], bias [N] of the type they name; the scalars are read
        // before the call returns; (3) it is queued on this thread's stream, or captured, and the workspace of each
        // queue is used by one product at a time.
        let code = unsafe {
            lt::cublasLtMatmul(
                self.handle,
                product.description.0,
                alpha,
                pointer(operands.weight),
                product.weight.0,
                pointer(operands.x),
                product.x.0,
                beta,
                pointer(operands.out),
                product.out.0,
                pointer(operands.out),
                product.out.0,
                algorithm,
                pointer(workspace),
                WORKSPACE,
                self.device.stream().cast(),
            )
        };
        check("cublasLtMatmul", code)
    }

    /// The bias converted to the type of the result, in scratch memory.
    fn narrow_bias<A: Activation>(&self, bias: &Buffer<f32>, n: usize) -> Result<ScratchGuard<'_>> {
        let scratch = self.device.scratch(n * size_of::<A>())?;
        let mut launch = self.device.launch("cublaslt_bias", A::SUFFIX)?;
        launch.grid(n.div_ceil(256), 1, 1).block(256);
        launch.scratch(&scratch, 0, n * size_of::<A>()).input(bias, n).int(n);
        // SAFETY: (1) out, bias, features, as cublaslt.cu declares them; (2) it touches out and bias [N]; (3) blocks of 256
        // cover N.
        unsafe { launch.run(Work::bytes(n * (size_of::<A>() + size_of::<f32>()))) }?;
        Ok(scratch)
    }

    /// `x = gelu_erf(x + bias)`.
    fn gelu<A: Activation>(&self, x: &mut Tensor<Cuda<A>>, bias: Option<&Buffer<f32>>, n: usize) -> Result<()> {
        let len = x.len();
        let mut launch = self.device.launch("cublaslt_gelu_erf", A::SUFFIX)?;
        launch.grid(len.div_ceil(2048), 1, 1).block(256);
        launch.output(&mut x.buf, len).optional(bias, n).long(len).int(n);
        // SAFETY: (1) x, bias, count, features, as cublaslt.cu declares them; (2) it touches x [R, N] and bias [N]; (3)
        // blocks of 2048 values cover R N.
        unsafe { launch.run(Work::bytes(2 * len * size_of::<A>() + n * size_of::<f32>())) }
    }
}

impl Device {
    /// Runs `f`, in which a library queues work on [`stream`](Self::stream), with the timing and synchronisation of our
    /// own launches.
    fn timed(&self, name: &str, work: Work, f: impl FnOnce() -> Result<()>) -> Result<()> {
        self.bind()?;
        let recorded = graph::recording().is_some();
        let timer = if self.is_profiling() && !recorded { Some(Timer::start(self)?) } else { None };
        f()?;
        if let Some(timer) = timer {
            self.add_timed(timer.stop(self, name, work)?);
        }
        if self.synchronous && !recorded { self.wait(name) } else { Ok(()) }
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        if self.device.wait("cuStreamSynchronize").is_ok() {
            // SAFETY: (1) the signature is cublasLt.h's; (2) ours, destroyed once; (3) its products have run.
            let _ = unsafe { lt::cublasLtDestroy(self.handle) };
        }
    }
}

/// Addresses of a product's arrays, and whether it is added to the output.
struct Operands {
    weight: u64,
    x: u64,
    out: u64,
    add: bool,
}

/// The descriptors of a product. In cuBLASLt's terms A is `w^T`, B is `x^T`, and C and D are the output.
struct Product {
    description: Description,
    weight: Layout,
    x: Layout,
    out: Layout,
}

impl Product {
    /// `rows` rows times `weight`, with sums in f32 and results in `A`.
    fn new<A: Activation>(weight: &Matrix<A>, rows: usize, bias: bool) -> Result<Self> {
        let kind = if A::SUFFIX == "f16" { lt::cudaDataType_t::CUDA_R_16F } else { lt::cudaDataType_t::CUDA_R_16BF };
        let (n, k) = (weight.n, weight.k);
        let description = Description::new()?;
        description.set(lt::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, &TRANSPOSED.to_ne_bytes())?;
        if bias {
            let epilogue = lt::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS as u32;
            description
                .set(lt::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue.to_ne_bytes())?;
        }
        Ok(Product {
            description,
            weight: Layout::new(kind, k, n, weight.stride)?,
            x: Layout::new(kind, k, rows, k)?,
            out: Layout::new(kind, n, rows, n)?,
        })
    }

    fn set_bias(&self, address: u64) -> Result<()> {
        let attribute = lt::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
        self.description.set(attribute, &address.to_ne_bytes())
    }
}
