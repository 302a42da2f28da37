//! The storage types of activations: f16 and bf16.

use half::{bf16, f16};

/// The bits of an activation, an f16 or a bf16 as [`ActivationType`] says. One Rust type for both, so that the networks
/// are compiled once for CUDA.
pub type Bits = u16;

/// Storage type of activations. Every kernel that touches activations exists once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActivationType {
    /// f16.
    #[default]
    F16,
    /// bf16: the range of f32 with 8 significant bits.
    Bf16,
}

impl ActivationType {
    /// Suffix of its kernels' names.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            ActivationType::F16 => "f16",
            ActivationType::Bf16 => "bf16",
        }
    }

    /// Rounds to nearest even. f16 saturates to the largest finite value, as the kernels do.
    pub(super) fn narrow(self, out: &mut [Bits], values: &[f32]) {
        let pairs = out.iter_mut().zip(values);
        match self {
            ActivationType::F16 => {
                pairs.for_each(|(out, value)| *out = f16::from_f32(value.clamp(-65504.0, 65504.0)).to_bits());
            }
            ActivationType::Bf16 => pairs.for_each(|(out, value)| *out = bf16::from_f32(*value).to_bits()),
        }
    }

    /// Converts without loss.
    pub(super) fn widen(self, out: &mut [f32], bits: &[Bits]) {
        let pairs = out.iter_mut().zip(bits);
        match self {
            ActivationType::F16 => pairs.for_each(|(out, bits)| *out = f16::from_bits(*bits).to_f32()),
            ActivationType::Bf16 => pairs.for_each(|(out, bits)| *out = bf16::from_bits(*bits).to_f32()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_saturates_and_bf16_rounds_to_even() {
        let stored = |kind: ActivationType, value: f32| {
            let (mut bits, mut wide) = ([0], [0.0]);
            kind.narrow(&mut bits, &[value]);
            kind.widen(&mut wide, &bits);
            wide[0]
        };
        assert_eq!(stored(ActivationType::F16, 1e9), 65504.0);
        assert_eq!(stored(ActivationType::F16, -1e9), -65504.0);
        assert_eq!(stored(ActivationType::Bf16, 1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(stored(ActivationType::Bf16, 1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
    }
}
