//! Fuzzes the ONNX parser: an error, a Silero network whose outputs are in `[0, 1]`, or weights that take no more
//! memory than a small multiple of the file.
#![no_main]

use std::path::Path;

use diarist::models::onnx;
use diarist::models::silero::{Silero, WINDOW};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(network) = Silero::from_onnx(Path::new("fuzz"), bytes) {
        let probabilities = network.probabilities(&[0.25; 2 * WINDOW]);
        assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
    }
    if let Ok(weights) = onnx::weights(Path::new("fuzz"), bytes) {
        let values: usize = weights.names().filter_map(|name| weights.shape(name)).map(|shape| shape.iter().product::<usize>()).sum();
        assert!(values <= bytes.len(), "more values than the file can hold twice");
    }
});
