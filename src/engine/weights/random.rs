//! Random weights; see [`Weights::random`](super::Weights::random).

use rayon::prelude::*;

/// Uniform random values. Each block of 4096 has its own generator, so that blocks are computed in parallel.
pub(super) fn random(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let scale = match (shape.len(), name) {
        (1, name) if name.contains("layer_norm") && name.ends_with("weight") => {
            return vec![1.0; shape[0]];
        }
        (1, _) => 0.02,
        (_, name) if name.contains("embed_tokens") || name.contains("embed_positions") => 0.1,
        (_, name) if name.contains("out_proj") => 0.15 * (3.0 / fan_in.max(1) as f32).sqrt(),
        _ => (3.0 / fan_in.max(1) as f32).sqrt(),
    };
    let base =
        name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut values = vec![0.0; shape.iter().product()];
    values.par_chunks_mut(4096).enumerate().for_each(|(block, values)| {
        // xorshift64*, Vigna 2016
        let mut state = (base ^ (block as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1;
        for value in values {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *value = ((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale;
        }
    });
    values
}
