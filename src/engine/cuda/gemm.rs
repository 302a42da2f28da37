//! Selects the implementation of matrix products: our own kernels, or cuBLASLt where it was measured to be faster.

use super::activation::Activation;
use super::cublaslt::CublasLt;
use super::linear;
use super::matrix::{Matrix, Storage};
use super::{Cuda, Tensor};
use crate::engine::Epilogue;
use crate::error::Result;

/// Implementation of matrix products. The two differ in rounding, because they add in different orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gemm {
    /// cuBLASLt for the products where it was measured to be faster, if it can be loaded; else our own kernels.
    #[default]
    Auto,
    /// Our own kernels, which need only the driver.
    Own,
    /// cuBLASLt for every product with 16-bit weights that it has an algorithm for.
    ///
    /// One algorithm is selected for each `(N, K)` whatever the number of rows, without split-K. So results probably do
    /// not depend on the batch, but cuBLASLt does not guarantee that, as our kernels do. Nor does it saturate: a result
    /// too large for f16 becomes infinity.
    CublasLt,
}

/// The two kinds of rows of a product. The choice of kernel may depend on the kind but not on the number of rows, or
/// results would depend on the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Frames of windows, `[B, T, C]`: thousands.
    Frames,
    /// Rows of a decode step, `[R, C]`: one to a few hundred.
    Step,
}

impl RowKind {
    /// The kind of activations of this shape.
    pub(super) fn of(shape: &[usize]) -> Self {
        if shape.len() == 2 { RowKind::Step } else { RowKind::Frames }
    }

    /// The number of rows for which an algorithm is selected: a full encoder pass, or a typical decode batch.
    pub(super) fn typical(self) -> usize {
        match self {
            RowKind::Frames => 12_000,
            RowKind::Step => 32,
        }
    }
}

/// A product for which cuBLASLt was measured to be faster.
struct Faster {
    /// Compute capability.
    capability: (i32, i32),
    rows: RowKind,
    n: usize,
    k: usize,
    epilogue: Epilogue,
}

/// Output of `diarist-bench --gemm-table`, restricted to products whose results agreed and whose rows did not depend on
/// the number of rows. Empty: not measured on any GPU yet.
const FASTER: &[Faster] = &[];

/// Whether the table has an entry for this architecture. Without one, `auto` does not load cuBLASLt.
pub(super) fn has_measurements(capability: (i32, i32)) -> bool {
    FASTER.iter().any(|entry| entry.capability == capability)
}

/// Whether the table prefers cuBLASLt for this product.
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

/// cuBLASLt, if it is selected for this product.
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
