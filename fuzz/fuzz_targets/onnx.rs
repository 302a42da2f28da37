//! An ONNX file from an enemy: an error, or a network whose probabilities are probabilities.
#![no_main]

use std::path::Path;

use diarist::models::silero::{Silero, WINDOW};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(network) = Silero::from_onnx(Path::new("fuzz"), bytes) {
        let probabilities = network.probabilities(&[0.25; 2 * WINDOW]);
        assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
    }
});
