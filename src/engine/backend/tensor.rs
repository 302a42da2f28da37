//! [`Tensor`]: a contiguous, row-major array in a backend's memory, with its shape.

use super::device::Device;
use super::element::Element;
use crate::error::{Error, Result};

/// `shape.product()` elements in the memory of `B`, last axis contiguous. Activations by default.
pub struct Tensor<B: Device, T: Element = <B as Device>::Act> {
    /// The elements; longer than the shape needs if the tensor is a reused scratch buffer.
    pub buf: B::Buffer<T>,
    shape: Vec<usize>,
    capacity: usize,
}

impl<B: Device, T: Element> Tensor<B, T> {
    /// Allocates a tensor of zeros.
    pub fn zeros(be: &B, shape: &[usize]) -> Result<Self> {
        let capacity = shape.iter().product();
        Ok(Tensor { buf: be.zeros(capacity)?, shape: shape.to_vec(), capacity })
    }

    /// Copies host values, in row-major order, into a new tensor.
    ///
    /// # Errors
    /// [`Error::Shape`] if `values` does not hold exactly `shape.product()` elements.
    pub fn from_host(be: &B, shape: &[usize], values: &[T]) -> Result<Self> {
        let mut tensor = Self::zeros(be, shape)?;
        if values.len() != tensor.capacity {
            return Err(Error::Shape {
                op: "from_host",
                what: "values",
                expected: format!("{shape:?}"),
                got: format!("{} elements", values.len()),
            });
        }
        be.write(&mut tensor.buf, 0, values)?;
        Ok(tensor)
    }

    /// Copies all elements to the host. Waits for the device.
    pub fn to_host(&self, be: &B) -> Result<Vec<T>> {
        let mut out = vec![T::default(); self.len()];
        be.read(&mut out, &self.buf, 0)?;
        Ok(out)
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of the last axis.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Product of all axes but the last.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// Gives a scratch tensor a new shape within its capacity; no element moves. So one allocation serves steps with
    /// different numbers of rows.
    ///
    /// # Errors
    /// [`Error::Shape`] if the new shape needs more elements than were allocated.
    pub fn reshape(&mut self, shape: &[usize]) -> Result<()> {
        let len: usize = shape.iter().product();
        if len > self.capacity {
            return Err(Error::Shape {
                op: "reshape",
                what: "scratch tensor",
                expected: format!("at most {} elements", self.capacity),
                got: format!("{shape:?}"),
            });
        }
        self.shape.clear();
        self.shape.extend_from_slice(shape);
        Ok(())
    }
}
