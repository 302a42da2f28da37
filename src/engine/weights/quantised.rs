//! Quantised weights of CTranslate2: integers with scales in a second tensor; value = integer / scale.

use ::safetensors::Dtype;

use super::ctranslate2::GLOBAL_INT16_SCALE;
use super::location::{Encoding, to_f32};
use super::{HostInt8, HostMatrix, HostWeight, Weights};
use crate::error::{Error, Result};

impl Weights {
    /// A weight, checked against `shape`, whose first axis is output features. 8-bit integers stay 8-bit, all other
    /// types are converted to f32.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn weight(&self, name: &str, shape: &[usize]) -> Result<HostWeight> {
        let plain = self.index.get(name).map(|entry| entry.location.encoding);
        if plain == Some(Encoding::Plain(Dtype::I8)) && self.is_quantised(name) {
            return Ok(HostWeight::Int8(self.int8(name, shape)?));
        }
        let (rows, cols) = self.matrix_sizes(name, shape)?;
        Ok(HostWeight::Float(HostMatrix { values: self.tensor(name, shape)?, rows, cols }))
    }

    /// Rows, and values per row. An error if there are no axes or the product overflows, which is possible for a tensor
    /// without elements.
    fn matrix_sizes(&self, name: &str, shape: &[usize]) -> Result<(usize, usize)> {
        let refused = || Error::weights(&self.origin, name, format!("is not a matrix: its shape is {shape:?}"));
        let (rows, cols) = shape.split_first().ok_or_else(refused)?;
        let cols = cols.iter().try_fold(1usize, |product, size| product.checked_mul(*size)).ok_or_else(refused)?;
        Ok((*rows, cols))
    }

    /// Whether an integer tensor is a quantised weight: it has scales, or the file is a CTranslate2 model.
    pub(super) fn is_quantised(&self, name: &str) -> bool {
        self.contains(&format!("{name}_scale")) || self.metadata["spec"].is_string()
    }

    /// A CTranslate2 weight of 8-bit integers with one scale per row. The scales of the result are reciprocals, so they
    /// multiply.
    pub(super) fn int8(&self, name: &str, shape: &[usize]) -> Result<HostInt8> {
        let (rows, cols) = self.matrix_sizes(name, shape)?;
        let (_, bytes) = self.bytes(name, shape)?;
        let values = bytes.iter().map(|byte| *byte as i8).collect();
        let scales = self.reciprocals(&format!("{name}_scale"), &[rows])?;
        Ok(HostInt8 { values, scales, rows, cols })
    }

    /// The values of a CTranslate2 weight of 16-bit integers with a single scale.
    pub(super) fn int16(&self, name: &str, bytes: &[u8]) -> Result<Vec<f32>> {
        let scale = format!("{name}_scale");
        let shape = self.shape(&scale).unwrap_or_default();
        let factor = match (self.contains(&scale), shape) {
            (true, [] | [1]) => self.reciprocals(&scale, shape)?[0],
            (true, _) => {
                return Err(Error::weights(&self.origin, &scale, format!("has shape {shape:?}, expected one number")));
            }
            (false, _) => 1.0 / GLOBAL_INT16_SCALE,
        };
        Ok(bytes.as_chunks().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) * factor).collect())
    }

    /// `1 / scale`, as CTranslate2 computes it. An error if a 16-bit integer times the result could be infinite or NaN.
    fn reciprocals(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (encoding, bytes) = self.bytes(name, shape)?;
        let not_float = || Error::weights(&self.origin, name, format!("is {encoding}, expected f32"));
        let mut scales = to_f32(encoding, &bytes).ok_or_else(not_float)?;
        for scale in &mut scales {
            let factor = 1.0 / *scale;
            if !scale.is_finite() || !(factor * -f32::from(i16::MIN)).is_finite() {
                let reason = format!("has a scale of {scale}; the file is damaged, fetch the model again");
                return Err(Error::weights(&self.origin, name, reason));
            }
            *scale = factor;
        }
        Ok(scales)
    }
}
