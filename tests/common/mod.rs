//! Code shared by the test binaries: goldens, test recordings, pseudo-random checkpoints, comparisons.

#![allow(dead_code)] // each test binary uses only a part
#![allow(clippy::print_stderr)] // tests print their measurements

pub mod call;
pub mod campplus;
pub mod pipeline;
pub mod pyannet;
pub mod resnet34;
pub mod seeded;
pub mod silence;
pub mod tokenizer;
pub mod wav2vec2;

use std::path::{Path, PathBuf};

/// Path of a file in `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A JSON golden in `tests/data`.
pub fn json(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(data(name)).expect("a committed golden");
    serde_json::from_str(&text).expect("golden JSON")
}

/// A file in the folder of real recordings (`$DIARIST_SHARED`, default `../shared`), which is not part of the
/// repository. Only for tests that are ignored by default because they need it; see `tests/README.md`.
#[track_caller]
pub fn shared(name: &str) -> PathBuf {
    outside("DIARIST_SHARED", "../shared", name)
}

/// A file or folder of the published weights that `tests/real/fetch.sh` downloads (`$DIARIST_REAL`, default
/// `target/real`). Only for tests that are ignored by default because they need it; see `tests/README.md`.
#[track_caller]
pub fn real(name: &str) -> PathBuf {
    outside("DIARIST_REAL", "target/real", name)
}

/// A file that `tests/reference/onnx_files.py` exports from the published weights (`$DIARIST_EXPORTS`, default
/// `target/exports`). Only for tests that are ignored by default because they need it; see `tests/README.md`.
#[track_caller]
pub fn exports(name: &str) -> PathBuf {
    outside("DIARIST_EXPORTS", "target/exports", name)
}

#[track_caller]
fn outside(variable: &str, default: &str, name: &str) -> PathBuf {
    let root =
        std::env::var_os(variable).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from);
    let path = root.join(name);
    assert!(
        path.exists(),
        "{} does not exist; this test needs it: see tests/README.md and ${variable}",
        path.display()
    );
    path
}

/// A safetensors golden.
pub struct Golden(Vec<u8>);

impl Golden {
    /// Reads `tests/data/{name}`.
    pub fn open(name: &str) -> Self {
        Golden(std::fs::read(data(name)).expect("a committed golden"))
    }

    fn view<T>(&self, name: &str, f: impl FnOnce(&[u8]) -> T) -> (Vec<usize>, T) {
        let file = safetensors::SafeTensors::deserialize(&self.0).expect("golden safetensors");
        let view = file.tensor(name).unwrap_or_else(|_| panic!("golden has no {name}"));
        (view.shape().to_vec(), f(view.data()))
    }

    /// Shape and values of an f32 tensor.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        self.view(name, |b| b.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
    }

    /// Shape and values of an i32 tensor.
    pub fn i32(&self, name: &str) -> (Vec<usize>, Vec<i32>) {
        self.view(name, |b| b.chunks_exact(4).map(|c| i32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect())
    }

    /// The JSON under the metadata key `meta`.
    pub fn meta(&self) -> serde_json::Value {
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&self.0).expect("golden safetensors");
        let meta = metadata.metadata().as_ref().and_then(|m| m.get("meta")).expect("meta");
        serde_json::from_str(meta).expect("meta JSON")
    }
}

/// Fails on the first element that differs by more than `atol + rtol * |want|`, or is NaN; returns the largest absolute
/// difference.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], atol: f32, rtol: f32) -> f32 {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let mut worst = 0.0f32;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let diff = (g - w).abs();
        // NaN fails this comparison, too.
        assert!(diff <= atol + rtol * w.abs(), "{what}[{i}]: got {g}, want {w}, differ by {diff}");
        worst = worst.max(diff);
    }
    worst
}

/// Fails unless the spans are in order, do not overlap, end within `duration`, and are at most `longest` seconds long.
#[track_caller]
pub fn check_spans(spans: &[diarist::types::Span], duration: f64, longest: f64) {
    let mut last = 0.0;
    for span in spans {
        assert!(span.start.0 >= last && span.end > span.start, "{span:?} after {last}");
        assert!(span.duration() <= longest + 1e-9, "{span:?} is longer than {longest}");
        last = span.end.0;
    }
    assert!(last <= duration + 1e-9, "{last} is after the end {duration}");
}
