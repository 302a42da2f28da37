//! Fuzzes the parser of CTranslate2's `model.bin`: an error, or tensors that have the stated shape and fit into the
//! file. Each input is read as a file, and as the variables after a valid header of each binary version, because
//! mutations rarely produce a valid header.
#![no_main]

use diarist::engine::weights::{HostWeight, Weights};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(bytes.to_vec());
    for version in [2u8, 3, 6] {
        let head = [&[version, 0, 0, 0, 12, 0][..], b"WhisperSpec\0", &[3, 0, 0, 0]].concat();
        read([&head, bytes].concat());
    }
});

fn read(bytes: Vec<u8>) {
    let len = bytes.len();
    let Ok(weights) = Weights::from_bytes("fuzz", bytes) else { return };
    for name in weights.names() {
        let shape = weights.shape(name).expect("a listed tensor has a shape");
        let count: usize = shape.iter().product();
        if let Ok(values) = weights.tensor(name, shape) {
            assert_eq!(values.len(), count);
            assert!(values.len() <= len, "more values than the file can hold");
            assert!(values.iter().all(|value| value.is_finite()));
        }
        if let Ok(HostWeight::Int8(weight)) = weights.weight(name, shape) {
            assert_eq!((weight.values.len(), weight.scales.len()), (count, weight.rows));
        }
        let _ = weights.integer(name);
        let mut longer = shape.to_vec();
        longer.push(1);
        assert!(weights.contains(name) && weights.tensor(name, &longer).is_err());
    }
}
