//! Which kernel multiplies: our own, or cuBLASLt's where a measurement on this architecture says so.

use super::activation::Activation;
use super::cublaslt::CublasLt;
use super::linear;
use super::matrix::{Matrix, Storage};
use super::{Cuda, Tensor};
use crate::engine::Epilogue;
use crate::error::Result;

/// Who multiplies. Results of the two differ in the last bit, as their orders of addition do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gemm {
    /// cuBLASLt for the products it was measured to be faster at, if it can be loaded; else our own kernels.
    #[default]
    Auto,
    /// Our own kernels, which need nothing but the driver.
    Own,
    /// cuBLASLt for every product with 16-bit weights that it has an algorithm for.
    ///
    /// One algorithm is chosen for each `(N, K)`, without split sums, whatever the number of rows. That results do not
    /// depend on the batch is then likely, but cuBLASLt does not promise it, as our kernels do; nor does it saturate: a
    /// result too large for f16 becomes infinity.
    CublasLt,
}

/// The two kinds of rows an op meets. Which kernel serves a weight may depend on the kind, but not on the number of rows,
/// or results would depend on the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Frames of clips, `[B, T, C]`: thousands.
    Frames,
    /// Rows of a decode step, `[R, C]`: one to a few hundred.
    Step,
}

impl RowKind {
    /// Of activations of this shape.
    pub(super) fn of(shape: &[usize]) -> Self {
        if shape.len() == 2 { RowKind::Step } else { RowKind::Frames }
    }

    /// The number of rows an algorithm is chosen for: a full encoder pass, a usual batch.
    pub(super) fn typical(self) -> usize {
        match self {
            RowKind::Frames => 12_000,
            RowKind::Step => 32,
        }
    }
}

/// A product on one architecture that cuBLASLt was measured to be faster at.
struct Faster {
    /// Compute capability.
    capability: (i32, i32),
    rows: RowKind,
    n: usize,
    k: usize,
    epilogue: Epilogue,
}

/// What `diarist-bench --gemm-table` prints on a card, of those products where the two agreed and rows did not depend on
/// their number. Empty: no card has run it yet.
const FASTER: &[Faster] = &[];

/// Whether the table has anything for this architecture: only then is the library looked for.
pub(super) fn has_measurements(capability: (i32, i32)) -> bool {
    FASTER.iter().any(|entry| entry.capability == capability)
}

/// Whether cuBLASLt is the measured choice.
fn measured(capability: (i32, i32), rows: RowKind, (n, k): (usize, usize), epilogue: Epilogue) -> bool {
    FASTER.iter().any(|entry| {
        entry.capability == capability
            && entry.rows == rows
            && (entry.n, entry.k) == (n, k)
            && entry.epilogue == epilogue
    })
}

/// See [`Backend::linear`](crate::engine::Backend::linear).
pub(super) fn linear<A: Activation>(
    be: &Cuda<A>,
    out: &mut Tensor<Cuda<A>>,
    x: &Tensor<Cuda<A>>,
    weight: &Matrix<A>,
    bias: Option<&Tensor<Cuda<A>, f32>>,
    epilogue: Epilogue,
) -> Result<()> {
    if let Some(library) = choice(be, x, weight, epilogue)
        && library.linear(out, x, weight, bias, epilogue)?
    {
        return Ok(());
    }
    linear::linear(be, out, x, weight, bias, epilogue)
}

/// cuBLASLt, if this product is for it.
fn choice<'a, A: Activation>(
    be: &'a Cuda<A>,
    x: &Tensor<Cuda<A>>,
    weight: &Matrix<A>,
    epilogue: Epilogue,
) -> Option<&'a CublasLt> {
    let library = be.cublaslt.as_deref()?;
    let plain = matches!(weight.storage, Storage::Plain(_)) && weight.n > 0 && weight.k > 0 && x.rows() > 0;
    let chosen = be.gemm == Gemm::CublasLt
        || measured(be.device.capability(), RowKind::of(x.shape()), (weight.n, weight.k), epilogue);
    (plain && chosen).then_some(library)
}
