//! Lower bounds on the operations and the memory traffic of Whisper's stages, independent of the kernels. With the
//! measured ceilings they give the roofline time of a stage.
//!
//! The formulas count each weight, cache and activation that must cross the memory bus once. A product of `m x k` and
//! `k x n` is `2 m k n` operations.

use diarist::engine::CrossKind;
use diarist::engine::profile::Work;
use diarist::models::whisper::Config;

/// Log-mel features of `batch` clips from f32 samples, with `bytes` per output value. Per frame: a real FFT of 400
/// points, and two filter coefficients per frequency bin.
pub fn features(config: &Config, batch: usize, bytes: usize) -> Work {
    let (frames, samples) = (2 * config.max_source_positions as u64, config.window_samples() as u64);
    let transform = 2 * 400 * 9; // 5/2 n log2 n: half of 5 n log2 n, since the input is real; rounded up
    Work {
        flops: batch as u64 * frames * (transform + 4 * 201),
        bytes: batch as u64 * (4 * samples + frames * config.num_mel_bins as u64 * bytes as u64),
    }
}

/// The encoder for `batch` clips, with `bytes` per value.
pub fn encode(config: &Config, batch: usize, bytes: usize) -> Work {
    let (t, d) = (config.max_source_positions as u64, config.d_model as u64);
    let (layers, ffn, mels) = (config.encoder_layers as u64, config.encoder_ffn_dim as u64, config.num_mel_bins as u64);
    let stem = 2 * (2 * t * 3 * mels * d) + 2 * (t * 3 * d * d);
    let layer = 2 * t * (4 * d * d + 2 * d * ffn) + 4 * t * t * d;
    let weights = 3 * d * (mels + d) + layers * (4 * d * d + 2 * d * ffn);
    Work {
        flops: batch as u64 * (stem + layers * layer),
        bytes: (weights + batch as u64 * t * (2 * mels + d)) * bytes as u64,
    }
}

/// Filling the cross-attention cache for `batch` encoded clips: keys and values of every decoder layer, or (absorbed) a
/// copy of the encoder's output.
pub fn cross(config: &Config, kind: CrossKind, batch: usize, bytes: usize) -> Work {
    let (t, d, layers) = (config.max_source_positions as u64, config.d_model as u64, config.decoder_layers as u64);
    if kind == CrossKind::Absorbed {
        return Work { flops: 0, bytes: batch as u64 * 2 * t * d * bytes as u64 };
    }
    Work {
        flops: batch as u64 * layers * 4 * t * d * d,
        bytes: (layers * 2 * d * d + batch as u64 * t * d * (1 + 2 * layers)) * bytes as u64,
    }
}

/// One decode step at text position `position`, for `chunks` chunks with `beams` rows each.
pub fn step(config: &Config, kind: CrossKind, chunks: usize, beams: usize, position: usize, bytes: usize) -> Work {
    let (t, d, layers) = (config.max_source_positions as u64, config.d_model as u64, config.decoder_layers as u64);
    let (rows, heads) = ((chunks * beams) as u64, config.decoder_attention_heads as u64);
    // Per layer: number of `d x d` weight matrices; then, per encoder frame and channel, cached values read and
    // multiplications.
    let (matrices, read, multiplied) = match kind {
        CrossKind::Projected => (6, 2, 2),
        CrossKind::Absorbed => (8, 1, 2 * heads),
    };
    let weights = layers * (matrices * d * d + 2 * d * config.decoder_ffn_dim as u64) + config.vocab_size as u64 * d;
    let text = layers * 2 * d * position as u64;
    Work {
        flops: rows * 2 * (weights + layers * multiplied * t * d + text),
        bytes: (weights + chunks as u64 * layers * read * t * d + rows * text) * bytes as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values, calculated by hand for large-v2: 2273 + 315 GFLOP per clip; a step reads 1601 MB of weights and
    /// 245.8 MB of keys and values per chunk.
    #[test]
    fn large_v2_has_the_expected_operations_and_bytes() {
        let config = crate::shapes::config("large-v2").unwrap();
        assert_eq!((encode(&config, 1, 2).flops + 500_000_000) / 1_000_000_000, 2273);
        assert_eq!((cross(&config, CrossKind::Projected, 1, 2).flops + 500_000_000) / 1_000_000_000, 315);
        let bytes = |chunks| step(&config, CrossKind::Projected, chunks, 1, 0, 2).bytes;
        let (one, two) = (bytes(1), bytes(2));
        assert_eq!((two - one) / 100_000, 2457);
        assert_eq!((2 * one - two) / 1_000_000, 1600);
    }
}
