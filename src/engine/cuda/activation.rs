//! The storage types of activations: f16 and bf16.

use half::{bf16, f16};

use crate::engine::Element;

/// Storage type of activations, f16 or bf16. Every kernel that touches activations exists once for each.
pub trait Activation: Element + private::Sealed {
    /// Suffix of its kernels' names.
    const SUFFIX: &'static str;
    /// Rounds to nearest even and saturates to the largest finite value, as the kernels do.
    fn from_f32(value: f32) -> Self;
    /// Converts without loss.
    fn to_f32(self) -> f32;

    /// `out[i] = from_f32(values[i])`
    fn narrow(out: &mut [Self], values: &[f32]) {
        out.iter_mut().zip(values).for_each(|(out, value)| *out = Self::from_f32(*value));
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

impl Activation for f16 {
    const SUFFIX: &'static str = "f16";

    fn from_f32(value: f32) -> Self {
        f16::from_f32(value.clamp(-65504.0, 65504.0))
    }

    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl Activation for bf16 {
    const SUFFIX: &'static str = "bf16";

    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_saturates_and_bf16_rounds_to_even() {
        assert_eq!(<f16 as Activation>::from_f32(1e9).to_f32(), 65504.0);
        assert_eq!(<f16 as Activation>::from_f32(-1e9).to_f32(), -65504.0);
        assert_eq!(<bf16 as Activation>::from_f32(1.0 + 1.0 / 256.0).to_f32(), 1.0);
        assert_eq!(<bf16 as Activation>::from_f32(1.0 + 3.0 / 256.0).to_f32(), 1.0 + 4.0 / 256.0);
    }
}
