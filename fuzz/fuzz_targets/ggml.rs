//! Fuzzes the parser of whisper.cpp's ggml files: an error, or tensors and tokens that fit into the file. Each input is
//! read as a file, and as vocabulary and tensors after valid hyperparameters and mel filters, which are too long for a
//! short input.
#![no_main]

use diarist::engine::weights::Weights;
use libfuzzer_sys::fuzz_target;

/// Size in bytes of the mel filters: one mel bin of 201 frequencies in f32.
const FILTERS: usize = 201 * 4;

fuzz_target!(|bytes: &[u8]| {
    read(bytes.to_vec());
    let sizes: [u32; 13] = [64, 20, 32, 1, 1, 16, 32, 1, 1, 1, 1, 1, 201];
    let mut file = b"lmgg".to_vec();
    file.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
    file.resize(file.len() + FILTERS, 0);
    file.extend(bytes);
    read(file);
});

fn read(bytes: Vec<u8>) {
    let len = bytes.len();
    let Ok(weights) = Weights::from_bytes("fuzz", bytes) else { return };
    assert!(weights.vocabulary().map(<[u8]>::len).sum::<usize>() <= len);
    for name in weights.names() {
        let shape = weights.shape(name).expect("a listed tensor has a shape");
        if let Ok(values) = weights.tensor(name, shape) {
            assert_eq!(values.len(), shape.iter().product::<usize>());
            // The densest type stores 32 elements in 18 bytes.
            assert!(values.len() <= 2 * len, "more values than the file can hold");
            assert!(values.iter().all(|value| value.is_finite()));
        }
        let mut longer = shape.to_vec();
        longer.push(1);
        assert!(weights.contains(name) && weights.tensor(name, &longer).is_err());
    }
}
