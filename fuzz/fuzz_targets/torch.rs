//! Fuzzes the parser of PyTorch checkpoints: an error, or tensors that have the stated shape and fit into the file.
//! Each input is read as a file, and as the pickles of a legacy checkpoint after a valid magic number, because
//! mutations rarely produce one.
#![no_main]

use diarist::engine::weights::Weights;
use libfuzzer_sys::fuzz_target;

/// Protocol 2, the number `0x1950a86a20f9469cfc6c`, and the end of that pickle.
const MAGIC: [u8; 15] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

fuzz_target!(|bytes: &[u8]| {
    read(bytes.to_vec());
    read([&MAGIC, bytes].concat());
});

fn read(bytes: Vec<u8>) {
    let len = bytes.len();
    let Ok(weights) = Weights::from_bytes("fuzz", bytes) else { return };
    for name in weights.names() {
        let shape = weights.shape(name).expect("a listed tensor has a shape");
        if let Ok(values) = weights.tensor(name, shape) {
            assert_eq!(values.len(), shape.iter().product::<usize>());
            assert!(values.len() * 2 <= len, "more values than the file can hold");
            assert!(values.iter().all(|value| value.is_finite()));
        }
        if let Ok(values) = weights.integers(name, shape) {
            assert!(values.len() * 8 <= len, "more values than the file can hold");
        }
        let mut longer = shape.to_vec();
        longer.push(1);
        assert!(weights.contains(name) && weights.tensor(name, &longer).is_err());
    }
}
