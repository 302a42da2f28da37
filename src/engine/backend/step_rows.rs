//! [`StepRows`]: the rows of one decoder pass.

use super::device::Device;
use super::host;
use super::tensor::Tensor;
use crate::error::Result;

/// The rows of one decoder pass: the token, its position and the cache row of each. All three are on the device; the
/// host knows only the number of rows (the size a graph is captured for).
///
/// The cache row is `slot * beams + beam`; each slot decodes one chunk. A decode step has one row for each live beam of
/// each busy slot. A prompt is prefilled by a pass with one row per prompt token, all with the same cache row.
pub struct StepRows<B: Device> {
    /// `[R]` id of the input token.
    pub token: Tensor<B, i32>,
    /// `[R]` position of that token, counted from the start of the prompt.
    pub position: Tensor<B, i32>,
    /// `[R]` cache row. Rows of one slot are adjacent.
    pub row: Tensor<B, i32>,
}

impl<B: Device> StepRows<B> {
    /// Allocates `capacity` rows, all in use.
    pub fn zeros(be: &B, capacity: usize) -> Result<Self> {
        Ok(StepRows {
            token: Tensor::zeros(be, &[capacity])?,
            position: Tensor::zeros(be, &[capacity])?,
            row: Tensor::zeros(be, &[capacity])?,
        })
    }

    /// Number of rows in use.
    pub fn num_rows(&self) -> usize {
        self.token.len()
    }

    /// Sets the number of rows in use.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for more rows than the capacity.
    pub fn set_num_rows(&mut self, rows: usize) -> Result<()> {
        self.token.reshape(&[rows])?;
        self.position.reshape(&[rows])?;
        self.row.reshape(&[rows])
    }

    /// A copy on the host device.
    pub(super) fn on_host(&self, be: &B) -> Result<StepRows<B::Host>> {
        Ok(StepRows {
            token: host::copy(be, &self.token)?,
            position: host::copy(be, &self.position)?,
            row: host::copy(be, &self.row)?,
        })
    }

    /// Copies tokens and positions from the host device. No op changes the cache rows.
    pub(super) fn set_from_host(&mut self, be: &B, from: &StepRows<B::Host>) -> Result<()> {
        be.write(&mut self.token.buf, 0, &from.token.to_host(be.host())?)?;
        be.write(&mut self.position.buf, 0, &from.position.to_host(be.host())?)
    }
}
