//! Whisper's mel filterbank against the one that openai-whisper ships.

use std::path::Path;

use diarist::features::mel::{N_BINS, mel_filterbank};
use safetensors::SafeTensors;

/// Golden `[n_mels, 201]` from `tests/reference/mel.py`.
fn whisper_filters(n_mels: usize) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mel/log_mel.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(&format!("filters.{n_mels}")).unwrap();
    assert_eq!(view.shape(), [n_mels, N_BINS]);
    view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn filterbank_matches_openai_whisper() {
    for n_mels in [80, 128] {
        let (got, want) = (mel_filterbank(n_mels), whisper_filters(n_mels));
        assert_eq!(got.len(), want.len());
        for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
            // Equal bit for bit with the libm of the golden; another libm may round a logarithm differently.
            let (band, bin) = (i / N_BINS, i % N_BINS);
            assert!((g - w).abs() <= 2e-7 * w.abs(), "{n_mels} mels, band {band}, bin {bin}: {g} against {w}");
        }
    }
}

#[test]
fn filterbanks_of_any_size_are_finite_and_cover_the_spectrum() {
    for n_mels in [1, 2, 13, 40, 80, 200, 256] {
        let filters = mel_filterbank(n_mels);
        assert_eq!(filters.len(), n_mels * N_BINS);
        assert!(filters.iter().all(|v| v.is_finite() && *v >= 0.0), "{n_mels} mels");
        for bin in 1..N_BINS - 1 {
            let covered = (0..n_mels).any(|band| filters[band * N_BINS + bin] > 0.0);
            assert!(covered, "{n_mels} mels: bin {bin} is in no band");
        }
    }
    assert!(mel_filterbank(0).is_empty());
}
