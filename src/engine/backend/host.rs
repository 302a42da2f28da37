//! Ops that a device lacks, run by its [`Device::Host`]: the default bodies of the op families copy the operands to the
//! host device, run the op there and copy the result back.
//!
//! Activations are copied as f32, so a device that stores f16 rounds once per op, as its own kernel would.

use std::any::TypeId;

use super::device::Device;
use super::element::Element;
use super::tensor::Tensor;
use crate::error::{Error, Result};

/// A value prepared for the ops of one family, such as a cache or the constants of a transform. `H` is its form on the
/// [`Device::Host`].
///
/// A device that lacks the family uses `H` itself. A type of the device's own needs no implementation if the device is
/// its own host.
pub trait HostForm<H>: Send + Sync + Sized {
    /// The device's form of a value that the host has prepared; `None` if the device has to prepare its own.
    fn from_host(value: H) -> Option<Self> {
        let _ = value;
        None
    }
    /// The host's form, if this is one.
    fn as_host(&self) -> Option<&H> {
        None
    }
    /// The host's form, if this is one.
    fn as_host_mut(&mut self) -> Option<&mut H> {
        None
    }
}

impl<H: Send + Sync> HostForm<H> for H {
    fn from_host(value: H) -> Option<Self> {
        Some(value)
    }
    fn as_host(&self) -> Option<&H> {
        Some(self)
    }
    fn as_host_mut(&mut self) -> Option<&mut H> {
        Some(self)
    }
}

/// The device that runs ops for `be`.
///
/// # Errors
/// [`Error::Device`] if that is `be` itself: it neither implements the op nor has another device for it.
pub(super) fn of<B: Device>(be: &B) -> Result<&B::Host> {
    if TypeId::of::<B>() == TypeId::of::<B::Host>() {
        return Err(missing("is implemented neither by this device nor by another one"));
    }
    Ok(be.host())
}

fn missing(what: &str) -> Error {
    Error::Device { call: "host fallback".into(), code: -1, text: format!("the op {what}") }
}

/// The device's form of a value prepared by the host.
pub(super) fn prepared<H, D: HostForm<H>>(value: H) -> Result<D> {
    D::from_host(value).ok_or_else(|| missing("has no form on the host"))
}

/// The host's form of a prepared value.
pub(super) fn form<H, D: HostForm<H>>(value: &D) -> Result<&H> {
    value.as_host().ok_or_else(|| missing("has no form on the host"))
}

/// The host's form of a prepared value, to be changed.
pub(super) fn form_mut<H, D: HostForm<H>>(value: &mut D) -> Result<&mut H> {
    value.as_host_mut().ok_or_else(|| missing("has no form on the host"))
}

/// Copies a tensor to the host.
pub(super) fn copy<B: Device, T: Element>(be: &B, tensor: &Tensor<B, T>) -> Result<Tensor<B::Host, T>> {
    Tensor::from_host(of(be)?, tensor.shape(), &tensor.to_host(be)?)
}

/// Copies a tensor that may be absent.
pub(super) fn copy_option<B: Device, T: Element>(
    be: &B,
    tensor: Option<&Tensor<B, T>>,
) -> Result<Option<Tensor<B::Host, T>>> {
    tensor.map(|tensor| copy(be, tensor)).transpose()
}

/// The values of activations, as f32.
pub(super) fn values<B: Device>(be: &B, tensor: &Tensor<B>) -> Result<Vec<f32>> {
    let mut values = vec![0.0; tensor.len()];
    be.read_act(&mut values, &tensor.buf, 0)?;
    Ok(values)
}

/// New activations with these values.
pub(super) fn activations<B: Device>(be: &B, shape: &[usize], values: &[f32]) -> Result<Tensor<B>> {
    let mut tensor = Tensor::zeros(be, shape)?;
    be.write_act(&mut tensor.buf, 0, values)?;
    Ok(tensor)
}

/// Copies activations to the host.
pub(super) fn copy_act<B: Device>(be: &B, tensor: &Tensor<B>) -> Result<Tensor<B::Host>> {
    activations(of(be)?, tensor.shape(), &values(be, tensor)?)
}

/// Copies `tensor` to the host, runs `op` there on the copy, and copies it back.
pub(super) fn update<B: Device, T: Element>(
    be: &B,
    tensor: &mut Tensor<B, T>,
    op: impl FnOnce(&B::Host, &mut Tensor<B::Host, T>) -> Result<()>,
) -> Result<()> {
    let mut on_host = copy(be, tensor)?;
    op(of(be)?, &mut on_host)?;
    be.write(&mut tensor.buf, 0, &on_host.to_host(of(be)?)?)
}

/// [`update`] for activations.
pub(super) fn update_act<B: Device>(
    be: &B,
    tensor: &mut Tensor<B>,
    op: impl FnOnce(&B::Host, &mut Tensor<B::Host>) -> Result<()>,
) -> Result<()> {
    let mut on_host = copy_act(be, tensor)?;
    op(of(be)?, &mut on_host)?;
    be.write_act(&mut tensor.buf, 0, &values(of(be)?, &on_host)?)
}

/// The windows of a convolution over time as rows, so that a matrix product computes it: `[B * out, taps * C]` from `x`
/// `[B, F, C]`. Frames outside the clip are zeros; `padding` frames precede the first one.
pub(super) fn unfold<B: Device>(
    be: &B,
    x: &Tensor<B>,
    taps: usize,
    stride: usize,
    padding: usize,
    out: usize,
) -> Result<Tensor<B>> {
    let (values, width) = (values(be, x)?, x.width());
    let [batch, frames] = [x.shape()[0], x.shape()[1]];
    let mut rows = vec![0.0; batch * out * taps * width];
    for (row, unfolded) in rows.chunks_exact_mut(taps * width).enumerate() {
        let first = row % out * stride;
        for (tap, unfolded) in unfolded.chunks_exact_mut(width).enumerate() {
            let frame = (first + tap).checked_sub(padding).filter(|frame| *frame < frames);
            if let Some(frame) = frame {
                unfolded.copy_from_slice(&values[(row / out * frames + frame) * width..][..width]);
            }
        }
    }
    activations(be, &[batch * out, taps * width], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::Cpu;

    /// An op without a body on a device that is its own host is an error, not endless recursion.
    #[test]
    fn a_device_that_is_its_own_host_has_no_fallback() -> Result<()> {
        let cpu = Cpu::new(Some(1))?;
        assert!(matches!(of(&cpu), Err(Error::Device { .. })));
        assert!(copy(&cpu, &Tensor::<Cpu, f32>::zeros(&cpu, &[2])?).is_err());
        Ok(())
    }
}
