//! Shape checks shared by the op families.

use super::device::Device;
use super::element::Element;
use super::tensor::Tensor;
use crate::error::{Error, Result};

pub(super) fn wrong(op: &'static str, what: &'static str, expected: String, got: String) -> Error {
    Error::Shape { op, what, expected, got }
}

pub(super) fn check(op: &'static str, what: &'static str, got: &[usize], expected: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(wrong(op, what, format!("{expected:?}"), format!("{got:?}")))
}

/// Checks the shapes of a 1-D convolution without padding: `out` `[B, (F - W) / stride + 1, N]`, `x` `[B, F, C]`,
/// weight `[N, W * C]`, bias `[N]`.
pub(super) fn check_windows<B: Device>(
    op: &'static str,
    [out, x]: [&[usize]; 2],
    (n, k): (usize, usize),
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
) -> Result<()> {
    let &[batch, frames, width] = x else {
        return Err(wrong(op, "x", "[B, F, C]".into(), format!("{x:?}")));
    };
    if width == 0 || k == 0 || !k.is_multiple_of(width) || stride == 0 || k / width > frames {
        return Err(wrong(op, "x", format!("{k} = taps * C, taps <= F"), format!("{x:?}, stride {stride}")));
    }
    check(op, "out", out, &[batch, (frames - k / width) / stride + 1, n])?;
    bias.map_or(Ok(()), |bias| check(op, "bias", bias.shape(), &[n]))
}

pub(super) fn check_len<B: Device, T: Element>(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor<B, T>,
    len: usize,
) -> Result<()> {
    check(op, what, &[tensor.len()], &[len])
}

pub(super) fn check_heads(op: &'static str, width: usize, heads: usize) -> Result<()> {
    if heads > 0 && width.is_multiple_of(heads) {
        return Ok(());
    }
    Err(Error::Shape { op, what: "width", expected: format!("a multiple of {heads} heads"), got: format!("{width}") })
}
